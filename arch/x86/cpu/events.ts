import type { Entry } from "./entry.ts";

/** Who changed an entry: a logical CPU's number, or null for an agent outside the machine (a loader, a test). */
export type CpuNumber = number | null;

/**
 * What silicon reports. Observers read; they never steer. Addresses are byte addresses as Numbers: physical
 * ones exact, linear ones canonical and page-aligned where the name says `page`.
 */
export type HardwareEvent =
  /** Software stored or exchanged a page-table entry. */
  | { type: "entry-written"; address: number; old: Entry; value: Entry; cpu: CpuNumber }
  /** A page walker set A, or A and D, by compare-and-swap. */
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
  | { type: "invlpg"; cpu: number; address: number }
  /** A #PF was raised; it dropped the translations of its page. */
  | { type: "page-fault"; cpu: number; address: number }
  /** MOV to CR3: every non-global translation of the new PCID goes, unless `keep` (bit 63 with PCIDE). */
  | { type: "cr3-loaded"; cpu: number; oldRoot: number; root: number; pcid: number; keep: boolean }
  /** A MOV to CR4 that dropped translations: all, or those of this PCID together with the global ones. */
  | { type: "cr4-written"; cpu: number; pcid: number; flushed: "all" | "pcid" }
  /** A load, store, fetch or read-modify-write completed at this physical address. */
  | { type: "access"; cpu: number; write: boolean; address: number; physical: number; tlbHit: boolean }
  | { type: "ipi-sent"; from: number; to: number }
  | { type: "ipi-handled"; cpu: number; from: number };

export type HardwareObserver = (event: HardwareEvent) => void;
