import { type Linear, NONE, PAGE_SIZE } from "../cpu/address.ts";
import { misuse } from "../cpu/argument.ts";
import { whole } from "../cpu/argument-kinds.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { linearHi, linearLo } from "../cpu/linear-address.ts";
import { type CpuMask, cpumask_test_cpu, hasOtherCpu, withCpu, withoutCpu } from "./cpumask.ts";
import {
  hintPrimitive,
  type KernelContext,
  type MmContext,
  smp_processor_id,
  TLBSTATE_LAZY,
  TLBSTATE_OK,
  type TlbState,
  type VmaContext,
} from "./kernel-context.ts";
import { VM_HUGETLB } from "./pgtable_types.ts";
import { FINISHED, type KernelThread, NEXT_STEP, stops } from "./step.ts";

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

/** The end of a range that is all of an mm (asm/tlbflush.h). */
export const TLB_FLUSH_ALL = Number.POSITIVE_INFINITY as Linear;

/** struct flush_tlb_info. */
interface FlushInfo {
  /** Null in a batched flush, which concerns every mm (arch_tlbbatch_flush). */
  readonly mm: MmContext | null;
  readonly start: number;
  readonly end: number;
  readonly id: number;
}

/** The CPUs that may hold user translations of an mm. */
export function mm_cpumask(mm: MmContext): CpuMask {
  return mm.cpu_bitmap;
}

/** The state of a CPU. Throws RangeError, naming it, for one that the machine has not. */
function tlbstateOf(kernel: KernelContext, cpuNumber: number): TlbState {
  const tlbstate = kernel.cpu_tlbstate[cpuNumber];
  if (tlbstate === undefined) throw misuse(whole("CPU", 0, kernel.cpu_tlbstate.length - 1), cpuNumber);
  return tlbstate;
}

/**
 * Loads an mm's page tables on a CPU (switch_mm_irqs_off); the previous mm forgets the CPU. Changes nothing, and throws
 * RangeError for a CPU that is not there, TypeError for another kernel's mm, and if the mask of `next` says about this
 * CPU what is not so: somebody else has written it.
 */
export function switch_mm(kernel: KernelContext, cpuNumber: number, next: MmContext): void {
  const tlbstate = tlbstateOf(kernel, cpuNumber);
  if (next.kernel !== kernel) throw new TypeError(`switch_mm to ${next.name}: it is another kernel's mm`);
  const previous = tlbstate.loaded_mm;
  const loaded = previous === next;
  if (cpumask_test_cpu(cpuNumber, mm_cpumask(next)) !== loaded) {
    throw new TypeError(
      `switch_mm on CPU ${cpuNumber} to ${next.name}, which ${loaded ? "is loaded there but does not have" : "is not loaded there but has"} the CPU in its mask`,
    );
  }
  const lazy = tlbstate.state === TLBSTATE_LAZY;
  tlbstate.state = TLBSTATE_OK;
  if (!loaded) {
    tlbstate.loaded_mm = next;
    setCpumask(next, withCpu(next.cpu_bitmap, cpuNumber), cpuNumber);
    kernel.machine.cpu(cpuNumber).loadCr3(next.pgd);
    setCpumask(previous, withoutCpu(previous.cpu_bitmap, cpuNumber), cpuNumber);
  }
  if (lazy) reportLazy(kernel, "lazy-left", cpuNumber, next);
}

/** Sets which CPUs may hold an mm's translations, on a CPU. */
function setCpumask(mm: MmContext, mask: CpuMask, cpu: number): void {
  mm.cpu_bitmap = mask;
  const { records } = mm.kernel;
  if (!records.live) return;
  records.emit({
    kind: "cpumask-changed",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: mm.id,
    cpus: mask,
  });
}

function reportLazy(
  kernel: KernelContext,
  kind: "lazy-entered" | "lazy-left",
  cpu: number,
  mm: MmContext,
): void {
  const { records } = kernel;
  if (records.live) records.emit({ kind, seq: records.next(), agent: records.agent, cpu, space: mm.id });
}

/** A kernel thread borrows the loaded mm: the bit stays set, the CPU stops using user addresses. */
export function enter_lazy_tlb(kernel: KernelContext, cpuNumber: number): void {
  const tlbstate = tlbstateOf(kernel, cpuNumber);
  if (tlbstate.state !== TLBSTATE_OK) return;
  tlbstate.state = TLBSTATE_LAZY;
  reportLazy(kernel, "lazy-entered", cpuNumber, tlbstate.loaded_mm);
}

/** A lazy CPU gives up the borrowed mm rather than flush for it. Throws if the CPU still uses the mm. */
export function leave_mm(kernel: KernelContext, cpuNumber: number): void {
  const tlbstate = tlbstateOf(kernel, cpuNumber);
  if (tlbstate.loaded_mm === kernel.init_mm) return;
  if (tlbstate.state === TLBSTATE_OK) {
    throw new TypeError(`leave_mm on CPU ${cpuNumber}, which still uses ${tlbstate.loaded_mm.name}`);
  }
  switch_mm(kernel, cpuNumber, kernel.init_mm);
}

/** The part of a flush that runs on each CPU concerned (flush_tlb_func_common). */
function flush_tlb_func(
  kernel: KernelContext,
  cpu: Cpu,
  mm: MmContext | null,
  start: number,
  end: number,
  local: boolean,
): void {
  const tlbstate = kernel.cpu_tlbstate[cpu.id]!;
  // A late interrupt after a switch: the CR3 load has flushed already.
  if (!local && mm !== null && mm !== tlbstate.loaded_mm) return;
  if (tlbstate.state !== TLBSTATE_OK) {
    leave_mm(kernel, cpu.id);
    return;
  }
  if (end === TLB_FLUSH_ALL) {
    cpu.loadCr3(cpu.root);
    return;
  }
  for (let address = start; address < end; address += PAGE_SIZE) cpu.dropPage(address);
}

/** Interrupts the other CPUs of the mask and waits until each has flushed (flush_tlb_others, wait = 1). */
function* flush_tlb_others(kernel: KernelContext, mask: CpuMask, info: FlushInfo): KernelThread<void> {
  const { machine } = kernel;
  const from = smp_processor_id(kernel);
  const { mm, start, end, id } = info;
  const handler = (target: Cpu) => flush_tlb_func(kernel, target, mm, start, end, false);
  const sent = [];
  for (const cpu of machine.cpus) {
    if (cpu.id === from || !cpumask_test_cpu(cpu.id, mask)) continue;
    sent.push({ cpu, ipi: machine.sendIpi(from, cpu.id, handler, id) });
  }
  for (const { cpu, ipi } of sent) {
    while (!ipi.done) {
      if (!kernel.contended) cpu.handleIpis();
      else if (stops(kernel, "ipi-wait", id)) yield NEXT_STEP;
    }
  }
}

/**
 * Flushes [start, end) of an mm on every CPU that may hold it, and returns when all have (flush_tlb_mm_range). Beyond 33
 * pages, or for hugetlb, everything of the mm goes, as for an end of TLB_FLUSH_ALL.
 */
export function flush_tlb_mm_range(
  mm: MmContext,
  start: Linear,
  end: Linear,
  vmflag: number,
): KernelThread<void> {
  return flushRange(mm, start, end, vmflag, "flush_tlb_mm_range");
}

/** `primitive` is the one that asked. */
function flushRange(
  mm: MmContext,
  start: number,
  end: number,
  vmflag: number,
  primitive: string,
): KernelThread<void> {
  const { kernel } = mm;
  const pages = Math.floor((end - start) / PAGE_SIZE);
  const partial = (vmflag & VM_HUGETLB) === 0 && pages <= tlb_single_page_flush_ceiling;
  const id = kernel.newFlush();
  const from = partial ? start : 0;
  const to = partial ? end : TLB_FLUSH_ALL;
  const stopped = stops(kernel, "flush", mm.id);
  if (stopped || hasOtherCpu(mm_cpumask(mm), smp_processor_id(kernel))) {
    return flushEverywhere({ mm, start: from, end: to, id }, primitive, stopped);
  }
  flushLocally(mm, from, to, id, primitive);
  reportFlushEnded(kernel, id);
  return FINISHED;
}

/** The local half of a flush. */
function flushLocally(mm: MmContext, start: number, end: number, id: number, primitive: string): void {
  const { kernel } = mm;
  const cpu = smp_processor_id(kernel);
  hintPrimitive(kernel, primitive);
  reportFlushBegun(kernel, mm, start, end, id, mm_cpumask(mm));
  if (kernel.cpu_tlbstate[cpu]!.loaded_mm === mm) flushOwnCpu(kernel, mm, start, end, id);
}

/** What a flush does on the CPU that asks for it, on behalf of which the invalidations are recorded. */
function flushOwnCpu(
  kernel: KernelContext,
  mm: MmContext | null,
  start: number,
  end: number,
  id: number,
): void {
  const { records } = kernel;
  const before = records.flush;
  records.flush = id;
  try {
    flush_tlb_func(kernel, kernel.machine.cpu(smp_processor_id(kernel)), mm, start, end, true);
  } finally {
    records.flush = before;
  }
}

function* flushEverywhere(
  info: FlushInfo & { readonly mm: MmContext },
  primitive: string,
  stopped: boolean,
): KernelThread<void> {
  const { mm, start, end, id } = info;
  const { kernel } = mm;
  if (stopped) yield NEXT_STEP;
  flushLocally(mm, start, end, id, primitive);
  // Read after the entry was changed: a CPU that loads the mm from here on walks the new entry.
  const cpus = mm_cpumask(mm);
  if (hasOtherCpu(cpus, smp_processor_id(kernel))) yield* flush_tlb_others(kernel, cpus, info);
  reportFlushEnded(kernel, id);
}

function reportFlushBegun(
  kernel: KernelContext,
  mm: MmContext | null,
  start: number,
  end: number,
  id: number,
  cpus: CpuMask,
): void {
  const { records } = kernel;
  if (!records.live) return;
  const all = end === TLB_FLUSH_ALL;
  records.emit({
    kind: "flush-begun",
    seq: records.next(),
    agent: records.agent,
    cpu: smp_processor_id(kernel),
    space: mm === null ? NONE : mm.id,
    flush: id,
    linearLo: linearLo(start),
    linearHi: linearHi(start),
    bytes: all ? 0 : end - start,
    all,
    cpus,
  });
}

function reportFlushEnded(kernel: KernelContext, flush: number): void {
  const { records } = kernel;
  if (!records.live) return;
  records.emit({
    kind: "flush-ended",
    seq: records.next(),
    agent: records.agent,
    cpu: smp_processor_id(kernel),
    space: NONE,
    flush,
  });
}

/** Flushes everything that an mm maps. */
export function flush_tlb_mm(mm: MmContext): KernelThread<void> {
  return flushRange(mm, 0, TLB_FLUSH_ALL, 0, "flush_tlb_mm");
}

/** Flushes [start, end) of the vma's mm. */
export function flush_tlb_range(vma: VmaContext, start: Linear, end: Linear): KernelThread<void> {
  return flushRange(vma.vm_mm, start, end, vma.vm_flags, "flush_tlb_range");
}

/** One page: a single INVLPG a CPU, enough for a large page too, since INVLPG drops any size. */
export function flush_tlb_page(vma: VmaContext, address: Linear): KernelThread<void> {
  return flushRange(vma.vm_mm, address, address + PAGE_SIZE, 0, "flush_tlb_page");
}

/** Flushes everything on the CPUs of a batch, whatever mm they run (used by arch_tlbbatch_flush). */
export function* flushBatchedCpus(kernel: KernelContext, mask: CpuMask): KernelThread<void> {
  const info: FlushInfo = { mm: null, start: 0, end: TLB_FLUSH_ALL, id: kernel.newFlush() };
  const cpu = smp_processor_id(kernel);
  hintPrimitive(kernel, "arch_tlbbatch_flush");
  const { mm, start, end, id } = info;
  reportFlushBegun(kernel, mm, start, end, id, mask);
  if (cpumask_test_cpu(cpu, mask)) flushOwnCpu(kernel, mm, start, end, id);
  if (hasOtherCpu(mask, cpu)) yield* flush_tlb_others(kernel, mask, info);
  reportFlushEnded(kernel, id);
}
