import { hex } from "../text/hex.ts";
import type { Answer, ToldResult } from "./answer.ts";
import { type ConformCase, type Outcome, VECTOR_PF, VECTOR_SS, VECTOR_UD } from "./case.ts";
import { A, D } from "./oracle-walk.ts";
import { AFTER_RULES, RULES } from "./rules.ts";

/** One thing that an answer got wrong. */
export interface Difference {
  /** The number of the step, from 0, or the number of the word of memory. */
  readonly at: { readonly step: number } | { readonly word: number };
  readonly expected: string;
  readonly got: string;
  readonly rule: { readonly says: string; readonly where: string };
}

/** How an answer compares. */
export interface Comparison {
  readonly differences: readonly Difference[];
  /** Whether the answer said all that can be compared, a part of it, or nothing. */
  readonly told: "all" | "part" | "nothing";
}

const ERROR_BITS = ["P", "W", "U", "RSVD", "I", "PK", "SS"];
const VECTOR_NAMES: Readonly<Record<number, string>> = {
  [VECTOR_UD]: "#UD",
  [VECTOR_SS]: "#SS",
  13: "#GP",
};

/** Compares an answer that is not "unsupported" with what the case allows. What is not told is not compared. */
export function compareAnswer(
  { expect, steps }: ConformCase,
  { results, after }: Exclude<Answer, { unsupported: string }>,
): Comparison {
  const differences: Difference[] = [];
  let told = 0;
  let open = 0;
  expect.results.forEach((expected, step) => {
    const result = results[step] ?? null;
    if (result === null) {
      open++;
      return;
    }
    // That a store or an INVLPG is done says nothing of an MMU.
    if (steps[step]?.op === "access" || !expected.allow.some((outcome) => "done" in outcome)) told++;
    if (isPartial(result)) open++;
    if (expected.allow.some((outcome) => agrees(result, outcome))) return;
    differences.push({
      at: { step },
      expected: expected.allow.map(describeOutcome).join(", or "),
      got: describeOutcome(result),
      rule: RULES[expected.rule],
    });
  });
  expect.after.forEach(({ value, ignore }, word) => {
    const got = after?.[word] ?? null;
    if (got === null) {
      open++;
      return;
    }
    told++;
    const wrong = (got ^ value) & ~ignore;
    if (wrong === 0n) return;
    differences.push({
      at: { word },
      expected: hex(value),
      got: hex(got),
      rule: AFTER_RULES[afterRule(wrong)],
    });
  });
  const nothing = told === 0 && differences.length === 0;
  return { differences, told: open === 0 ? "all" : nothing ? "nothing" : "part" };
}

/** In words: "physical 0x110000", "#PF, error 0x07 (P W U), CR2 0x8000040000", "done". */
export function describeOutcome(outcome: Outcome | Exclude<ToldResult, null>): string {
  if ("pa" in outcome) return `physical ${hex(outcome.pa)}`;
  if ("done" in outcome) return "done";
  const { vector, error, cr2 } = outcome.fault;
  if (vector !== VECTOR_PF) return VECTOR_NAMES[vector] ?? `exception ${vector}`;
  const code =
    error === undefined ? "" : `, error 0x${error.toString(16).padStart(2, "0")} (${errorBits(error)})`;
  return `#PF${code}${cr2 === undefined ? "" : `, CR2 ${hex(cr2)}`}`;
}

function errorBits(error: number): string {
  const names = ERROR_BITS.filter((_, bit) => (error & (1 << bit)) !== 0);
  return names.length === 0 ? "no bit" : names.join(" ");
}

function isPartial(result: Exclude<ToldResult, null>): boolean {
  if (!("fault" in result) || result.fault.vector !== VECTOR_PF) return false;
  return result.fault.error === undefined || result.fault.cr2 === undefined;
}

function agrees(told: Exclude<ToldResult, null>, outcome: Outcome): boolean {
  if ("pa" in told) return "pa" in outcome && told.pa === outcome.pa;
  if ("done" in told) return "done" in outcome;
  if (!("fault" in outcome)) return false;
  const { vector, error, cr2 } = outcome.fault;
  const got = told.fault;
  return (
    got.vector === vector &&
    (got.error === undefined || got.error === error) &&
    (got.cr2 === undefined || cr2 === undefined || got.cr2 === cr2)
  );
}

/** Which rule the wrong bits of a word break. */
function afterRule(wrong: bigint): keyof typeof AFTER_RULES {
  if ((wrong & ~(A | D)) !== 0n) return "unchanged";
  return (wrong & D) === 0n ? "accessed" : "dirty";
}
