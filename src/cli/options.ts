import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { quote } from "../formats/format-error.ts";
import type { LinearRange } from "../inspect/leaves.ts";
import { UsageError } from "./command.ts";

const MAX_64 = 2n ** 64n;
const PAGE = BigInt(PAGE_SIZE);

/** Lines that a listing prints when nobody says otherwise. */
export const DEFAULT_LINES = 200_000;

/**
 * A 64-bit value in hexadecimal, with or without 0x: addresses are copied from /proc/PID/maps and from debuggers,
 * which leave it out. Throws UsageError.
 */
export function parseHex(what: string, text: string): bigint {
  const digits = /^(?:0x)?([0-9a-f]{1,32})$/i.exec(text)?.[1];
  const value = digits === undefined ? MAX_64 : BigInt(`0x${digits}`);
  if (value >= MAX_64) {
    throw new UsageError(`${what} ${quote(text)}: give up to 16 hexadecimal digits, such as 0x7f0000200000`);
  }
  return value;
}

/** A CR3 or the address of a root table; flags and PCID in bits 11:0 and 63 are dropped. Throws UsageError. */
export function parseRoot(text: string): number {
  const value = parseHex("--cr3", text) & ~(1n << 63n);
  if (value >> 52n !== 0n) {
    throw new UsageError(`--cr3 ${quote(text)}: give a physical address, it has at most 52 bits`);
  }
  return Number(value - (value % PAGE));
}

/** "A-B", the first address and the one behind the last, widened to whole pages. Throws UsageError. */
export function parseRange(text: string): LinearRange {
  const [from, to, ...more] = text.split("-");
  if (from === undefined || to === undefined || more.length > 0) {
    throw new UsageError(`--range ${quote(text)}: give START-END, such as 0x400000-0x500000`);
  }
  const start = parseHex("--range", from);
  // Behind the last address of all stands 2^64, which nobody writes.
  const end = /^(?:0x)?10{16}$/i.test(to) ? MAX_64 : parseHex("--range", to);
  if (end <= start) throw new UsageError(`--range ${quote(text)}: the end must be above the start`);
  const first = start - (start % PAGE);
  const behind = end + ((PAGE - (end % PAGE)) % PAGE);
  return { start: Number(first), length: Number(behind - first) };
}

/** A number of lines, or Infinity for "all". Throws UsageError. */
export function parseLines(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LINES;
  if (text === "all") return Number.POSITIVE_INFINITY;
  if (!/^[1-9]\d{0,14}$/.test(text)) {
    throw new UsageError(`--lines ${quote(text)}: give a number from 1, or all`);
  }
  return Number(text);
}
