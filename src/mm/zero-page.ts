import { type Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import type { pmd_t } from "../../arch/x86/mm/pgtable_types.ts";
import { HPAGE_PMD_ORDER } from "../../arch/x86/mm/pgtable_types.ts";
import type { Kernel } from "./mm_types.ts";
import { alloc_page, alloc_pages, prep_compound_page } from "./page_alloc.ts";

/*
 * The page of zeros that read faults in untouched anonymous memory map, and the huge one. Both are shared by all and
 * outside rmap: their entries are read-only, count no mapping, no reference and no rss, and the small ones are SPECIAL.
 */

/** Frame of the zero page; x86 has one for all addresses (asm-generic/pgtable.h). */
export function my_zero_pfn(k: Kernel, _address: Linear): Pfn {
  if (k.zero_pfn < 0) {
    k.zero_pfn = alloc_page(k);
    clearFrames(k, k.zero_pfn, 1);
  }
  return k.zero_pfn;
}

/**
 * The huge zero page, allocated by whoever needs it first (mm/huge_memory.c get_huge_zero_page). The kernel counts its
 * users and frees it after the last; here it stays. Throws RangeError if 2 MiB are not free in one piece.
 */
export function get_huge_zero_page(k: Kernel): Pfn {
  if (k.huge_zero_page < 0) {
    const head = alloc_pages(k, HPAGE_PMD_ORDER);
    prep_compound_page(k, head, HPAGE_PMD_ORDER);
    clearFrames(k, head, 2 ** HPAGE_PMD_ORDER);
    k.huge_zero_page = head;
  }
  return k.huge_zero_page;
}

/** Whether the page is the head of the huge zero page (include/linux/huge_mm.h). */
export function is_huge_zero_page(k: Kernel, page: Pfn): boolean {
  return page >= 0 && page === k.huge_zero_page;
}

/** Whether the pmd maps the huge zero page (include/linux/huge_mm.h). */
export function is_huge_zero_pmd(k: Kernel, pmd: pmd_t): boolean {
  return is_huge_zero_page(k, k.format.pmd_pfn(pmd));
}

function clearFrames(k: Kernel, pfn: Pfn, nr: number): void {
  k.machine.memory.clear(pfn * PAGE_SIZE, nr * PAGE_SIZE);
}
