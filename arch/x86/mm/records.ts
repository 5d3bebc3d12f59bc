import type { Fields, Kinds, RecordOf, RecordsOf } from "../cpu/record.ts";
import { HARDWARE_FIELDS, type HardwareRecord } from "../cpu/records.ts";

/** The cache hooks of asm-generic/cacheflush.h. */
export const CACHE_HOOKS = [
  "flush_cache_page",
  "flush_cache_range",
  "flush_cache_mm",
  "flush_cache_dup_mm",
  "flush_icache_page",
  "flush_dcache_page",
] as const;
/** Name of a cache hook. */
export type CacheHook = (typeof CACHE_HOOKS)[number];

/** The fields of the x86 layer's records, the hardware's among them. */
export const ARCH_MM_FIELDS = {
  ...HARDWARE_FIELDS,
  bytes: { is: "bytes", says: "length of the range" },
  cpus: { is: "cpus", says: "a set of CPUs" },
  hook: { is: CACHE_HOOKS, says: "which cache hook" },
  words: { is: "words", says: "the 512 entries of a table" },
} as const satisfies Fields;

/** What Linux's x86 layer records on top of the hardware. */
export const ARCH_MM_KINDS = {
  "table-linked": {
    class: "fact",
    says: "the entry stored next leads to a table; with what the table holds, and the level of its entries",
    has: ["pfn", "level", "slot", "words"],
  },
  "table-unlinked": {
    class: "fact",
    says: "the entry just changed does not lead to the table any more",
    has: ["pfn", "level", "slot"],
  },
  "flush-begun": {
    class: "fact",
    says: "a flush of an address space's range began, or of a batch, which has none; with the CPUs that it must reach",
    has: ["flush", "linear", "bytes", "all", "cpus"],
  },
  "flush-ended": { class: "fact", says: "every CPU has flushed", has: ["flush"] },
  "batch-added": {
    class: "fact",
    says: "the flush for the entry just cleared was put off; with the CPUs that may hold it",
    has: ["cpus", "dirty"],
  },
  "cpumask-changed": {
    class: "fact",
    says: "the set of CPUs that may hold the address space's translations (mm_cpumask)",
    has: ["cpus"],
  },
  "lazy-entered": { class: "fact", says: "a CPU only borrows the loaded address space from now on", has: [] },
  "lazy-left": { class: "fact", says: "a CPU uses the loaded address space again", has: [] },
  "cache-flushed": {
    class: "fact",
    says: "a cache hook was reached; hooks that take a page name its frame only, and a range of no bytes",
    has: ["hook", "linear", "bytes", "all", "pfn"],
  },
  "mmu-cache-updated": {
    class: "fact",
    says: "an entry made present or changed was made known to the CPU's caches (update_mmu_cache)",
    has: ["linear", "slot"],
  },
  "bad-pmd": {
    class: "fact",
    says: "a pmd that should have pointed to a table did not; it was cleared (pmd_clear_bad)",
    has: ["slot", "entry"],
  },
  primitive: {
    class: "hint",
    says: "the kernel's primitive that stores an entry or flushes next",
    has: ["name"],
  },
} as const satisfies Kinds<typeof ARCH_MM_FIELDS>;

/** Any record of the x86 layer or of the hardware. */
export type ArchMmRecord = HardwareRecord | RecordsOf<typeof ARCH_MM_FIELDS, typeof ARCH_MM_KINDS>;
/** The x86 layer's record type of one kind. */
export type ArchMmRecordOf<K extends keyof typeof ARCH_MM_KINDS> = RecordOf<
  typeof ARCH_MM_FIELDS,
  typeof ARCH_MM_KINDS,
  K
>;
