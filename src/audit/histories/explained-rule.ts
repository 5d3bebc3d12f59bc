import type { RecordKind } from "../../trace/record.ts";
import { ruleOf } from "../rules/index.ts";
import { judgedRecords, type Rule } from "../rules/rule.ts";
import type { Story, StoryLine } from "../story/story.ts";
import type { HistoryPair } from "./history.ts";
import { historyPair } from "./index.ts";
import { recordHistory } from "./recorded-history.ts";
import { type ToldHistory, tellPair } from "./told-history.ts";

/** One of a rule's two histories, with what tells it from the other. */
export interface ExplainedHistory extends ToldHistory {
  /** The lines of its story that the other one has not. */
  readonly own: ReadonlySet<StoryLine>;
}

/** All that there is to say of a rule. */
export interface ExplainedRule {
  readonly rule: Rule;
  /** Kinds of records at which it is judged; and whether the end of a run is a time for it, too. */
  readonly records: { readonly kinds: readonly RecordKind[]; readonly atEnd: boolean };
  readonly breaks: ExplainedHistory;
  readonly keeps: ExplainedHistory;
  /** Rules that the breaking history cannot but break, too. */
  readonly also: NonNullable<HistoryPair["also"]>;
}

/** A rule with its two histories, played and judged. Throws RangeError for what is no rule. */
export function explainRule(id: number | string): ExplainedRule {
  const rule = ruleOf(id);
  const pair = historyPair(id);
  const { breaks, keeps } = tellPair({
    breaks: recordHistory(pair, false),
    keeps: recordHistory(pair, true),
  });
  const [onlyBreaks, onlyKeeps] = differing(breaks.story, keeps.story);
  return {
    rule,
    records: judgedRecords(rule),
    breaks: { ...breaks, own: new Set(onlyBreaks) },
    keeps: { ...keeps, own: new Set(onlyKeeps) },
    also: pair.also ?? [],
  };
}

/** The lines that one of two stories has and the other has not: all but a longest common subsequence. */
function differing(one: Story, other: Story): readonly [readonly StoryLine[], readonly StoryLine[]] {
  const [a, b] = [one.lines, other.lines];
  // common[i][j]: how many lines a from i on and b from j on have in common.
  const common = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i]![j] = same(a[i]!, b[j]!)
        ? common[i + 1]![j + 1]! + 1
        : Math.max(common[i + 1]![j]!, common[i]![j + 1]!);
    }
  }
  const [onlyA, onlyB]: [StoryLine[], StoryLine[]] = [[], []];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(a[i]!, b[j]!)) {
      i++;
      j++;
    } else if (j < b.length && (i === a.length || common[i]![j + 1]! >= common[i + 1]![j]!)) {
      onlyB.push(b[j++]!);
    } else onlyA.push(a[i++]!);
  }
  return [onlyA, onlyB];
}

function same(a: StoryLine, b: StoryLine): boolean {
  return a.text === b.text;
}
