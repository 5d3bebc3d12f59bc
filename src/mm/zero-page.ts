import type { pmd_t } from "../../arch/x86/mm/pgtable_types.ts";
import { HPAGE_PMD_ORDER, PAGE_SIZE } from "../../arch/x86/mm/pgtable_types.ts";
import type { Kernel } from "./kernel.ts";

/*
 * The page of zeros that read faults in untouched anonymous memory map, and the huge one. Both are shared by all and
 * outside rmap: their entries are read-only, count no mapping, no reference and no rss, and the small ones are SPECIAL.
 */

/** Frame of the zero page; x86 has one for all addresses (asm-generic/pgtable.h). */
export function my_zero_pfn(k: Kernel, _address: number): number {
  if (k.zero_pfn < 0) {
    k.zero_pfn = k.frames.allocate();
    clearFrames(k, k.zero_pfn, 1);
  }
  return k.zero_pfn;
}

/**
 * The huge zero page, allocated by whoever needs it first (mm/huge_memory.c get_huge_zero_page). The kernel counts its
 * users and frees it after the last; here it stays. Throws RangeError if 2 MiB are not free in one piece.
 */
export function get_huge_zero_page(k: Kernel): number {
  if (k.huge_zero_page < 0) {
    const head = k.frames.allocateOrder(HPAGE_PMD_ORDER);
    k.mem_map.prep_compound_page(head, HPAGE_PMD_ORDER, false);
    clearFrames(k, head, 2 ** HPAGE_PMD_ORDER);
    k.huge_zero_page = head;
  }
  return k.huge_zero_page;
}

export function is_huge_zero_page(k: Kernel, page: number): boolean {
  return page >= 0 && page === k.huge_zero_page;
}

export function is_huge_zero_pmd(k: Kernel, pmd: pmd_t): boolean {
  return is_huge_zero_page(k, k.format.pmd_pfn(pmd));
}

function clearFrames(k: Kernel, pfn: number, nr: number): void {
  k.machine.memory.clear(pfn * PAGE_SIZE, nr * PAGE_SIZE);
}
