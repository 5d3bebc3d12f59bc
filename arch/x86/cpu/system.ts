import type { CacheHook } from "./cache-hook.ts";
import type { CpuModel } from "./cpu-model.ts";
import type { Entry } from "./entry.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";
import type { Mtrrs } from "./memory-type.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import type { RecordStream } from "./record-stream.ts";
import type { HardwareRecord, INVALIDATION_CAUSES } from "./records.ts";

/** An INVLPGB that no TLBSYNC has waited for yet. */
export interface Broadcast {
  readonly from: number;
  readonly scope: InvalidationScope;
}

/** What a CPU needs of the machine around it. */
export interface System {
  readonly memory: PhysicalMemory;
  readonly model: CpuModel;
  readonly records: RecordStream<HardwareRecord>;
  /** What is told of caches, or null. */
  readonly cacheHook: CacheHook | null;
  readonly mtrrs: Mtrrs;
  /** Every logical CPU, as far as a broadcast reaches into it. */
  readonly cpus: readonly {
    invalidate(cause: (typeof INVALIDATION_CAUSES)[number], scope: InvalidationScope): void;
  }[];
  /** Oldest first. */
  broadcasts: readonly Broadcast[];
  /** See Machine. */
  storeEntry(slot: number, lo: number, hi: number, by: number | null): void;
  /** See Machine. */
  compareExchangeEntry(slot: number, old: Entry, value: Entry, by: number | null): boolean;
}
