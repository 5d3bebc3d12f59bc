import type { Pfn } from "./address.ts";
import { printed } from "./argument.ts";
import { hex32 } from "./hex.ts";

/**
 * A 64-bit paging-structure entry as two 32-bit words.
 *
 * Both words are kept as *signed* 32-bit integers (`x | 0`): that is what V8 holds without a heap
 * allocation, and it makes `===` on the words an exact comparison. Print or export through
 * {@link Entry.toString} and {@link Entry.toBigInt}, never through arithmetic on `hi * 2 ** 32`.
 */
export class Entry {
  readonly lo: number;
  readonly hi: number;

  constructor(lo: number, hi: number) {
    this.lo = lo | 0;
    this.hi = hi | 0;
  }

  /** The entry with the given 64-bit value. Throws TypeError for no bigint, RangeError outside 0..2^64-1. */
  static fromBigInt(value: bigint): Entry {
    if (typeof value !== "bigint") throw new TypeError(`entry ${printed(value)}: give a bigint`);
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new RangeError(`entry ${value} does not fit 64 bits: give a value from 0 to 2^64-1`);
    }
    return new Entry(Number(value & 0xffff_ffffn), Number(value >> 32n));
  }

  toBigInt(): bigint {
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
  }

  /** Sixteen hexadecimal digits with 0x, the way entries are printed everywhere. */
  toString(): string {
    return `0x${hex32(this.hi)}${hex32(this.lo)}`;
  }
}

/** The entry of a slot that was never written. */
export const ZERO_ENTRY = new Entry(0, 0);

/** Exact equality of all 64 bits. */
export function sameEntry(a: Entry, b: Entry): boolean {
  return a.lo === b.lo && a.hi === b.hi;
}

/** Bits 51:12 of the two words as a frame number; at most 40 bits, so exact as a Number. */
export function frameOf(lo: number, hi: number): Pfn {
  return ((hi & 0xf_ffff) * 0x10_0000 + (lo >>> 12)) as Pfn;
}
