import { sameEntry } from "../../arch/x86/cpu/entry.ts";
import type { MmContext } from "../../arch/x86/mm/kernel-context.ts";
import type { MmEvent, NotifierOp } from "../mm/events.ts";
import type { VirtEvent } from "../virt/events.ts";

/** Counts what happened in a run, for the report; judges nothing. Attach `observe` as an observer. */
export class Counters {
  /** Calls to flush a range, those of them that concerned no CPU, and how often a flush was put off. */
  flushes = 0;
  flushesWithoutCpu = 0;
  deferrals = 0;
  /** Flushes that paid for what had been put off. */
  batches = 0;
  ipis = 0;
  /** Interrupts that would have been sent had nothing been put off: one for each other CPU of each deferred entry. */
  ipisUnbatched = 0;
  /** Stores that changed an entry. */
  entriesChanged = 0;
  pagesFreed = 0;
  writeOuts = 0;
  /** Callbacks by listener, then by operation. */
  readonly callbacks = new Map<string, Map<NotifierOp, number>>();

  readonly observe = (event: MmEvent | VirtEvent): void => {
    switch (event.type) {
      case "entry-written":
        if (!sameEntry(event.old, event.value)) this.entriesChanged++;
        return;
      case "tlb-flush-begin":
        this.flushes++;
        if (!reachesCpu(event.mm, event.cpu)) this.flushesWithoutCpu++;
        return;
      case "tlb-batch-add":
        this.deferrals++;
        this.ipisUnbatched += countBits(event.mask & ~(1 << event.cpu));
        return;
      case "tlb-batch-flush-begin":
        this.batches++;
        return;
      case "ipi-sent":
        this.ipis++;
        return;
      case "page-freed":
        this.pagesFreed++;
        return;
      case "write-out":
        this.writeOuts++;
        return;
      case "notifier-callback":
        this.#countCallback(event.listener, event.op);
        return;
    }
  };

  #countCallback(listener: string, op: NotifierOp): void {
    let ops = this.callbacks.get(listener);
    if (ops === undefined) {
      ops = new Map();
      this.callbacks.set(listener, ops);
    }
    ops.set(op, (ops.get(op) ?? 0) + 1);
  }
}

/** Whether a CPU has the mm loaded, or another may have it cached. */
function reachesCpu(mm: MmContext, cpu: number): boolean {
  return mm.kernel.cpu_tlbstate[cpu]!.loaded_mm === mm || (mm.cpu_bitmap & ~(1 << cpu)) !== 0;
}

function countBits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}
