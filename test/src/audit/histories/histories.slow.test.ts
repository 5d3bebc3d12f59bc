import { describe, expect, test } from "vitest";
import { Auditor } from "../../../../src/audit/auditor.ts";
import type { Finding } from "../../../../src/audit/findings.ts";
import type { HistoryPair } from "../../../../src/audit/histories/history.ts";
import { HISTORIES, historyPair } from "../../../../src/audit/histories/index.ts";
import { recordHistory } from "../../../../src/audit/histories/recorded-history.ts";
import { judge } from "../../../../src/audit/histories/told-history.ts";
import { RULES } from "../../../../src/audit/rules/index.ts";
import { judgedRecords } from "../../../../src/audit/rules/rule.ts";

/** Plays a history before an auditor that looks at the machine itself. */
function judgeLive(pair: HistoryPair, keeps: boolean): readonly Finding[] {
  let auditor: Auditor | null = null;
  pair.play(keeps, (subject) => {
    auditor = new Auditor(subject);
  });
  return (auditor as Auditor | null)?.finish() ?? [];
}

function brokenBy(findings: readonly Finding[]): ReadonlySet<number | string> {
  return new Set(findings.map(({ rule }) => rule.id));
}

test("every rule has its histories, and nothing else has", () => {
  expect(HISTORIES.map(({ rule }) => rule)).toEqual(RULES.map(({ id }) => id));
  expect(historyPair("g1").rule).toBe("G1");
  expect(() => historyPair(99)).toThrow("no rule");
});

describe.each(RULES)("rule $id", (rule) => {
  const pair = historyPair(rule.id);
  const expected = new Set([rule.id, ...(pair.also ?? []).map((each) => each.rule)]);

  test("is broken by its history, and so are the rules that the row names, and no others", () => {
    expect(brokenBy(judge(recordHistory(pair, false)))).toEqual(expected);
    expect(brokenBy(judgeLive(pair, false))).toEqual(expected);
  });

  test("and every other are kept by the same with one call more, or less", () => {
    expect(judge(recordHistory(pair, true))).toEqual([]);
    expect(judgeLive(pair, true)).toEqual([]);
  });

  test("is judged at the record that breaks it, which is of a kind that it names", () => {
    const history = recordHistory(pair, false);
    const { kinds, atEnd } = judgedRecords(rule);
    for (const finding of judge(history)) {
      if (finding.rule.id !== rule.id) continue;
      if (finding.atEnd) {
        expect(atEnd).toBe(true);
        continue;
      }
      // The recorder's own records, of tables that come into sight, have the number of the one that showed them.
      const there = history.records.filter(({ seq }) => seq === finding.seq).map(({ kind }) => kind);
      expect(kinds.some((kind) => there.includes(kind))).toBe(true);
    }
  });
});
