import { type Linear, NO_PFN, NONE, PAGE_SIZE, type Pfn, type Slot } from "../cpu/address.ts";
import { linearHi, linearLo } from "../cpu/linear-address.ts";
import { type KernelContext, type MmContext, smp_processor_id, type VmaContext } from "./kernel-context.ts";
import type { CacheHook } from "./records.ts";

/*
 * Cache hooks do nothing on x86. They exist because their *position* is contract: an architecture with virtually
 * indexed caches must be told before the entry changes (include/asm-generic/cacheflush.h, v4.13). Here a hook
 * only records that it was reached.
 */

function reached(
  kernel: KernelContext,
  hook: CacheHook,
  mm: MmContext | null,
  start: number,
  bytes: number,
  all: boolean,
  pfn: Pfn,
): void {
  const { records } = kernel;
  const tell = records.hearer("cache-flushed");
  if (tell === null) return;
  tell({
    kind: "cache-flushed",
    seq: records.next(),
    agent: records.agent,
    cpu: smp_processor_id(kernel),
    space: mm === null ? NONE : mm.id,
    hook,
    linearLo: linearLo(start),
    linearHi: linearHi(start),
    bytes,
    all,
    pfn,
  });
}

/** Before the entry of one 4K page is cleared. */
export function flush_cache_page(vma: VmaContext, address: Linear, pfn: Pfn): void {
  reached(vma.vm_mm.kernel, "flush_cache_page", vma.vm_mm, address, PAGE_SIZE, false, pfn);
}

/** Before a loop over [start, end). */
export function flush_cache_range(vma: VmaContext, start: Linear, end: Linear): void {
  reached(vma.vm_mm.kernel, "flush_cache_range", vma.vm_mm, start, end - start, false, NO_PFN);
}

/** Before everything that an mm maps is unmapped (exit_mmap). */
export function flush_cache_mm(mm: MmContext): void {
  reached(mm.kernel, "flush_cache_mm", mm, 0, 0, true, NO_PFN);
}

/** Before fork copies the entries of an mm (dup_mmap). */
export function flush_cache_dup_mm(mm: MmContext): void {
  reached(mm.kernel, "flush_cache_dup_mm", mm, 0, 0, true, NO_PFN);
}

/** Before a fault stores the entry of a page that may hold code (alloc_set_pte, do_swap_page). */
export function flush_icache_page(vma: VmaContext, page: Pfn): void {
  reached(vma.vm_mm.kernel, "flush_icache_page", vma.vm_mm, 0, 0, false, page);
}

/** After the kernel wrote a page's content through its own mapping, before the entry that shows it is stored. */
export function flush_dcache_page(kernel: KernelContext, page: Pfn): void {
  reached(kernel, "flush_dcache_page", null, 0, 0, false, page);
}

/** Right after an entry was made present, or ptep_set_access_flags changed it (asm/pgtable.h): the slot of a pte. */
export function update_mmu_cache(vma: VmaContext, address: Linear, ptep: Slot): void {
  const { kernel, id } = vma.vm_mm;
  const { records } = kernel;
  const tell = records.hearer("mmu-cache-updated");
  if (tell === null) return;
  tell({
    kind: "mmu-cache-updated",
    seq: records.next(),
    agent: records.agent,
    cpu: smp_processor_id(kernel),
    space: id,
    linearLo: linearLo(address),
    linearHi: linearHi(address),
    slot: ptep,
  });
}

/** The same of a pmd. */
export const update_mmu_cache_pmd: typeof update_mmu_cache = update_mmu_cache;
/** The same of a pud. */
export const update_mmu_cache_pud: typeof update_mmu_cache = update_mmu_cache;
