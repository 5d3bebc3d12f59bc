import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable, optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as bochs from "../../dialects/bochs.ts";
import * as crash from "../../dialects/crash.ts";
import * as pt from "../../dialects/pt.ts";
import * as qemuMemFunctions from "../../dialects/qemu-mem.ts";
import * as qemuTlbFunctions from "../../dialects/qemu-tlb.ts";
import * as bitRulerFunctions from "../../inspect/bit-ruler.ts";
import * as cpuDifferencesFunctions from "../../inspect/cpu-differences.ts";
import * as decodeReport from "../../inspect/decode-report.ts";
import * as decodeSummary from "../../inspect/decode-summary.ts";
import * as doubts from "../../inspect/doubts.ts";
import * as entryFlags from "../../inspect/entry-flags.ts";
import * as errorCode from "../../inspect/error-code.ts";
import * as leafRanges from "../../inspect/leaf-ranges.ts";
import * as leaves from "../../inspect/leaves.ts";
import * as linuxReading from "../../inspect/linux-reading.ts";
import * as oopsLinesFunctions from "../../inspect/oops-lines.ts";
import * as oopsReport from "../../inspect/oops-report.ts";
import * as pageFilter from "../../inspect/page-filter.ts";
import * as processCounts from "../../inspect/process-counts.ts";
import * as rangeTableFunctions from "../../inspect/range-table.ts";
import * as walkReportFunctions from "../../inspect/walk-report.ts";
import * as walkText from "../../inspect/walk-text.ts";
import * as paint from "../../text/paint.ts";
import {
  CONTROL,
  ENTRY,
  FLAG,
  LAYOUT,
  LEVEL,
  LEVELS,
  MAXPHYADDR,
  PHYSICAL,
  TABLE,
  TEXT,
} from "./cpu-arguments.ts";
import {
  ADDRESS_VALUE,
  ALIASES,
  COUNTS,
  DECODED,
  DECODED_FIELDS,
  DIRECT_MAP,
  ERROR_CODE,
  FIELD_BITS,
  FOLD_EXTRAS,
  FOUND_DOUBTS,
  KNOWN,
  LAYOUT_NAME,
  LEAF_CODE,
  LEAF_PLACE,
  LEAF_RANGE,
  LEAF_RANGES,
  LEAVES,
  LINUX_LEVEL,
  LINUX_READING,
  LOSE,
  MARK,
  OOPS,
  OOPS_REPORT,
  PAGE_COUNTS,
  PAGE_FILTER,
  PAGE_NAMES,
  PAINT,
  PTE_FORMATS,
  RULER_FIELDS,
  SUMMARY,
  SUMMARY_CONTEXT,
  SWAP_TYPES,
  TABLE_MEMORY,
  TONE,
  WALK_ACCESS,
  WALK_REPORT,
  WALK_SOURCE,
  WALKED_ACCESS,
  WALKED_TABLES,
} from "./inspect-arguments.ts";
import { PTE_FORMAT } from "./linux-arguments.ts";

/* The functions of inspection, checked. */

export const bochsPage: typeof bochs.bochsPage = checked(bochs.bochsPage, WALK_REPORT);
export const bochsTab: typeof bochs.bochsTab = checked(bochs.bochsTab, LEAVES, nullable(PAGE_FILTER));

export const crashVtop: typeof crash.crashVtop = checked(crash.crashVtop, WALK_REPORT, TABLE, PTE_FORMAT);

export const ptTable: typeof pt.ptTable = checked(pt.ptTable, LEAVES, nullable(PAGE_FILTER), FLAG);
export const ptWalk: typeof pt.ptWalk = checked(
  pt.ptWalk,
  TABLE_MEMORY,
  ADDRESS_VALUE,
  TABLE,
  LEVELS,
  ADDRESS_VALUE,
);

export const qemuMem: typeof qemuMemFunctions.qemuMem = checked(qemuMemFunctions.qemuMem, LEAVES);

export const qemuTlb: typeof qemuTlbFunctions.qemuTlb = checked(qemuTlbFunctions.qemuTlb, LEAVES);

export const bitRuler: typeof bitRulerFunctions.bitRuler = checked(
  bitRulerFunctions.bitRuler,
  ENTRY,
  RULER_FIELDS,
  PAINT,
);
export const closedColumns: typeof bitRulerFunctions.closedColumns = checked(
  bitRulerFunctions.closedColumns,
  DECODED_FIELDS,
);
export const hardwareColumns: typeof bitRulerFunctions.hardwareColumns = checked(
  bitRulerFunctions.hardwareColumns,
  DECODED_FIELDS,
);
export const swapColumns: typeof bitRulerFunctions.swapColumns = checked(
  bitRulerFunctions.swapColumns,
  PTE_FORMAT,
);

export const cpuDifferences: typeof cpuDifferencesFunctions.cpuDifferences = checked(
  cpuDifferencesFunctions.cpuDifferences,
  WALKED_TABLES,
  CONTROL,
  WALKED_ACCESS,
);

export const decodeEntry: typeof decodeReport.decodeEntry = checked(
  decodeReport.decodeEntry,
  ENTRY,
  LINUX_LEVEL,
  LEVELS,
  LAYOUT,
  PTE_FORMATS,
);
export const decodeLines: typeof decodeReport.decodeLines = checked(
  decodeReport.decodeLines,
  DECODED,
  TEXT,
  PAINT,
);
export const decodeObject: typeof decodeReport.decodeObject = checked(
  decodeReport.decodeObject,
  DECODED,
  TEXT,
);
export const levelOf: typeof decodeReport.levelOf = checked(decodeReport.levelOf, LINUX_LEVEL, LEVELS);

export const summaryLines: typeof decodeSummary.summaryLines = checked(
  decodeSummary.summaryLines,
  SUMMARY,
  FOUND_DOUBTS,
  PAINT,
);
export const summaryOf: typeof decodeSummary.summaryOf = checked(
  decodeSummary.summaryOf,
  DECODED,
  SUMMARY_CONTEXT,
);

export const doubtsOf: typeof doubts.doubtsOf = checked(doubts.doubtsOf, DECODED, MAXPHYADDR);

export const fieldBits: typeof entryFlags.fieldBits = checked(entryFlags.fieldBits, FIELD_BITS);
export const fieldNames: typeof entryFlags.fieldNames = checked(entryFlags.fieldNames, DECODED_FIELDS);

export const errorCodeConflicts: typeof errorCode.errorCodeConflicts = checked(
  errorCode.errorCodeConflicts,
  ERROR_CODE,
);
export const errorCodeWords: typeof errorCode.errorCodeWords = checked(errorCode.errorCodeWords, ERROR_CODE);

export const foldLeaves: typeof leafRanges.foldLeaves = checked(
  leafRanges.foldLeaves,
  LEAVES,
  optional(nullable(PAGE_FILTER)),
  optional(FOLD_EXTRAS),
);
export const isMapped: typeof leafRanges.isMapped = checked(leafRanges.isMapped, LEAF_CODE);
export const linearOf: typeof leafRanges.linearOf = checked(leafRanges.linearOf, LEAF_PLACE, PHYSICAL);
export const pagesOf: typeof leafRanges.pagesOf = checked(leafRanges.pagesOf, LEAF_RANGE);
export const physicalOf: typeof leafRanges.physicalOf = checked(leafRanges.physicalOf, LEAVES);
export const reach: typeof leafRanges.reach = checked(leafRanges.reach, LEAF_RANGE);

export const pageBytes: typeof leaves.pageBytes = checked(leaves.pageBytes, LEVEL);
export const pageName: typeof leaves.pageName = checked(leaves.pageName, LEVEL);
export const userHalf: typeof leaves.userHalf = checked(leaves.userHalf, LEVELS);

export const describeLinux: typeof linuxReading.describeLinux = checked(
  linuxReading.describeLinux,
  LINUX_READING,
);
export const linuxFlags: typeof linuxReading.linuxFlags = checked(
  linuxReading.linuxFlags,
  PTE_FORMAT,
  LEVEL,
  ENTRY,
);
export const linuxPteFormat: typeof linuxReading.linuxPteFormat = checked(
  linuxReading.linuxPteFormat,
  LAYOUT_NAME,
  nullable(SWAP_TYPES),
);
export const readLinux: typeof linuxReading.readLinux = checked(
  linuxReading.readLinux,
  PTE_FORMAT,
  LEVEL,
  ENTRY,
);

export const oopsLines: typeof oopsLinesFunctions.oopsLines = checked(
  oopsLinesFunctions.oopsLines,
  OOPS_REPORT,
  PAINT,
);
export const oopsObject: typeof oopsLinesFunctions.oopsObject = checked(
  oopsLinesFunctions.oopsObject,
  OOPS_REPORT,
);

export const explainOops: typeof oopsReport.explainOops = checked(
  oopsReport.explainOops,
  OOPS,
  CONTROL,
  PTE_FORMAT,
  nullable(MARK),
  KNOWN,
);

export const parseFilter: typeof pageFilter.parseFilter = checked(pageFilter.parseFilter, TEXT);

export const addCounts: typeof processCounts.addCounts = checked(processCounts.addCounts, COUNTS, COUNTS);
export const countEntries: typeof processCounts.countEntries = checked(
  processCounts.countEntries,
  TABLE_MEMORY,
  TABLE,
  LEVELS,
  PTE_FORMAT,
  optional(LOSE),
);
export const mappedPages: typeof processCounts.mappedPages = checked(processCounts.mappedPages, COUNTS);

export const directMapLine: typeof rangeTableFunctions.directMapLine = checked(
  rangeTableFunctions.directMapLine,
  DIRECT_MAP,
);
export const directMapObject: typeof rangeTableFunctions.directMapObject = checked(
  rangeTableFunctions.directMapObject,
  DIRECT_MAP,
);
export const rangeObjects: typeof rangeTableFunctions.rangeObjects = checked(
  rangeTableFunctions.rangeObjects,
  LEAF_RANGES,
  nullable(ALIASES),
  PAGE_COUNTS,
  PAGE_NAMES,
);
export const rangeTable: typeof rangeTableFunctions.rangeTable = checked(
  rangeTableFunctions.rangeTable,
  LEAF_RANGES,
  nullable(ALIASES),
  PAGE_COUNTS,
  PAGE_NAMES,
  PAINT,
);
export const rangeTableHeader: typeof rangeTableFunctions.rangeTableHeader = checked(
  rangeTableFunctions.rangeTableHeader,
  PAINT,
);

export const walkReport: typeof walkReportFunctions.walkReport = checked(
  walkReportFunctions.walkReport,
  WALK_SOURCE,
  ADDRESS_VALUE,
  WALK_ACCESS,
);

export const missingTable: typeof walkText.missingTable = checked(walkText.missingTable, TABLE);
export const walkLines: typeof walkText.walkLines = checked(walkText.walkLines, WALK_REPORT, PAINT);
export const walkObject: typeof walkText.walkObject = checked(walkText.walkObject, WALK_REPORT);

export const coloured: typeof paint.coloured = checked(paint.coloured, TONE, TEXT);
export const plain: typeof paint.plain = checked(paint.plain, TONE, TEXT);
