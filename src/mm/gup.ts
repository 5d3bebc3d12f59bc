import { type Linear, NO_PFN, NO_SLOT, PAGE_SHIFT, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { type Entry, ZERO_ENTRY } from "../../arch/x86/cpu/entry.ts";
import { read_pkru, readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pmd_large, pte_access_permitted, pte_special } from "../../arch/x86/mm/pgtable.ts";
import { _PAGE_PRESENT, PMD_SIZE } from "../../arch/x86/mm/pgtable_types.ts";
import type { Kernel, mm_struct, vm_area_struct } from "./mm_types.ts";
import { get_page } from "./page_alloc.ts";
import { pmdSlot, pteSlotUnder } from "./page-table.ts";

/** Which entry decides what is at an address. */
export interface MappingEntry {
  /** NO_SLOT where no table reaches that far. */
  readonly slot: Slot;
  /** 1 for a pte, 2 for a pmd: a huge one, or one that leads to no table. */
  readonly level: 1 | 2;
  readonly entry: Entry;
}

const NO_ENTRY: MappingEntry = { slot: NO_SLOT, level: 2, entry: ZERO_ENTRY };

/** The entry that maps an address of an mm, or would. */
export function mappingEntry(mm: mm_struct, address: Linear): MappingEntry {
  const pmdp = pmdSlot(mm, address);
  if (pmdp === NO_SLOT) return NO_ENTRY;
  const pmd = readEntry(mm, pmdp);
  if ((pmd.lo & _PAGE_PRESENT) === 0 || pmd_large(pmd)) return { slot: pmdp, level: 2, entry: pmd };
  const slot = pteSlotUnder(mm, pmdp, address);
  return { slot, level: 1, entry: readEntry(mm, slot) };
}

/** Frame of the 4-KiB page at an address that this entry maps. */
export function pageAt(k: Kernel, { level, entry }: MappingEntry, address: Linear): Pfn {
  if (level === 1) return k.format.pte_pfn(entry);
  return (k.format.pmd_pfn(entry) + ((address % PMD_SIZE) >>> PAGE_SHIFT)) as Pfn;
}

/* What follow_page is asked for (include/linux/mm.h, v4.13). */

/** The page is to be written. */
export const FOLL_WRITE = 0x01;
/** The caller wants a reference of its own. */
export const FOLL_GET = 0x04;

/**
 * The page that a vma shows at an address, if its entry allows the access now; with FOLL_GET with a reference of the
 * caller's own. NO_PFN where a fault would be needed, and for a special entry, which has no page (mm/gup.c).
 */
export function follow_page(vma: vm_area_struct, address: Linear, foll_flags: number): Pfn {
  const { kernel } = vma.vm_mm;
  return getPage(vma.vm_mm, mappingEntry(vma.vm_mm, address), address, foll_flags, read_pkru(kernel));
}

/** The page of an entry that allows an access under these keys; NO_PFN if it does not, or has no page. */
export function getPage(
  mm: mm_struct,
  mapping: MappingEntry,
  address: Linear,
  foll_flags: number,
  pkru = 0,
): Pfn {
  const { kernel } = mm;
  const { level, entry } = mapping;
  if (!pte_access_permitted(entry, (foll_flags & FOLL_WRITE) !== 0, pkru)) return NO_PFN;
  if (level === 1 && pte_special(entry)) return NO_PFN;
  const page = pageAt(kernel, mapping, address);
  if (!kernel.mem_map.pfn_valid(page) || kernel.mem_map.page_count(page) === 0) return NO_PFN;
  if ((foll_flags & FOLL_GET) !== 0) get_page(kernel, page);
  return page;
}
