import { hex } from "../text/hex.ts";
import type { Answer, ToldResult } from "./answer.ts";
import { type ConformCase, type Outcome, VECTOR_PF } from "./case.ts";
import { explainStep, type Point } from "./explain.ts";
import { explainWord } from "./explain-word.ts";
import { describeOutcome } from "./outcome-text.ts";

/** One thing that an answer got wrong. */
export interface Difference {
  /** The number of the step, from 0, or the number of the word of memory. */
  readonly at: { readonly step: number } | { readonly word: number };
  readonly expected: string;
  readonly got: string;
  /** What is wrong with it, bit by bit. */
  readonly points: readonly Point[];
}

/** How an answer compares. */
export interface Comparison {
  readonly differences: readonly Difference[];
  /** What makes the answer wrong: consequences of other differences are left out. One of each cause. */
  readonly points: readonly Point[];
  /** Whether the answer said all that can be compared, a part of it, or nothing. */
  readonly told: "all" | "part" | "nothing";
}

type Told = Exclude<ToldResult, null>;

/** Compares an answer that is not "unsupported" with what the case allows. What is not told is not compared. */
export function compareAnswer(
  conformCase: ConformCase,
  { results, after }: Exclude<Answer, { unsupported: string }>,
): Comparison {
  const { expect, steps } = conformCase;
  const differences: Difference[] = [];
  let told = 0;
  let open = 0;
  // Behind a step that ended otherwise, memory is another.
  let strayed = false;
  expect.results.forEach((expected, step) => {
    const result = results[step] ?? null;
    if (result === null) {
      open++;
      return;
    }
    // That a store or an INVLPG is done says nothing of an MMU.
    if (steps[step]?.op === "access" || !expected.allow.some((outcome) => "done" in outcome)) told++;
    if (isPartial(result, expected.allow)) open++;
    if (expected.allow.some((outcome) => agrees(result, outcome))) return;
    differences.push({
      at: { step },
      expected: expected.allow.map(describeOutcome).join(", or "),
      got: describeOutcome(result),
      points: explainStep(conformCase, step, result),
    });
    strayed ||= !expected.allow.some((outcome) => "fault" in outcome === "fault" in result);
  });
  const wrongSteps = differences.length;
  expect.after.forEach(({ value, ignore }, word) => {
    const got = after?.[word] ?? null;
    if (got === null) {
      open++;
      return;
    }
    told++;
    if (((got ^ value) & ~ignore) === 0n) return;
    const points = explainWord(conformCase, word, got);
    differences.push({ at: { word }, expected: hex(value), got: hex(got), points });
  });
  const points = differences
    .slice(0, strayed ? wrongSteps : differences.length)
    .flatMap((difference) => difference.points);
  const nothing = told === 0 && differences.length === 0;
  return {
    differences,
    points: points.filter(({ cause }, i) => points.findIndex((one) => one.cause === cause) === i),
    told: open === 0 ? "all" : nothing ? "nothing" : "part",
  };
}

/** Whether something was left out: error code, CR2, or the address of an access that was done. */
function isPartial(result: Told, allow: readonly Outcome[]): boolean {
  if ("done" in result) return !allow.some((outcome) => "done" in outcome);
  if (!("fault" in result) || result.fault.vector !== VECTOR_PF) return false;
  return result.fault.error === undefined || result.fault.cr2 === undefined;
}

function agrees(told: Told, outcome: Outcome): boolean {
  if ("pa" in told) return "pa" in outcome && told.pa === outcome.pa;
  if ("done" in told) return !("fault" in outcome);
  if (!("fault" in outcome)) return false;
  const { vector, error, cr2 } = outcome.fault;
  const got = told.fault;
  return (
    got.vector === vector &&
    (got.error === undefined || got.error === error) &&
    (got.cr2 === undefined || cr2 === undefined || got.cr2 === cr2)
  );
}
