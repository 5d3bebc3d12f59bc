/**
 * Who is left with a stale translation: the auditor of a live machine, a kernel or a recording, its rules and what one's
 * own are made of, the histories that explain a rule, findings and their causes, the story of a frame, the ledger behind
 * all of them, and records with their recorder, files and worlds. Begin with {@link Auditor}, or with
 * {@link judgeRecords} for a recording. Nothing here needs Node.
 */

export {
  type Encoding,
  type Handlers,
  IGNORED,
  ignoring,
  type RecordClass,
  type RecordHeader,
} from "../../arch/x86/cpu/record.ts";
export { Auditor, type AuditorOptions, type RecordedRun } from "../audit/auditor.ts";
export type { Cause, FindingQuestions, Place } from "../audit/causes.ts";
export {
  Finding,
  type FindingDetails,
  type Owed,
  type OwedFault,
  type RuleHead,
  type StaleTranslation,
} from "../audit/findings.ts";
export type { ExplainedHistory, ExplainedRule } from "../audit/histories/explained-rule.ts";
export type { HistoryPair, RecordedHistory } from "../audit/histories/history.ts";
export type { ToldHistory } from "../audit/histories/told-history.ts";
export type { ByteRange } from "../audit/ledger/byte-range.ts";
export type { Changer } from "../audit/ledger/changer.ts";
export type { Contexts } from "../audit/ledger/contexts.ts";
export type { CpuContexts } from "../audit/ledger/cpu-contexts.ts";
export type {
  Change,
  Context,
  Debt,
  Hold as RootHold,
  SuspendedFinding,
  TableDebt,
  ToldCall,
} from "../audit/ledger/debt.ts";
export type { Debts } from "../audit/ledger/debts.ts";
export type { Flushes, FlushSite } from "../audit/ledger/flushes.ts";
export type { Journal } from "../audit/ledger/journal.ts";
export { Ledger } from "../audit/ledger/ledger.ts";
export type { Guest, Listener, Listeners, Spte } from "../audit/ledger/listeners.ts";
export type { DerivedMoment, Moment, MomentKind, MomentOf, RangeTold } from "../audit/ledger/moments.ts";
export type { NewerData, Pages } from "../audit/ledger/pages.ts";
export type { MappedSlots, OnPfn, PfnIndex } from "../audit/ledger/pfn-index.ts";
export type { Root, Space, Spaces } from "../audit/ledger/spaces.ts";
export type { Tables } from "../audit/ledger/tables.ts";
export type {
  Bracket,
  DeferredBatch,
  OpenCall,
  TaskState,
  Tasks,
  TouchedRanges,
} from "../audit/ledger/tasks.ts";
export {
  EVERY_RIGHT,
  HUGE,
  type Leaf,
  PRESENT,
  PROT_NONE,
  type Reach,
  RIGHT_EXECUTE,
  RIGHT_USER,
  RIGHT_WRITE,
  type TableUse,
  WAS_ACCESSED,
  WAS_DIRTY,
  WAS_GLOBAL,
} from "../audit/ledger/translation.ts";
export type { Views } from "../audit/ledger/views.ts";
export type { FreedUse } from "../audit/rules/freed.ts";
export { RULES } from "../audit/rules/index.ts";
export type { Breach, Rule, RuleRow } from "../audit/rules/rule.ts";
export type { Hold, Lane } from "../audit/story/holdings.ts";
export type { Sentence, StoryView } from "../audit/story/sentences.ts";
export { type Story, type StoryLine, StoryTeller } from "../audit/story/story.ts";
export { CELLS } from "../audit/story/story-text.ts";
export { FormatError } from "../formats/format-error.ts";
export { FORMS, type Form } from "../trace/file/forms.ts";
export { MARKS, type Mark, type RecordedMachine, type TraceHeader } from "../trace/file/header.ts";
export type { Judge, JudgedRun, Judgement } from "../trace/file/judge-records.ts";
export { Misfit } from "../trace/file/misfit.ts";
export { type ReadOptions, Recording } from "../trace/file/read-records.ts";
export type { ByteSink, RecordWriter } from "../trace/file/record-codec.ts";
export type { FileField, FileKind, Schema } from "../trace/file/schema.ts";
export {
  FIELDS,
  type FieldName,
  KINDS,
  type KindRow,
  type RecordKind,
  type TraceRecord,
  type TraceRecordOf,
} from "../trace/record.ts";
export type { RecordedCpu } from "../trace/recorded-cpu.ts";
export type { RecordedTables } from "../trace/recorded-tables.ts";
export { MAX_TABLES, RecordedWorld } from "../trace/recorded-world.ts";
export { Recorder } from "../trace/recorder.ts";
export { LiveWorld, type World } from "../trace/world.ts";
export {
  addressIn,
  addressOf,
  allowedBy,
  below,
  byId,
  causeLines,
  causeTitle,
  covers,
  cpuLane,
  cpusIn,
  cpusInWords,
  debtDetails,
  encodingOf,
  explainJson,
  explainRule,
  explainText,
  findingJson,
  freedUses,
  hasCpu,
  headerOf,
  holderOf,
  holdingsOf,
  holdingsOn,
  hullOf,
  isWeaker,
  judgeRecords,
  kernelOpening,
  leafOf,
  leafPfn,
  leftOut,
  listenerLane,
  machineOpening,
  missing,
  openRangeAt,
  owedFlush,
  owedInvalidation,
  owedJson,
  owedRange,
  owedText,
  owedToGuest,
  pageRange,
  rangeOf,
  readRecords,
  recordWriter,
  roundedOut,
  rule,
  ruleOf,
  spaceIdOf,
  spteAt,
  spteDetails,
  staleDebt,
  staleLeaf,
  staleSpte,
  storesLand,
  storyJson,
  storyLines,
  storyOf,
  usersOf,
} from "./checked/audit.ts";
export { dispatcher } from "./checked/cpu.ts";
