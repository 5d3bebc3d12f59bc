import { type CacheHook, WHOLE_MM } from "./events.ts";
import type { KernelContext, MmContext, VmaContext } from "./kernel-context.ts";
import { PAGE_SIZE } from "./pgtable_types.ts";

/*
 * Cache hooks do nothing on x86. They exist because their *position* is contract: an architecture with virtually
 * indexed caches must be told before the entry changes (include/asm-generic/cacheflush.h, v4.13). Here a hook
 * only reports that it was reached.
 */

const NO_PFN = -1;

function reached(
  kernel: KernelContext,
  hook: CacheHook,
  mm: MmContext | null,
  start: number,
  length: number,
  pfn: number,
): void {
  kernel.emit?.({ type: "cache-flush", hook, mm, start, length, pfn });
}

/** Before the entry of one 4K page is cleared. */
export function flush_cache_page(vma: VmaContext, address: number, pfn: number): void {
  reached(vma.vm_mm.kernel, "flush_cache_page", vma.vm_mm, address, PAGE_SIZE, pfn);
}

/** Before a loop over [start, end). */
export function flush_cache_range(vma: VmaContext, start: number, end: number): void {
  reached(vma.vm_mm.kernel, "flush_cache_range", vma.vm_mm, start, end - start, NO_PFN);
}

/** Before everything that an mm maps is unmapped (exit_mmap). */
export function flush_cache_mm(mm: MmContext): void {
  reached(mm.kernel, "flush_cache_mm", mm, 0, WHOLE_MM, NO_PFN);
}

/** Before fork copies the entries of an mm (dup_mmap). */
export function flush_cache_dup_mm(mm: MmContext): void {
  reached(mm.kernel, "flush_cache_dup_mm", mm, 0, WHOLE_MM, NO_PFN);
}

/** Before a fault stores the entry of a page that may hold code (alloc_set_pte, do_swap_page). */
export function flush_icache_page(vma: VmaContext, page: number): void {
  reached(vma.vm_mm.kernel, "flush_icache_page", vma.vm_mm, 0, 0, page);
}

/** After the kernel wrote a page's content through its own mapping, before the entry that shows it is stored. */
export function flush_dcache_page(kernel: KernelContext, page: number): void {
  reached(kernel, "flush_dcache_page", null, 0, 0, page);
}

/**
 * Right after an entry was made present, or ptep_set_access_flags changed it (asm/pgtable.h). Also under the names of
 * the other levels: `slot` is the pte's, pmd's or pud's.
 */
export function update_mmu_cache(vma: VmaContext, address: number, slot: number): void {
  const mm = vma.vm_mm;
  mm.kernel.emit?.({ type: "mmu-cache-updated", mm, address, slot });
}

export const update_mmu_cache_pmd: typeof update_mmu_cache = update_mmu_cache;
export const update_mmu_cache_pud: typeof update_mmu_cache = update_mmu_cache;
