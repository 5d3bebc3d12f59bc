/**
 * The three numbers that meet in paging and must never be taken for one another, each with three constructors:
 *
 *   Pfn      number of a 4-KiB frame of physical memory            40 bits
 *   Slot     where an entry stands: a physical address, by 8       52 bits
 *   Linear   linear address: exact, so below 2^53 or of a page     64 bits
 *
 * `of` checks and throws, `truncate` makes one of a neighbouring number, `unchecked` believes its caller; code that has
 * just computed one writes `as Pfn`. Arithmetic gives plain numbers: whoever adds says what the sum is.
 */
declare const nominal: unique symbol;

/** Number of a 4-KiB frame of physical memory. */
export type Pfn = number & { readonly [nominal]: "Pfn" };
/** Physical address of a paging-structure entry: a multiple of 8. */
export type Slot = number & { readonly [nominal]: "Slot" };
/** A linear address as a Number: exact, so below 2^53 or that of a page. The upper half is a positive Number. */
export type Linear = number & { readonly [nominal]: "Linear" };

/** Bits of an offset in a 4-KiB page. */
export const PAGE_SHIFT = 12;
/** Bytes of a 4-KiB page. */
export const PAGE_SIZE = 4096;

const FRAMES = 2 ** 40;
const PHYSICAL_END = 2 ** 52;
const LINEAR_END = 2 ** 64;

/** Ways to make a frame number of a plain number. */
export const Pfn = {
  /** The frame of that number. Throws RangeError unless it is a whole number below 2^40. */
  of(value: number): Pfn {
    if (!(Number.isInteger(value) && value >= 0 && value < FRAMES)) {
      throw new RangeError(`frame number ${value}: give a whole number from 0 to 2^40-1`);
    }
    return value as Pfn;
  },
  /** The frame that holds the byte at a physical address. */
  truncate(physical: number): Pfn {
    return Math.floor(physical / PAGE_SIZE) as Pfn;
  },
  /** The same number, believed. */
  unchecked(value: number): Pfn {
    return value as Pfn;
  },
} as const;

/** Ways to make an entry's address of a plain number. */
export const Slot = {
  /** The slot at that physical address. Throws RangeError unless it is a multiple of 8 below 2^52. */
  of(physical: number): Slot {
    if (!(physical >= 0 && physical < PHYSICAL_END) || (physical & 7) !== 0 || !Number.isInteger(physical)) {
      throw new RangeError(`entry address ${physical}: give a multiple of 8 below 2^52`);
    }
    return physical as Slot;
  },
  /** The slot that holds the byte at a physical address. */
  truncate(physical: number): Slot {
    return (physical - (physical % 8)) as Slot;
  },
  /** The same number, believed. */
  unchecked(physical: number): Slot {
    return physical as Slot;
  },
} as const;

/** Ways to make a linear address of a plain number. */
export const Linear = {
  /**
   * The linear address with that value. Throws RangeError unless it is a whole number from 0 to 2^64-1, and from 2^53 on
   * that of a page: a Number has no room for another byte's there.
   */
  of(value: number | bigint): Linear {
    const whole = typeof value === "bigint" || Number.isInteger(value);
    if (!(whole && value >= 0 && value < LINEAR_END)) {
      throw new RangeError(`linear address ${value}: give a whole number from 0 to 2^64-1`);
    }
    const isPage = typeof value === "bigint" ? value % 4096n === 0n : value % PAGE_SIZE === 0;
    if (value > Number.MAX_SAFE_INTEGER && !isPage) {
      throw new RangeError(
        `linear address ${value}: from 2^53 on only a page's address is exact as a Number`,
      );
    }
    return Number(value) as Linear;
  },
  /** The first address of the page that holds the byte. */
  truncate(value: number): Linear {
    return (value - (value % PAGE_SIZE)) as Linear;
  },
  /** The same number, believed. */
  unchecked(value: number): Linear {
    return value as Linear;
  },
} as const;

/** Where there is no frame, no slot, no address: an id or a place that a record or an answer leaves out. */
export const NONE = -1;
/** No frame. */
export const NO_PFN = NONE as Pfn;
/** No entry. */
export const NO_SLOT = NONE as Slot;
/** No linear address. */
export const NO_LINEAR = NONE as Linear;

/** Bytes that an entry of a level maps: 4 KiB, 2 MiB, 1 GiB, 512 GiB, 256 TiB; nothing is of level 0. */
export const BYTES_OF_LEVEL: readonly number[] = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48];
/** Entries of a table of any level. */
export const ENTRIES_PER_TABLE = 512;
/** 4-KiB frames that a leaf of a level maps. */
export const PAGES_OF_LEVEL: readonly number[] = [0, 1, 512, 512 * 512];
