import type { CpuMask, MmContext } from "../../arch/x86/mm/kernel-context.ts";
import type { Kernel } from "./kernel.ts";
import { rw_semaphore } from "./locks.ts";
import type { mmu_notifier_mm } from "./mmu_notifier.ts";
import { type VmaOptions, vm_area_struct, vmaLastPgoff } from "./vma.ts";

/** Indices of rss_stat (include/linux/mm_types_task.h). */
export const MM_FILEPAGES = 0;
export const MM_ANONPAGES = 1;
export const MM_SWAPENTS = 2;
export const MM_SHMEMPAGES = 3;

/** One address space (include/linux/mm_types.h). */
export class mm_struct implements MmContext {
  readonly kernel: Kernel;
  readonly name: string;
  readonly pgd: number;
  readonly mmap_sem = new rw_semaphore();
  cpu_bitmap: CpuMask = 0;
  tlb_flush_pending = 0;
  tlb_flush_batched = false;
  mmu_notifier_mm: mmu_notifier_mm | null = null;
  /** Calls of invalidate_range_start whose invalidate_range_end has not returned; no listener can register then. */
  openBrackets = 0;
  /** Vmas by address. */
  readonly mmap: vm_area_struct[] = [];
  readonly rss_stat = new Int32Array(4);
  hiwater_rss = 0;
  /** hugetlb pages are not in rss; this counts them in 4K units. */
  hugetlb_usage = 0;
  /** Whether swapoff would find the mm: set when its first page is swapped out. */
  onMmlist = false;
  /** Spare tables for each PMD-mapped THP, by the frame of the PMD table (pmd_huge_pte). */
  readonly deposited = new Map<number, number[]>();

  /** `pgd` is the physical address of the root table. */
  constructor(kernel: Kernel, name: string, pgd: number) {
    this.kernel = kernel;
    this.name = name;
    this.pgd = pgd;
  }

  /**
   * Adds a vma and links it into its file's i_mmap (mm/mmap.c __vma_link); a copy made by fork directly after its
   * `parent`, so that walks visit the parent first (kernel/fork.c dup_mmap). Throws RangeError if it overlaps one.
   */
  insertVma(options: VmaOptions, parent: vm_area_struct | null = null): vm_area_struct {
    const vma = new vm_area_struct(this, options);
    let at = this.mmap.length;
    while (at > 0 && this.mmap[at - 1]!.vm_start >= vma.vm_end) at--;
    if (at > 0 && this.mmap[at - 1]!.vm_end > vma.vm_start) {
      throw new RangeError(`vma at 0x${vma.vm_start.toString(16)} overlaps the one before it`);
    }
    this.mmap.splice(at, 0, vma);
    const i_mmap = vma.vm_file?.i_mmap;
    if (parent === null) i_mmap?.insert(vma.vm_pgoff, vmaLastPgoff(vma), vma);
    else i_mmap?.insertAfter(parent, vma.vm_pgoff, vmaLastPgoff(vma), vma);
    return vma;
  }

  /** The vma that contains the address, or null. */
  vmaAt(address: number): vm_area_struct | null {
    let low = 0;
    let high = this.mmap.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.mmap[middle]!.vm_end <= address) low = middle + 1;
      else high = middle;
    }
    const vma = this.mmap[low];
    return vma !== undefined && vma.vm_start <= address ? vma : null;
  }
}

export function get_mm_rss(mm: mm_struct): number {
  return mm.rss_stat[MM_FILEPAGES]! + mm.rss_stat[MM_ANONPAGES]! + mm.rss_stat[MM_SHMEMPAGES]!;
}

export function add_mm_counter(mm: mm_struct, member: number, value: number): void {
  mm.rss_stat[member]! += value;
  mm.kernel.emit?.({ type: "rss-changed", mm, counter: member, delta: value });
}

export function dec_mm_counter(mm: mm_struct, member: number): void {
  add_mm_counter(mm, member, -1);
}

export function inc_mm_counter(mm: mm_struct, member: number): void {
  add_mm_counter(mm, member, 1);
}

/** Remembers the largest rss before it goes down. */
export function update_hiwater_rss(mm: mm_struct): void {
  const rss = get_mm_rss(mm);
  if (mm.hiwater_rss < rss) mm.hiwater_rss = rss;
}

/** The counter that a file page belongs to (include/linux/mm.h mm_counter_file). */
export function mm_counter_file(k: Kernel, page: number): number {
  return k.mem_map.PageSwapBacked(page) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

export function mm_counter(k: Kernel, page: number): number {
  return k.mem_map.PageAnon(page) ? MM_ANONPAGES : mm_counter_file(k, page);
}
