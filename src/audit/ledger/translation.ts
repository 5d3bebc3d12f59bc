import { BYTES_OF_LEVEL, PAGES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";
import { type Entry, frameOf } from "../../../arch/x86/cpu/entry.ts";
import type { Root } from "./spaces.ts";

/** P of an entry's low word. */
export const PRESENT = 0x1;
/** PS of a PDE's or PDPTE's low word. */
export const HUGE = 0x80;
/** Of an entry with P clear, so of software alone: Linux still has the page mapped (_PAGE_PROTNONE). */
export const PROT_NONE = 0x100;

/* Rights of a translation, at the bits that entries have them, and state of its leaf. */

/** Stores are allowed. */
export const RIGHT_WRITE = 0x2;
/** User mode may use it. */
export const RIGHT_USER = 0x4;
/** Fetches are allowed: XD is clear. */
export const RIGHT_EXECUTE = 0x8;
/** All three rights. */
export const EVERY_RIGHT = RIGHT_WRITE | RIGHT_USER | RIGHT_EXECUTE;
/** A of the leaf. */
export const WAS_ACCESSED = 0x20;
/** D of the leaf: a store that hits needs no walk. */
export const WAS_DIRTY = 0x40;
/** G of a leaf: where CR4.PGE is set, a load of CR3 does not drop the translation. */
export const WAS_GLOBAL = 0x100;

const LEAF_STATE = WAS_ACCESSED | WAS_DIRTY | WAS_GLOBAL;
const WRITE_DIRTY = RIGHT_WRITE | WAS_DIRTY;

/** Through which roots something can be reached: one for user addresses, all that share the table for kernel ones. */
export interface Reach {
  readonly roots: Root[];
  readonly kernel: boolean;
}

/** One place where a table hangs. */
export interface TableUse {
  readonly reach: Reach;
  /** First linear address. */
  readonly base: number;
  /** Level of the table's entries. */
  readonly level: number;
  /** RIGHT_* that the entries above allow. */
  readonly allow: number;
}

/** A leaf entry at one place: the same entry, when its table is shared, has several. */
export interface Leaf {
  readonly reach: Reach;
  /** Linear address of the first byte. */
  readonly page: number;
  /** 1 for 4K, 2 for 2M, 3 for 1G. */
  readonly level: number;
  readonly slot: number;
  readonly pfn: number;
  /** RIGHT_* of the whole path, WAS_* of the leaf. */
  readonly rights: number;
  /** Present to Linux only: no cache can hold it, and `rights` has neither RIGHT_* nor WAS_GLOBAL. */
  readonly protNone: boolean;
}

/** Whether a cached translation with these rights lets a store through without looking at the entry again. */
export function storesLand(rights: number): boolean {
  return (rights & WRITE_DIRTY) === WRITE_DIRTY;
}

/** RIGHT_* that an entry allows. */
export function allowedBy(entry: Entry): number {
  return (entry.lo & (RIGHT_WRITE | RIGHT_USER)) | (entry.hi < 0 ? 0 : RIGHT_EXECUTE);
}

/** Whether a cached copy of a leaf allows what `value` no longer does (SDM vol. 3, 4.10.4.2 and 4.10.4.4). */
export function isWeaker(old: Entry, value: Entry): boolean {
  if ((value.lo & PRESENT) === 0) return true;
  // The cached one is dropped by other flushes than what the entry says now.
  if (((old.lo ^ value.lo) & WAS_GLOBAL) !== 0) return true;
  if ((((old.lo ^ value.lo) & 0xffff_f000) | ((old.hi ^ value.hi) & 0xf_ffff)) !== 0) return true;
  return (old.lo & ~value.lo & (RIGHT_WRITE | RIGHT_USER | WAS_DIRTY)) !== 0 || (value.hi & ~old.hi) < 0;
}

/** First frame that a leaf maps. */
export function leafPfn(entry: Entry, level: number): number {
  const pfn = frameOf(entry.lo, entry.hi);
  return level === 1 ? pfn : pfn - (pfn % PAGES_OF_LEVEL[level]!);
}

/** Linear address that a slot of the table is for. */
export function addressOf(use: TableUse, slot: number): number {
  return use.base + ((slot % 4096) / 8) * BYTES_OF_LEVEL[use.level]!;
}

/** The leaf that an entry is at one place of its table; `pfn` is the first frame that it maps. */
export function leafOf(use: TableUse, slot: number, entry: Entry, pfn: number): Leaf {
  const protNone = (entry.lo & PRESENT) === 0;
  return {
    reach: use.reach,
    page: addressOf(use, slot),
    level: use.level,
    slot,
    pfn,
    rights: protNone
      ? entry.lo & (WAS_ACCESSED | WAS_DIRTY)
      : (use.allow & allowedBy(entry)) | (entry.lo & LEAF_STATE),
    protNone,
  };
}

/** The place of the table that an entry of another one leads to. */
export function below(use: TableUse, slot: number, entry: Entry): TableUse {
  return {
    reach: use.reach,
    base: addressOf(use, slot),
    level: use.level - 1,
    allow: use.allow & allowedBy(entry),
  };
}
