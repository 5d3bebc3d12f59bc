import type { CpuModel } from "./cpu-model.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";
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
  /** Every logical CPU, as far as a broadcast reaches into it. */
  readonly cpus: readonly {
    invalidate(cause: (typeof INVALIDATION_CAUSES)[number], scope: InvalidationScope): void;
  }[];
  /** Oldest first. */
  broadcasts: readonly Broadcast[];
}
