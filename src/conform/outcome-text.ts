import { ERROR_CODE_BITS } from "../inspect/error-code.ts";
import { codeText } from "../inspect/fault-text.ts";
import { hex } from "../text/hex.ts";
import type { ToldResult } from "./answer.ts";
import { type Outcome, VECTOR_GP, VECTOR_PF, VECTOR_SS, VECTOR_UD } from "./case.ts";

const VECTOR_NAMES: Readonly<Record<number, string>> = {
  [VECTOR_UD]: "#UD",
  [VECTOR_SS]: "#SS",
  [VECTOR_GP]: "#GP",
};

/** In words: "physical 0x110000", "#PF, error 0x07 (P W/R U/S), CR2 0x8000040000", "done". */
export function describeOutcome(outcome: Outcome | Exclude<ToldResult, null>): string {
  if ("pa" in outcome) return `physical ${hex(outcome.pa)}`;
  if ("done" in outcome) return "done";
  const { vector, error, cr2 } = outcome.fault;
  if (vector !== VECTOR_PF) return VECTOR_NAMES[vector] ?? `exception ${vector}`;
  const code = error === undefined ? "" : `, error ${codeText(error)} (${errorBits(error)})`;
  return `#PF${code}${cr2 === undefined ? "" : `, CR2 ${hex(cr2)}`}`;
}

function errorBits(error: number): string {
  const names = ERROR_CODE_BITS.filter(({ bit }) => (error & bit) !== 0).map(({ name }) => name);
  return names.length === 0 ? "no bit" : names.join(" ");
}
