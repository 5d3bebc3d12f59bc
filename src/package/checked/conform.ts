import { checked } from "../../../arch/x86/cpu/argument.ts";
import { optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as answer from "../../conform/answer.ts";
import * as capabilities from "../../conform/capabilities.ts";
import * as caseFunctions from "../../conform/case.ts";
import * as caseJsonFunctions from "../../conform/case-json.ts";
import * as compare from "../../conform/compare.ts";
import * as cpuModel from "../../conform/cpu-model.ts";
import * as fact from "../../conform/fact.ts";
import * as fixture from "../../conform/fixture.ts";
import * as oracle from "../../conform/oracle.ts";
import * as outcomeText from "../../conform/outcome-text.ts";
import * as pack from "../../conform/pack.ts";
import * as report from "../../conform/report.ts";
import * as rules from "../../conform/rules.ts";
import * as runner from "../../conform/runner.ts";
import * as stepText from "../../conform/step-text.ts";
import {
  ACCESS_DETAILS,
  ACCESS_KIND,
  ANSWER,
  CASE,
  CASES,
  CHANGED_WORDS,
  CONFORM_SUBJECT,
  ENTRY_BITS,
  FACT,
  FEATURES,
  GROUP,
  ID,
  JSON_VALUE,
  LINE,
  OUTCOME_OF_STEP,
  PATH,
  PROGRESS,
  QUESTION,
  REFUSE,
  REGISTERS,
  RESULT_OF_RUN,
  RUN_OPTIONS,
  SAMPLED,
  SELECTION,
  SOME_REGISTERS_OF_CASE,
  STEP,
  SWITCHES,
  WHO,
  WORDS,
} from "./conform-arguments.ts";
import { COUNT, MAXPHYADDR, NAME, TEXT, VALUE, VENDOR } from "./cpu-arguments.ts";
import { PAINT } from "./inspect-arguments.ts";

/* The functions of the conformance pack, checked. */

export const parseAnswer: typeof answer.parseAnswer = checked(answer.parseAnswer, LINE, QUESTION, REFUSE);
export const parseGreeting: typeof answer.parseGreeting = checked(answer.parseGreeting, LINE, REFUSE);
export const parseResult: typeof answer.parseResult = checked(answer.parseResult, JSON_VALUE, PATH, REFUSE);

export const needsOf: typeof capabilities.needsOf = checked(capabilities.needsOf, QUESTION);

export const groupOf: typeof caseFunctions.groupOf = checked(caseFunctions.groupOf, ID);

export const caseFileLines: typeof caseJsonFunctions.caseFileLines = checked(
  caseJsonFunctions.caseFileLines,
  CASES,
);
export const caseJson: typeof caseJsonFunctions.caseJson = checked(caseJsonFunctions.caseJson, CASE);
export const outcomeJson: typeof caseJsonFunctions.outcomeJson = checked(
  caseJsonFunctions.outcomeJson,
  OUTCOME_OF_STEP,
);
export const parseCase: typeof caseJsonFunctions.parseCase = checked(
  caseJsonFunctions.parseCase,
  LINE,
  REFUSE,
);
export const questionJson: typeof caseJsonFunctions.questionJson = checked(
  caseJsonFunctions.questionJson,
  QUESTION,
);

export const compareAnswer: typeof compare.compareAnswer = checked(compare.compareAnswer, CASE, ANSWER);
export const describeOutcome: typeof outcomeText.describeOutcome = checked(
  outcomeText.describeOutcome,
  OUTCOME_OF_STEP,
);

export const packCpu: typeof cpuModel.packCpu = checked(
  cpuModel.packCpu,
  VENDOR,
  optional(MAXPHYADDR),
  optional(FEATURES),
);

export const factCase: typeof fact.factCase = checked(fact.factCase, FACT);
export const parseOutcomes: typeof fact.parseOutcomes = checked(fact.parseOutcomes, TEXT, STEP);

export const accessStep: typeof fixture.accessStep = checked(
  fixture.accessStep,
  ACCESS_KIND,
  WHO,
  optional(ACCESS_DETAILS),
);
export const entryWith: typeof fixture.entryWith = checked(fixture.entryWith, VALUE, ENTRY_BITS);
export const registersWith: typeof fixture.registersWith = checked(
  fixture.registersWith,
  SWITCHES,
  optional(SOME_REGISTERS_OF_CASE),
);
export const switchesOn: typeof fixture.switchesOn = checked(fixture.switchesOn, REGISTERS);
export const wordsWith: typeof fixture.wordsWith = checked(fixture.wordsWith, WORDS, CHANGED_WORDS);

export const expectationOf: typeof oracle.expectationOf = checked(oracle.expectationOf, QUESTION);

export const countOf: typeof pack.countOf = checked(pack.countOf, GROUP, SAMPLED);
export const selectCases: typeof pack.selectCases = checked(pack.selectCases, SELECTION);

export const describeStep: typeof stepText.describeStep = checked(stepText.describeStep, STEP);
export const reportLines: typeof report.reportLines = checked(report.reportLines, RESULT_OF_RUN, PAINT);
export const reportObject: typeof report.reportObject = checked(report.reportObject, RESULT_OF_RUN);

export const isRule: typeof rules.isRule = checked(rules.isRule, NAME);

export const runConform: typeof runner.runConform = checked(
  runner.runConform,
  CONFORM_SUBJECT,
  CASES,
  COUNT,
  PROGRESS,
  optional(RUN_OPTIONS),
);
export const totalOf: typeof runner.totalOf = checked(runner.totalOf, RESULT_OF_RUN);
