import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { formatRange, hex } from "../../text/hex.ts";

/* What records hold, in words. */

/** Bits of a leaf that matter to who may use it, by their manual names. */
const ENTRY_BITS = [
  [0x2, "W"],
  [0x20, "A"],
  [0x40, "D"],
] as const;

/** An entry by the bits that matter: "PWAD". */
export function entryWords(lo: number, hi: number): string {
  if ((lo | hi) === 0) return "none";
  if ((lo & 1) === 0) return "not present";
  return `P${ENTRY_BITS.map(([bit, name]) => ((lo & bit) !== 0 ? name : "")).join("")}`;
}

export const ACCESS_VERBS = {
  read: "reads",
  write: "writes",
  fetch: "fetches",
  "shadow-read": "reads (shadow stack)",
  "shadow-write": "writes (shadow stack)",
} as const;

export const FLAG_WORDS = {
  dirty: "dirty",
  writeback: "under writeback",
  "swap-cache": "in the swap cache",
} as const;

export function addressWords(lo: number, hi: number): string {
  return hex(linearNumber(lo, hi));
}

export function rangeWords(lo: number, hi: number, bytes: number): string {
  return formatRange({ start: linearNumber(lo, hi), length: bytes });
}
