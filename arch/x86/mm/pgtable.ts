import type { Linear } from "../cpu/address.ts";
import { Entry, sameEntry } from "../cpu/entry.ts";
import { tableIndex as indexOfWords } from "../cpu/page-walk.ts";
import {
  _KERNPG_TABLE,
  _PAGE_ACCESSED,
  _PAGE_DEVMAP_HI,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_KNL_ERRATUM_MASK,
  _PAGE_NX_HI,
  _PAGE_PKEY_HI,
  _PAGE_PKEY_SHIFT_HI,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_SOFT_DIRTY,
  _PAGE_SPECIAL,
  _PAGE_TABLE,
  _PAGE_USER,
  type pmd_t,
  type pte_t,
  type pud_t,
} from "./pgtable_types.ts";

/*
 * Entry helpers that are the same in every kernel layout (arch/x86/include/asm/pgtable.h, v4.13).
 *
 *                         meaningful when not present?
 *   none, present, same   yes
 *   protnone, huge-ness   yes
 *   all other tests       no: on a swap entry those bits belong to its type, offset or flags
 */

/** No mapping; stray A and D bits of the Knights Landing erratum do not count. */
export function pte_none(pte: pte_t): boolean {
  return ((pte.lo & ~_PAGE_KNL_ERRATUM_MASK) | pte.hi) === 0;
}

/** Present to Linux: true for PROT_NONE too, although the processor faults. */
export function pte_present(pte: pte_t): boolean {
  return (pte.lo & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0;
}

/** Any software entry: swap, migration, poison, marker. */
export function is_swap_pte(pte: pte_t): boolean {
  return !pte_none(pte) && !pte_present(pte);
}

/** Whether all 64 bits of two ptes are equal. */
export const pte_same: (a: pte_t, b: pte_t) => boolean = sameEntry;

/** Whether the page was written through this pte: its D bit. */
export function pte_dirty(pte: pte_t): boolean {
  return (pte.lo & _PAGE_DIRTY) !== 0;
}

/** Whether the page was used through this pte: its A bit. */
export function pte_young(pte: pte_t): boolean {
  return (pte.lo & _PAGE_ACCESSED) !== 0;
}

/** Whether the pte allows stores. */
export function pte_write(pte: pte_t): boolean {
  return (pte.lo & _PAGE_RW) !== 0;
}

/** Whether the pte allows instruction fetches. */
export function pte_exec(pte: pte_t): boolean {
  return (pte.hi & _PAGE_NX_HI) === 0;
}

/** Whether no struct page stands behind the pte. */
export function pte_special(pte: pte_t): boolean {
  return (pte.lo & _PAGE_SPECIAL) !== 0;
}

/** Whether the page was written since /proc/PID/clear_refs last cleared the bit. */
export function pte_soft_dirty(pte: pte_t): boolean {
  return (pte.lo & _PAGE_SOFT_DIRTY) !== 0;
}

/** Whether the pte maps device memory that has a struct page. */
export function pte_devmap(pte: pte_t): boolean {
  return (pte.hi & _PAGE_DEVMAP_HI) !== 0;
}

/** Whether PSE is set; in a pte of 4 KiB the same bit is PAT. */
export function pte_huge(pte: pte_t): boolean {
  return (pte.lo & _PAGE_PSE) !== 0;
}

/** Also true for a PROT_NONE entry, which reuses the bit. */
export function pte_global(pte: pte_t): boolean {
  return (pte.lo & _PAGE_GLOBAL) !== 0;
}

/** Whether the pte is mapped to Linux and closed to the processor: PROT_NONE, or waiting for a NUMA fault. */
export function pte_protnone(pte: pte_t): boolean {
  return (pte.lo & (_PAGE_PRESENT | _PAGE_PROTNONE)) === _PAGE_PROTNONE;
}

/** Always false on x86; kept because try_to_unmap_one branches on it (s390 guests give hints here). */
export function pte_unused(_pte: pte_t): boolean {
  return false;
}

/**
 * Whether lockless get_user_pages may use the entry. The kernel reads the current CPU's PKRU; here it is given
 * (read_pkru), and 0 allows every key. A key's pair of bits is AD, no access, and WD, no writes.
 */
export function pte_access_permitted(pte: pte_t, write: boolean, pkru = 0): boolean {
  const need = _PAGE_PRESENT | _PAGE_USER | (write ? _PAGE_RW : 0);
  if ((pte.lo & need) !== need) return false;
  const key = (pte.hi & _PAGE_PKEY_HI) >>> _PAGE_PKEY_SHIFT_HI;
  return ((pkru >>> (2 * key)) & (write ? 0b11 : 0b01)) === 0;
}

/** The pte without D; soft-dirty stays. */
export function pte_mkclean(pte: pte_t): pte_t {
  return new Entry(pte.lo & ~_PAGE_DIRTY, pte.hi);
}

/** The pte without the right to store. */
export function pte_wrprotect(pte: pte_t): pte_t {
  return new Entry(pte.lo & ~_PAGE_RW, pte.hi);
}

/** The pte without A. */
export function pte_mkold(pte: pte_t): pte_t {
  return new Entry(pte.lo & ~_PAGE_ACCESSED, pte.hi);
}

/** Sets soft-dirty with it. */
export function pte_mkdirty(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_DIRTY | _PAGE_SOFT_DIRTY, pte.hi);
}

/** The pte with A. */
export function pte_mkyoung(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_ACCESSED, pte.hi);
}

/** The pte with the right to store. */
export function pte_mkwrite(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_RW, pte.hi);
}

/* NUMA hinting leaves RW in its PROT_NONE entries; other architectures keep it elsewhere (asm-generic/pgtable.h). */

/** Whether a PROT_NONE entry would allow stores. */
export const pte_savedwrite: typeof pte_write = pte_write;
/** The PROT_NONE entry with the right to store, for when it is opened. */
export const pte_mk_savedwrite: typeof pte_mkwrite = pte_mkwrite;
/** The PROT_NONE entry without that right. */
export const pte_clear_savedwrite: typeof pte_wrprotect = pte_wrprotect;

/** The entry of a large page, for hugetlb: PSE set. */
export function pte_mkhuge(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_PSE, pte.hi);
}

/** The pte as one without a struct page. */
export function pte_mkspecial(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_SPECIAL, pte.hi);
}

/** The pte as one of device memory with a struct page; special, too. */
export function pte_mkdevmap(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_SPECIAL, pte.hi | _PAGE_DEVMAP_HI);
}

/** The pte with soft-dirty. */
export function pte_mksoft_dirty(pte: pte_t): pte_t {
  return new Entry(pte.lo | _PAGE_SOFT_DIRTY, pte.hi);
}

/** The pte without soft-dirty. */
export function pte_clear_soft_dirty(pte: pte_t): pte_t {
  return new Entry(pte.lo & ~_PAGE_SOFT_DIRTY, pte.hi);
}

/** As {@link pte_none}. */
export const pmd_none: (pmd: pmd_t) => boolean = pte_none;
/** As {@link pte_dirty}, of a huge pmd. */
export const pmd_dirty: (pmd: pmd_t) => boolean = pte_dirty;
/** As {@link pte_young}, of a huge pmd. */
export const pmd_young: (pmd: pmd_t) => boolean = pte_young;
/** As {@link pte_write}, of a huge pmd. */
export const pmd_write: (pmd: pmd_t) => boolean = pte_write;
/** As {@link pte_soft_dirty}, of a huge pmd. */
export const pmd_soft_dirty: (pmd: pmd_t) => boolean = pte_soft_dirty;
/** As {@link pte_protnone}, of a huge pmd. */
export const pmd_protnone: (pmd: pmd_t) => boolean = pte_protnone;
/** As {@link pte_wrprotect}, of a huge pmd. */
export const pmd_wrprotect: (pmd: pmd_t) => pmd_t = pte_wrprotect;
/** As {@link pte_mkclean}, of a huge pmd. */
export const pmd_mkclean: (pmd: pmd_t) => pmd_t = pte_mkclean;

/** PSE alone counts as present: a THP whose P was cleared for a split must not look unmapped. */
export function pmd_present(pmd: pmd_t): boolean {
  return (pmd.lo & (_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE)) !== 0;
}

/** PSE without DEVMAP; P is not looked at. */
export function pmd_trans_huge(pmd: pmd_t): boolean {
  return (pmd.lo & _PAGE_PSE) !== 0 && (pmd.hi & _PAGE_DEVMAP_HI) === 0;
}

/** Whether the pmd maps device memory that has a struct page. */
export function pmd_devmap(pmd: pmd_t): boolean {
  return pte_devmap(pmd);
}

/** Whether the pmd maps 2 MiB: PSE; P is not looked at. */
export function pmd_large(pmd: pmd_t): boolean {
  return (pmd.lo & _PAGE_PSE) !== 0;
}

/** hugetlb's test; also true for its migration and poison entries. */
export function pmd_huge(pmd: pmd_t): boolean {
  return !pmd_none(pmd) && (pmd.lo & (_PAGE_PRESENT | _PAGE_PSE)) !== _PAGE_PRESENT;
}

/**
 * Not a plain table pointer: huge and swap entries are "bad" as well. `pfnMaskHi` is the layout's
 * (PteFormat.pfnMaskHi): where the frame field has 46 bits, bits 46..51 are flags and make a table bad.
 */
export function pmd_bad(pmd: pmd_t, pfnMaskHi: number): boolean {
  const flagsLo = (pmd.lo & _PAGE_PSE) === 0 ? pmd.lo & 0xfff : pmd.lo & 0x1f_ffff;
  return (flagsLo & ~_PAGE_USER) !== _KERNPG_TABLE || (pmd.hi & ~pfnMaskHi) !== 0;
}

/** As {@link pte_none}. */
export const pud_none: (pud: pud_t) => boolean = pte_none;

/** P alone: a pud knows neither PROT_NONE nor the state between two sizes. */
export function pud_present(pud: pud_t): boolean {
  return (pud.lo & _PAGE_PRESENT) !== 0;
}

/**
 * Has a flag that no table pointer has; looser than pmd_bad, which also wants all of a table's flags set. A huge pud
 * is bad. `pfnMaskHi` as for pmd_bad.
 */
export function pud_bad(pud: pud_t, pfnMaskHi: number): boolean {
  return (pud.lo & 0xfff & ~_PAGE_TABLE) !== 0 || (pud.hi & ~pfnMaskHi) !== 0;
}

/** Present and a 1 GiB page. */
export function pud_large(pud: pud_t): boolean {
  return (pud.lo & (_PAGE_PRESENT | _PAGE_PSE)) === (_PAGE_PRESENT | _PAGE_PSE);
}

/** hugetlb's test; P is not looked at. */
export function pud_huge(pud: pud_t): boolean {
  return (pud.lo & _PAGE_PSE) !== 0;
}

/** As {@link pmd_trans_huge}. */
export const pud_trans_huge: (pud: pud_t) => boolean = pmd_trans_huge;

/** Slot number of a linear address in the table of a level, 1 to 5 (pte_index, pmd_index, ...). */
export function tableIndex(address: Linear, level: number): number {
  return indexOfWords(level, address | 0, (address / 2 ** 32) | 0);
}
