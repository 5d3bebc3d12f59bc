import { checked } from "../../../arch/x86/cpu/argument.ts";
import * as cacheflush from "../../../arch/x86/mm/cacheflush.ts";
import * as cpumask from "../../../arch/x86/mm/cpumask.ts";
import * as stepFunctions from "../../../arch/x86/mm/step.ts";
import * as tlb from "../../../arch/x86/mm/tlb.ts";
import * as tlbbatch from "../../../arch/x86/mm/tlbbatch.ts";
import * as mmuNotifier from "../../mm/mmu_notifier.ts";
import * as ownProtocolFunctions from "../../mm/own-protocol.ts";
import * as tlbUbc from "../../mm/tlb_ubc.ts";
import { COUNT, ENTRY, FLAG, FRAME, NAME } from "./cpu-arguments.ts";
import {
  BATCH,
  CONTEXT,
  CPU_NUMBER,
  END,
  FLAGS,
  KERNEL,
  LINEAR,
  LISTENER,
  MASK,
  MM,
  MM_CONTEXT,
  PROTOCOL,
  SLOT,
  STEP_KIND,
  VMA_CONTEXT,
} from "./linux-arguments.ts";

/* The functions of flushes, CPUs and listeners, checked. */

export const flush_cache_dup_mm: typeof cacheflush.flush_cache_dup_mm = checked(
  cacheflush.flush_cache_dup_mm,
  MM_CONTEXT,
);
export const flush_cache_mm: typeof cacheflush.flush_cache_mm = checked(
  cacheflush.flush_cache_mm,
  MM_CONTEXT,
);
export const flush_cache_page: typeof cacheflush.flush_cache_page = checked(
  cacheflush.flush_cache_page,
  VMA_CONTEXT,
  LINEAR,
  FRAME,
);
export const flush_cache_range: typeof cacheflush.flush_cache_range = checked(
  cacheflush.flush_cache_range,
  VMA_CONTEXT,
  LINEAR,
  END,
);
export const flush_dcache_page: typeof cacheflush.flush_dcache_page = checked(
  cacheflush.flush_dcache_page,
  CONTEXT,
  FRAME,
);
export const flush_icache_page: typeof cacheflush.flush_icache_page = checked(
  cacheflush.flush_icache_page,
  VMA_CONTEXT,
  FRAME,
);
export const update_mmu_cache: typeof cacheflush.update_mmu_cache = checked(
  cacheflush.update_mmu_cache,
  VMA_CONTEXT,
  LINEAR,
  SLOT,
);
export const update_mmu_cache_pmd: typeof cacheflush.update_mmu_cache_pmd = checked(
  cacheflush.update_mmu_cache_pmd,
  VMA_CONTEXT,
  LINEAR,
  SLOT,
);
export const update_mmu_cache_pud: typeof cacheflush.update_mmu_cache_pud = checked(
  cacheflush.update_mmu_cache_pud,
  VMA_CONTEXT,
  LINEAR,
  SLOT,
);

export const cpumask_empty: typeof cpumask.cpumask_empty = checked(cpumask.cpumask_empty, MASK);
export const cpumask_test_cpu: typeof cpumask.cpumask_test_cpu = checked(
  cpumask.cpumask_test_cpu,
  CPU_NUMBER,
  MASK,
);
export const hasOtherCpu: typeof cpumask.hasOtherCpu = checked(cpumask.hasOtherCpu, MASK, CPU_NUMBER);
export const unionOf: typeof cpumask.unionOf = checked(cpumask.unionOf, MASK, MASK);
export const withCpu: typeof cpumask.withCpu = checked(cpumask.withCpu, MASK, CPU_NUMBER);
export const withoutCpu: typeof cpumask.withoutCpu = checked(cpumask.withoutCpu, MASK, CPU_NUMBER);

export const step: typeof stepFunctions.step = checked(stepFunctions.step, STEP_KIND, COUNT);

export const enter_lazy_tlb: typeof tlb.enter_lazy_tlb = checked(tlb.enter_lazy_tlb, CONTEXT, CPU_NUMBER);
export const flush_tlb_mm: typeof tlb.flush_tlb_mm = checked(tlb.flush_tlb_mm, MM_CONTEXT);
export const flush_tlb_mm_range: typeof tlb.flush_tlb_mm_range = checked(
  tlb.flush_tlb_mm_range,
  MM_CONTEXT,
  LINEAR,
  END,
  FLAGS,
);
export const flush_tlb_page: typeof tlb.flush_tlb_page = checked(tlb.flush_tlb_page, VMA_CONTEXT, LINEAR);
export const flush_tlb_range: typeof tlb.flush_tlb_range = checked(
  tlb.flush_tlb_range,
  VMA_CONTEXT,
  LINEAR,
  END,
);
export const flushBatchedCpus: typeof tlb.flushBatchedCpus = checked(tlb.flushBatchedCpus, CONTEXT, MASK);
export const leave_mm: typeof tlb.leave_mm = checked(tlb.leave_mm, CONTEXT, CPU_NUMBER);
export const mm_cpumask: typeof tlb.mm_cpumask = checked(tlb.mm_cpumask, MM_CONTEXT);
export const switch_mm: typeof tlb.switch_mm = checked(tlb.switch_mm, CONTEXT, CPU_NUMBER, MM_CONTEXT);

export const arch_tlbbatch_add_mm: typeof tlbbatch.arch_tlbbatch_add_mm = checked(
  tlbbatch.arch_tlbbatch_add_mm,
  BATCH,
  MM_CONTEXT,
);
export const arch_tlbbatch_flush: typeof tlbbatch.arch_tlbbatch_flush = checked(
  tlbbatch.arch_tlbbatch_flush,
  CONTEXT,
  BATCH,
);

export const flush_tlb_batched_pending: typeof tlbUbc.flush_tlb_batched_pending = checked(
  tlbUbc.flush_tlb_batched_pending,
  MM,
);
export const set_tlb_ubc_flush_pending: typeof tlbUbc.set_tlb_ubc_flush_pending = checked(
  tlbUbc.set_tlb_ubc_flush_pending,
  KERNEL,
  MM,
  FLAG,
);
export const should_defer_flush: typeof tlbUbc.should_defer_flush = checked(
  tlbUbc.should_defer_flush,
  KERNEL,
  MM,
  FLAGS,
);
export const try_to_unmap_flush: typeof tlbUbc.try_to_unmap_flush = checked(
  tlbUbc.try_to_unmap_flush,
  KERNEL,
);
export const try_to_unmap_flush_dirty: typeof tlbUbc.try_to_unmap_flush_dirty = checked(
  tlbUbc.try_to_unmap_flush_dirty,
  KERNEL,
);

export const mm_has_notifiers: typeof mmuNotifier.mm_has_notifiers = checked(
  mmuNotifier.mm_has_notifiers,
  MM,
);
export const mmu_notifier_change_pte: typeof mmuNotifier.mmu_notifier_change_pte = checked(
  mmuNotifier.mmu_notifier_change_pte,
  MM,
  LINEAR,
  ENTRY,
);
export const mmu_notifier_clear_flush_young: typeof mmuNotifier.mmu_notifier_clear_flush_young = checked(
  mmuNotifier.mmu_notifier_clear_flush_young,
  MM,
  LINEAR,
  END,
);
export const mmu_notifier_clear_young: typeof mmuNotifier.mmu_notifier_clear_young = checked(
  mmuNotifier.mmu_notifier_clear_young,
  MM,
  LINEAR,
  END,
);
export const mmu_notifier_invalidate_page: typeof mmuNotifier.mmu_notifier_invalidate_page = checked(
  mmuNotifier.mmu_notifier_invalidate_page,
  MM,
  LINEAR,
);
export const mmu_notifier_invalidate_range: typeof mmuNotifier.mmu_notifier_invalidate_range = checked(
  mmuNotifier.mmu_notifier_invalidate_range,
  MM,
  LINEAR,
  END,
);
export const mmu_notifier_invalidate_range_end: typeof mmuNotifier.mmu_notifier_invalidate_range_end =
  checked(mmuNotifier.mmu_notifier_invalidate_range_end, MM, LINEAR, END);
export const mmu_notifier_invalidate_range_start: typeof mmuNotifier.mmu_notifier_invalidate_range_start =
  checked(mmuNotifier.mmu_notifier_invalidate_range_start, MM, LINEAR, END);
export const mmu_notifier_register: typeof mmuNotifier.mmu_notifier_register = checked(
  mmuNotifier.mmu_notifier_register,
  LISTENER,
  MM,
);
export const mmu_notifier_release: typeof mmuNotifier.mmu_notifier_release = checked(
  mmuNotifier.mmu_notifier_release,
  MM,
);
export const mmu_notifier_test_young: typeof mmuNotifier.mmu_notifier_test_young = checked(
  mmuNotifier.mmu_notifier_test_young,
  MM,
  LINEAR,
);
export const mmu_notifier_unregister: typeof mmuNotifier.mmu_notifier_unregister = checked(
  mmuNotifier.mmu_notifier_unregister,
  LISTENER,
  MM,
);
export const registrationOf: typeof mmuNotifier.registrationOf = checked(
  mmuNotifier.registrationOf,
  LISTENER,
  MM,
);

export const ownProtocol: typeof ownProtocolFunctions.ownProtocol = checked(
  ownProtocolFunctions.ownProtocol,
  PROTOCOL,
  NAME,
);
