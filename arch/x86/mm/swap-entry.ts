import { Entry } from "../cpu/entry.ts";

/**
 * A swap entry in the form that is the same for all architectures (swp_entry_t.val: type << 57 | offset), as
 * page_private keeps it. Never to be mixed with the pte form, whose bits lie elsewhere.
 */
export type swp_entry_t = Entry;

/** Lowest bit of the type in the high word of the generic form. */
export const TYPE_SHIFT_HI = 57 - 32;
/** Mask of the offset's upper part in the high word of the generic form. */
export const OFFSET_HI_MASK = 0x3_ffff;
const MAX_OFFSET = 2 ** 50;

/** Builds a generic swap entry (include/linux/swapops.h swp_entry). Throws RangeError for a field too wide. */
export function swp_entry(type: number, offset: number): swp_entry_t {
  if (!Number.isInteger(type) || type < 0 || type > 31) {
    throw new RangeError(`swap type ${type}: give an integer from 0 to 31`);
  }
  if (!Number.isInteger(offset) || offset < 0 || offset >= MAX_OFFSET) {
    throw new RangeError(`swap offset ${offset}: give an integer from 0 to 2^50-1`);
  }
  return new Entry(offset | 0, Math.floor(offset / 2 ** 32) | (type << TYPE_SHIFT_HI));
}

/** The type of a swap entry, 0 to 31: which swap area, or which other kind of entry. */
export function swp_type(entry: swp_entry_t): number {
  return entry.hi >>> TYPE_SHIFT_HI;
}

/** The offset of a swap entry: the slot in its area, or the frame of a migration or poison entry. */
export function swp_offset(entry: swp_entry_t): number {
  return (entry.hi & OFFSET_HI_MASK) * 2 ** 32 + (entry.lo >>> 0);
}
