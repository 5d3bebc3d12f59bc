import { type Linear, NO_SLOT, type Pfn } from "../../arch/x86/cpu/address.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import { trylock_page, unlock_page } from "./locks.ts";
import { PG } from "./mem_map.ts";
import type { Kernel, vm_area_struct } from "./mm_types.ts";
import { PageVmaMappedWalk, page_vma_mapped_walk, page_vma_mapped_walk_done } from "./page_vma_mapped.ts";
import { pmdp_clear_flush_young_notify, ptep_clear_flush_young_notify } from "./ptep_notify.ts";
import { page_lock_anon_vma_read, refuseKsm, rmap_walk } from "./rmap.ts";
import { VM_LOCKED, VM_SEQ_READ } from "./vma.ts";

/** What one page_referenced call finds (struct page_referenced_arg). */
export interface Referenced {
  /** Vmas through which the page was used since the last call: vmas, not entries. */
  referenced: number;
  /** Flags of those vmas, or VM_LOCKED. */
  vm_flags: number;
}

/**
 * Ages every mapping of a page and says through how many vmas it was used (mm/rmap.c page_referenced). Listeners'
 * translations count. A file page must be locked by the caller (`is_locked`) or is locked here; if that fails the
 * answer is 1. Throws TypeError for a KSM page.
 */
export function* page_referenced(k: Kernel, page: Pfn, is_locked: boolean): KernelThread<Referenced> {
  const { mem_map } = k;
  const result: Referenced = { referenced: 0, vm_flags: 0 };
  if (!mem_map.page_mapped(page) || !mem_map.hasRmapping(page)) return result;
  refuseKsm(k, page);
  let locked = false;
  if (!is_locked && !mem_map.PageAnon(page)) {
    locked = trylock_page(k, page);
    if (!locked) return { referenced: 1, vm_flags: 0 };
  }
  const task = enter(k.current, "page_referenced", page, null);
  let left: CallResult = ABANDONED;
  try {
    yield* rmap_walk(k, page, {
      arg: { result, mapcount: mem_map.total_mapcount(page) },
      rmap_one: page_referenced_one,
      done: null,
      anon_lock: page_lock_anon_vma_read,
      invalid_vma: null,
    });
    left = result.referenced;
    return result;
  } finally {
    if (locked) unlock_page(k, page);
    leave(task, left);
  }
}

/** struct page_referenced_arg: the answer, and how many entries are still to be found. */
interface ReferencedArg {
  readonly result: Referenced;
  mapcount: number;
}

function* page_referenced_one(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  arg: ReferencedArg,
): KernelThread<boolean> {
  const task = enter(k.current, "page_referenced_one", page, vma.vm_mm);
  let left: CallResult = ABANDONED;
  const v = new PageVmaMappedWalk(k, page, vma, address);
  try {
    let young = 0;
    while (yield* page_vma_mapped_walk(v)) {
      if ((vma.vm_flags & VM_LOCKED) !== 0) {
        page_vma_mapped_walk_done(v);
        arg.result.vm_flags |= VM_LOCKED;
        left = false;
        return false;
      }
      if (yield* ageEntry(v)) young++;
      arg.mapcount--;
    }
    noteYoung(k, page, vma, arg.result, young);
    left = arg.mapcount > 0;
    return left;
  } catch (error) {
    page_vma_mapped_walk_done(v);
    throw error;
  } finally {
    leave(task, left);
  }
}

/** Clears A of the entry at hand, and of its copies; returns whether that says that the page was used. */
function* ageEntry(v: PageVmaMappedWalk): KernelThread<boolean> {
  const { k, vma, address, pte, pmd } = v;
  if (stops(k, "entry", pte === NO_SLOT ? pmd : pte)) yield NEXT_STEP;
  if (pte === NO_SLOT) return yield* pmdp_clear_flush_young_notify(vma, address, pmd);
  // A sequential reader touches each page once: that says nothing about the future.
  return ptep_clear_flush_young_notify(vma, address, pte) && (vma.vm_flags & VM_SEQ_READ) === 0;
}

function noteYoung(k: Kernel, page: Pfn, vma: vm_area_struct, result: Referenced, young: number): void {
  const { mem_map } = k;
  if (young > 0) mem_map.clearFlag(page, PG.idle);
  const idleTracked = (mem_map.flags[mem_map.compound_head(page)]! & PG.young) !== 0;
  if (idleTracked) mem_map.clearFlag(page, PG.young);
  if (young === 0 && !idleTracked) return;
  result.referenced++;
  result.vm_flags |= vma.vm_flags;
}
