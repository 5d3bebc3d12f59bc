import { type Linear, NO_PFN, NO_SLOT, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { flush_cache_page } from "../../arch/x86/mm/cacheflush.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_dirty, pte_soft_dirty, pte_write } from "../../arch/x86/mm/pgtable.ts";
import type { pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import {
  ptep_clear_flush,
  ptep_get_and_clear,
  set_huge_swap_pte_at,
  set_pte_at,
} from "../../arch/x86/mm/ptep.ts";
import { finished, type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave, WalkCall } from "./calls.ts";
import { split_huge_pmd_address } from "./huge_memory.ts";
import { PG } from "./mem_map.ts";
import { mlock_vma_page } from "./mlock.ts";
import {
  dec_mm_counter,
  inc_mm_counter,
  MM_ANONPAGES,
  MM_SWAPENTS,
  mm_counter,
  mm_counter_file,
  update_hiwater_rss,
} from "./mm_struct.ts";
import type { ChangeBranch, Kernel, vm_area_struct } from "./mm_types.ts";
import { put_page } from "./page_alloc.ts";
import { PageVmaMappedWalk, page_vma_mapped_walk, page_vma_mapped_walk_done } from "./page_vma_mapped.ts";
import { page_remove_rmap } from "./page-mapcount.ts";
import { ptep_clear_flush_young_notify } from "./ptep_notify.ts";
import { reportPage } from "./report.ts";
import { page_lock_anon_vma_read, rmap_walk, type rmap_walk_control, rmap_walk_locked } from "./rmap.ts";
import { set_page_dirty, swap_duplicate } from "./swapfile.ts";
import { set_tlb_ubc_flush_pending, should_defer_flush } from "./tlb_ubc.ts";
import {
  TTU_IGNORE_ACCESS,
  TTU_IGNORE_HWPOISON,
  TTU_IGNORE_MLOCK,
  TTU_MIGRATION,
  TTU_MUNLOCK,
  TTU_RMAP_LOCKED,
  TTU_SPLIT_HUGE_PMD,
} from "./ttu-flags.ts";
import { VM_GROWSDOWN, VM_LOCKED, VM_RAND_READ, VM_SEQ_READ } from "./vma.ts";

type UnmapBranch = Exclude<ChangeBranch, "clean">;

/** What became of one entry: the branch taken, and whether the mapping is gone. */
interface Unmapped {
  readonly branch: UnmapBranch;
  readonly gone: boolean;
}

const GONE: Readonly<Record<Exclude<UnmapBranch, "swapbacked-mismatch">, Unmapped>> = {
  hwpoison: { branch: "hwpoison", gone: true },
  unused: { branch: "unused", gone: true },
  migration: { branch: "migration", gone: true },
  lazyfree: { branch: "lazyfree", gone: true },
  swap: { branch: "swap", gone: true },
  file: { branch: "file", gone: true },
};
const KEPT: Readonly<Record<"swapbacked-mismatch" | "lazyfree" | "swap", Unmapped>> = {
  "swapbacked-mismatch": { branch: "swapbacked-mismatch", gone: false },
  lazyfree: { branch: "lazyfree", gone: false },
  swap: { branch: "swap", gone: false },
};

/**
 * Takes away the entries by which one vma maps the page (mm/rmap.c try_to_unmap_one). False stops the walk over
 * the other vmas and means failure; what was changed before stays changed. Throws TypeError if a huge pmd maps the
 * page and the flags do not say to split it; whatever is thrown, no lock and no bracket stays open.
 */
export function* try_to_unmap_one(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  flags: number,
): KernelThread<boolean> {
  const mm = vma.vm_mm;
  if ((flags & TTU_MUNLOCK) !== 0 && (vma.vm_flags & VM_LOCKED) === 0) return true;
  const task = enter(k.current, "try_to_unmap_one", page, mm);
  let result: CallResult = ABANDONED;
  const v = new PageVmaMappedWalk(k, page, vma, address);
  try {
    if ((flags & TTU_SPLIT_HUGE_PMD) !== 0) {
      yield* split_huge_pmd_address(k, vma, address, (flags & TTU_MIGRATION) !== 0, page);
    }
    const end = Math.min(vma.vm_end, address + (PAGE_SIZE << k.mem_map.compound_order[page]!));
    const told = yield* k.protocol.begin(mm, address, end as Linear, page);
    let ret = true;
    try {
      while (yield* page_vma_mapped_walk(v)) {
        if ((flags & TTU_IGNORE_MLOCK) === 0) {
          if ((vma.vm_flags & VM_LOCKED) !== 0) {
            if (!k.mem_map.PageTransCompound(page)) mlock_vma_page(k, page);
            ret = stopWalk(v);
            break;
          }
          if ((flags & TTU_MUNLOCK) !== 0) continue;
        }
        refusePmd(v);
        if (stops(k, "entry", v.pte)) yield NEXT_STEP;
        const subpage = readyToUnmap(v, flags);
        if (subpage === NO_PFN) {
          ret = stopWalk(v);
          break;
        }
        if (stops(k, "entry", v.pte)) yield NEXT_STEP;
        const pteval = yield* clearEntry(v, flags);
        if (stops(k, "entry", v.pte)) yield NEXT_STEP;
        const { branch, gone } = replaceEntry(v, subpage, pteval, flags);
        if (gone || branch === "swapbacked-mismatch") {
          yield* told.replaced(v.address, PAGE_SIZE, branch);
        }
        if (!gone) {
          ret = stopWalk(v);
          break;
        }
        dropMapping(v, subpage, branch);
        yield* told.cleared(v.address, PAGE_SIZE, branch);
      }
    } catch (error) {
      page_vma_mapped_walk_done(v);
      yield* told.end();
      throw error;
    }
    yield* told.end();
    result = ret;
    return ret;
  } finally {
    leave(task, result);
  }
}

/** Ends a walk that failed. */
function stopWalk(v: PageVmaMappedWalk): false {
  page_vma_mapped_walk_done(v);
  return false;
}

function refusePmd({ page, pte }: PageVmaMappedWalk): void {
  if (pte !== NO_SLOT) return;
  throw new TypeError(`try_to_unmap_one: frame ${page} is mapped by a pmd: split it first`);
}

/** The frame that the entry at hand maps, with the cache hook reached; NO_PFN if the page was used and that counts. */
function readyToUnmap({ k, vma, address, pte }: PageVmaMappedWalk, flags: number): Pfn {
  if ((flags & TTU_IGNORE_ACCESS) === 0 && ptep_clear_flush_young_notify(vma, address, pte)) return NO_PFN;
  const subpage = k.format.pte_pfn(readEntry(vma.vm_mm, pte));
  flush_cache_page(vma, address, subpage);
  return subpage;
}

/** Takes the entry at hand out; it is flushed, or the flush is owed. */
function clearEntry({ k, vma, address, pte }: PageVmaMappedWalk, flags: number): KernelThread<pte_t> {
  const mm = vma.vm_mm;
  if (!should_defer_flush(k, mm, flags)) return ptep_clear_flush(vma, address, pte);
  // A store through a cached clean translation faults; a cached dirty one is why the batch has `writable`.
  const pteval = ptep_get_and_clear(mm, address, pte);
  set_tlb_ubc_flush_pending(k, mm, pte_dirty(pteval));
  return finished(pteval);
}

/** The mapping and the reference of an entry that is gone. */
function dropMapping({ k, page, vma }: PageVmaMappedWalk, subpage: Pfn, branch: UnmapBranch): void {
  if (branch === "lazyfree") dec_mm_counter(vma.vm_mm, MM_ANONPAGES);
  page_remove_rmap(k, subpage, k.mem_map.PageHuge(page));
  put_page(k, page);
}

/**
 * Moves the cleared entry's dirty bit to the page and puts in the entry's place what the page needs: the branches of
 * try_to_unmap_one in the order of their tests.
 */
function replaceEntry(v: PageVmaMappedWalk, subpage: Pfn, pteval: pte_t, flags: number): Unmapped {
  const { k, page, vma, address, pte } = v;
  const { format, mem_map } = k;
  const mm = vma.vm_mm;
  if (pte_dirty(pteval)) set_page_dirty(k, page);
  update_hiwater_rss(mm);
  if (mem_map.PageHWPoison(page) && (flags & TTU_IGNORE_HWPOISON) === 0) {
    const poisoned = format.swp_entry_to_pte(format.make_hwpoison_entry(subpage));
    if (mem_map.PageHuge(page)) {
      mm.hugetlb_usage -= mem_map.hpage_nr_pages(page);
      set_huge_swap_pte_at(mm, address, pte, poisoned);
    } else {
      dec_mm_counter(mm, mm_counter(k, page));
      set_pte_at(mm, address, pte, poisoned);
    }
    return GONE.hwpoison;
  }
  if (k.pte_unused(pteval)) {
    dec_mm_counter(mm, mm_counter(k, page));
    return GONE.unused;
  }
  if ((flags & TTU_MIGRATION) !== 0) {
    const entry = format.make_migration_entry(subpage, pte_write(pteval));
    set_pte_at(mm, address, pte, withSoftDirty(k, format.swp_entry_to_pte(entry), pteval));
    return GONE.migration;
  }
  if (mem_map.PageAnon(page)) return replaceAnonEntry(v, subpage, pteval);
  dec_mm_counter(mm, mm_counter_file(k, page));
  return GONE.file;
}

function replaceAnonEntry(v: PageVmaMappedWalk, subpage: Pfn, pteval: pte_t): Unmapped {
  const { k, page, vma, address, pte } = v;
  const { mem_map } = k;
  const mm = vma.vm_mm;
  // The slot stays empty: the mapping is lost, its counts are kept. A kernel bug, reported as one.
  if (mem_map.PageSwapBacked(page) !== mem_map.PageSwapCache(page)) {
    k.warnOnce("try_to_unmap_one: swap-backed page outside the swap cache", page);
    return KEPT["swapbacked-mismatch"];
  }
  if (!mem_map.PageSwapBacked(page)) {
    if (!mem_map.PageDirty(page)) return GONE.lazyfree;
    set_pte_at(mm, address, pte, pteval);
    mem_map.setFlag(page, PG.swapbacked);
    reportPage(k, "swapbacked-set", page);
    return KEPT.lazyfree;
  }
  const entry = mem_map.page_private(subpage);
  if (swap_duplicate(k, entry) < 0) {
    set_pte_at(mm, address, pte, pteval);
    return KEPT.swap;
  }
  mm.onMmlist = true;
  dec_mm_counter(mm, MM_ANONPAGES);
  inc_mm_counter(mm, MM_SWAPENTS);
  set_pte_at(mm, address, pte, withSoftDirty(k, k.format.swp_entry_to_pte(entry), pteval));
  return GONE.swap;
}

function withSoftDirty(k: Kernel, swp_pte: pte_t, pteval: pte_t): pte_t {
  return pte_soft_dirty(pteval) ? k.format.pte_swp_mksoft_dirty(swp_pte) : swp_pte;
}

/** A stack that exec has not finished building: its pages must not migrate (mm/rmap.c). */
export function is_vma_temporary_stack(vma: vm_area_struct): boolean {
  const setup = VM_RAND_READ | VM_SEQ_READ;
  return (vma.vm_flags & VM_GROWSDOWN) !== 0 && (vma.vm_flags & setup) === setup;
}

/**
 * Removes every mapping of a locked page (mm/rmap.c try_to_unmap). The caller holds a reference that outlives the
 * call. Returns whether no mapping is left; for a THP mapped by ptes this looks, as 4.13 does, at the first
 * subpage only. Throws TypeError if the page is not locked.
 */
export function try_to_unmap(k: Kernel, page: Pfn, flags: number): KernelThread<boolean> {
  return new TryToUnmap(k, page, flags).thread;
}

class TryToUnmap extends WalkCall<boolean> {
  readonly #flags: number;

  constructor(k: Kernel, page: Pfn, flags: number) {
    super(k, "try_to_unmap", page);
    this.#flags = flags;
  }

  protected override withoutWalk(): undefined {
    const { k, page } = this;
    if (!k.mem_map.PageLocked(page)) {
      throw new TypeError(`try_to_unmap of frame ${page}, which is not locked`);
    }
  }

  protected override walk(): KernelThread<void> {
    const { k, page } = this;
    const { mem_map } = k;
    const flags = this.#flags;
    const migratesAnon = (flags & TTU_MIGRATION) !== 0 && !mem_map.PageKsm(page) && mem_map.PageAnon(page);
    const rwc: rmap_walk_control<number> = {
      arg: flags,
      rmap_one: try_to_unmap_one,
      done: page_mapcount_is_zero,
      anon_lock: page_lock_anon_vma_read,
      invalid_vma: migratesAnon ? is_vma_temporary_stack : null,
    };
    return (flags & TTU_RMAP_LOCKED) !== 0 ? rmap_walk_locked(k, page, rwc) : rmap_walk(k, page, rwc);
  }

  protected override result(): boolean {
    return this.k.mem_map.page_mapcount(this.page) === 0;
  }
}

/**
 * Looks for a locked vma that maps the page and marks the page mlocked if there is one; changes no entry. Throws
 * TypeError if the page is not locked, still on an LRU list, or mapped both by pmds and by ptes.
 */
export function* try_to_munlock(k: Kernel, page: Pfn): KernelThread<void> {
  const { mem_map } = k;
  const refuse = (why: string) => new TypeError(`try_to_munlock of frame ${page}, which is ${why}`);
  if (!mem_map.PageLocked(page)) throw refuse("not locked");
  if (mem_map.PageLRU(page)) throw refuse("on an LRU list");
  if (mem_map.PageCompound(page) && mem_map.PageDoubleMap(page)) throw refuse("mapped by pmds and by ptes");
  const task = enter(k.current, "try_to_munlock", page, null);
  let result: CallResult = ABANDONED;
  try {
    yield* rmap_walk(k, page, {
      arg: TTU_MUNLOCK,
      rmap_one: try_to_unmap_one,
      done: page_not_mapped,
      anon_lock: page_lock_anon_vma_read,
      invalid_vma: null,
    });
    result = true;
  } finally {
    leave(task, result);
  }
}

function page_mapcount_is_zero(k: Kernel, page: Pfn): boolean {
  return k.mem_map.total_mapcount(page) === 0;
}

function page_not_mapped(k: Kernel, page: Pfn): boolean {
  return !k.mem_map.page_mapped(page);
}
