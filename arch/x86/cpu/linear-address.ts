/**
 * Linear addresses as two signed 32-bit words, and the ways in and out of that form. A byte-exact 57-bit address does
 * not fit a double, so the walk and the TLB take words; page-aligned addresses and user addresses are exact Numbers.
 */

export const TWO_32 = 2 ** 32;
const TWO_64 = 2 ** 64;

/** Low word of a linear address given as Number or bigint. */
export function linearLo(address: number | bigint): number {
  return typeof address === "number" ? address | 0 : Number(BigInt.asIntN(32, address));
}

/** High word of a linear address given as Number or bigint. */
export function linearHi(address: number | bigint): number {
  return typeof address === "number" ? (address / TWO_32) | 0 : Number(BigInt.asIntN(32, address >> 32n));
}

/**
 * Checks the address of a byte. Throws RangeError unless it is a whole number from 0 to 2^64 - 1, and for a Number
 * from 2^53 on: it may have been rounded to another byte before it came here, so such an address must be a bigint.
 */
export function checkLinear(address: number | bigint): void {
  checkRange(address);
  if (typeof address === "number" && address > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`linear address ${address}: a Number from 2^53 on may be rounded, give a bigint`);
  }
}

/**
 * Checks an address of which only the page counts. As {@link checkLinear}, but a page's own address is exact as a
 * Number at any height and is taken.
 */
export function checkLinearPage(address: number | bigint): void {
  if (typeof address === "number" && address % 4096 === 0) checkRange(address);
  else checkLinear(address);
}

function checkRange(address: number | bigint): void {
  const valid =
    typeof address === "number"
      ? address >= 0 && address < TWO_64 && Number.isInteger(address)
      : address >= 0n && address <= 0xffff_ffff_ffff_ffffn;
  if (!valid) throw new RangeError(`linear address ${address}: give a whole number from 0 to 2^64-1`);
}

/** The address as a Number: exact below 2^53 and for page-aligned addresses, rounded otherwise. */
export function linearNumber(lo: number, hi: number): number {
  return (hi >>> 0) * TWO_32 + (lo >>> 0);
}

/** The address of the byte's page, exact. */
export function linearPage(lo: number, hi: number): number {
  return linearNumber(lo & ~0xfff, hi);
}

/** The byte's address where a Number holds it, which is below 2^53; else that of its page. Exact either way. */
export function linearExact(lo: number, hi: number): number {
  return hi >>> 21 === 0 ? linearNumber(lo, hi) : linearPage(lo, hi);
}

/** The address, exact: from 0 to 2^64-1. */
export function linearBigInt(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

/** Whether bits 63 down to the top implemented one are equal: bit 47 with four levels, 56 with five (SDM vol. 1, 3.3.7.1). */
export function isCanonical(hi: number, levels: number): boolean {
  const upper = levels === 5 ? hi >> 24 : hi >> 15;
  return upper === 0 || upper === -1;
}

/**
 * The same for an address in a descriptor or an MSR, which no access is made to: what counts is the width that the CPU
 * supports, also while CR4.LA57 = 0.
 */
export function isCanonicalOperand(hi: number, { linearWidth }: { readonly linearWidth: 48 | 57 }): boolean {
  return isCanonical(hi, linearWidth === 57 ? 5 : 4);
}

/** What decides the untagging of a pointer. */
export interface LamState {
  readonly levels: number;
  /** CR3[61] and CR3[62], for addresses with bit 63 clear; the first one wins. */
  readonly lamU57: boolean;
  readonly lamU48: boolean;
  /** CR4[28], for addresses with bit 63 set. */
  readonly lamSup: boolean;
  /** EFER.UAIE, for every address. */
  readonly uaie: boolean;
}

/**
 * The high word of a linear address without its metadata (LAM): bits 62 down to n+1 become copies of bit n, 56 or 47, and
 * bit 63 stays, so that no tag turns a user pointer into a supervisor's. The canonical check comes after. It applies to
 * explicit data accesses only. With AMD's upper-address ignore bits 63:57 are copies of bit 56, whatever they were (APM
 * vol. 2, 5.10); there bit 63 may be part of the tag.
 */
export function untagHi(hi: number, lam: LamState): number {
  if (lam.uaie) return (hi << 7) >> 7;
  const wide = hi < 0 ? lam.lamSup && lam.levels === 5 : lam.lamU57;
  const masks = hi < 0 ? lam.lamSup : wide || lam.lamU48;
  if (!masks) return hi;
  const shift = wide ? 7 : 16;
  return (((hi << shift) >> shift) & 0x7fff_ffff) | (hi & 0x8000_0000);
}
