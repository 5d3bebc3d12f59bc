import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { Kernel } from "./kernel.ts";
import { trylock_page, unlock_page } from "./locks.ts";
import { PG } from "./mem_map.ts";
import {
  PageVmaMappedWalk,
  PVMW_BLOCKED,
  PVMW_NOT_FOUND,
  PVMW_OFFERED,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "./page_vma_mapped.ts";
import { NO_SLOT } from "./page-table.ts";
import { pmdp_clear_flush_young_notify, ptep_clear_flush_young_notify } from "./ptep_notify.ts";
import { page_lock_anon_vma_read, refuseKsm, rmap_walk } from "./rmap.ts";
import { VM_LOCKED, VM_SEQ_READ, type vm_area_struct } from "./vma.ts";

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
export function* page_referenced(k: Kernel, page: number, is_locked: boolean): KernelThread<Referenced> {
  const { mem_map } = k;
  const result: Referenced = { referenced: 0, vm_flags: 0 };
  if (!mem_map.page_mapped(page) || !mem_map.hasRmapping(page)) return result;
  refuseKsm(k, page);
  let locked = false;
  if (!is_locked && !mem_map.PageAnon(page)) {
    locked = trylock_page(k, page);
    if (!locked) return { referenced: 1, vm_flags: 0 };
  }
  k.current.caller = "page_referenced";
  k.emit?.({ type: "call-entered", call: "page_referenced", page, mm: null, task: k.current.name });
  try {
    yield* rmap_walk(k, page, {
      arg: { result, mapcount: mem_map.total_mapcount(page) },
      rmap_one: page_referenced_one,
      done: null,
      anon_lock: page_lock_anon_vma_read,
      invalid_vma: null,
    });
  } finally {
    if (locked) unlock_page(k, page);
  }
  const { referenced } = result;
  k.emit?.({
    type: "call-left",
    call: "page_referenced",
    page,
    mm: null,
    result: referenced,
    task: k.current.name,
  });
  return result;
}

/** struct page_referenced_arg: the answer, and how many entries are still to be found. */
interface ReferencedArg {
  readonly result: Referenced;
  mapcount: number;
}

function* page_referenced_one(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  arg: ReferencedArg,
): KernelThread<boolean> {
  const { mem_map } = k;
  let young = 0;
  const v = new PageVmaMappedWalk(k, page, vma, address);
  try {
    for (;;) {
      const found = page_vma_mapped_walk(v);
      if (found >= PVMW_BLOCKED) {
        yield found === PVMW_OFFERED ? "lock" : "blocked";
        continue;
      }
      if (found === PVMW_NOT_FOUND) break;
      if ((vma.vm_flags & VM_LOCKED) !== 0) {
        page_vma_mapped_walk_done(v);
        arg.result.vm_flags |= VM_LOCKED;
        return false;
      }
      if (k.contended) yield "entry";
      if (v.pte !== NO_SLOT) {
        // A sequential reader touches each page once: that says nothing about the future.
        if (ptep_clear_flush_young_notify(vma, v.address, v.pte) && (vma.vm_flags & VM_SEQ_READ) === 0)
          young++;
      } else if (yield* pmdp_clear_flush_young_notify(vma, v.address, v.pmd)) young++;
      arg.mapcount--;
    }
  } catch (error) {
    page_vma_mapped_walk_done(v);
    throw error;
  }
  if (young > 0) mem_map.clearFlag(page, PG.idle);
  if ((mem_map.flags[mem_map.compound_head(page)]! & PG.young) !== 0) {
    mem_map.clearFlag(page, PG.young);
    young++;
  }
  if (young > 0) {
    arg.result.referenced++;
    arg.result.vm_flags |= vma.vm_flags;
  }
  return arg.mapcount > 0;
}
