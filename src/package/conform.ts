/**
 * The conformance pack: cases that say what a page walk, its faults and its TLB must come to, with the rules behind them,
 * the protocol in which another MMU is asked, and the comparison of its answers. Give {@link runConform} a
 * {@link Subject}: one's own MMU, or {@link SelfSubject}, which is ours. Nothing here needs Node; a program that answers
 * on its standard output is run by CommandSubject of "ptescope/files".
 */

export {
  type Answer,
  type Greeting,
  parseAnswer,
  parseGreeting,
  parseResult,
  type ToldResult,
} from "../conform/answer.ts";
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
  groupOf,
  MEMORY_LIMIT,
  type Outcome,
  type Registers,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_UD,
  type Word,
} from "../conform/case.ts";
export {
  caseFileLines,
  caseJson,
  HEADER_LINE,
  outcomeJson,
  parseCase,
  questionJson,
} from "../conform/case-json.ts";
export { type Comparison, compareAnswer, type Difference, describeOutcome } from "../conform/compare.ts";
export { type Fact, type FactStep, factCase, parseOutcomes } from "../conform/fact.ts";
export { ACCESS_FACTS } from "../conform/facts.ts";
export {
  type AccessDetails,
  accessStep,
  type EntryBits,
  entryWith,
  FIXTURE_CPU,
  FIXTURE_WORDS,
  PAGE_A,
  PAGE_B,
  PDE,
  PDPTE,
  PML4E,
  PTE,
  ROOT,
  registersWith,
  type Switches,
  switchesOn,
  T,
  wordsWith,
} from "../conform/fixture.ts";
export type { Refuse } from "../conform/json-value.ts";
export { expectationOf } from "../conform/oracle.ts";
export { type CaseGroup, countOf, GROUPS, type Selection, selectCases } from "../conform/pack.ts";
export { describeStep, reportLines, reportObject } from "../conform/report.ts";
export { AFTER_RULES, type AfterRuleName, isRule, RULES, type RuleName } from "../conform/rules.ts";
export {
  type ConformResult,
  type GroupTally,
  type Mismatch,
  runConform,
  totalOf,
} from "../conform/runner.ts";
export { SEQUENCE_FACTS } from "../conform/sequence-facts.ts";
export type { Subject } from "../conform/subject.ts";
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
export { coloured, type Paint, plain, type Tone } from "../text/paint.ts";
