import { NONE } from "../../../arch/x86/cpu/address.ts";
import { type Handlers, ignoring } from "../../../arch/x86/cpu/record.ts";
import type { NotifierOp } from "../../mm/records.ts";
import type { TraceRecord } from "../../trace/record.ts";

/** Counts what happened in a run, for the report; judges nothing. Its `handlers` listen to the records. */
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
  /** By listener, then by operation. */
  readonly #callbacks = new Map<number, Map<NotifierOp, number>>();
  readonly #names = new Map<number, string>();

  readonly handlers: Handlers<TraceRecord> = {
    "entry-written": ({ oldLo, oldHi, entryLo, entryHi }) => {
      if (oldLo !== entryLo || oldHi !== entryHi) this.entriesChanged++;
    },
    "flush-begun": ({ space, cpus }) => {
      if (space === NONE) this.batches++;
      else {
        this.flushes++;
        if (cpus.every((word) => word === 0)) this.flushesWithoutCpu++;
      }
    },
    "batch-added": ({ cpus, cpu }) => {
      this.deferrals++;
      cpus.forEach((word, i) => {
        this.ipisUnbatched += countBits(i === cpu >>> 5 ? word & ~(1 << (cpu & 31)) : word);
      });
    },
    "ipi-sent": () => void this.ipis++,
    "page-freed": ({ order }) => {
      this.pagesFreed += 2 ** order;
    },
    "write-out": () => void this.writeOuts++,
    named: ({ subject, id, name }) => {
      if (subject === "listener") this.#names.set(id, name);
    },
    "listener-called": ({ listener, op }) => this.#countCallback(listener, op),
    ...ignoring("accessed-dirty-set", "tlb-filled", "cr3-loaded", "register-loaded", "invalidated", "access"),
    ...ignoring("fault", "interrupt-taken", "ipi-handled", "privilege-changed", "halted", "gap"),
    ...ignoring("agent-introduced", "table-linked", "table-unlinked", "flush-ended", "cpumask-changed"),
    ...ignoring("lazy-entered", "lazy-left", "cache-flushed", "mmu-cache-updated", "bad-pmd", "primitive"),
    ...ignoring("address-space-created", "address-space-ended", "task-runs", "call-entered", "call-left"),
    ...ignoring("call-abandoned", "page-allocated", "page-compound", "page-backing", "page-flag"),
    ...ignoring("swap-slot", "swap-count", "swap-duplicated", "table-freed", "lock-taken", "lock-dropped"),
    ...ignoring("walk-returned", "listener-registered", "listener-unregistered", "notifier-called"),
    ...ignoring("page-pinned", "page-unpinned", "vma-changed", "rmap-added", "rmap-removed", "page-put"),
    ...ignoring("page-mlocked", "swapbacked-set", "rss-changed", "warned", "bad-page", "spte-installed"),
    ...ignoring("spte-dropped", "guest-access", "guest-fault-retried", "kvm-counters"),
    ...ignoring("device-entry-installed", "device-entry-dropped", "device-access"),
  };

  #countCallback(listener: number, op: NotifierOp): void {
    let ops = this.#callbacks.get(listener);
    if (ops === undefined) {
      ops = new Map();
      this.#callbacks.set(listener, ops);
    }
    ops.set(op, (ops.get(op) ?? 0) + 1);
  }

  /** Callbacks by the listener's name, then by operation. */
  callbacks(): ReadonlyMap<string, ReadonlyMap<NotifierOp, number>> {
    const byName = new Map<string, Map<NotifierOp, number>>();
    for (const [listener, ops] of this.#callbacks) {
      const name = this.#names.get(listener) ?? `listener ${listener}`;
      const sums = byName.get(name) ?? new Map<NotifierOp, number>();
      for (const [op, count] of ops) sums.set(op, (sums.get(op) ?? 0) + count);
      byName.set(name, sums);
    }
    return byName;
  }
}

function countBits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}
