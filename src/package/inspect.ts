/**
 * Looking at page tables without running anything: one entry taken apart for the processor and for Linux, a walk level by
 * level with its rights and its fault, every leaf of an address space, ranges and aliases, and the listings of other tools
 * (QEMU, pt, Bochs, crash). Memory is a PhysicalMemory of "ptescope/cpu"; "ptescope/files" fills one from an image.
 * Nothing here needs Node.
 */

export { bochsPage, bochsTab } from "../dialects/bochs.ts";
export { crashVtop } from "../dialects/crash.ts";
export { PT_HABITS, type PtWalk, ptTable, ptWalk } from "../dialects/pt.ts";
export { qemuMem } from "../dialects/qemu-mem.ts";
export { QEMU_HABITS, qemuTlb } from "../dialects/qemu-tlb.ts";
export type { MapsVma } from "../formats/proc-maps.ts";
export type { ReservedBits } from "../formats/table-pages.ts";
export { AbsentCounts, AbsentReader, AbsentReading } from "../inspect/absent-entry.ts";
export { type Alias, type Aliases, AliasIndex } from "../inspect/alias-index.ts";
export {
  bitRuler,
  closedColumns,
  hardwareColumns,
  type RulerField,
  swapColumns,
} from "../inspect/bit-ruler.ts";
export {
  type CpuDifference,
  cpuDifferences,
  type WalkedAccess,
  type WalkedTables,
} from "../inspect/cpu-differences.ts";
export {
  type DecodedEntry,
  decodeEntry,
  decodeLines,
  decodeObject,
  type KernelReading,
  LINUX_LEVELS,
  type LinuxLevel,
  levelOf,
} from "../inspect/decode-report.ts";
export {
  type DecodeSummary,
  type SummaryContext,
  summaryLines,
  summaryOf,
} from "../inspect/decode-summary.ts";
export { type DirectlyMapped, DirectMap } from "../inspect/direct-map.ts";
export type { Doubt, Doubted, FoundDoubt } from "../inspect/doubt.ts";
export { DOUBTS, doubtsOf } from "../inspect/doubts.ts";
export { fieldBits, fieldNames } from "../inspect/entry-flags.ts";
export { readEptEntry } from "../inspect/ept-entry.ts";
export {
  ERROR_CODE_BITS,
  ERROR_CODE_CONFLICTS,
  type ErrorCodeBit,
  type ErrorCodeConflict,
  errorCodeConflicts,
  errorCodeWords,
} from "../inspect/error-code.ts";
export type { ForeignWord, WordField } from "../inspect/foreign-word.ts";
export {
  type FoldExtras,
  foldLeaves,
  isMapped,
  type LeafRange,
  linearOf,
  type PageRights,
  pagesOf,
  physicalOf,
  reach,
} from "../inspect/leaf-ranges.ts";
export {
  LeafCursor,
  type LeafOptions,
  type LeafView,
  type LinearRange,
  pageBytes,
  pageName,
  userHalf,
  WHOLE_SPACE,
} from "../inspect/leaves.ts";
export {
  describeLinux,
  type LinuxReading,
  linuxFlags,
  linuxPteFormat,
  readLinux,
  type SwapFlags,
} from "../inspect/linux-reading.ts";
export { oopsLines, oopsObject } from "../inspect/oops-lines.ts";
export { explainOops, type OopsReport } from "../inspect/oops-report.ts";
export {
  OOPS_REGISTERS,
  type OopsEntry,
  type OopsLevel,
  type OopsRegister,
  type OopsText,
  parseOops,
} from "../inspect/oops-text.ts";
export { PAGE_TEST_NAMES, PAGE_TESTS, type PageFilter, parseFilter } from "../inspect/page-filter.ts";
export { readPagemapWord } from "../inspect/pagemap-word.ts";
export {
  addCounts,
  countEntries,
  emptyCounts,
  mappedPages,
  type ProcessCounts,
} from "../inspect/process-counts.ts";
export {
  ALIAS_LEGEND,
  directMapLine,
  directMapObject,
  PageCounts,
  type PageNames,
  RANGE_LEGEND,
  rangeObjects,
  rangeTable,
  rangeTableHeader,
} from "../inspect/range-table.ts";
export {
  type Mapping,
  type RightsSoFar,
  type WalkAccess,
  type WalkEnd,
  type WalkReport,
  type WalkSource,
  type WalkStep,
  walkReport,
} from "../inspect/walk-report.ts";
export { missingTable, walkLines, walkObject } from "../inspect/walk-text.ts";
export { readWindowsEntry } from "../inspect/windows-entry.ts";
export { coloured, type Paint, plain, type Tone } from "../text/paint.ts";
