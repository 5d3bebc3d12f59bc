import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { Encoding } from "../../../arch/x86/cpu/record.ts";
import { escapeText, isPrintable } from "../../text/escape.ts";
import { Misfit, refuse } from "./misfit.ts";

/* What the encodings of fields can hold, in whatever form a file has them. */

/** Encodings that are one number in memory. */
export type WholeEncoding = "int" | "difference" | "bytes" | "pfn" | "slot" | "physical";
/** Encodings that are two words in memory. */
export type PairEncoding = "linear" | "entry";

/** So far down and up that the difference of two is exact. */
const MOST = 2 ** 52 - 1;

const WHOLE: Readonly<
  Record<WholeEncoding, { readonly least: number; readonly most: number; readonly says: string }>
> = {
  int: { least: -MOST, most: MOST, says: "a whole number of at most 52 bits" },
  difference: { least: -MOST, most: MOST, says: "a whole number of at most 52 bits" },
  bytes: { least: -MOST, most: MOST, says: "a whole number of at most 52 bits" },
  pfn: { least: NONE, most: 2 ** 40 - 1, says: "a frame number below 2^40" },
  slot: { least: NONE, most: 2 ** 52 - 8, says: "a multiple of 8 below 2^52" },
  physical: { least: NONE, most: 2 ** 52 - 1, says: "a physical address below 2^52" },
};

/** Entries of a table, and the words that hold them. */
export const TABLE_ENTRIES = 512;
export const TABLE_WORDS = 1024;

/** Longest text, most texts of a field, most words of a set of CPUs. */
export const MAX_TEXT = 4096;
export const MAX_NAMES = 64;
export const MAX_CPU_WORDS = 128;

export function isPair(is: unknown): is is PairEncoding {
  return is === "linear" || is === "entry";
}

export function isWhole(is: unknown): is is WholeEncoding {
  return typeof is === "string" && Object.hasOwn(WHOLE, is);
}

/** Every encoding but lists of texts. */
const PLAIN: ReadonlySet<unknown> = new Set<Encoding>([
  ...(Object.keys(WHOLE) as WholeEncoding[]),
  "flag",
  "text",
  "names",
  "linear",
  "entry",
  "cpus",
  "words",
]);

/** Whether this version knows how a field of that encoding is held. */
export function isEncoding(is: unknown): is is Encoding {
  return Array.isArray(is) || PLAIN.has(is);
}

/** Checks a number of that encoding. */
export function checkWhole(is: WholeEncoding, value: unknown, what: string): number {
  const { least, most, says } = WHOLE[is];
  if (typeof value === "number" && value >= least && value <= most && Number.isInteger(value)) {
    if (is !== "slot" || value === NONE || value % 8 === 0) return value;
  }
  return refuse(what, says, value);
}

/** A text as files have it: printable, and cut where it is too long. */
export function fileText(text: string): string {
  const safe = escapeText(text);
  return safe.length > MAX_TEXT ? safe.slice(0, MAX_TEXT) : safe;
}

/** Checks a text out of a file. */
export function checkText(value: unknown, what: string): string {
  if (typeof value !== "string") return refuse(what, "text", value);
  if (value.length > MAX_TEXT) throw new Misfit(`${what} of at most ${MAX_TEXT} characters`);
  if (!isPrintable(value)) refuse(what, "text without control characters", value);
  return value;
}

/**
 * What a field is that an older file does not have; undefined where nothing can stand for "not told", and such a file is
 * refused.
 */
export function absentValue(is: Encoding): unknown {
  if (is === "difference") return 0;
  if (isWhole(is)) return NONE;
  if (is === "flag") return false;
  if (is === "text") return "";
  return is === "names" ? [] : undefined;
}
