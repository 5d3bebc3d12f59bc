import { type Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import type { MemMap } from "./mem_map.ts";
import type { vm_area_struct } from "./mm_types.ts";

/* vm_flags beyond those in pgtable_types.ts (include/linux/mm.h, v4.13). */

/** mprotect may allow stores. */
export const VM_MAYWRITE = 0x20;
/** A mapping made with MAP_SHARED, whatever its file allowed. */
export const VM_MAYSHARE = 0x80;
/** A stack: it grows down. */
export const VM_GROWSDOWN = 0x100;
/** Raw frames without a struct page. */
export const VM_PFNMAP = 0x400;
/** mlocked: its pages stay in memory. */
export const VM_LOCKED = 0x2000;
/** madvise: read from the first page to the last. */
export const VM_SEQ_READ = 0x8000;
/** madvise: read at random. */
export const VM_RAND_READ = 0x10000;
/** Everything in it counts as soft-dirty. */
export const VM_SOFTDIRTY = 0x0800_0000;
/** Raw frames and pages. */
export const VM_MIXEDMAP = 0x1000_0000;

/** Offset of the page that a linear address shows (include/linux/pagemap.h linear_page_index, in 4K pages). */
export function linear_page_index(vma: vm_area_struct, address: Linear): number {
  return Math.floor((address - vma.vm_start) / PAGE_SIZE) + vma.vm_pgoff;
}

/** Where the page would lie in the vma; for the head of a THP that is cut off, below vm_start (mm/internal.h). */
export function __vma_address(mem_map: MemMap, page: Pfn, vma: vm_area_struct): Linear {
  return (vma.vm_start + (mem_map.page_to_pgoff(page) - vma.vm_pgoff) * PAGE_SIZE) as Linear;
}

/** First address of the page that is inside the vma: not always aligned to a THP's size (mm/internal.h). */
export function vma_address(mem_map: MemMap, page: Pfn, vma: vm_area_struct): Linear {
  return Math.max(__vma_address(mem_map, page, vma), vma.vm_start) as Linear;
}
