/**
 * Looking at page tables without running anything: one entry taken apart for the processor and for Linux, a walk level by
 * level with its rights and its fault, every leaf of an address space, ranges and aliases, and the listings of other tools
 * (QEMU, pt, Bochs, crash). Memory is a PhysicalMemory of "ptescope/cpu"; "ptescope/files" fills one from an image.
 * Nothing here needs Node.
 */

export { PT_HABITS, type PtWalk } from "../dialects/pt.ts";
export { QEMU_HABITS } from "../dialects/qemu-tlb.ts";
export type { MapsVma } from "../formats/proc-maps.ts";
export type { ReservedBits } from "../formats/table-pages.ts";
export { type AbsentCounts, AbsentReader, type AbsentReading } from "../inspect/absent-entry.ts";
export { type Alias, type Aliases, AliasIndex } from "../inspect/alias-index.ts";
export type { RulerField } from "../inspect/bit-ruler.ts";
export type { CpuDifference, WalkedAccess, WalkedTables } from "../inspect/cpu-differences.ts";
export {
  type DecodedEntry,
  type KernelReading,
  LINUX_LEVELS,
  type LinuxLevel,
} from "../inspect/decode-report.ts";
export type { DecodeSummary, SummaryContext } from "../inspect/decode-summary.ts";
export type { DirectlyMapped, DirectMap } from "../inspect/direct-map.ts";
export type { Doubt, Doubted, FoundDoubt } from "../inspect/doubt.ts";
export { DOUBTS } from "../inspect/doubts.ts";
export { readEptEntry } from "../inspect/ept-entry.ts";
export {
  ERROR_CODE_BITS,
  ERROR_CODE_CONFLICTS,
  type ErrorCodeBit,
  type ErrorCodeConflict,
} from "../inspect/error-code.ts";
export type { ForeignWord, WordField } from "../inspect/foreign-word.ts";
export type { FoldExtras, LeafRange, PageRights } from "../inspect/leaf-ranges.ts";
export {
  LeafCursor,
  type LeafOptions,
  type LeafView,
  type LinearRange,
  WHOLE_SPACE,
} from "../inspect/leaves.ts";
export type { LinuxReading, SwapFlags } from "../inspect/linux-reading.ts";
export type { OopsReport } from "../inspect/oops-report.ts";
export {
  OOPS_REGISTERS,
  type OopsEntry,
  type OopsLevel,
  type OopsRegister,
  type OopsText,
  parseOops,
} from "../inspect/oops-text.ts";
export { PAGE_TEST_NAMES, PAGE_TESTS, type PageFilter } from "../inspect/page-filter.ts";
export { readPagemapWord } from "../inspect/pagemap-word.ts";
export type { RightsSoFar, WalkStep } from "../inspect/path-steps.ts";
export { emptyCounts, type ProcessCounts } from "../inspect/process-counts.ts";
export { ALIAS_LEGEND, PageCounts, RANGE_LEGEND } from "../inspect/range-table.ts";
export type {
  Mapping,
  WalkAccess,
  WalkEnd,
  WalkReport,
  WalkSource,
} from "../inspect/walk-report.ts";
export { readWindowsEntry } from "../inspect/windows-entry.ts";
export type { Paint, Tone } from "../text/paint.ts";
export {
  addCounts,
  bitRuler,
  bochsPage,
  bochsTab,
  closedColumns,
  coloured,
  countEntries,
  cpuDifferences,
  crashVtop,
  decodeEntry,
  decodeLines,
  decodeObject,
  describeLinux,
  directMapLine,
  directMapObject,
  doubtsOf,
  errorCodeConflicts,
  errorCodeWords,
  explainOops,
  fieldBits,
  fieldNames,
  foldLeaves,
  hardwareColumns,
  isMapped,
  levelOf,
  linearOf,
  linuxFlags,
  linuxPteFormat,
  mappedPages,
  missingTable,
  oopsLines,
  oopsObject,
  pageBytes,
  pageName,
  pagesOf,
  parseFilter,
  physicalOf,
  plain,
  ptTable,
  ptWalk,
  qemuMem,
  qemuTlb,
  rangeObjects,
  rangeTable,
  rangeTableHeader,
  reach,
  readLinux,
  summaryLines,
  summaryOf,
  swapColumns,
  userHalf,
  walkLines,
  walkObject,
  walkReport,
} from "./checked/inspect.ts";
