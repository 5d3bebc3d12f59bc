import type { Cpu } from "../cpu/cpu.ts";
import { FINISHED, type KernelThread, WHOLE_MM } from "./events.ts";
import {
  type CpuMask,
  type KernelContext,
  type MmContext,
  smp_processor_id,
  TLBSTATE_LAZY,
  TLBSTATE_OK,
  type VmaContext,
} from "./kernel-context.ts";
import { PAGE_SIZE, VM_HUGETLB } from "./pgtable_types.ts";

/*
 * arch/x86/mm/tlb.c of v4.13: no PCIDs, one loaded mm a CPU.
 *
 *    flusher                                 a CPU that switches to the mm
 *    1 change the entry                      1 set its bit in mm_cpumask
 *    2 (full barrier)                        2 load CR3: everything not global goes
 *    3 read mm_cpumask, flush those CPUs     3 may cache entries from here on
 *
 * Whoever comes second sees the other: either the flusher finds the bit, or the CPU walks the new entry.
 */

/** Above this many 4K pages one full flush is cheaper than single invalidations (tlb_single_page_flush_ceiling). */
export const tlb_single_page_flush_ceiling = 33;

interface FlushInfo {
  /** Null in a batched flush, which concerns every mm (arch_tlbbatch_flush). */
  readonly mm: MmContext | null;
  readonly start: number;
  /** Bytes; WHOLE_MM for everything. */
  readonly length: number;
}

export function cpumask_test_cpu(cpu: number, mask: CpuMask): boolean {
  return ((mask >>> cpu) & 1) !== 0;
}

export function mm_cpumask(mm: MmContext): CpuMask {
  return mm.cpu_bitmap;
}

/** CPUs of the mask other than this one. */
function others(mask: CpuMask, cpu: number): CpuMask {
  return mask & ~(1 << cpu);
}

/**
 * Loads an mm's page tables on a CPU (switch_mm_irqs_off); the previous mm forgets the CPU. Throws TypeError, and
 * changes nothing, if the mask of `next` says about this CPU what is not so: somebody else has written it.
 */
export function switch_mm(kernel: KernelContext, cpuNumber: number, next: MmContext): void {
  const tlbstate = kernel.cpu_tlbstate[cpuNumber]!;
  const previous = tlbstate.loaded_mm;
  const loaded = previous === next;
  if (cpumask_test_cpu(cpuNumber, mm_cpumask(next)) !== loaded) {
    throw new TypeError(
      `switch_mm on CPU ${cpuNumber} to ${next.name}, which ${loaded ? "is loaded there but does not have" : "is not loaded there but has"} the CPU in its mask`,
    );
  }
  tlbstate.state = TLBSTATE_OK;
  if (loaded) return;
  tlbstate.loaded_mm = next;
  next.cpu_bitmap |= 1 << cpuNumber;
  kernel.machine.cpu(cpuNumber).loadCr3(next.pgd);
  previous.cpu_bitmap = others(previous.cpu_bitmap, cpuNumber);
  kernel.emit?.({ type: "mm-loaded", cpu: cpuNumber, mm: next, previous });
}

/** A kernel thread borrows the loaded mm: the bit stays set, the CPU stops using user addresses. */
export function enter_lazy_tlb(kernel: KernelContext, cpuNumber: number): void {
  const tlbstate = kernel.cpu_tlbstate[cpuNumber]!;
  if (tlbstate.state !== TLBSTATE_OK) return;
  tlbstate.state = TLBSTATE_LAZY;
  kernel.emit?.({ type: "lazy-tlb-entered", cpu: cpuNumber, mm: tlbstate.loaded_mm });
}

/** A lazy CPU gives up the borrowed mm rather than flush for it. Throws if the CPU still uses the mm. */
export function leave_mm(kernel: KernelContext, cpuNumber: number): void {
  const tlbstate = kernel.cpu_tlbstate[cpuNumber]!;
  if (tlbstate.loaded_mm === kernel.init_mm) return;
  if (tlbstate.state === TLBSTATE_OK) {
    throw new TypeError(`leave_mm on CPU ${cpuNumber}, which still uses ${tlbstate.loaded_mm.name}`);
  }
  switch_mm(kernel, cpuNumber, kernel.init_mm);
}

/** The part of a flush that runs on each CPU concerned (flush_tlb_func_common). */
function flush_tlb_func(kernel: KernelContext, cpu: Cpu, info: FlushInfo, local: boolean): void {
  const tlbstate = kernel.cpu_tlbstate[cpu.id]!;
  // A late interrupt after a switch: the CR3 load has flushed already.
  if (!local && info.mm !== null && info.mm !== tlbstate.loaded_mm) return;
  if (tlbstate.state !== TLBSTATE_OK) {
    leave_mm(kernel, cpu.id);
    return;
  }
  if (info.length === WHOLE_MM) {
    cpu.loadCr3(cpu.root);
    return;
  }
  for (let offset = 0; offset < info.length; offset += PAGE_SIZE) cpu.invlpg(info.start + offset);
}

/** Interrupts the CPUs of the mask and waits until each has flushed (flush_tlb_others, wait = 1). */
function* flush_tlb_others(kernel: KernelContext, mask: CpuMask, info: FlushInfo): KernelThread<void> {
  const { machine } = kernel;
  const from = smp_processor_id(kernel);
  const sent = [];
  for (const cpu of machine.cpus) {
    if (!cpumask_test_cpu(cpu.id, mask)) continue;
    sent.push({
      cpu,
      ipi: machine.sendIpi(from, cpu.id, (target) => flush_tlb_func(kernel, target, info, false)),
    });
  }
  for (const { cpu, ipi } of sent) {
    while (!ipi.done) {
      if (kernel.contended) yield "ipi-wait";
      else cpu.handleIpis();
    }
  }
}

/**
 * Flushes [start, start + length) of an mm on every CPU that may hold it, and returns when all have
 * (flush_tlb_mm_range). Beyond 33 pages, or for hugetlb, everything of the mm goes. `site` names the primitive
 * that asked, for the reader of the events.
 */
export function flush_tlb_mm_range(
  mm: MmContext,
  start: number,
  length: number,
  vm_flags: number,
  site: string,
): KernelThread<void> {
  const { kernel } = mm;
  if (!kernel.contended && others(mm_cpumask(mm), smp_processor_id(kernel)) === 0) {
    flushBegin(mm, flushInfo(mm, start, length, vm_flags), site);
    flushEnd(kernel, site);
    return FINISHED;
  }
  return flushEverywhere(mm, flushInfo(mm, start, length, vm_flags), site);
}

function flushInfo(mm: MmContext, start: number, length: number, vm_flags: number): FlushInfo {
  const partial =
    length !== WHOLE_MM &&
    (vm_flags & VM_HUGETLB) === 0 &&
    Math.floor(length / PAGE_SIZE) <= tlb_single_page_flush_ceiling;
  return partial ? { mm, start, length } : { mm, start: 0, length: WHOLE_MM };
}

/** The local half of a flush. */
function flushBegin(mm: MmContext, info: FlushInfo, site: string): void {
  const { kernel } = mm;
  const cpu = smp_processor_id(kernel);
  if (kernel.emit !== null) {
    const { caller } = kernel.current;
    kernel.emit({ type: "tlb-flush-begin", site, caller, mm, start: info.start, length: info.length, cpu });
  }
  if (kernel.cpu_tlbstate[cpu]!.loaded_mm === mm) flush_tlb_func(kernel, kernel.machine.cpu(cpu), info, true);
}

function flushEnd(kernel: KernelContext, site: string): void {
  const { caller, cpu } = kernel.current;
  kernel.emit?.({ type: "tlb-flush-end", site, caller, cpu });
}

function* flushEverywhere(mm: MmContext, info: FlushInfo, site: string): KernelThread<void> {
  const { kernel } = mm;
  if (kernel.contended) yield "flush";
  flushBegin(mm, info, site);
  // Read after the entry was changed: a CPU that loads the mm from here on walks the new entry.
  const remote = others(mm_cpumask(mm), smp_processor_id(kernel));
  if (remote !== 0) yield* flush_tlb_others(kernel, remote, info);
  flushEnd(kernel, site);
}

export function flush_tlb_mm(mm: MmContext): KernelThread<void> {
  return flush_tlb_mm_range(mm, 0, WHOLE_MM, 0, "flush_tlb_mm");
}

export function flush_tlb_range(vma: VmaContext, start: number, end: number): KernelThread<void> {
  return flush_tlb_mm_range(vma.vm_mm, start, end - start, vma.vm_flags, "flush_tlb_range");
}

/** One page: a single INVLPG a CPU, enough for a large page too, since INVLPG drops any size. */
export function flush_tlb_page(vma: VmaContext, address: number): KernelThread<void> {
  return flush_tlb_mm_range(vma.vm_mm, address, PAGE_SIZE, 0, "flush_tlb_page");
}

/** Flushes everything on the CPUs of a batch, whatever mm they run (used by arch_tlbbatch_flush). */
export function* flushBatchedCpus(kernel: KernelContext, mask: CpuMask): KernelThread<void> {
  const info: FlushInfo = { mm: null, start: 0, length: WHOLE_MM };
  const cpu = smp_processor_id(kernel);
  if (cpumask_test_cpu(cpu, mask)) flush_tlb_func(kernel, kernel.machine.cpu(cpu), info, true);
  const remote = others(mask, cpu);
  if (remote !== 0) yield* flush_tlb_others(kernel, remote, info);
}
