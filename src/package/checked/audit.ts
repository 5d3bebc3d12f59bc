import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable, optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as causeText from "../../audit/cause-text.ts";
import * as describe from "../../audit/describe.ts";
import * as findings from "../../audit/findings.ts";
import * as explainJsonFunctions from "../../audit/histories/explain-json.ts";
import * as explainTextFunctions from "../../audit/histories/explain-text.ts";
import * as explainedRule from "../../audit/histories/explained-rule.ts";
import * as brackets from "../../audit/ledger/brackets.ts";
import * as listeners from "../../audit/ledger/listeners.ts";
import * as ranges from "../../audit/ledger/ranges.ts";
import * as translation from "../../audit/ledger/translation.ts";
import * as freed from "../../audit/rules/freed.ts";
import * as indexFunctions from "../../audit/rules/index.ts";
import * as ruleFunctions from "../../audit/rules/rule.ts";
import * as holdings from "../../audit/story/holdings.ts";
import * as story from "../../audit/story/story.ts";
import * as storyText from "../../audit/story/story-text.ts";
import * as forms from "../../trace/file/forms.ts";
import * as header from "../../trace/file/header.ts";
import * as judgeRecordsFunctions from "../../trace/file/judge-records.ts";
import * as readRecordsFunctions from "../../trace/file/read-records.ts";
import * as opening from "../../trace/opening.ts";
import * as record from "../../trace/record.ts";
import {
  CAUSE,
  CHANGE,
  CHANGES,
  CHUNKS,
  CPU_ID,
  CPU_WORDS,
  DEADLINE,
  DEBT,
  EXPLAINED,
  FIELD_NAME,
  FINDING,
  FINDINGS,
  FORM,
  GUEST,
  HEADER,
  HOLDER,
  LEAF,
  LEDGER,
  LISTENER_ID,
  MACHINE,
  OWED,
  PAGE_FREED,
  RANGE,
  READ_OPTIONS,
  RECORDED_RANGE,
  RECORDS,
  RULE_ID,
  RULE_ROW,
  RUN,
  SPTE,
  STORY,
  SUBJECT,
  TABLE_USE,
  WIDTH,
} from "./audit-arguments.ts";
import { ENTRY, FRAME, FUNCTION, LEVEL, OBJECT, TEXT, WORD } from "./cpu-arguments.ts";
import { PAINT } from "./inspect-arguments.ts";
import { KERNEL, LINEAR, SLOT } from "./linux-arguments.ts";

/* The functions of the auditor and its records, checked. */

export const byId: typeof causeText.byId = checked(causeText.byId, RULE_ID, RULE_ID);
export const causeLines: typeof causeText.causeLines = checked(causeText.causeLines, CAUSE, WIDTH);
export const causeTitle: typeof causeText.causeTitle = checked(causeText.causeTitle, CAUSE);

export const addressIn: typeof describe.addressIn = checked(describe.addressIn, LEAF, FRAME);
export const cpusIn: typeof describe.cpusIn = checked(describe.cpusIn, CPU_WORDS);
export const cpusInWords: typeof describe.cpusInWords = checked(describe.cpusInWords, CPU_WORDS);
export const debtDetails: typeof describe.debtDetails = checked(
  describe.debtDetails,
  LEDGER,
  DEBT,
  FRAME,
  DEADLINE,
);
export const hasCpu: typeof describe.hasCpu = checked(describe.hasCpu, CPU_WORDS, CPU_ID);
export const holderOf: typeof describe.holderOf = checked(describe.holderOf, LEDGER, HOLDER);
export const missing: typeof describe.missing = checked(
  describe.missing,
  TEXT,
  optional(TEXT),
  optional(nullable(RANGE)),
);
export const owedFlush: typeof describe.owedFlush = checked(describe.owedFlush, LEDGER, CHANGE, DEADLINE);
export const owedInvalidation: typeof describe.owedInvalidation = checked(
  describe.owedInvalidation,
  LEDGER,
  CHANGE,
  DEADLINE,
);
export const owedRange: typeof describe.owedRange = checked(describe.owedRange, LEDGER, CHANGE);
export const owedToGuest: typeof describe.owedToGuest = checked(describe.owedToGuest, SPTE);
export const pageRange: typeof describe.pageRange = checked(describe.pageRange, LINEAR);
export const spaceIdOf: typeof describe.spaceIdOf = checked(describe.spaceIdOf, LEDGER, LEAF);
export const spteDetails: typeof describe.spteDetails = checked(describe.spteDetails, LEDGER, SPTE, FRAME);
export const staleDebt: typeof describe.staleDebt = checked(describe.staleDebt, DEBT, FRAME);
export const staleLeaf: typeof describe.staleLeaf = checked(describe.staleLeaf, LEAF, FRAME);
export const staleSpte: typeof describe.staleSpte = checked(describe.staleSpte, SPTE, FRAME);

export const explainJson: typeof explainJsonFunctions.explainJson = checked(
  explainJsonFunctions.explainJson,
  EXPLAINED,
);
export const explainText: typeof explainTextFunctions.explainText = checked(
  explainTextFunctions.explainText,
  EXPLAINED,
  optional(PAINT),
);
export const explainRule: typeof explainedRule.explainRule = checked(explainedRule.explainRule, RULE_ID);

export const findingJson: typeof findings.findingJson = checked(findings.findingJson, FINDING);
export const owedJson: typeof findings.owedJson = checked(findings.owedJson, OWED);
export const owedText: typeof findings.owedText = checked(findings.owedText, OWED);

export const rangeOf: typeof brackets.rangeOf = checked(brackets.rangeOf, RECORDED_RANGE);

export const openRangeAt: typeof listeners.openRangeAt = checked(listeners.openRangeAt, GUEST, LINEAR);
export const spteAt: typeof listeners.spteAt = checked(listeners.spteAt, GUEST, LINEAR);

export const covers: typeof ranges.covers = checked(ranges.covers, RANGE, CHANGE);
export const hullOf: typeof ranges.hullOf = checked(ranges.hullOf, CHANGES);
export const leftOut: typeof ranges.leftOut = checked(ranges.leftOut, CHANGES, RANGE);
export const roundedOut: typeof ranges.roundedOut = checked(ranges.roundedOut, RANGE);

export const addressOf: typeof translation.addressOf = checked(translation.addressOf, TABLE_USE, SLOT);
export const allowedBy: typeof translation.allowedBy = checked(translation.allowedBy, ENTRY);
export const below: typeof translation.below = checked(translation.below, TABLE_USE, SLOT, ENTRY);
export const isWeaker: typeof translation.isWeaker = checked(translation.isWeaker, ENTRY, ENTRY);
export const leafOf: typeof translation.leafOf = checked(translation.leafOf, TABLE_USE, SLOT, ENTRY, FRAME);
export const leafPfn: typeof translation.leafPfn = checked(translation.leafPfn, ENTRY, LEVEL);
export const storesLand: typeof translation.storesLand = checked(translation.storesLand, WORD);

export const freedUses: typeof freed.freedUses = checked(freed.freedUses, LEDGER, PAGE_FREED, FUNCTION);
export const usersOf: typeof freed.usersOf = checked(freed.usersOf, LEDGER, LEAF);

export const ruleOf: typeof indexFunctions.ruleOf = checked(indexFunctions.ruleOf, RULE_ID);

export const rule: typeof ruleFunctions.rule = checked(ruleFunctions.rule, RULE_ROW);

export const cpuLane: typeof holdings.cpuLane = checked(holdings.cpuLane, CPU_ID);
export const holdingsOf: typeof holdings.holdingsOf = checked(holdings.holdingsOf, LEDGER, FRAME, FUNCTION);
export const holdingsOn: typeof holdings.holdingsOn = checked(holdings.holdingsOn, LEDGER, FRAME, FUNCTION);
export const listenerLane: typeof holdings.listenerLane = checked(holdings.listenerLane, LEDGER, LISTENER_ID);

export const storyJson: typeof story.storyJson = checked(story.storyJson, STORY);
export const storyOf: typeof story.storyOf = checked(story.storyOf, RUN, RECORDS, FRAME);

export const storyLines: typeof storyText.storyLines = checked(
  storyText.storyLines,
  STORY,
  FINDINGS,
  optional(PAINT),
  optional(OBJECT),
);

export const recordWriter: typeof forms.recordWriter = checked(forms.recordWriter, FORM, HEADER, FUNCTION);

export const headerOf: typeof header.headerOf = checked(header.headerOf, SUBJECT);

export const judgeRecords: typeof judgeRecordsFunctions.judgeRecords = checked(
  judgeRecordsFunctions.judgeRecords,
  CHUNKS,
  FUNCTION,
  optional(READ_OPTIONS),
);

export const readRecords: typeof readRecordsFunctions.readRecords = checked(
  readRecordsFunctions.readRecords,
  CHUNKS,
  optional(READ_OPTIONS),
);

export const kernelOpening: typeof opening.kernelOpening = checked(opening.kernelOpening, KERNEL);
export const machineOpening: typeof opening.machineOpening = checked(opening.machineOpening, MACHINE);

export const encodingOf: typeof record.encodingOf = checked(record.encodingOf, FIELD_NAME);
