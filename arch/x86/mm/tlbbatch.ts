import { NONE } from "../cpu/address.ts";
import { CPU_MASK_NONE, type CpuMask, unionOf } from "./cpumask.ts";
import type { KernelContext, MmContext } from "./kernel-context.ts";
import { type KernelThread, NEXT_STEP, stops } from "./step.ts";
import { flushBatchedCpus, mm_cpumask } from "./tlb.ts";

/** x86's part of a deferred unmap flush: only which CPUs, never which addresses (v4.13 asm/tlbbatch.h). */
export interface arch_tlbflush_unmap_batch {
  cpumask: CpuMask;
}

/** Adds the CPUs that may hold translations of an mm to the batch. */
export function arch_tlbbatch_add_mm(batch: arch_tlbflush_unmap_batch, mm: MmContext): void {
  batch.cpumask = unionOf(batch.cpumask, mm_cpumask(mm));
}

/** One full flush on every CPU of the batch; then the batch is empty. */
export function* arch_tlbbatch_flush(
  kernel: KernelContext,
  batch: arch_tlbflush_unmap_batch,
): KernelThread<void> {
  if (stops(kernel, "flush", NONE)) yield NEXT_STEP;
  yield* flushBatchedCpus(kernel, batch.cpumask);
  batch.cpumask = CPU_MASK_NONE;
}
