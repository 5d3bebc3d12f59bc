import { hex } from "../../arch/x86/cpu/hex.ts";

export { hex };

const WORD = 2 ** 32;
/** Four digits at a time: listings print millions of addresses. */
const FOUR_DIGITS = Array.from({ length: 0x1_0000 }, (_, value) => value.toString(16).padStart(4, "0"));

const UNITS = [
  { bytes: 2 ** 40, name: "TiB" },
  { bytes: 2 ** 30, name: "GiB" },
  { bytes: 2 ** 20, name: "MiB" },
  { bytes: 2 ** 10, name: "KiB" },
] as const;

/** Sixteen hexadecimal digits of a 64-bit value in two words, without 0x. */
export function hexWords(hi: number, lo: number): string {
  return (
    FOUR_DIGITS[hi >>> 16]! + FOUR_DIGITS[hi & 0xffff]! + FOUR_DIGITS[lo >>> 16]! + FOUR_DIGITS[lo & 0xffff]!
  );
}

/** The upper half of the last address: listings print neighbours. */
let lastHi = 0;
let lastHiText = "00000000";

/** Sixteen hexadecimal digits of an address that is exact as a Number, without 0x. */
export function hexAddress(address: number): string {
  const hi = Math.floor(address / WORD);
  if (hi !== lastHi) {
    lastHi = hi;
    lastHiText = FOUR_DIGITS[hi >>> 16]! + FOUR_DIGITS[hi & 0xffff]!;
  }
  const lo = address - hi * WORD;
  return lastHiText + FOUR_DIGITS[lo >>> 16]! + FOUR_DIGITS[lo & 0xffff]!;
}

/** The thirteen digits that 52 bits of a physical address need, so that columns align, without 0x. */
export function hexPhysical(address: number): string {
  return hexAddress(address).slice(3);
}

/** Decimal digits in groups of three. */
export function formatCount(count: number | bigint): string {
  return count.toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A number of bytes in the largest unit that divides it: 4 KiB, 2 MiB, 1,028 KiB. */
export function formatBytes(bytes: number): string {
  if (bytes === 1) return "1 byte";
  const unit = UNITS.find((candidate) => bytes >= candidate.bytes && bytes % candidate.bytes === 0);
  return unit === undefined
    ? `${formatCount(bytes)} bytes`
    : `${formatCount(bytes / unit.bytes)} ${unit.name}`;
}

/** Bytes from an address on: [0x7f0000200000, +2 MiB). */
export function formatRange({ start, length }: { readonly start: number; readonly length: number }): string {
  return `[${hex(start)}, +${formatBytes(length)})`;
}
