import { hexWords } from "../../text/hex.ts";
import { refuse } from "./misfit.ts";

/** The shortest form of a 64-bit value in two words, with 0x. */
export function shortHex(lo: number, hi: number): string {
  const digits = hi === 0 ? (35 - Math.clz32(lo)) >> 2 : 8 + ((35 - Math.clz32(hi)) >> 2);
  return digits === 0 ? "0x0" : `0x${hexWords(hi, lo).slice(16 - digits)}`;
}

/** Reads hexadecimal digits into two words, which stand here until the next is read: no object is made for each. */
export class HexReader {
  lo = 0;
  hi = 0;

  /** Takes 1 to 16 digits of a text from `start` to `end`. Returns whether they are. */
  take(text: string, start: number, end: number): boolean {
    if (end <= start || end - start > 16) return false;
    let lo = 0;
    let hi = 0;
    for (let i = start; i < end; i++) {
      const digit = digitOf(text.charCodeAt(i));
      if (digit < 0) return false;
      hi = (hi << 4) | (lo >>> 28);
      lo = (lo << 4) | digit;
    }
    this.lo = lo;
    this.hi = hi;
    return true;
  }

  /** Takes a JSON text like "0x7f". Throws Misfit for what is none. */
  takeJson(value: unknown, what: string): void {
    if (typeof value !== "string" || value.charCodeAt(0) !== 0x30 || value.charCodeAt(1) !== 0x78) {
      refuse(what, "hexadecimal digits with 0x", value);
    }
    if (!this.take(value, 2, value.length)) refuse(what, "1 to 16 hexadecimal digits with 0x", value);
  }
}

/** The value of a digit's character, -1 for another character. */
function digitOf(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const small = code | 0x20;
  return small >= 0x61 && small <= 0x66 ? small - 0x57 : -1;
}
