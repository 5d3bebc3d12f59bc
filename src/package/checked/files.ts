import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable, optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as caseFile from "../../conform/case-file.ts";
import * as elfCore from "../../formats/elf-core.ts";
import * as guestSnapshot from "../../formats/guest-snapshot.ts";
import * as imageFileFunctions from "../../formats/image-file.ts";
import * as memoryImage from "../../formats/memory-image.ts";
import * as recordFile from "../../formats/record-file.ts";
import * as tablePages from "../../formats/table-pages.ts";
import * as importKernel from "../../guest/import-kernel.ts";
import * as truth from "../../guest/truth.ts";
import * as auditReport from "../../jobs/reclaim/audit-report.ts";
import * as auditTextFunctions from "../../jobs/reclaim/audit-text.ts";
import * as diff from "../../jobs/reclaim/diff.ts";
import { FINDING } from "./audit-arguments.ts";
import { LEVEL, LEVELS, MEMORY, NAME, PHYSICAL, WORD } from "./cpu-arguments.ts";
import {
  AUDIT_REPORT,
  AUDIT_SETTINGS,
  BUDGET,
  DIFF,
  ELF_CORE,
  ELF_OPTIONS,
  FILE_NAME,
  FRAME_ASKED,
  GUEST_SNAPSHOT,
  IMAGE_FORMAT,
  IMPORT_OPTIONS,
  IMPORTED,
  PROTOCOL_PAIR,
  RAW_PIECES,
  ROOTS,
  SEGMENTED,
  SEGMENTED_FILE,
  SIZED,
  TABLE_CORE,
  TRUTH,
} from "./files-arguments.ts";
import { PAINT, RESERVED_BITS } from "./inspect-arguments.ts";

/* The functions of files, checked. */

export const readCaseFile: typeof caseFile.readCaseFile = checked(caseFile.readCaseFile, FILE_NAME);

export const loadInto: typeof elfCore.loadInto = checked(elfCore.loadInto, MEMORY, ELF_CORE);
export const readElfCore: typeof elfCore.readElfCore = checked(
  elfCore.readElfCore,
  FILE_NAME,
  optional(ELF_OPTIONS),
);

export const guestRoots: typeof guestSnapshot.guestRoots = checked(guestSnapshot.guestRoots, GUEST_SNAPSHOT);
export const imageFile: typeof guestSnapshot.imageFile = checked(
  guestSnapshot.imageFile,
  FILE_NAME,
  optional(BUDGET),
);
export const loadGuest: typeof guestSnapshot.loadGuest = checked(
  guestSnapshot.loadGuest,
  GUEST_SNAPSHOT,
  optional(BUDGET),
);
export const readGuestDirectory: typeof guestSnapshot.readGuestDirectory = checked(
  guestSnapshot.readGuestDirectory,
  FILE_NAME,
  optional(BUDGET),
);

export const openImageFile: typeof imageFileFunctions.openImageFile = checked(
  imageFileFunctions.openImageFile,
  FILE_NAME,
  optional(IMAGE_FORMAT),
  optional(BUDGET),
  optional(RAW_PIECES),
);

export const fileOffsetAt: typeof memoryImage.fileOffsetAt = checked(
  memoryImage.fileOffsetAt,
  SEGMENTED,
  PHYSICAL,
);
export const segmentAt: typeof memoryImage.segmentAt = checked(memoryImage.segmentAt, SEGMENTED, PHYSICAL);

export const createRecordFile: typeof recordFile.createRecordFile = checked(
  recordFile.createRecordFile,
  FILE_NAME,
);
export const recordFileChunks: typeof recordFile.recordFileChunks = checked(
  recordFile.recordFileChunks,
  FILE_NAME,
  optional(BUDGET),
);

export const checkRoot: typeof tablePages.checkRoot = checked(
  tablePages.checkRoot,
  SEGMENTED_FILE,
  SIZED,
  PHYSICAL,
);
export const hasReservedBit: typeof tablePages.hasReservedBit = checked(
  tablePages.hasReservedBit,
  RESERVED_BITS,
  LEVEL,
  WORD,
  WORD,
);
export const validateTables: typeof tablePages.validateTables = checked(
  tablePages.validateTables,
  TABLE_CORE,
  MEMORY,
  ROOTS,
  LEVELS,
  optional(BUDGET),
);

export const importGuest: typeof importKernel.importGuest = checked(
  importKernel.importGuest,
  GUEST_SNAPSHOT,
  optional(IMPORT_OPTIONS),
);

export const checkTruth: typeof truth.checkTruth = checked(truth.checkTruth, IMPORTED);
export const isTrue: typeof truth.isTrue = checked(truth.isTrue, TRUTH);

export const auditGuest: typeof auditReport.auditGuest = checked(
  auditReport.auditGuest,
  GUEST_SNAPSHOT,
  AUDIT_SETTINGS,
);
export const auditJson: typeof auditReport.auditJson = checked(auditReport.auditJson, AUDIT_REPORT);
export const findingLine: typeof auditReport.findingLine = checked(auditReport.findingLine, NAME, FINDING);
export const replayCommand: typeof auditReport.replayCommand = checked(
  auditReport.replayCommand,
  AUDIT_SETTINGS,
  NAME,
  nullable(FRAME_ASKED),
);

export const auditText: typeof auditTextFunctions.auditText = checked(
  auditTextFunctions.auditText,
  AUDIT_REPORT,
  optional(PAINT),
);

export const diffProtocols: typeof diff.diffProtocols = checked(
  diff.diffProtocols,
  GUEST_SNAPSHOT,
  AUDIT_SETTINGS,
  PROTOCOL_PAIR,
);
export const diffText: typeof diff.diffText = checked(diff.diffText, DIFF, optional(PAINT));
