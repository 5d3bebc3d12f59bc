import { type Linear, NO_SLOT, PAGE_SIZE, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { flush_cache_page } from "../../arch/x86/mm/cacheflush.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_dirty, pte_mkclean, pte_write, pte_wrprotect } from "../../arch/x86/mm/pgtable.ts";
import { PMD_SIZE, type pte_t, VM_SHARED } from "../../arch/x86/mm/pgtable_types.ts";
import { pmdp_huge_clear_flush, ptep_clear_flush, set_pmd_at, set_pte_at } from "../../arch/x86/mm/ptep.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave, WalkCall } from "./calls.ts";
import type { Kernel, vm_area_struct } from "./mm_types.ts";
import {
  PageVmaMappedWalk,
  PVMW_SYNC,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "./page_vma_mapped.ts";
import { rmap_walk } from "./rmap.ts";
import { fileMapping } from "./util.ts";

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
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  arg: Cleaned,
): KernelThread<boolean> {
  const mm = vma.vm_mm;
  const task = enter(k.current, "page_mkclean_one", page, mm);
  let result: CallResult = ABANDONED;
  const v = new PageVmaMappedWalk(k, page, vma, address, PVMW_SYNC);
  try {
    const end = Math.min(vma.vm_end, address + (PAGE_SIZE << k.mem_map.compound_order[page]!));
    const told = yield* k.protocol.begin(mm, address, end as Linear, page);
    let cleaned = 0;
    try {
      while (yield* page_vma_mapped_walk(v)) {
        if (!needsCleaning(v)) continue;
        const slot = slotAtHand(v);
        if (stops(k, "entry", slot)) yield NEXT_STEP;
        const old = yield* clearEntry(v, slot);
        if (stops(k, "entry", slot)) yield NEXT_STEP;
        putBackClean(v, slot, old);
        cleaned++;
        yield* told.cleared(v.address, v.pte === NO_SLOT ? PMD_SIZE : PAGE_SIZE, "clean");
      }
    } catch (error) {
      page_vma_mapped_walk_done(v);
      yield* told.end();
      throw error;
    }
    yield* told.end();
    arg.entries += cleaned;
    result = cleaned;
    return true;
  } finally {
    leave(task, result);
  }
}

function slotAtHand({ pte, pmd }: PageVmaMappedWalk): Slot {
  return pte === NO_SLOT ? pmd : pte;
}

/** Whether the entry at hand has W or D; then the cache hook is reached, which covers 4K even of a huge page, as in 4.13. */
function needsCleaning(v: PageVmaMappedWalk): boolean {
  const { k, vma, address } = v;
  const entry = readEntry(vma.vm_mm, slotAtHand(v));
  if (!pte_dirty(entry) && !pte_write(entry)) return false;
  flush_cache_page(vma, address, v.pte === NO_SLOT ? v.page : k.format.pte_pfn(entry));
  return true;
}

function clearEntry({ vma, address, pte }: PageVmaMappedWalk, slot: Slot): KernelThread<pte_t> {
  return pte === NO_SLOT ? pmdp_huge_clear_flush(vma, address, slot) : ptep_clear_flush(vma, address, slot);
}

function putBackClean({ vma, address, pte }: PageVmaMappedWalk, slot: Slot, old: pte_t): void {
  const clean = pte_mkclean(pte_wrprotect(old));
  if (pte === NO_SLOT) set_pmd_at(vma.vm_mm, address, slot, clean);
  else set_pte_at(vma.vm_mm, address, slot, clean);
}

function invalid_mkclean_vma(vma: vm_area_struct): boolean {
  return (vma.vm_flags & VM_SHARED) === 0;
}

/**
 * Makes every shared mapping of a file page clean and read-only before it is written out (mm/rmap.c page_mkclean).
 * Returns how many entries were dirty or writable; the caller marks the page dirty if any was. The page is locked:
 * throws TypeError if not. Private mappings are left alone: theirs are read-only by construction.
 */
export function page_mkclean(k: Kernel, page: Pfn): KernelThread<number> {
  return new PageMkclean(k, "page_mkclean", page).thread;
}

class PageMkclean extends WalkCall<number> implements Cleaned {
  entries = 0;

  protected override withoutWalk(): number | undefined {
    const { k, page } = this;
    const { mem_map } = k;
    if (!mem_map.PageLocked(page)) throw new TypeError(`page_mkclean of frame ${page}, which is not locked`);
    const backed = fileMapping(k, page) !== null || mem_map.PageSwapCache(page);
    return mem_map.page_mapped(page) && backed ? undefined : 0;
  }

  protected override walk(): KernelThread<void> {
    return rmap_walk<Cleaned>(this.k, this.page, {
      arg: this,
      rmap_one: page_mkclean_one,
      done: null,
      anon_lock: null,
      invalid_vma: invalid_mkclean_vma,
    });
  }

  protected override result(): number {
    return this.entries;
  }
}
