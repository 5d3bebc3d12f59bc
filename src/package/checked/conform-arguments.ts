import type { Argument } from "../../../arch/x86/cpu/argument.ts";
import {
  callable,
  iterable,
  list,
  numeral,
  oneOf,
  optional,
  shape,
  text,
  unsigned,
  whole,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import type { Answer, ToldResult } from "../../conform/answer.ts";
import { CAPABILITIES, type CapabilityName } from "../../conform/capabilities.ts";
import {
  ACCESS_KINDS,
  type CaseCpu,
  type CaseQuestion,
  type ConformCase,
  type Expectation,
  type Outcome,
  type Registers,
  type Step,
  type Word,
} from "../../conform/case.ts";
import type { Fact } from "../../conform/fact.ts";
import type { AccessDetails, EntryBits, Switches } from "../../conform/fixture.ts";
import type { Refuse } from "../../conform/json-value.ts";
import type { CaseGroup, Selection } from "../../conform/pack.ts";
import type { ConformResult, RunOptions } from "../../conform/runner.ts";
import type { Subject } from "../../conform/subject.ts";
import { ARRAY, COUNT, FLAG, OBJECT, PHYSICAL, TEXT, VALUE } from "./cpu-arguments.ts";

/* What arguments must be that have to do with the conformance pack. */

export const LINE = text("line");
export const ID = text("id");
export const PATH = text("path");
export const REFUSE = callable<Refuse>("refuse");
export const JSON_VALUE: Argument<unknown> = {
  noun: "value",
  words: "a value of JSON",
  types: ["number"],
  accepts: (value) =>
    value === null ||
    ["string", "boolean", "object"].includes(typeof value) ||
    (typeof value === "number" && Number.isFinite(value)),
};
const OPS = ["access", "write_entry", "mov_cr3", "invlpg", "invpcid", "control"] as const;
export const STEP = shape<Step>("step", { op: oneOf("op", OPS) as Argument<never> });
const CASE_CPU = shape<CaseCpu>("CPU of a case", {
  vendor: oneOf("vendor", ["intel", "amd"]),
  maxphyaddr: whole("maxphyaddr", 36, 52),
  page1gb: FLAG,
});
export const REGISTERS = shape<Registers>("registers", {
  cr0: VALUE,
  cr3: VALUE,
  cr4: VALUE,
  efer: VALUE,
  pkru: VALUE,
  pkrs: VALUE,
});
const WORD_OF_MEMORY = shape<Word>("word", { pa: PHYSICAL, value: VALUE });
export const WORDS = list("words", WORD_OF_MEMORY);
export const CHANGED_WORDS = iterable<readonly [number, bigint]>("changes");
const QUESTION_PARTS = {
  id: TEXT,
  cpu: CASE_CPU,
  registers: REGISTERS,
  memory: WORDS,
  steps: list("steps", STEP),
};
export const QUESTION = shape<CaseQuestion>("question", QUESTION_PARTS);
export const CASE = shape<ConformCase>("case", {
  ...QUESTION_PARTS,
  expect: shape<Expectation>("expectation", { results: ARRAY, after: ARRAY }),
});
export const CASES = iterable<ConformCase>("cases");
const RESULT_WORDS = 'a "pa", a "fault" or "done"';
function isResult(value: unknown): boolean {
  return typeof value === "object" && value !== null && ["pa", "fault", "done"].some((key) => key in value);
}
export const OUTCOME_OF_STEP: Argument<Outcome & Exclude<ToldResult, null>> = {
  noun: "outcome",
  words: RESULT_WORDS,
  types: [],
  accepts: isResult,
};
export const ANSWER = shape<Exclude<Answer, { unsupported: string }>>("answer", { results: ARRAY });
export const FACT = shape<Fact>("fact", { id: TEXT, title: TEXT, run: ARRAY });
export const FEATURES = list("features", oneOf("feature", Object.keys(CAPABILITIES) as CapabilityName[]));
export const ACCESS_KIND = oneOf("access kind", ACCESS_KINDS);
export const WHO = oneOf("privilege", ["sup", "user"]);
export const ACCESS_DETAILS = shape<AccessDetails>("details", { la: optional(unsigned("la", 64)) });
export const ENTRY_BITS = shape<EntryBits>("bits", {});
export const SWITCHES = shape<Switches>("switches", {});
export const SOME_REGISTERS_OF_CASE = shape<Partial<Registers>>("registers", {});

export const GROUP = shape<CaseGroup>("group", {
  name: TEXT,
  about: TEXT,
  size: COUNT,
  sampled: FLAG,
  at: callable("at"),
});
export const SAMPLE = numeral(
  "sample",
  "a whole number, not negative, or Infinity",
  (value) => value >= 0 && (Number.isSafeInteger(value) || value === Number.POSITIVE_INFINITY),
);
export const SELECTION = shape<Selection>("selection", {
  groups: list("groups", GROUP),
  sample: SAMPLE,
  seed: whole("seed", -(2 ** 31), 2 ** 32 - 1),
});
export const SAMPLED = shape<Selection>("selection", { sample: SAMPLE });
export const RESULT_OF_RUN = shape<ConformResult>("result", {
  subject: TEXT,
  groups: ARRAY,
  causes: ARRAY,
  failures: ARRAY,
  mismatches: ARRAY,
  reasons: OBJECT,
  notes: ARRAY,
});
export const CONFORM_SUBJECT = shape<Subject>("subject", {
  name: TEXT,
  ask: callable("ask"),
  finish: callable("finish"),
  stop: callable("stop"),
});
export const RUN_OPTIONS = shape<RunOptions>("options", { verdict: optional(callable("verdict")) });
export const PROGRESS = callable<(asked: number) => void>("progress");
