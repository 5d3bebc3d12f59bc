import { type Paint, plain } from "../../text/paint.ts";
import { wrap } from "../../text/wrap.ts";
import { RULES } from "../rules/index.ts";
import { storyLines } from "../story/story-text.ts";
import type { ExplainedHistory, ExplainedRule } from "./explained-rule.ts";

const WIDTH = 80;

/** A rule for a person: what holds, when it is judged, and its two histories as stories. */
export function explainText(
  { rule, records, breaks, keeps, also }: ExplainedRule,
  paint: Paint = plain,
): string {
  const { id, title, when, source } = rule;
  const kinds = [...records.kinds, ...(records.atEnd ? ["the end of the run"] : [])];
  const hasLanes = breaks.story.lanes.length > 0;
  return [
    ...wrap(`rule ${id}: ${title}`, WIDTH, "", "  ").map((line) => paint("heading", line)),
    ...field("source", source),
    ...field("judged", when),
    ...field("records", kinds.join(", ")),
    "",
    ...part("Broken", breaks, "-", paint),
    ...also.flatMap((each) => wrap(`Rule ${each.rule}, too: ${each.why}.`, WIDTH, "  ", "  ")),
    "",
    ...part("Kept", keeps, "+", paint),
    "",
    ...(hasLanes ? ["  Columns: who may hold a translation then, r to read, w to write, ! stale."] : []),
    "  - and + are lines that only one of the two has.",
    "",
  ].join("\n");
}

/** Every rule, one line each. */
export function rulesText(): string {
  const width = Math.max(...RULES.map(({ id }) => String(id).length));
  return RULES.map(({ id, title }) => `${String(id).padEnd(width)}  ${title}\n`).join("");
}

function field(name: string, text: string): string[] {
  return wrap(text, WIDTH, `  ${name.padEnd(7)}  `, " ".repeat(11));
}

function part(head: string, { history, findings, story, own }: ExplainedHistory, mark: string, paint: Paint) {
  const marks = new Map([...own].map((line) => [line, mark]));
  return [
    ...wrap(`${head}: ${history.what}`, WIDTH, "", "  ").map((line) => paint("heading", line)),
    ...storyLines(story, findings, paint, marks),
  ];
}
