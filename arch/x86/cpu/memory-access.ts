import { ACCESS_READ, ACCESS_WRITE, type AccessMode, MODE_IMPLICIT, violatesLass } from "./access-rights.ts";
import type { ControlRegisters } from "./control-registers.ts";
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
  if (!(size >= 1 && size <= 64) || (size & (size - 1)) !== 0) {
    throw new RangeError(`access of ${size} bytes: give a power of two from 1 to 64`);
  }
}

function addressOf(at: Location, byte: number): number {
  return byte < at.inFirst ? at.first + byte : at.second + byte - at.inFirst;
}
