import type { Entry } from "./entry.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";

/** Who changed an entry: a logical CPU's number, or null for an agent outside the machine (a loader, a test). */
export type CpuNumber = number | null;

/**
 * What silicon reports. Observers read; they never steer. Every address is an exact Number: physical ones are byte
 * addresses, linear ones those of a page, except where `access` says more.
 */
export type HardwareEvent =
  /** Software stored or exchanged a page-table entry. */
  | { type: "entry-written"; address: number; old: Entry; value: Entry; cpu: CpuNumber }
  /** A page walker set A, D or both by compare-and-swap. */
  | { type: "accessed-dirty-set"; address: number; old: Entry; value: Entry; cpu: CpuNumber }
  | {
      type: "tlb-filled";
      cpu: number;
      pcid: number;
      page: number;
      level: number;
      pfn: number;
      dirty: boolean;
    }
  /** INVLPG of the page at this linear address. */
  | { type: "invlpg"; cpu: number; address: number }
  /** A #PF was raised in the page at this linear address; it dropped the page's translations. */
  | { type: "page-fault"; cpu: number; address: number }
  /** MOV to CR3: every non-global translation of the new PCID goes, unless `keep` (bit 63 with PCIDE). */
  | { type: "cr3-loaded"; cpu: number; oldRoot: number; root: number; pcid: number; keep: boolean }
  /** A MOV to CR4 that dropped translations: all, or those filled under this PCID, global ones included. */
  | { type: "cr4-written"; cpu: number; pcid: number; flushed: "all" | "pcid" }
  /** EFER.NXE changed; nothing was dropped, but bit 63 of entries has another meaning now. */
  | { type: "nxe-written"; cpu: number; nxe: boolean }
  /** An instruction that names what it drops did so on this CPU; INVLPGB once it has reached it. */
  | { type: "invalidated"; cpu: number; by: "INVPCID" | "INVLPGB"; scope: InvalidationScope }
  /**
   * A load, store, fetch or read-modify-write completed at this physical address; one that crosses pages is reported
   * once for each. `address` is linear: of the first byte when that is below 2^53, else of its page, and then the
   * byte is physical % 4096 into it.
   */
  | { type: "access"; cpu: number; write: boolean; address: number; physical: number; tlbHit: boolean }
  | { type: "ipi-sent"; from: number; to: number }
  | { type: "ipi-handled"; cpu: number; from: number };

export type HardwareObserver = (event: HardwareEvent) => void;
