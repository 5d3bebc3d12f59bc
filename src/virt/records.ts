import type { Fields, Kinds, RecordOf, RecordsOf } from "../../arch/x86/cpu/record.ts";
import { MM_FIELDS, type MmRecord } from "../mm/records.ts";

/** The fields of the secondary MMUs' records, those of all layers below among them. */
export const VIRT_FIELDS = {
  ...MM_FIELDS,
  gfn: { is: "int", says: "guest frame number" },
  writable: { is: "flag", says: "it allows stores" },
  accessed: { is: "flag", says: "A was set" },
  write: { is: "flag", says: "it was a store" },
  seqAtFault: { is: "int", says: "mmu_notifier_seq when the fault began" },
  notifierSeq: { is: "int", says: "mmu_notifier_seq now" },
  notifierCount: { is: "int", says: "mmu_notifier_count now: open ranges" },
  repointed: { is: "flag", says: "put in place of one just dropped by change_pte, not by a guest's fault" },
} as const satisfies Fields;

/** What secondary MMUs record. The space is that of the host's addresses; `linear` is one of them. */
export const VIRT_KINDS = {
  "spte-installed": {
    class: "hardware",
    says: "a second-stage entry was stored, with the count and the sequence number read",
    has: [
      "listener",
      "gfn",
      "level",
      "pfn",
      "linear",
      "writable",
      "dirty",
      "seqAtFault",
      "notifierSeq",
      "notifierCount",
      "repointed",
    ],
  },
  "spte-dropped": {
    class: "hardware",
    says: "a second-stage entry was cleared",
    has: ["listener", "gfn", "level", "pfn", "linear", "accessed", "dirty", "refcount"],
  },
  "guest-access": {
    class: "hardware",
    says: "a guest loaded or stored through a second-stage entry",
    has: ["listener", "linear", "pfn", "write"],
  },
  "guest-fault-retried": {
    class: "fact",
    says: "an invalidation came between a guest's fault and its entry",
    has: ["listener", "linear"],
  },
  "kvm-counters": {
    class: "fact",
    says: "a listener's mmu_notifier_seq and mmu_notifier_count",
    has: ["listener", "notifierSeq", "notifierCount"],
  },
  "device-entry-installed": {
    class: "hardware",
    says: "a device's TLB was filled",
    has: ["listener", "linear", "level", "pfn", "writable"],
  },
  "device-entry-dropped": {
    class: "hardware",
    says: "a device's TLB dropped all that overlaps a range, a large translation as a whole; or everything",
    has: ["listener", "linear", "bytes", "all"],
  },
  "device-access": {
    class: "hardware",
    says: "a device loaded or stored",
    has: ["listener", "linear", "pfn", "write", "hit"],
  },
} as const satisfies Kinds<typeof VIRT_FIELDS>;

type OwnRecord = RecordsOf<typeof VIRT_FIELDS, typeof VIRT_KINDS>;
/** Any record of any layer. */
export type VirtRecord = MmRecord | OwnRecord;
/** The secondary MMUs' record type of one kind. */
export type VirtRecordOf<K extends OwnRecord["kind"]> = RecordOf<typeof VIRT_FIELDS, typeof VIRT_KINDS, K>;
