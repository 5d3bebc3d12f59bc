import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { quote } from "../formats/format-error.ts";
import type { RawPiece } from "../formats/raw.ts";
import type { LinearRange } from "../inspect/leaves.ts";
import { UsageError } from "./command.ts";

const MAX_64 = 2n ** 64n;
const MAX_52 = 2n ** 52n;
const CR3_LAM = 3n << 61n;
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

/**
 * A CR3 or the address of a root table: bits 11:0 are flags or a PCID, 61 and 62 those of LAM, 63 of a MOV. Throws
 * UsageError.
 */
export function parseCr3(text: string): bigint {
  const value = parseHex("--cr3", text) & ~(1n << 63n);
  if ((value & ~CR3_LAM) >> 52n !== 0n) {
    throw new UsageError(`--cr3 ${quote(text)}: give a physical address, it has at most 52 bits`);
  }
  return value;
}

/** "START-END@OFFSET": memory from START to below END stands at OFFSET of a raw file. Throws UsageError. */
export function parsePiece(text: string): RawPiece {
  const [range = "", at, ...more] = text.split("@");
  const [from, to, ...rest] = range.split("-");
  if (from === undefined || to === undefined || at === undefined || more.length + rest.length > 0) {
    throw new UsageError(
      `--map ${quote(text)}: give START-END@OFFSET, such as 0x100000000-0x240000000@0xc0000000`,
    );
  }
  const start = parseHex("--map", from);
  const end = parseHex("--map", to);
  const offset = parseHex("--map", at);
  if (start % PAGE !== 0n || end % PAGE !== 0n || end <= start || end > MAX_52) {
    throw new UsageError(`--map ${quote(text)}: give whole pages below 2^52, the end above the start`);
  }
  if (offset > MAX_52) throw new UsageError(`--map ${quote(text)}: no file is that long`);
  return { start: Number(start), end: Number(end), offset: Number(offset) };
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
