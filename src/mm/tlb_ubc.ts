import { NO_PFN } from "../../arch/x86/cpu/address.ts";
import { hasOtherCpu } from "../../arch/x86/mm/cpumask.ts";
import type { KernelThread } from "../../arch/x86/mm/step.ts";
import { flush_tlb_mm, mm_cpumask } from "../../arch/x86/mm/tlb.ts";
import { arch_tlbbatch_add_mm, arch_tlbbatch_flush } from "../../arch/x86/mm/tlbbatch.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import type { Kernel, mm_struct } from "./mm_types.ts";
import { reportDeferred } from "./report.ts";
import { TTU_BATCH_FLUSH } from "./ttu-flags.ts";

/*
 * Deferred flushes of reclaim (mm/rmap.c, struct tlbflush_unmap_batch, one for each task):
 *
 *   entry cleared ──► mask |= CPUs of the mm ──► ... many pages ... ──► one flush ──► pages freed
 *                     writable, if it was dirty ─► flush before any of them is written out
 *
 * It rests on one promise of the hardware: a store through a cached *clean* translation goes back to the entry
 * to set D, finds it gone, and faults. A cached dirty one may go on storing until the flush.
 */

/** Whether try_to_unmap_one may leave the flush for later: reclaim asks for it and another CPU is concerned. */
export function should_defer_flush(k: Kernel, mm: mm_struct, flags: number): boolean {
  if ((flags & TTU_BATCH_FLUSH) === 0) return false;
  return hasOtherCpu(mm_cpumask(mm), k.current.cpu);
}

/** Notes the debt, under the page-table lock, right after the entry was cleared. */
export function set_tlb_ubc_flush_pending(k: Kernel, mm: mm_struct, writable: boolean): void {
  const batch = k.current.tlb_ubc;
  arch_tlbbatch_add_mm(batch, mm);
  batch.flush_required = true;
  mm.tlb_flush_batched = true;
  if (writable) batch.writable = true;
  reportDeferred(mm, mm_cpumask(mm), writable);
}

/** Pays all of the task's debts with one flush; due before any page that it unmapped is freed. */
export function* try_to_unmap_flush(k: Kernel): KernelThread<void> {
  const batch = k.current.tlb_ubc;
  if (!batch.flush_required) return;
  const task = enter(k.current, "try_to_unmap_flush", NO_PFN, null);
  let result: CallResult = ABANDONED;
  try {
    yield* arch_tlbbatch_flush(k, batch);
    batch.flush_required = false;
    batch.writable = false;
    result = true;
  } finally {
    leave(task, result);
  }
}

/** The same if a dirty entry is among them; due before any page that it unmapped is written out. */
export function* try_to_unmap_flush_dirty(k: Kernel): KernelThread<void> {
  if (k.current.tlb_ubc.writable) yield* try_to_unmap_flush(k);
}

/** For operations that skip a flush because they find entries that reclaim has cleared; under the lock. */
export function* flush_tlb_batched_pending(mm: mm_struct): KernelThread<void> {
  if (!mm.tlb_flush_batched) return;
  yield* flush_tlb_mm(mm);
  mm.tlb_flush_batched = false;
}
