/**
 * The conformance pack: cases that say what a page walk, its faults and its TLB must come to, with the rules behind them,
 * the protocol in which another MMU is asked, and the comparison of its answers. Give {@link runConform} a
 * {@link Subject}: one's own MMU, or {@link SelfSubject}, which is ours. Nothing here needs Node; a program that answers
 * on its standard output is run by CommandSubject of "ptescope/files".
 */

export type { Answer, Greeting, Reply, ToldResult } from "../conform/answer.ts";
export { CAPABILITIES, type Capability, type CapabilityName } from "../conform/capabilities.ts";
export {
  ACCESS_KINDS,
  type AccessKindName,
  type AccessStep,
  type CaseCpu,
  type CaseQuestion,
  CONFORM_FORMAT,
  CONFORM_VERSION,
  CONTROL_REGISTERS,
  type ConformCase,
  type ControlStep,
  type Expectation,
  type ExpectedResult,
  type ExpectedWord,
  MEMORY_LIMIT,
  type Outcome,
  type Registers,
  RMW_FORMS,
  type RmwForm,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_UD,
  VENDORS,
  type Word,
} from "../conform/case.ts";
export { HEADER_LINE } from "../conform/case-json.ts";
export type { Cause } from "../conform/causes.ts";
export type { Comparison, Difference } from "../conform/compare.ts";
export { OPTIONAL_FEATURES, type PackCpu } from "../conform/cpu-model.ts";
export type { Point } from "../conform/explain.ts";
export type { Fact, FactStep } from "../conform/fact.ts";
export { ACCESS_FACTS } from "../conform/facts.ts";
export {
  type AccessDetails,
  type EntryBits,
  FIXTURE_CPU,
  FIXTURE_WORDS,
  PAGE_A,
  PAGE_B,
  PDE,
  PDPTE,
  PML4E,
  PTE,
  ROOT,
  type Switches,
  T,
} from "../conform/fixture.ts";
export type { Refuse } from "../conform/json-value.ts";
export { type CaseGroup, FACTS, GROUPS, type Selection } from "../conform/pack.ts";
export {
  AFTER_RULES,
  type AfterRuleName,
  RULES,
  type Rule,
  type RuleBasis,
  type RuleName,
} from "../conform/rules.ts";
export type { ConformResult, GroupTally, Mismatch, RunOptions, Verdict } from "../conform/runner.ts";
export { SEQUENCE_FACTS } from "../conform/sequence-facts.ts";
export type { Asking, EndSignal, Subject } from "../conform/subject.ts";
export { SelfSubject } from "../conform/subject-self.ts";
export {
  TRICKY_BYTES,
  TRICKY_ENTRIES,
  TRICKY_MAXPHYADDR,
  TRICKY_ROOT,
  TRICKY_WORDS,
  type TrickyEnd,
  type TrickyEntry,
  type TrickyPage,
} from "../conform/tricky-entries.ts";
export { VENDOR_FACTS } from "../conform/vendor-facts.ts";
export { FormatError } from "../formats/format-error.ts";
export type { Paint, Tone } from "../text/paint.ts";
export {
  accessStep,
  caseFileLines,
  caseJson,
  compareAnswer,
  countOf,
  describeOutcome,
  describeStep,
  entryWith,
  expectationOf,
  factCase,
  groupOf,
  isRule,
  needsOf,
  outcomeJson,
  packCpu,
  parseAnswer,
  parseCase,
  parseGreeting,
  parseOutcomes,
  parseResult,
  questionJson,
  registersWith,
  reportLines,
  reportObject,
  runConform,
  selectCases,
  switchesOn,
  totalOf,
  wordsWith,
} from "./checked/conform.ts";
export { coloured, plain } from "./checked/inspect.ts";
