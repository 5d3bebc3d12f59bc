import type { Fields, Kinds, RecordOf, RecordsOf } from "./record.ts";

/** Who may act: a thread of the system, an interrupt handler, a guest's CPU, a device, a page walker; or none of them. */
export const AGENT_TYPES = ["outside", "task", "interrupt", "vcpu", "device", "walker"] as const;
/** What kind of agent somebody is. */
export type AgentType = (typeof AGENT_TYPES)[number];

/** What an access does (SDM vol. 3, 4.6). */
export const ACCESS_KINDS = ["read", "write", "fetch", "shadow-read", "shadow-write"] as const;

/** Registers whose loads are recorded; CR3 has a kind of its own. */
export const REGISTERS = ["CR0", "CR4", "EFER", "PAT", "PKRU", "PKRS"] as const;
/** Name of a register whose loads are recorded. */
export type RegisterName = (typeof REGISTERS)[number];

/** What drops cached translations: the operations of the invalidation table. */
export const INVALIDATION_CAUSES = [
  "INVLPG",
  "INVPCID 0",
  "INVPCID 1",
  "INVPCID 2",
  "INVPCID 3",
  "INVLPGB",
  "MOV CR3",
  "CR4.PGE",
  "CR4.PCIDE",
  "CR4.PSE",
  "CR4.PKE",
  "CR4.SMEP",
  "#PF",
] as const;

/** The fields of the hardware's records. */
export const HARDWARE_FIELDS = {
  slot: { is: "slot", says: "where the entry stands" },
  old: { is: "entry", says: "its value before" },
  entry: { is: "entry", says: "its value after" },
  linear: { is: "linear", says: "linear address; of a range, that of its first byte" },
  level: {
    is: "int",
    says: "level of the entry: 1 maps 4 KiB, 2 maps 2 MiB or leads to a page table, and so on",
  },
  pfn: { is: "pfn", says: "frame number" },
  pcid: { is: "int", says: "process-context identifier; none: every one" },
  rights: {
    is: "int",
    says: "raw rights of the whole path: bit 1 W, bit 2 U, bit 3 XD; from bit 16 on the key",
  },
  dirty: { is: "flag", says: "D was set" },
  global: { is: "flag", says: "G counts: the translation serves every PCID" },
  register: { is: REGISTERS, says: "which register" },
  value: { is: "entry", says: "the register's value" },
  root: { is: "physical", says: "physical address of a root table" },
  oldRoot: { is: "physical", says: "that of the root loaded before" },
  keep: { is: "flag", says: "the load kept the PCID's translations" },
  cause: { is: INVALIDATION_CAUSES, says: "what dropped translations" },
  all: { is: "flag", says: "everything, whatever the address" },
  globals: { is: ["keep", "own", "all"], says: "global translations: stay; those of this PCID go; all go" },
  tables: {
    is: ["keep", "path", "all"],
    says: "cached table entries: stay; those that lead to the page go; all go",
  },
  flush: { is: "int", says: "the flush on whose behalf; 0 when none is known" },
  access: { is: ACCESS_KINDS, says: "what the access did" },
  size: { is: "int", says: "bytes" },
  physical: { is: "physical", says: "physical address of the first byte" },
  hit: { is: "flag", says: "a TLB had the translation" },
  fault: { is: ["#PF", "#GP", "#SS", "#UD"], says: "which exception" },
  code: { is: "int", says: "its error code" },
  to: { is: "int", says: "the CPU that is interrupted" },
  from: { is: "int", says: "the CPU that sent it" },
  vector: { is: "int", says: "interrupt vector" },
  cpl: { is: "int", says: "privilege level" },
  lost: { is: "int", says: "how many records" },
  type: { is: AGENT_TYPES, says: "what kind of agent" },
  newAgent: { is: "int", says: "its id" },
  subject: { is: ["agent", "space", "listener"], says: "what has the name" },
  id: { is: "int", says: "its id" },
  name: { is: "text", says: "the name" },
} as const satisfies Fields;

/** The kinds of record that the hardware makes. */
export const HARDWARE_KINDS = {
  "entry-written": {
    class: "hardware",
    says: "software stored or exchanged a page-table entry",
    has: ["slot", "old", "entry"],
  },
  "accessed-dirty-set": {
    class: "hardware",
    says: "a page walker set A, D or both by compare-and-swap",
    has: ["slot", "old", "entry"],
  },
  "tlb-filled": {
    class: "hardware",
    says: "a walk's translation went into a TLB",
    has: ["pcid", "linear", "level", "pfn", "rights", "dirty", "global"],
  },
  "cr3-loaded": {
    class: "hardware",
    says: "a CPU loaded a root and a PCID; what that dropped is an `invalidated` of its own",
    has: ["oldRoot", "root", "pcid", "keep"],
  },
  "register-loaded": {
    class: "hardware",
    says: "a control register was written",
    has: ["register", "value"],
  },
  invalidated: {
    class: "hardware",
    says: "a CPU's caches dropped what the operation must drop, and no more",
    has: ["cause", "pcid", "all", "linear", "globals", "tables", "flush"],
  },
  access: {
    class: "hardware",
    says: "a load, store or fetch was done; one that crosses pages is recorded once for each",
    has: ["access", "size", "linear", "physical", "hit"],
  },
  fault: { class: "hardware", says: "an access raised an exception", has: ["fault", "code", "linear"] },
  "ipi-sent": { class: "hardware", says: "a CPU interrupted another", has: ["to", "flush"] },
  "interrupt-taken": { class: "hardware", says: "a CPU entered an interrupt handler", has: ["vector"] },
  "ipi-handled": { class: "hardware", says: "an interrupted CPU is done with it", has: ["from", "flush"] },
  "privilege-changed": { class: "hardware", says: "a CPU runs at another privilege level", has: ["cpl"] },
  halted: { class: "hardware", says: "a CPU waits for an interrupt", has: [] },
  gap: { class: "hardware", says: "records were lost here", has: ["lost"] },
  "agent-introduced": {
    class: "fact",
    says: "somebody who may act, before the first record of theirs",
    has: ["newAgent", "type"],
  },
  named: { class: "hint", says: "a name for an id", has: ["subject", "id", "name"] },
} as const satisfies Kinds<typeof HARDWARE_FIELDS>;

/** Any record of the hardware. */
export type HardwareRecord = RecordsOf<typeof HARDWARE_FIELDS, typeof HARDWARE_KINDS>;
/** The hardware's record type of one kind. */
export type HardwareRecordOf<K extends HardwareRecord["kind"]> = RecordOf<
  typeof HARDWARE_FIELDS,
  typeof HARDWARE_KINDS,
  K
>;
