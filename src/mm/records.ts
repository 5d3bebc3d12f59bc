import type { Fields, Kinds, RecordOf, RecordsOf } from "../../arch/x86/cpu/record.ts";
import { ARCH_MM_FIELDS, type ArchMmRecord } from "../../arch/x86/mm/records.ts";

/** The operations of struct mmu_notifier_ops, with invalidate_page of the kernels before 4.13. */
export const NOTIFIER_OPS = [
  "invalidate_range_start",
  "invalidate_range_end",
  "invalidate_range",
  "invalidate_page",
  "clear_flush_young",
  "clear_young",
  "test_young",
  "change_pte",
  "release",
] as const;
/** Name of an operation of struct mmu_notifier_ops. */
export type NotifierOp = (typeof NOTIFIER_OPS)[number];

/** Kernel functions that record when they are entered and left. */
export const KERNEL_FUNCTIONS = [
  "page_mkclean",
  "page_mkclean_one",
  "page_referenced",
  "page_referenced_one",
  "try_to_unmap",
  "try_to_unmap_one",
  "try_to_unmap_flush",
  "try_to_munlock",
  "remove_migration_ptes",
  "remove_migration_pte",
  "__split_huge_pmd",
  "shrink_page_list",
  "pageout",
] as const;
/** Name of a kernel function that records. */
export type KernelFunction = (typeof KERNEL_FUNCTIONS)[number];

/**
 * Locks by class: page-table locks by what they protect, one table of ptes or pmds, or all the rest of an mm
 * (page_table_lock); the lock of a page; read-write semaphores.
 */
export const LOCK_CLASSES = ["pte", "pmd", "mm", "page", "rwsem"] as const;
/** Class of a lock. */
export type LockClass = (typeof LOCK_CLASSES)[number];
/** The classes of page-table locks. */
export type LockLevel = "pte" | "pmd" | "mm";

/** Page flags that rules read. */
export const RECORDED_FLAGS = ["dirty", "writeback", "swap-cache"] as const;

/** The fields of the generic mm's records, those of the layers below among them. */
export const MM_FIELDS = {
  ...ARCH_MM_FIELDS,
  userRoot: { is: "physical", says: "the root loaded in user mode, with page-table isolation" },
  function: { is: KERNEL_FUNCTIONS, says: "the kernel function" },
  result: { is: "int", says: "what it returned, true as 1; page_mkclean_one: how many entries it cleaned" },
  order: { is: "int", says: "2^order frames" },
  hugetlb: { is: "flag", says: "a page of hugetlbfs" },
  backing: { is: ["anon", "file", "none"], says: "what the page is a copy of" },
  flag: { is: RECORDED_FLAGS, says: "which page flag" },
  set: { is: "flag", says: "whether it is set now" },
  swap: { is: "int", says: "slot of the swap area" },
  count: { is: "int", says: "how many entries refer to it" },
  ok: { is: "flag", says: "whether that succeeded" },
  lock: { is: "int", says: "id of a lock" },
  lockClass: { is: LOCK_CLASSES, says: "what kind of lock" },
  locks: { is: "int", says: "page-table locks that the task holds" },
  found: { is: "flag", says: "an entry was found" },
  listener: { is: "int", says: "id of a listener" },
  listenerType: { is: ["kvm", "device", "other"], says: "what kind of secondary MMU" },
  ops: { is: "names", says: "the operations that it has" },
  sleeps: { is: "names", says: "those that may sleep" },
  op: { is: NOTIFIER_OPS, says: "which operation" },
  maySleep: { is: "flag", says: "the operation may sleep" },
  mapcount: { is: "int", says: "mappings of the page, or of any part of its compound page, that are left" },
  own: { is: "int", says: "mappings of this frame alone that are left" },
  mappings: { is: "int", says: "mappings that were left" },
  refcount: { is: "int", says: "references to the page that are left" },
  references: { is: "int", says: "references that were left" },
  counter: { is: "int", says: "index in rss_stat" },
  delta: { is: "difference", says: "by how much" },
  flags: { is: "int", says: "vm_flags; 0: the vma is gone" },
  what: { is: "text", says: "what is wrong" },
} as const satisfies Fields;

/** What Linux's generic mm records. */
export const MM_KINDS = {
  "address-space-created": { class: "fact", says: "an address space came to be", has: ["root", "userRoot"] },
  "address-space-ended": { class: "fact", says: "it is gone, and its roots are free", has: [] },
  "task-runs": { class: "fact", says: "the agent runs on the CPU from now on", has: [] },
  "call-entered": {
    class: "fact",
    says: "a kernel function was entered, for a page, in an address space where it works on one",
    has: ["function", "pfn"],
  },
  "call-left": { class: "fact", says: "it returned", has: ["function", "pfn", "result"] },
  "call-abandoned": {
    class: "fact",
    says: "it never will: its thread was stopped, or it threw",
    has: ["function", "pfn"],
  },
  "page-allocated": { class: "fact", says: "frames were taken from the allocator", has: ["pfn", "order"] },
  "page-freed": { class: "fact", says: "frames were given to the allocator", has: ["pfn", "order"] },
  "page-compound": {
    class: "fact",
    says: "frames became one compound page",
    has: ["pfn", "order", "hugetlb"],
  },
  "page-backing": { class: "fact", says: "what the page is a copy of", has: ["pfn", "backing"] },
  "page-flag": {
    class: "fact",
    says: "a page flag that rules read was set or cleared",
    has: ["pfn", "flag", "set"],
  },
  "swap-slot": {
    class: "fact",
    says: "the page has that slot of swap; none: it has none any more",
    has: ["pfn", "swap"],
  },
  "swap-count": { class: "fact", says: "entries that refer to a slot of swap", has: ["swap", "count"] },
  "swap-duplicated": { class: "fact", says: "one more entry was to refer to a slot", has: ["swap", "ok"] },
  "table-freed": { class: "fact", says: "a page table's page is a table no more", has: ["pfn", "level"] },
  "lock-taken": { class: "fact", says: "a lock was taken", has: ["lock", "lockClass", "pfn"] },
  "lock-dropped": { class: "fact", says: "a lock was let go", has: ["lock", "lockClass", "pfn"] },
  "walk-returned": { class: "fact", says: "page_vma_mapped_walk returned", has: ["found", "locks"] },
  "listener-registered": {
    class: "fact",
    says: "a secondary MMU listens to an address space from now on",
    has: ["listener", "listenerType", "ops", "sleeps"],
  },
  "listener-unregistered": { class: "fact", says: "it does not any more", has: ["listener"] },
  "notifier-called": {
    class: "fact",
    says: "the notifier core was called; then one `listener-called` for each listener that has the operation",
    has: ["op", "linear", "bytes", "all"],
  },
  "listener-called": {
    class: "fact",
    says: "a listener's operation was called",
    has: ["listener", "op", "linear", "bytes", "all", "maySleep", "locks"],
  },
  "page-pinned": { class: "fact", says: "somebody took a reference to use the page", has: ["pfn"] },
  "page-unpinned": { class: "fact", says: "and gave it back", has: ["pfn"] },
  "vma-changed": {
    class: "fact",
    says: "a vma is there, with these flags, or gone",
    has: ["linear", "bytes", "flags"],
  },
  "rmap-added": { class: "fact", says: "a mapping of the page was counted", has: ["pfn", "mapcount", "own"] },
  "rmap-removed": {
    class: "fact",
    says: "a mapping of the page was discounted",
    has: ["pfn", "mapcount", "own"],
  },
  "page-put": { class: "fact", says: "a reference to the page was dropped", has: ["pfn", "refcount"] },
  "page-mlocked": { class: "fact", says: "a page was found in a locked vma (mlock_vma_page)", has: ["pfn"] },
  "swapbacked-set": { class: "fact", says: "a discarded page turned out dirty", has: ["pfn"] },
  "rss-changed": { class: "fact", says: "a counter of the address space changed", has: ["counter", "delta"] },
  warned: { class: "fact", says: "the kernel found its own state broken and went on", has: ["what", "pfn"] },
  "bad-page": {
    class: "fact",
    says: "a page was freed with mappings or references left",
    has: ["pfn", "mappings", "references"],
  },
  "write-out": {
    class: "fact",
    says: "a page's content was handed to the disk or the swap device",
    has: ["pfn"],
  },
} as const satisfies Kinds<typeof MM_FIELDS>;

type OwnRecord = RecordsOf<typeof MM_FIELDS, typeof MM_KINDS>;
/** Any record of the generic mm or of a layer below it. */
export type MmRecord = ArchMmRecord | OwnRecord;
/** The generic mm's record type of one kind. */
export type MmRecordOf<K extends OwnRecord["kind"]> = RecordOf<typeof MM_FIELDS, typeof MM_KINDS, K>;
