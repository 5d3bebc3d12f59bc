import { NONE, type Slot } from "../cpu/address.ts";
import type { Entry } from "../cpu/entry.ts";
import type { Machine } from "../cpu/machine.ts";
import type { RecordSink } from "../cpu/record-stream.ts";
import type { CpuMask } from "./cpumask.ts";
import type { PteFormat } from "./pte-format.ts";
import type { ArchMmRecord } from "./records.ts";
import type { Interleaved } from "./step.ts";

/** The part of struct task_struct that this layer uses: where it runs and which flushes it owes. */
export interface Task {
  /** As an agent of records. */
  readonly id: number;
  readonly name: string;
  readonly cpu: number;
  readonly tlb_ubc: { cpumask: CpuMask; flush_required: boolean; writable: boolean };
}

/** Per CPU: which mm's root CR3 holds, and whether the CPU only borrows it (v4.13 struct tlb_state). */
export interface TlbState {
  loaded_mm: MmContext;
  state: number;
}

/** The state of a CPU that uses the loaded mm. */
export const TLBSTATE_OK = 1;
/** The state of a CPU that only borrows it. */
export const TLBSTATE_LAZY = 2;

/** One running kernel, as far as the x86 layer sees it; src/mm implements it. */
export interface KernelContext extends Interleaved {
  readonly machine: Machine;
  /** The machine's records, to which the kernel adds its own. */
  readonly records: RecordSink<ArchMmRecord>;
  readonly format: PteFormat;
  readonly cpu_tlbstate: readonly TlbState[];
  readonly init_mm: MmContext;
  /** The thread that executes now; the scheduler switches it. */
  readonly current: Task;
  /** An id for a flush that begins. */
  newFlush(): number;
}

/** The part of struct mm_struct that this layer uses. */
export interface MmContext {
  readonly kernel: KernelContext;
  /** As an address space of records. */
  readonly id: number;
  readonly name: string;
  /** Physical address of the root table. */
  readonly pgd: number;
  /** CPUs that may hold this mm's user translations (mm_cpumask). */
  cpu_bitmap: CpuMask;
  /** Changers of protections between their entry changes and their flush (a count). */
  tlb_flush_pending: number;
  /** Reclaim cleared entries of this mm and has not flushed yet. */
  tlb_flush_batched: boolean;
}

/** The part of struct vm_area_struct that this layer uses. */
export interface VmaContext {
  readonly vm_mm: MmContext;
  readonly vm_flags: number;
}

/** CPU that the current thread runs on, as the kernel's smp_processor_id(). */
export function smp_processor_id(kernel: KernelContext): number {
  return kernel.current.cpu;
}

/**
 * What the current CPU's protection keys forbid, two bits a key; 0, which forbids nothing, while CR4.PKE is clear
 * (asm/pgtable.h).
 */
export function read_pkru(kernel: KernelContext): number {
  const { control } = kernel.machine.cpu(smp_processor_id(kernel));
  return control.pke ? control.pkru : 0;
}

/** Reads a page-table slot; a pointer to an entry is the physical address of the slot. */
export function readEntry(mm: MmContext, slot: Slot): Entry {
  return mm.kernel.machine.memory.read(slot);
}

/** Records, as a hint, which of the kernel's primitives stores an entry or flushes next: each says its own name. */
export function hintPrimitive(kernel: KernelContext, name: string): void {
  const { records } = kernel;
  const tell = records.hearer("primitive");
  if (tell === null) return;
  tell({
    kind: "primitive",
    seq: records.next(),
    agent: records.agent,
    cpu: kernel.current.cpu,
    space: NONE,
    name,
  });
}
