import { type Paint, plain } from "../../text/paint.ts";
import { wrap } from "../../text/wrap.ts";
import { ruleOf } from "../rules/index.ts";
import type { Story, StoryLine } from "../story/story.ts";
import { storyLines } from "../story/story-text.ts";
import { historyOf } from "./index.ts";
import { type ToldHistory, tellPair } from "./told-history.ts";

const WIDTH = 80;

/** A rule for a person: what holds, and its two histories as stories. Throws RangeError for what is no rule. */
export function explainText(id: number | string, paint: Paint = plain): string {
  const { id: rule, title, when, source } = ruleOf(id);
  const { breaks, keeps } = tellPair(historyOf(rule));
  const [onlyBreaks, onlyKeeps] = differing(breaks.story, keeps.story);
  const hasLanes = breaks.story.lanes.length > 0;
  return [
    ...wrap(`rule ${rule}: ${title}`, WIDTH, "", "  ").map((line) => paint("heading", line)),
    ...wrap(when, WIDTH, "  judged  ", "          "),
    ...wrap(source, WIDTH, "  source  ", "          "),
    "",
    ...part("Broken", breaks, new Map(onlyBreaks.map((line) => [line, "-"])), paint),
    "",
    ...part("Kept", keeps, new Map(onlyKeeps.map((line) => [line, "+"])), paint),
    "",
    ...(hasLanes ? ["  Columns: who may hold a translation then, r to read, w to write, ! stale."] : []),
    "  - and + are lines that only one of the two has.",
    "",
  ].join("\n");
}

function part(
  head: string,
  { history, findings, story }: ToldHistory,
  marks: ReadonlyMap<StoryLine, string>,
  paint: Paint,
): string[] {
  return [
    ...wrap(`${head}: ${history.what}`, WIDTH, "", "  ").map((line) => paint("heading", line)),
    ...storyLines(story, findings, paint, marks),
  ];
}

/** The lines that one of two stories has and the other has not: all but a longest common subsequence. */
export function differing(one: Story, other: Story): readonly [readonly StoryLine[], readonly StoryLine[]] {
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
