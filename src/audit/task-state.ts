import type { Task } from "../../arch/x86/mm/kernel-context.ts";
import type { KernelCall } from "../mm/events.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { Change } from "./ghost-tlb.ts";

/**
 * The bytes whose entries were changed, as ranges; empty at first. A walk goes upwards, so its next entry mostly
 * continues the last range.
 */
export class TouchedRanges {
  #ranges: { from: number; to: number }[] = [];
  #joinAt = 64;

  add(from: number, to: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && from <= last.to && to >= last.from) {
      if (from < last.from) last.from = from;
      if (to > last.to) last.to = to;
      return;
    }
    this.#ranges.push({ from, to });
    if (this.#ranges.length >= this.#joinAt) this.#join();
  }

  overlaps(from: number, to: number): boolean {
    for (const range of this.#ranges) if (from < range.to && to > range.from) return true;
    return false;
  }

  /** Joins ranges that touch, so that places that are changed again and again take no more room. */
  #join(): void {
    const sorted = this.#ranges.sort((a, b) => a.from - b.from);
    this.#ranges = [];
    for (const range of sorted) {
      const last = this.#ranges.at(-1);
      if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
      else this.#ranges.push(range);
    }
    this.#joinAt = Math.max(64, 2 * this.#ranges.length);
  }
}

/** A kernel function that a task is in. */
export interface OpenCall {
  readonly call: KernelCall;
  readonly page: number;
  readonly mm: mm_struct | null;
  /** Entries changed since, outside any range_start .. range_end, that no range call has been judged for yet. */
  readonly untold: Change[];
  readonly touched: TouchedRanges;
}

/** A range_start without its range_end. */
export interface Bracket {
  readonly mm: mm_struct;
  readonly start: number;
  readonly length: number;
  /** Entries changed since that lie outside of it. */
  readonly outside: Change[];
  readonly touched: TouchedRanges;
}

/** Flushes that a task has put off. */
export interface DeferredBatch {
  readonly frames: Set<number>;
  readonly changes: Change[];
  /** CPUs that the flush must reach. */
  mask: number;
}

/** What one kernel thread is in the middle of. */
export class TaskState {
  readonly task: Task;
  readonly calls: OpenCall[] = [];
  readonly brackets: Bracket[] = [];
  batch: DeferredBatch = emptyBatch();
  /** A bracket that some range_end may have been meant for: that had other bounds, and is a finding. */
  misended: Bracket | null = null;
  /** What its last store to an entry weakened, null if nothing. */
  lastChange: Change | null = null;
  /** The last cache hook reached, null once an entry change has used it. */
  cacheHook: { readonly mm: object | null; readonly start: number; readonly length: number } | null = null;

  constructor(task: Task) {
    this.task = task;
  }

  enter(call: KernelCall, page: number, mm: mm_struct | null): void {
    this.calls.push({ call, page, mm, untold: [], touched: new TouchedRanges() });
  }

  /** Leaves the innermost call of that name; calls inside it that never reported their return go with it. */
  leave(call: KernelCall): void {
    const { calls } = this;
    for (let at = calls.length - 1; at >= 0; at--) {
      if (calls[at]!.call !== call) continue;
      calls.length = at;
      return;
    }
  }

  /** The innermost call, if it works on the entries of that mm. */
  walkOf(mm: mm_struct): OpenCall | null {
    const call = this.calls.at(-1);
    return call !== undefined && call.mm === mm ? call : null;
  }

  isIn(call: KernelCall, page: number): boolean {
    return this.calls.some((open) => open.call === call && open.page === page);
  }

  get flushDue(): boolean {
    return this.batch.changes.length > 0 || this.batch.mask !== 0;
  }

  forgetBatch(): void {
    this.batch = emptyBatch();
  }
}

function emptyBatch(): DeferredBatch {
  return { frames: new Set(), changes: [], mask: 0 };
}
