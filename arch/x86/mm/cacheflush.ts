import type { VmaContext } from "./kernel-context.ts";
import { PAGE_SIZE } from "./pgtable-types.ts";

/*
 * Cache hooks do nothing on x86. They exist because their *position* is contract: an architecture with virtually
 * indexed caches must be told before the entry changes (include/asm-generic/cacheflush.h, v4.13). Here a hook
 * only reports that it was reached.
 */

/** Before the entry of one 4K page is cleared. */
export function flush_cache_page(vma: VmaContext, address: number, pfn: number): void {
  const mm = vma.vm_mm;
  mm.kernel.emit?.({
    type: "cache-flush",
    hook: "flush_cache_page",
    mm,
    start: address,
    length: PAGE_SIZE,
    pfn,
  });
}

/** Before a loop over [start, end). */
export function flush_cache_range(vma: VmaContext, start: number, end: number): void {
  const mm = vma.vm_mm;
  mm.kernel.emit?.({
    type: "cache-flush",
    hook: "flush_cache_range",
    mm,
    start,
    length: end - start,
    pfn: -1,
  });
}
