import type { Entry } from "../cpu/entry.ts";
import type { HardwareEvent } from "../cpu/events.ts";
import type { MmContext } from "./kernel-context.ts";

/**
 * Where a kernel thread can be interrupted by another CPU. Kernel code that somebody else can observe half-done is
 * a generator: it yields *before* each such step and names it; the scheduler decides who goes on (design D7).
 */
export type Step =
  /** About to take a lock, or to let one go. */
  | "lock"
  | "unlock"
  /** The lock is taken by another thread; yielded again until it is free. */
  | "blocked"
  /** About to store or exchange a page-table entry. */
  | "entry"
  | "flush"
  /** Waiting until other CPUs have run the flush handler. */
  | "ipi-wait"
  | "notify"
  /** About to free a page, or to hand one to a device. */
  | "free"
  | "io"
  /** About to load or store in user mode, in a guest or by a device. */
  | "access";

/** A kernel function that can be interleaved with others: runs when resumed, returns T. */
export type KernelThread<T> = Generator<Step, T, void>;

/** A thread that has nothing left to do: what a function returns that could finish its work at once. */
export const FINISHED: KernelThread<void> = {
  next: () => ({ done: true, value: undefined }),
  return: () => ({ done: true, value: undefined }),
  throw: (error: unknown) => {
    throw error;
  },
  [Symbol.iterator]: () => FINISHED,
} as KernelThread<void>;

/** A range whose length is this flushes, or concerns, everything the mm maps. */
export const WHOLE_MM = Number.POSITIVE_INFINITY;

/** What Linux's x86 layer reports on top of the hardware. Ranges are a start and a length in bytes. */
export type ArchMmEvent =
  | HardwareEvent
  /** `site` is the primitive that asked, `caller` the kernel function on whose behalf. */
  | {
      type: "tlb-flush-begin";
      site: string;
      caller: string;
      mm: MmContext;
      start: number;
      length: number;
      cpu: number;
    }
  | { type: "tlb-flush-end"; site: string; caller: string; cpu: number }
  | { type: "tlb-batch-add"; mm: MmContext; mask: number; writable: boolean; cpu: number }
  | { type: "tlb-batch-flush-begin"; mask: number; caller: string; cpu: number }
  | { type: "tlb-batch-flush-end"; caller: string; cpu: number }
  | { type: "mm-loaded"; cpu: number; mm: MmContext; previous: MmContext }
  | { type: "lazy-tlb-entered"; cpu: number; mm: MmContext }
  /** A cache hook was reached. Hooks that take a page only name its frame, and a range of no bytes. */
  | {
      type: "cache-flush";
      hook: CacheHook;
      mm: MmContext | null;
      start: number;
      length: number;
      pfn: number;
    }
  /** An entry that Linux made present or changed was made known to the CPU's caches (update_mmu_cache). */
  | { type: "mmu-cache-updated"; mm: MmContext; address: number; slot: number }
  /** A pmd that should have pointed to a table did not; it was cleared (pmd_clear_bad). */
  | { type: "bad-pmd"; mm: MmContext; slot: number; value: Entry };

export type CacheHook =
  | "flush_cache_page"
  | "flush_cache_range"
  | "flush_cache_mm"
  | "flush_cache_dup_mm"
  | "flush_icache_page"
  | "flush_dcache_page";
