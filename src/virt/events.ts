import type { mm_struct } from "../mm/mm_struct.ts";

/** What secondary MMUs report. `listener` is the name under which the listener is registered. */
export type VirtEvent =
  | {
      type: "spte-installed";
      listener: string;
      mm: mm_struct;
      gfn: number;
      level: number;
      pfn: number;
      hva: number;
      writable: boolean;
      /** mmu_notifier_seq when the fault began, and now; mmu_notifier_count now. */
      seqAtFault: number;
      seq: number;
      count: number;
      /** Installed by change_pte in place of one just dropped, not by a guest's fault. */
      repointed?: boolean;
    }
  | {
      type: "spte-zapped";
      listener: string;
      mm: mm_struct;
      gfn: number;
      level: number;
      pfn: number;
      hva: number;
      accessed: boolean;
      dirty: boolean;
      /** References to the frame at that moment; 0 is what KVM warns about. */
      pageCount: number;
    }
  | { type: "spte-used"; listener: string; mm: mm_struct; hva: number; pfn: number; write: boolean }
  | { type: "guest-fault-retried"; listener: string; mm: mm_struct; hva: number }
  | { type: "kvm-counters"; listener: string; mm: mm_struct; seq: number; count: number }
  | {
      type: "device-tlb-filled";
      listener: string;
      mm: mm_struct;
      page: number;
      level: number;
      pfn: number;
      writable: boolean;
    }
  /** The device's TLB dropped what it held for the range; a length of WHOLE_MM drops all of the mm. */
  | { type: "device-tlb-invalidated"; listener: string; mm: mm_struct; start: number; length: number }
  | {
      type: "device-access";
      listener: string;
      mm: mm_struct;
      address: number;
      pfn: number;
      write: boolean;
      hit: boolean;
    };

export type VirtObserver = (event: VirtEvent) => void;
