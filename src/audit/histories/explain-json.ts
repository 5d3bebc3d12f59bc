import { findingJson } from "../findings.ts";
import { RULES } from "../rules/index.ts";
import { judgedRecords, type Rule } from "../rules/rule.ts";
import { storyJson } from "../story/story.ts";
import type { ExplainedHistory, ExplainedRule } from "./explained-rule.ts";

/** A rule as plain data, with its two histories: what is found in each, and its story. */
export function explainJson({ rule, breaks, keeps, also }: ExplainedRule): unknown {
  return { ...ruleJson(rule), breaks: { ...historyJson(breaks), also }, keeps: historyJson(keeps) };
}

/** Every rule as plain data, without its histories. */
export function rulesJson(): unknown {
  return RULES.map(ruleJson);
}

function ruleJson(rule: Rule): Record<string, unknown> {
  const { id, title, when, source } = rule;
  const { kinds, atEnd } = judgedRecords(rule);
  return { rule: id, title, source, judged: when, records: kinds, atEnd };
}

function historyJson({ history, findings, story, own }: ExplainedHistory): Record<string, unknown> {
  return {
    what: history.what,
    findings: findings.map(findingJson),
    story: storyJson(story),
    /** Lines of the story, from 0, that the other one has not. */
    own: story.lines.flatMap((line, i) => (own.has(line) ? [i] : [])),
  };
}
