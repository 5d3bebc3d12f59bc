/**
 * Who is left with a stale translation: the auditor of a live machine, a kernel or a recording, its rules and what one's
 * own are made of, the histories that explain a rule, findings and their causes, the story of a frame, the ledger behind
 * all of them, and records with their recorder, files and worlds. Begin with {@link Auditor}, or with
 * {@link judgeRecords} for a recording. Nothing here needs Node.
 */

export {
  dispatcher,
  type Encoding,
  type Handlers,
  IGNORED,
  ignoring,
  type RecordClass,
  type RecordHeader,
} from "../../arch/x86/cpu/record.ts";
export { Auditor, type AuditorOptions, type RecordedRun } from "../audit/auditor.ts";
export { byId, causeLines, causeTitle } from "../audit/cause-text.ts";
export type { Cause, FindingQuestions, Place } from "../audit/causes.ts";
export {
  addressIn,
  cpusIn,
  cpusInWords,
  debtDetails,
  hasCpu,
  holderOf,
  missing,
  owedFlush,
  owedInvalidation,
  owedRange,
  owedToGuest,
  pageRange,
  spaceIdOf,
  spteDetails,
  staleDebt,
  staleLeaf,
  staleSpte,
} from "../audit/describe.ts";
export {
  Finding,
  type FindingDetails,
  findingJson,
  type Owed,
  type OwedFault,
  owedJson,
  owedText,
  type RuleHead,
  type StaleTranslation,
} from "../audit/findings.ts";
export { explainJson } from "../audit/histories/explain-json.ts";
export { explainText } from "../audit/histories/explain-text.ts";
export { type ExplainedHistory, type ExplainedRule, explainRule } from "../audit/histories/explained-rule.ts";
export type { HistoryPair, RecordedHistory } from "../audit/histories/history.ts";
export type { ToldHistory } from "../audit/histories/told-history.ts";
export { rangeOf } from "../audit/ledger/brackets.ts";
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
export {
  type Guest,
  type Listener,
  type Listeners,
  openRangeAt,
  type Spte,
  spteAt,
} from "../audit/ledger/listeners.ts";
export type { DerivedMoment, Moment, MomentKind, MomentOf, RangeTold } from "../audit/ledger/moments.ts";
export type { NewerData, Pages } from "../audit/ledger/pages.ts";
export type { MappedSlots, OnPfn, PfnIndex } from "../audit/ledger/pfn-index.ts";
export { covers, hullOf, leftOut, roundedOut } from "../audit/ledger/ranges.ts";
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
  addressOf,
  allowedBy,
  below,
  EVERY_RIGHT,
  HUGE,
  isWeaker,
  type Leaf,
  leafOf,
  leafPfn,
  PRESENT,
  PROT_NONE,
  type Reach,
  RIGHT_EXECUTE,
  RIGHT_USER,
  RIGHT_WRITE,
  storesLand,
  type TableUse,
  WAS_ACCESSED,
  WAS_DIRTY,
  WAS_GLOBAL,
} from "../audit/ledger/translation.ts";
export type { Views } from "../audit/ledger/views.ts";
export { type FreedUse, freedUses, usersOf } from "../audit/rules/freed.ts";
export { RULES, ruleOf } from "../audit/rules/index.ts";
export { type Breach, type Rule, type RuleRow, rule } from "../audit/rules/rule.ts";
export {
  cpuLane,
  type Hold,
  holdingsOf,
  holdingsOn,
  type Lane,
  listenerLane,
} from "../audit/story/holdings.ts";
export type { Sentence, StoryView } from "../audit/story/sentences.ts";
export { type Story, type StoryLine, StoryTeller, storyJson, storyOf } from "../audit/story/story.ts";
export { CELLS, storyLines } from "../audit/story/story-text.ts";
export { FormatError } from "../formats/format-error.ts";
export { FORMS, type Form, recordWriter } from "../trace/file/forms.ts";
export { headerOf, MARKS, type Mark, type RecordedMachine, type TraceHeader } from "../trace/file/header.ts";
export { type Judge, type JudgedRun, type Judgement, judgeRecords } from "../trace/file/judge-records.ts";
export { Misfit } from "../trace/file/misfit.ts";
export { type ReadOptions, Recording, readRecords } from "../trace/file/read-records.ts";
export type { ByteSink, RecordWriter } from "../trace/file/record-codec.ts";
export type { FileField, FileKind, Schema } from "../trace/file/schema.ts";
export { kernelOpening, machineOpening } from "../trace/opening.ts";
export {
  encodingOf,
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
