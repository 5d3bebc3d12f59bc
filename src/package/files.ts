/**
 * What needs Node, because it reads and writes files or starts programs: guest directories and images of memory, guests
 * as running kernels and what their own kernels recorded, the audit of writeback and reclaim on a guest, files of records,
 * case files, and programs that are asked the conformance pack.
 */

export { CommandSubject, type StartOptions } from "../conform/subject-command.ts";
export type { CpuRegisters } from "../formats/cpu-note.ts";
export type { ElfCore, ElfCoreOptions, ElfSegment } from "../formats/elf-core.ts";
export type { PagingState, PtImageNote } from "../formats/elf-note.ts";
export { FormatError } from "../formats/format-error.ts";
export type { GuestSwapTypes } from "../formats/guest-manifest.ts";
export type { GuestProcess, GuestSnapshot } from "../formats/guest-snapshot.ts";
export { IMAGE_FORMATS, type ImageFormat, type OpenImage } from "../formats/image-file.ts";
export { ImageMemory } from "../formats/image-memory.ts";
export type {
  ImageNotes,
  MemoryImage,
  MemoryRange,
  MemorySegment,
  SegmentedFile,
} from "../formats/memory-image.ts";
export type { GuestVma } from "../formats/proc-maps.ts";
export { KPF, KPF_FLAGS, type PagemapRun } from "../formats/proc-pagemap.ts";
export type { RawPiece } from "../formats/raw.ts";
export { MAX_READ_BYTES, MAX_TABLE_VISITS, ReadBudget } from "../formats/read-budget.ts";
export type { RecordFileSink } from "../formats/record-file.ts";
export type { ReservedBits } from "../formats/table-pages.ts";
export { LEFT_OUT, type LeftOutReason } from "../guest/guest-mappings.ts";
export type { SoftwareKind } from "../guest/guest-swap.ts";
export type { ImportedGuest, ImportedMapping, ImportOptions } from "../guest/import-kernel.ts";
export { SNAPSHOT_FAULTS, type SnapshotFault } from "../guest/snapshot-faults.ts";
export type { LeftOutCount, Tally } from "../guest/tally.ts";
export type { Truth } from "../guest/truth.ts";
export type { Traffic } from "../jobs/reclaim/actors.ts";
export {
  AUDIT_REPORT_VERSION,
  type AuditReport,
  type AuditSettings,
  type BroughtFault,
  type RuleCount,
  type RunReport,
} from "../jobs/reclaim/audit-report.ts";
export type { AuditRun, AuditRunOptions } from "../jobs/reclaim/audit-run.ts";
export type { Parting, ProtocolDiff } from "../jobs/reclaim/diff.ts";
export { LISTENER_KINDS, type ListenerKind } from "../jobs/reclaim/listeners.ts";
export type { FrameRange } from "../jobs/reclaim/reclaim-job.ts";
export {
  auditGuest,
  auditJson,
  auditText,
  checkRoot,
  checkTruth,
  createRecordFile,
  diffProtocols,
  diffText,
  fileOffsetAt,
  findingLine,
  guestRoots,
  hasReservedBit,
  imageFile,
  importGuest,
  isTrue,
  loadGuest,
  loadInto,
  openImageFile,
  readCaseFile,
  readElfCore,
  readGuestDirectory,
  recordFileChunks,
  replayCommand,
  segmentAt,
  validateTables,
} from "./checked/files.ts";
