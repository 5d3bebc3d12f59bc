import { NO_PFN, type Pfn } from "../../arch/x86/cpu/address.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import { pageLockId, trylock_page, unlock_page } from "./locks.ts";
import { PG } from "./mem_map.ts";
import type { Kernel } from "./mm_types.ts";
import { free_page, page_ref_freeze, put_page } from "./page_alloc.ts";
import { page_referenced } from "./page_referenced.ts";
import { pageout } from "./page-writeback.ts";
import { __delete_from_swap_cache, add_to_swap } from "./swapfile.ts";
import { try_to_unmap_flush, try_to_unmap_flush_dirty } from "./tlb_ubc.ts";
import { try_to_unmap } from "./try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_SPLIT_HUGE_PMD } from "./ttu-flags.ts";
import { fileMapping, setFileMapping } from "./util.ts";
import { VM_LOCKED } from "./vma.ts";

/** Why shrink_page_list kept a page. */
export type KeptReason =
  | "unevictable"
  | "page lock taken"
  | "referenced again"
  | "mlocked"
  | "no swap slot"
  | "still mapped"
  | "extra reference"
  | "dirtied again";

/** What became of the pages that {@link shrink_page_list} was given. */
export interface Shrunk {
  /** Pages given to the allocator, heads for compound ones. */
  readonly freed: Pfn[];
  readonly kept: Map<Pfn, KeptReason>;
}

/**
 * Takes a page off the LRU list, with a reference of its own (mm/vmscan.c isolate_lru_page). Returns false for a page
 * that is on no list, or whose last reference has just gone: it is somebody else's to free.
 */
export function isolate_lru_page(k: Kernel, page: Pfn): boolean {
  const { mem_map } = k;
  if ((mem_map.flags[mem_map.check(page)]! & PG.lru) === 0 || mem_map.page_count(page) === 0) return false;
  mem_map.clearFlag(page, PG.lru);
  mem_map._refcount[page]!++;
  return true;
}

/** Puts an isolated page back; if its reference was the last one, the page is freed. */
export function putback_lru_page(k: Kernel, page: Pfn): void {
  k.mem_map.setFlag(page, PG.lru);
  put_page(k, page);
}

/**
 * Frees what it can of a list of isolated pages (mm/vmscan.c shrink_page_list, as kswapd runs it, write-out allowed).
 * The order of its steps is contract:
 *
 *   for each page: lock, age, add to swap, unmap (flush deferred)
 *                  dirty? flush the dirty ones' debt ──► write out
 *                  freeze the count, leave the cache, collect
 *   at the end:    flush all debts ──► free what was collected
 *
 * A THP is unmapped as a whole, its huge mappings split on the way (TTU_SPLIT_HUGE_PMD), somewhat as 4.14 does with
 * anonymous ones; 4.13 splits every THP itself first. Any use since the last pass keeps a page: which of the two LRU
 * lists it would go to is not modelled.
 */
export function* shrink_page_list(k: Kernel, pages: readonly Pfn[]): KernelThread<Shrunk> {
  const task = enter(k.current, "shrink_page_list", NO_PFN, null);
  let result: CallResult = ABANDONED;
  try {
    const freed: Pfn[] = [];
    const kept = new Map<Pfn, KeptReason>();
    for (const page of pages) {
      const reason = yield* shrinkPage(k, page);
      if (reason === null) freed.push(page);
      else kept.set(page, reason);
    }
    yield* try_to_unmap_flush(k);
    for (const page of freed) {
      if (stops(k, "free", page)) yield NEXT_STEP;
      free_page(k, page);
    }
    for (const page of kept.keys()) putback_lru_page(k, page);
    result = freed.length;
    return { freed, kept };
  } finally {
    leave(task, result);
  }
}

/** One page; null when it is ready to be freed, its count frozen at 0. */
function* shrinkPage(k: Kernel, page: Pfn): KernelThread<KeptReason | null> {
  if (stops(k, "lock", pageLockId(page))) yield NEXT_STEP;
  if (!trylock_page(k, page)) return "page lock taken";
  const reason = (yield* unmapAndWrite(k, page)) ?? removeMapping(k, page);
  unlock_page(k, page);
  return reason;
}

function* unmapAndWrite(k: Kernel, page: Pfn): KernelThread<KeptReason | null> {
  const { mem_map } = k;
  if ((mem_map.flags[page]! & PG.unevictable) !== 0) return "unevictable";
  const { referenced, vm_flags } = yield* page_referenced(k, page, true);
  // A page of a locked vma goes on to try_to_unmap, which marks it so that reclaim leaves it alone from then on.
  if (referenced > 0 && (vm_flags & VM_LOCKED) === 0) return "referenced again";
  if (mem_map.PageAnon(page) && mem_map.PageSwapBacked(page) && !mem_map.PageSwapCache(page)) {
    if (!add_to_swap(k, page)) return "no swap slot";
  }
  if (mem_map.page_mapped(page)) {
    const split = mem_map.isThpHead(page) ? TTU_SPLIT_HUGE_PMD : 0;
    if (!(yield* try_to_unmap(k, page, TTU_BATCH_FLUSH | split))) {
      return (vm_flags & VM_LOCKED) !== 0 ? "mlocked" : "still mapped";
    }
  }
  if (!mem_map.PageDirty(page)) return null;
  if (!isCached(k, page)) return "dirtied again";
  // Somebody holds it, or try_to_unmap judged a THP by its first subpage: not free to be written and forgotten.
  if (mem_map.page_count(page) !== expectedCount(k, page)) return "extra reference";
  yield* try_to_unmap_flush_dirty(k);
  yield* pageout(k, page);
  return null;
}

/** Whether the page has somewhere to be written to: a file, or a swap slot. */
function isCached(k: Kernel, page: Pfn): boolean {
  return fileMapping(k, page) !== null || k.mem_map.PageSwapCache(page);
}

/** References of a page that only isolation and its cache hold. */
function expectedCount(k: Kernel, page: Pfn): number {
  return 1 + (isCached(k, page) ? k.mem_map.hpage_nr_pages(page) : 0);
}

/** Takes an unmapped page out of its cache if nobody else holds it (mm/vmscan.c __remove_mapping). */
function removeMapping(k: Kernel, page: Pfn): KeptReason | null {
  const { mem_map } = k;
  const expected = expectedCount(k, page);
  if (!page_ref_freeze(k, page, expected)) return "extra reference";
  if (mem_map.PageDirty(page)) {
    mem_map._refcount[page] = expected;
    return "dirtied again";
  }
  const file = fileMapping(k, page);
  if (file !== null) {
    const nr = mem_map.hpage_nr_pages(page);
    for (let i = 0; i < nr; i++) file.page_tree.delete(mem_map.page_to_pgoff(page) + i);
    setFileMapping(k, page, null);
  } else if (mem_map.PageSwapCache(page)) __delete_from_swap_cache(k, page);
  return null;
}
