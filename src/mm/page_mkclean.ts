import { flush_cache_page } from "../../arch/x86/mm/cacheflush.ts";
import type { KernelThread } from "../../arch/x86/mm/events.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_dirty, pte_mkclean, pte_write, pte_wrprotect } from "../../arch/x86/mm/pgtable.ts";
import { PAGE_SIZE, PMD_SIZE, VM_SHARED } from "../../arch/x86/mm/pgtable_types.ts";
import { pmdp_huge_clear_flush, ptep_clear_flush, set_pte_at } from "../../arch/x86/mm/ptep.ts";
import type { Kernel } from "./kernel.ts";
import {
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "./mmu_notifier.ts";
import {
  PageVmaMappedWalk,
  PVMW_BLOCKED,
  PVMW_NOT_FOUND,
  PVMW_OFFERED,
  PVMW_SYNC,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "./page_vma_mapped.ts";
import { NO_SLOT } from "./page-table.ts";
import { rmap_walk } from "./rmap.ts";
import type { vm_area_struct } from "./vma.ts";

const NO_CALLS: readonly number[] = [];

/** How many entries one page_mkclean cleaned. */
export interface Cleaned {
  entries: number;
}

/**
 * Cleans the entries by which one vma maps the page (mm/rmap.c page_mkclean_one): cleared and flushed, then stored
 * again without W and D, so that the next store faults; A and soft-dirty stay. Counts them in `arg`; always true.
 */
export function* page_mkclean_one(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  arg: Cleaned,
): KernelThread<boolean> {
  const mm = vma.vm_mm;
  const { protocol } = k;
  k.current.caller = "page_mkclean_one";
  k.emit?.({ type: "call-entered", call: "page_mkclean_one", page, mm, task: k.current.name });
  const order = k.mem_map.compound_order[page]!;
  const start = address;
  const end = Math.min(vma.vm_end, start + (PAGE_SIZE << order));
  if (protocol.brackets) {
    if (k.contended) yield "notify";
    yield* mmu_notifier_invalidate_range_start(mm, start, end);
  }
  let cleaned = 0;
  let unlockedCalls = NO_CALLS;
  const v = new PageVmaMappedWalk(k, page, vma, address, PVMW_SYNC);
  try {
    for (;;) {
      const found = page_vma_mapped_walk(v);
      if (found >= PVMW_BLOCKED) {
        yield found === PVMW_OFFERED ? "lock" : "blocked";
        continue;
      }
      if (found === PVMW_NOT_FOUND) break;
      const at = v.address;
      const huge = v.pte === NO_SLOT;
      const slot = huge ? v.pmd : v.pte;
      const entry = readEntry(mm, slot);
      if (!pte_dirty(entry) && !pte_write(entry)) continue;
      // As in 4.13, the cache hook covers one 4K page even of a huge mapping.
      flush_cache_page(vma, at, huge ? page : k.format.pte_pfn(entry));
      if (k.contended) yield "entry";
      const old = yield* huge ? pmdp_huge_clear_flush(vma, at, slot) : ptep_clear_flush(vma, at, slot);
      if (k.contended) yield "entry";
      set_pte_at(mm, at, slot, pte_mkclean(pte_wrprotect(old)));
      cleaned++;
      if (protocol.onClean === "none") continue;
      if (k.contended) yield "notify";
      if (protocol.onClean === "page-locked") yield* mmu_notifier_invalidate_page(mm, at);
      else if (protocol.onClean === "page-after-walk") unlockedCalls = [...unlockedCalls, at];
      else if (protocol.onClean === "range-locked") {
        const size = huge ? PMD_SIZE : PAGE_SIZE;
        const from = at - (at % size);
        mmu_notifier_invalidate_range(mm, from, from + size);
      }
    }
  } catch (error) {
    page_vma_mapped_walk_done(v);
    if (protocol.brackets) yield* mmu_notifier_invalidate_range_end(mm, start, end);
    throw error;
  }
  for (const at of unlockedCalls) {
    if (k.contended) yield "notify";
    yield* mmu_notifier_invalidate_page(mm, at);
  }
  if (cleaned > 0 && protocol.onClean === "range-after-walk") {
    if (k.contended) yield "notify";
    mmu_notifier_invalidate_range(mm, address, address + (1 << order));
  }
  if (protocol.brackets) {
    if (k.contended) yield "notify";
    yield* mmu_notifier_invalidate_range_end(mm, start, end);
  }
  k.emit?.({
    type: "call-left",
    call: "page_mkclean_one",
    page,
    mm,
    result: cleaned,
    task: k.current.name,
  });
  arg.entries += cleaned;
  return true;
}

function invalid_mkclean_vma(vma: vm_area_struct): boolean {
  return (vma.vm_flags & VM_SHARED) === 0;
}

/**
 * Makes every shared mapping of a file page clean and read-only before it is written out (mm/rmap.c page_mkclean).
 * Returns how many entries were dirty or writable; the caller marks the page dirty if any was. The page is locked:
 * throws TypeError if not. Private mappings are left alone: theirs are read-only by construction.
 */
export function* page_mkclean(k: Kernel, page: number): KernelThread<number> {
  const { mem_map } = k;
  if (!mem_map.PageLocked(page)) throw new TypeError(`page_mkclean of frame ${page}, which is not locked`);
  if (!mem_map.page_mapped(page) || (mem_map.fileMapping(page) === null && !mem_map.PageSwapCache(page))) {
    return 0;
  }
  k.emit?.({ type: "call-entered", call: "page_mkclean", page, mm: null, task: k.current.name });
  const cleaned: Cleaned = { entries: 0 };
  yield* rmap_walk(k, page, {
    arg: cleaned,
    rmap_one: page_mkclean_one,
    done: null,
    anon_lock: null,
    invalid_vma: invalid_mkclean_vma,
  });
  k.emit?.({
    type: "call-left",
    call: "page_mkclean",
    page,
    mm: null,
    result: cleaned.entries,
    task: k.current.name,
  });
  return cleaned.entries;
}
