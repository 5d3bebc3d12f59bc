import type { PageFault } from "./page-fault.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/** Sizes of an access in bytes. */
export type AccessSize = 1 | 2 | 4 | 8;

/** What an access did: where and which value, or the fault that stopped it. */
export type AccessResult =
  /** `physical` is that of the first byte; `value` what was loaded, stored, or (read-modify-write) there before. */
  { ok: true; physical: number; value: bigint } | { ok: false; fault: PageFault };

/** A stack access to a non-canonical address is #SS, any other one #GP. */
export type Segment = "data" | "stack";

/** Where the bytes of one access are: in one page, or in two that need not be neighbours in physical memory. */
export interface Location {
  /** Words of the linear address of the first byte, and of the first one in the next page. */
  lo: number;
  hi: number;
  nextLo: number;
  nextHi: number;
  /** Physical address of the first byte. */
  first: number;
  /** How many bytes the first page holds. */
  inFirst: number;
  /** Physical address of the first byte in the second page; -1 without one. */
  second: number;
  firstHit: boolean;
  secondHit: boolean;
}

/** The bytes of an access as a little-endian number; all ones where there is no memory. */
export function readBytes(memory: PhysicalMemory, at: Location, size: AccessSize): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) {
    value = (value << 8n) | BigInt(memory.readByte(addressOf(at, i)));
  }
  return value;
}

/** Stores the low bytes of a value; bytes outside memory are dropped. */
export function writeBytes(memory: PhysicalMemory, at: Location, size: AccessSize, value: bigint): void {
  for (let i = 0; i < size; i++) {
    memory.writeByte(addressOf(at, i), Number((value >> BigInt(8 * i)) & 0xffn));
  }
}

/** The value to store as a bigint. Throws RangeError when it is negative, not whole or wider than the access. */
export function checkValue(value: number | bigint, size: AccessSize): bigint {
  if (typeof value === "bigint" ? value >= 0n : Number.isSafeInteger(value) && value >= 0) {
    const wide = BigInt(value);
    if (wide >> BigInt(8 * size) === 0n) return wide;
  }
  throw new RangeError(`value ${value}: a ${size}-byte store takes a whole number from 0 to 2^${8 * size}-1`);
}

/** Throws RangeError for a size no access has. */
export function checkSize(size: number): void {
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8) {
    throw new RangeError(`access of ${size} bytes: give 1, 2, 4 or 8`);
  }
}

function addressOf(at: Location, byte: number): number {
  return byte < at.inFirst ? at.first + byte : at.second + byte - at.inFirst;
}
