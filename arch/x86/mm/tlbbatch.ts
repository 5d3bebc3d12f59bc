import type { KernelThread } from "./events.ts";
import type { CpuMask, KernelContext, MmContext } from "./kernel-context.ts";
import { flushBatchedCpus, mm_cpumask } from "./tlb.ts";

/** x86's part of a deferred unmap flush: only which CPUs, never which addresses (v4.13 asm/tlbbatch.h). */
export interface arch_tlbflush_unmap_batch {
  cpumask: CpuMask;
}

/** Adds the CPUs that may hold translations of an mm to the batch. */
export function arch_tlbbatch_add_mm(batch: arch_tlbflush_unmap_batch, mm: MmContext): void {
  batch.cpumask |= mm_cpumask(mm);
}

/** One full flush on every CPU of the batch; then the batch is empty. */
export function* arch_tlbbatch_flush(
  kernel: KernelContext,
  batch: arch_tlbflush_unmap_batch,
): KernelThread<void> {
  if (kernel.contended) yield "flush";
  const mask = batch.cpumask;
  const { cpu, caller } = kernel.current;
  kernel.emit?.({ type: "tlb-batch-flush-begin", mask, caller, cpu });
  yield* flushBatchedCpus(kernel, mask);
  batch.cpumask = 0;
  kernel.emit?.({ type: "tlb-batch-flush-end", caller, cpu });
}
