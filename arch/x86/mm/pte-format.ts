import type { Pfn } from "../cpu/address.ts";
import { need } from "../cpu/argument.ts";
import { shape, text } from "../cpu/argument-kinds.ts";
import { Entry, frameOf } from "../cpu/entry.ts";
import {
  _PAGE_ACCESSED,
  _PAGE_DEVMAP_HI,
  _PAGE_DIRTY,
  _PAGE_PAT,
  _PAGE_PCD,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_PWT,
  _PAGE_SOFT_DIRTY,
  _PAGE_SPECIAL,
  _PAGE_UFFD_WP,
  HPAGE_PMD_NR,
  type pgprot_t,
  type pmd_t,
  type pte_t,
} from "./pgtable_types.ts";
import {
  OFFSET_HI_MASK,
  swp_entry,
  type swp_entry_t,
  swp_offset,
  swp_type,
  TYPE_SHIFT_HI,
} from "./swap-entry.ts";

/** Where a swap entry keeps its parts inside a pte that is not present. Type fields are 5 bits; see {@link swapOffsetBits}. */
export interface SwapLayout {
  readonly typeBit: number;
  readonly offsetBit: number;
  /** Since the L1TF mitigation the offset is stored inverted, so that it points at no real frame. */
  readonly offsetInverted: boolean;
  readonly softDirtyBit: number;
  readonly uffdWpBit: number | null;
  readonly exclusiveBit: number | null;
}

/** Bits of the offset in a swap entry: up to the type above it, or to bit 63. 50, and 55 before 4.8. */
export function swapOffsetBits({ typeBit, offsetBit }: SwapLayout): number {
  return (typeBit > offsetBit ? typeBit : 64) - offsetBit;
}

/** The numbers of the swap types that are not swap areas. Configuration moves them; a snapshot may override. */
export interface SwapTypes {
  /** Types below this one are swap areas (MAX_SWAPFILES). */
  readonly swapfiles: number;
  readonly hwpoison: number;
  readonly migrationRead: number;
  readonly migrationReadExclusive: number | null;
  readonly migrationWrite: number;
  readonly marker: number | null;
  readonly swapinError: number | null;
}

/** How one kernel lays out its entries. The algorithm that runs on them is another choice. */
export interface PteLayout {
  readonly name: string;
  readonly kernels: string;
  /** Physical address bits of a pte's frame field: 46 makes bits 46..51 flags. */
  readonly physicalBits: 46 | 52;
  /** Entries with P=0 that are not zero hold the complement of their frame number (L1TF). */
  readonly invertsNotPresent: boolean;
  readonly swap: SwapLayout;
  readonly swapTypes: SwapTypes;
  readonly uffdWp: boolean;
  /** Bit of a present read-only entry that keeps its dirty state (shadow-stack CPUs), or null. */
  readonly savedDirtyBit: number | null;
  /** pte_modify also keeps DEVMAP, PAT and UFFD_WP. */
  readonly keepsLateBits: boolean;
  /** Nothing is ever written in this layout: it was not checked against a running guest. */
  readonly decodeOnly: boolean;
}

/** Until the series that made room for the KNL erratum: the type's highest bit lies under A. */
const SWAP_4_7: SwapLayout = {
  typeBit: 1,
  offsetBit: 9,
  offsetInverted: false,
  softDirtyBit: 7,
  uffdWpBit: null,
  exclusiveBit: null,
};
const SWAP_4_13: SwapLayout = {
  typeBit: 9,
  offsetBit: 14,
  offsetInverted: false,
  softDirtyBit: 7,
  uffdWpBit: null,
  exclusiveBit: null,
};
const SWAP_L1TF: SwapLayout = {
  ...SWAP_4_13,
  typeBit: 59,
  offsetBit: 9,
  offsetInverted: true,
  softDirtyBit: 1,
};
const SWAP_6_1: SwapLayout = { ...SWAP_L1TF, uffdWpBit: 2, exclusiveBit: 3 };

const TYPES_4_13: SwapTypes = {
  swapfiles: 29,
  hwpoison: 29,
  migrationRead: 30,
  migrationReadExclusive: null,
  migrationWrite: 31,
  marker: null,
  swapinError: null,
};
const TYPES_4_14: SwapTypes = {
  ...TYPES_4_13,
  swapfiles: 27,
  hwpoison: 27,
  migrationRead: 28,
  migrationWrite: 29,
};

const LINUX_4_13: PteLayout = {
  name: "linux-4.13",
  kernels: "4.13, 4-level build",
  physicalBits: 46,
  invertsNotPresent: false,
  swap: SWAP_4_13,
  swapTypes: TYPES_4_13,
  uffdWp: false,
  savedDirtyBit: null,
  keepsLateBits: false,
  decodeOnly: false,
};
const LINUX_4_7: PteLayout = {
  ...LINUX_4_13,
  name: "linux-4.7",
  kernels: "before 4.8, from 4.0; 3.10 of distributions too",
  swap: SWAP_4_7,
  decodeOnly: true,
};
const LINUX_6_1: PteLayout = {
  ...LINUX_4_13,
  name: "linux-6.1",
  kernels: "6.1",
  physicalBits: 52,
  invertsNotPresent: true,
  swap: SWAP_6_1,
  swapTypes: {
    swapfiles: 26,
    hwpoison: 26,
    migrationRead: 27,
    migrationReadExclusive: 28,
    migrationWrite: 29,
    marker: 30,
    swapinError: 31,
  },
  uffdWp: true,
  keepsLateBits: true,
};

/** The layouts that are known, by name. */
export const PTE_LAYOUTS: Readonly<Record<string, PteLayout>> = {
  "linux-4.7": LINUX_4_7,
  "linux-4.13": LINUX_4_13,
  "linux-4.14": {
    ...LINUX_4_13,
    name: "linux-4.14",
    kernels: "4.14 as released, before the L1TF mitigation; 4.17 differs only in its 52 physical bits",
    swap: { ...SWAP_4_13, softDirtyBit: 1 },
    swapTypes: TYPES_4_14,
  },
  l1tf: {
    ...LINUX_4_13,
    name: "l1tf",
    kernels: "4.18.1 and later until 5.x; 4.14.74 has it with 46 physical bits",
    physicalBits: 52,
    invertsNotPresent: true,
    swap: SWAP_L1TF,
    swapTypes: TYPES_4_14,
  },
  "linux-6.1": LINUX_6_1,
  "linux-6.12": {
    ...LINUX_6_1,
    name: "linux-6.12",
    kernels: "6.12",
    swapTypes: {
      swapfiles: 27,
      hwpoison: 27,
      migrationRead: 28,
      migrationReadExclusive: 29,
      migrationWrite: 30,
      marker: 31,
      swapinError: null,
    },
    savedDirtyBit: 58,
    decodeOnly: true,
  },
};

/** The layout of that name. Throws RangeError listing the known ones. */
export function pteLayout(name: string): PteLayout {
  const layout = Object.hasOwn(PTE_LAYOUTS, name) ? PTE_LAYOUTS[name] : undefined;
  if (layout === undefined) {
    throw new RangeError(`unknown kernel layout "${name}": known are ${Object.keys(PTE_LAYOUTS).join(", ")}`);
  }
  return layout;
}

function hasBit(pte: pte_t, bit: number | null): boolean {
  return bit !== null && (pte.lo & (1 << bit)) !== 0;
}

const SWAP_TYPES = shape<SwapTypes>("swap types", {});
const LAYOUT = shape<PteLayout>("layout", { name: text("name"), swapTypes: SWAP_TYPES });

/**
 * The part of Linux's entry helpers that depends on the kernel's layout. Helpers that are the same in all
 * kernels are plain functions in pgtable.ts.
 */
export class PteFormat {
  readonly layout: PteLayout;
  readonly types: SwapTypes;
  /** High word of PTE_PFN_MASK; its low word is always 0xfffff000. */
  readonly pfnMaskHi: number;
  readonly #chgLo: number;
  readonly #chgHi: number;

  constructor(layout: PteLayout, types: SwapTypes = need(LAYOUT, layout).swapTypes) {
    this.layout = need(LAYOUT, layout);
    this.types = need(SWAP_TYPES, types);
    this.pfnMaskHi = layout.physicalBits === 46 ? 0x3fff : 0xf_ffff;
    const late = layout.keepsLateBits ? _PAGE_PAT | _PAGE_UFFD_WP : 0;
    const kept = _PAGE_PCD | _PAGE_PWT | _PAGE_SPECIAL | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_SOFT_DIRTY;
    this.#chgLo = 0xffff_f000 | kept | late | 0;
    this.#chgHi = this.pfnMaskHi | (layout.keepsLateBits ? _PAGE_DEVMAP_HI : 0);
  }

  /** Frame number of a present or PROT_NONE entry (asm/pgtable.h pte_pfn); meaningless for a swap entry. */
  pte_pfn(pte: pte_t): Pfn {
    if ((pte.lo & _PAGE_PRESENT) !== 0 || !this.layout.invertsNotPresent) {
      return frameOf(pte.lo, pte.hi & this.pfnMaskHi);
    }
    return (pte.lo | pte.hi) === 0 ? (0 as Pfn) : frameOf(~pte.lo, ~pte.hi & this.pfnMaskHi);
  }

  /** Frame number of a pmd; with PSE set, that of its 2 MiB page's head (asm/pgtable.h pmd_pfn). */
  pmd_pfn(pmd: pmd_t): Pfn {
    const pfn = this.pte_pfn(pmd);
    return (pmd.lo & _PAGE_PSE) === 0 ? pfn : ((pfn - (pfn % HPAGE_PMD_NR)) as Pfn);
  }

  /** The entry for a frame with these protection bits (asm/pgtable.h pfn_pte). */
  pfn_pte(pfn: Pfn, prot: pgprot_t): pte_t {
    const lo = (pfn << 12) | 0;
    const hi = Math.floor(pfn / 0x10_0000);
    if (this.layout.invertsNotPresent && (prot.lo & _PAGE_PRESENT) === 0 && (prot.lo | prot.hi) !== 0) {
      return new Entry((~lo & 0xffff_f000) | prot.lo, (~hi & this.pfnMaskHi) | prot.hi);
    }
    return new Entry(lo | prot.lo, hi | prot.hi);
  }

  /** As pfn_pte: a page is its frame number here (asm/pgtable.h mk_pte). */
  mk_pte(page: Pfn, prot: pgprot_t): pte_t {
    return this.pfn_pte(page, prot);
  }

  /** The pmd for a THP's head; frame bits below 2 MiB stay clear even when the frame is stored inverted. */
  mk_huge_pmd(page: Pfn, prot: pgprot_t): pmd_t {
    const pmd = this.pfn_pte(page, prot);
    return new Entry((pmd.lo & 0xffe0_0fff) | prot.lo | _PAGE_PSE, pmd.hi);
  }

  /** Replaces the protection, keeps frame, A, D, soft-dirty and cache bits (asm/pgtable.h pte_modify). */
  pte_modify(pte: pte_t, newprot: pgprot_t): pte_t {
    return this.#modify(pte, newprot, this.#chgLo, 0xffff_f000);
  }

  /** As pte_modify, and PSE is kept (asm/pgtable.h pmd_modify). */
  pmd_modify(pmd: pmd_t, newprot: pgprot_t): pmd_t {
    return this.#modify(pmd, newprot, this.#chgLo | _PAGE_PSE, 0xffe0_0000);
  }

  #modify(old: Entry, prot: pgprot_t, chgLo: number, frameLo: number): Entry {
    const lo = (old.lo & chgLo) | (prot.lo & ~chgLo);
    const hi = (old.hi & this.#chgHi) | (prot.hi & ~this.#chgHi);
    return this.#invertOnChange(old, lo, hi, frameLo);
  }

  /** Clears P and PROTNONE, leaves PSE: what pmdp_invalidate stores (asm/pgtable.h pmd_mknotpresent). */
  pmd_mknotpresent(pmd: pmd_t): pmd_t {
    return this.#invertOnChange(pmd, pmd.lo & ~(_PAGE_PRESENT | _PAGE_PROTNONE), pmd.hi, 0xffe0_0000);
  }

  #invertOnChange(old: Entry, lo: number, hi: number, frameLo: number): Entry {
    const flips = ((old.lo ^ lo) & _PAGE_PRESENT) !== 0;
    if (!flips || !this.layout.invertsNotPresent) return new Entry(lo, hi);
    return new Entry(lo ^ frameLo, hi ^ this.pfnMaskHi);
  }

  /** The pte form of a generic swap entry (asm/pgtable_64.h __swp_entry). */
  swp_entry_to_pte(entry: swp_entry_t): pte_t {
    const { typeBit, offsetBit, offsetInverted } = this.layout.swap;
    const type = swp_type(entry);
    const offsetLo = offsetInverted ? ~entry.lo : entry.lo;
    const offsetHi = (offsetInverted ? ~entry.hi : entry.hi) & OFFSET_HI_MASK;
    const lo = offsetLo << offsetBit;
    const hi = (offsetHi << offsetBit) | (offsetLo >>> (32 - offsetBit));
    return typeBit < 32
      ? new Entry(lo | (type << typeBit), hi)
      : new Entry(lo, hi | (type << (typeBit - 32)));
  }

  /** The generic form of a swap, migration or poison pte; flags such as soft-dirty are dropped first. */
  pte_to_swp_entry(pte: pte_t): swp_entry_t {
    const { typeBit, offsetBit, offsetInverted } = this.layout.swap;
    const type = ((typeBit < 32 ? pte.lo >>> typeBit : pte.hi >>> (typeBit - 32)) & 31) | 0;
    let lo = (pte.lo >>> offsetBit) | (pte.hi << (32 - offsetBit));
    let hi = (pte.hi >>> offsetBit) & OFFSET_HI_MASK;
    if (offsetInverted) {
      lo = ~lo;
      hi = ~hi & OFFSET_HI_MASK;
    }
    return new Entry(lo, hi | (type << TYPE_SHIFT_HI));
  }

  pte_swp_mksoft_dirty(pte: pte_t): pte_t {
    return new Entry(pte.lo | (1 << this.layout.swap.softDirtyBit), pte.hi);
  }

  pte_swp_soft_dirty(pte: pte_t): boolean {
    return (pte.lo & (1 << this.layout.swap.softDirtyBit)) !== 0;
  }

  pte_swp_clear_soft_dirty(pte: pte_t): pte_t {
    return new Entry(pte.lo & ~(1 << this.layout.swap.softDirtyBit), pte.hi);
  }

  /** Whether the page was write-protected by userfaultfd when it was swapped out; false in layouts without the bit. */
  pte_swp_uffd_wp(pte: pte_t): boolean {
    return hasBit(pte, this.layout.swap.uffdWpBit);
  }

  /** Whether the page was this process's alone when it was swapped out (5.19 and later); false in older layouts. */
  pte_swp_exclusive(pte: pte_t): boolean {
    return hasBit(pte, this.layout.swap.exclusiveBit);
  }

  /** Whether a present entry is write-protected by userfaultfd; false in layouts without the bit. */
  pte_uffd_wp(pte: pte_t): boolean {
    return this.layout.uffdWp && (pte.lo & _PAGE_UFFD_WP) !== 0;
  }

  /** Whether a type number is not a swap area's (include/linux/swapops.h non_swap_entry). */
  non_swap_entry(entry: swp_entry_t): boolean {
    return swp_type(entry) >= this.types.swapfiles;
  }

  is_migration_entry(entry: swp_entry_t): boolean {
    const type = swp_type(entry);
    return (
      type === this.types.migrationRead ||
      type === this.types.migrationWrite ||
      type === this.types.migrationReadExclusive
    );
  }

  is_write_migration_entry(entry: swp_entry_t): boolean {
    return swp_type(entry) === this.types.migrationWrite;
  }

  is_hwpoison_entry(entry: swp_entry_t): boolean {
    return swp_type(entry) === this.types.hwpoison;
  }

  /** A pte that only carries a flag: neither swapped nor migrating (include/linux/swapops.h, 5.19 and later). */
  is_pte_marker_entry(entry: swp_entry_t): boolean {
    return swp_type(entry) === this.types.marker;
  }

  /**
   * The entry that stands for a page on the move. Like make_hwpoison_entry, the kernel asserts that the page is
   * locked; a format sees no struct page, so here the caller answers for it (page_vma_mapped_walk checks).
   */
  make_migration_entry(page: Pfn, write: boolean): swp_entry_t {
    return swp_entry(write ? this.types.migrationWrite : this.types.migrationRead, page);
  }

  /** The same page's entry without the right to write, as fork and mprotect need it; given back, not changed. */
  make_migration_entry_read(entry: swp_entry_t): swp_entry_t {
    return swp_entry(this.types.migrationRead, swp_offset(entry));
  }

  /** The entry that stands for a page with broken memory; the page must be locked. */
  make_hwpoison_entry(page: Pfn): swp_entry_t {
    return swp_entry(this.types.hwpoison, page);
  }
}
