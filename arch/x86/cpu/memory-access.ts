import { ACCESS_READ, ACCESS_WRITE, type AccessMode, MODE_IMPLICIT, violatesLass } from "./access-rights.ts";
import { Slot } from "./address.ts";
import { printed } from "./argument.ts";
import type { BusSize } from "./bus.ts";
import type { ControlRegisters } from "./control-registers.ts";
import { Entry } from "./entry.ts";
import { checkLinear, isCanonical, linearHi, linearLo, untagHi } from "./linear-address.ts";
import { PageFault } from "./page-fault.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/** Sizes of an access in bytes; from 16 on those of vector registers. */
export type AccessSize = 1 | 2 | 4 | 8 | 16 | 32 | 64;

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

/** What {@link locate} needs of a CPU. */
export interface Translator {
  readonly control: ControlRegisters;
  readonly mode: AccessMode;
  readonly tlbHit: boolean;
  readonly fault: PageFault | null;
  /** Physical address of a byte, or a negative number with {@link fault} set. */
  translate(kind: number, lo: number, hi: number): number;
}

/** Whether the address of an access may carry metadata: an explicit access to data. */
export function isPointer(kind: number, mode: AccessMode): boolean {
  return (kind === ACCESS_READ || kind === ACCESS_WRITE) && mode !== MODE_IMPLICIT;
}

/**
 * Translates all bytes of an access. First its pointer loses its metadata (LAM); then every byte must be canonical, and
 * in the half that LASS leaves to this mode, before any page is walked; then the lower page comes first, and the fault
 * names the first byte that cannot be reached.
 */
export function locate(
  cpu: Translator,
  kind: number,
  address: number | bigint,
  size: AccessSize,
  segment: Segment,
): Location | PageFault {
  checkLinear(address);
  const { control, mode } = cpu;
  const lo = linearLo(address);
  const tagged = linearHi(address);
  // Upper-address ignore is for DS and ES alone.
  const masked = control.lam && isPointer(kind, mode) && !(control.uaie && segment === "stack");
  const hi = masked ? untagHi(tagged, control) : tagged;
  const inFirst = Math.min(size, 4096 - (lo & 0xfff));
  const crosses = inFirst < size;
  const nextLo = ((lo | 0xfff) + 1) | 0;
  const nextHi = nextLo === 0 ? (hi + 1) | 0 : hi;
  const { levels, model } = control;
  const faultKind = segment === "stack" ? model.stackNoncanonical : "#GP";
  if (control.lass) {
    const violates = violatesLass(control, hi, kind, mode);
    if (violates || (crosses && violatesLass(control, nextHi, kind, mode))) {
      return PageFault.ofAddress(faultKind, lo, hi, "address-space");
    }
  }
  if (!isCanonical(hi, levels) || (crosses && model.wholeAccessCanonical && !isCanonical(nextHi, levels))) {
    return PageFault.ofAddress(faultKind, lo, hi);
  }
  const first = cpu.translate(kind, lo, hi);
  if (first < 0) return faultOf(cpu);
  const firstHit = cpu.tlbHit;
  const second = crosses ? cpu.translate(kind, nextLo, nextHi) : -1;
  if (crosses && second < 0) return faultOf(cpu);
  return { lo, hi, nextLo, nextHi, first, inFirst, second, firstHit, secondHit: cpu.tlbHit };
}

function faultOf({ fault }: Translator): PageFault {
  if (fault === null) throw new TypeError("a translation failed without a fault: this is a bug in the CPU");
  return fault;
}

/** The bytes of an access as a little-endian number; all ones where there is no memory. */
export function readBytes(memory: PhysicalMemory, at: Location, size: AccessSize): bigint {
  let value = 0n;
  eachPiece(at, size, (physical, bytes, offset) => {
    value |= memory.readPiece(physical, bytes) << BigInt(8 * offset);
  });
  return value;
}

/** Stores the low bytes of a value; bytes outside memory are dropped. */
export function writeBytes(memory: PhysicalMemory, at: Location, size: AccessSize, value: bigint): void {
  eachPiece(at, size, (physical, bytes, offset) => {
    memory.writePiece(physical, bytes, BigInt.asUintN(8 * bytes, value >> BigInt(8 * offset)));
  });
}

/**
 * Cuts an access into the fewest parts that a bus carries, from the lowest address on: the physical address of each, its
 * bytes, and how many bytes of the access are below it.
 */
function eachPiece(
  at: Location,
  size: AccessSize,
  visit: (physical: number, bytes: BusSize, offset: number) => void,
): void {
  for (let offset = 0; offset < size; ) {
    const physical = addressOf(at, offset);
    const left = (offset < at.inFirst ? Math.min(size, at.inFirst) : size) - offset;
    let bytes: BusSize = 8;
    while (bytes > left || (physical & (bytes - 1)) !== 0) bytes = (bytes / 2) as BusSize;
    visit(physical, bytes, offset);
    offset += bytes;
  }
}

/** Stores the low bytes of a value entry by entry, lowest first: `store` is given each whole entry that changes. */
export function writeEntries(
  memory: PhysicalMemory,
  at: Location,
  size: AccessSize,
  value: bigint,
  store: (slot: Slot, entry: Entry) => void,
): void {
  for (let offset = 0; offset < size; ) {
    const physical = addressOf(at, offset);
    const left = (offset < at.inFirst ? Math.min(size, at.inFirst) : size) - offset;
    const bytes = Math.min(left, 8 - (physical & 7));
    const slot = Slot.truncate(physical);
    store(slot, withBytes(memory.read(slot), physical & 7, bytes, value >> BigInt(8 * offset)));
    offset += bytes;
  }
}

/**
 * Replaces the bytes of an access that lies in 8 aligned bytes by what `change` makes of them, in one locked cycle; returns
 * what was there. `swap` is the compare-and-swap of all 8; where it fails, `change` is asked again.
 */
export function swapBytes(
  memory: PhysicalMemory,
  { first }: Location,
  size: AccessSize,
  change: (old: bigint) => bigint,
  swap: (slot: Slot, old: Entry, value: Entry) => boolean,
): bigint {
  const slot = Slot.truncate(first);
  for (;;) {
    const entry = memory.read(slot);
    const old = BigInt.asUintN(8 * size, entry.toBigInt() >> BigInt(8 * (first & 7)));
    if (swap(slot, entry, withBytes(entry, first & 7, size, change(old)))) return old;
  }
}

/** Whether all bytes of an access are in 8 aligned bytes. */
export function isInEntry({ first, second }: Location, size: AccessSize): boolean {
  return second < 0 && (first & 7) + size <= 8;
}

/** An entry with the low bytes of a value in place of its own from `from` on. */
function withBytes(entry: Entry, from: number, bytes: number, value: bigint): Entry {
  const shift = BigInt(8 * from);
  const own = BigInt.asUintN(8 * bytes, -1n) << shift;
  return Entry.fromBigInt((entry.toBigInt() & ~own) | (BigInt.asUintN(8 * bytes, value) << shift));
}

/** The value to store as a bigint. Throws RangeError when it is negative, not whole or wider than the access. */
export function checkValue(value: number | bigint, size: AccessSize): bigint {
  if (typeof value === "bigint" ? value >= 0n : Number.isSafeInteger(value) && value >= 0) {
    const wide = BigInt(value);
    if (wide >> BigInt(8 * size) === 0n) return wide;
  }
  throw new RangeError(
    `value ${printed(value)}: a ${size}-byte store takes a whole number from 0 to 2^${8 * size}-1`,
  );
}

/** Throws RangeError for a size no access has. */
export function checkSize(size: number): void {
  if (!(size >= 1 && size <= 64) || (size & (size - 1)) !== 0 || !Number.isInteger(size)) {
    throw new RangeError(`access of ${printed(size)} bytes: give a power of two from 1 to 64`);
  }
}

function addressOf(at: Location, byte: number): number {
  return byte < at.inFirst ? at.first + byte : at.second + byte - at.inFirst;
}
