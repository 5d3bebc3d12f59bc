import type { Argument } from "../../../arch/x86/cpu/argument.ts";
import {
  callable,
  instance,
  iterable,
  list,
  nullable,
  numeral,
  oneOf,
  optional,
  shape,
  text,
  whole,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { RecordedRun } from "../../audit/auditor.ts";
import type { Cause } from "../../audit/causes.ts";
import { Finding, type FindingDetails, type Owed, type OwedFault } from "../../audit/findings.ts";
import type { ExplainedRule } from "../../audit/histories/explained-rule.ts";
import type { ByteRange } from "../../audit/ledger/byte-range.ts";
import type { Change, Context, Debt } from "../../audit/ledger/debt.ts";
import { Ledger } from "../../audit/ledger/ledger.ts";
import type { Guest, Spte } from "../../audit/ledger/listeners.ts";
import type { MomentOf } from "../../audit/ledger/moments.ts";
import type { Leaf, TableUse } from "../../audit/ledger/translation.ts";
import type { RuleRow } from "../../audit/rules/rule.ts";
import type { Story } from "../../audit/story/story.ts";
import { Kernel } from "../../mm/kernel.ts";
import { FORMS } from "../../trace/file/forms.ts";
import type { TraceHeader } from "../../trace/file/header.ts";
import type { ReadOptions } from "../../trace/file/read-records.ts";
import { FIELDS, type FieldName, type TraceRecord } from "../../trace/record.ts";
import {
  ARRAY,
  COUNT,
  FLAG,
  FRAME,
  LEVEL,
  MODEL,
  NAME,
  NUMBER,
  OBJECT,
  TEXT,
  WORD,
} from "./cpu-arguments.ts";
import { LINEAR } from "./linux-arguments.ts";

/* What arguments must be that have to do with the auditor and its records. */

export const LEDGER = instance<Ledger>("ledger", Ledger);
export const FINDING = instance<Finding>("finding", Finding);
export const FINDINGS = list("findings", FINDING);
export const CPU_WORDS = list("set of CPUs", WORD);
export const CPU_ID = whole("CPU", 0, 4095);
export const RULE_ID: Argument<number | string> = {
  noun: "rule",
  words: "a rule's number or name",
  types: [],
  accepts: (value) => typeof value === "string" || (Number.isSafeInteger(value) && (value as number) > 0),
};

const AMOUNT = numeral<number>("number", "a number of bytes, not negative", (value) => value >= 0);
export const RANGE = shape<ByteRange>("range", { start: AMOUNT, length: AMOUNT });
export const RECORDED_RANGE = shape<{
  readonly linearLo: number;
  readonly linearHi: number;
  readonly bytes: number;
  readonly all: boolean;
}>("recorded range", { linearLo: WORD, linearHi: WORD, bytes: AMOUNT, all: FLAG });
export const LEAF = shape<Leaf>("leaf", {
  page: LINEAR,
  level: LEVEL,
  pfn: NUMBER,
  rights: WORD,
  reach: OBJECT,
});
export const CHANGE = shape<Change>("change", { leaf: LEAF, debts: ARRAY });
export const CHANGES = list("changes", CHANGE);
export const HOLDER = shape<Context>("context", { cpu: NUMBER, listener: NUMBER });
export const DEBT = shape<Debt>("debt", { context: HOLDER, change: CHANGE, rights: WORD });
export const GUEST = shape<Guest>("guest", { id: NUMBER, space: NUMBER, openRanges: ARRAY, small: OBJECT });
export const SPTE = shape<Spte>("spte", {
  gfn: COUNT,
  hva: LINEAR,
  pfn: NUMBER,
  level: LEVEL,
  guest: OBJECT,
});
export const TABLE_USE = shape<TableUse>("place of a table", { base: LINEAR, level: LEVEL, allow: WORD });
export const PAGE_FREED = shape<MomentOf<"page-freed">>("moment", { pfn: FRAME, order: COUNT });

const FAULTS: readonly OwedFault[] = [
  "missing",
  "not heard",
  "too short",
  "unaligned start",
  "empty range",
  "too early",
  "unpaired",
  "may sleep",
  "wrong count",
];
export const OWED = shape<Owed>("owed call", {
  call: TEXT,
  fault: oneOf("fault", FAULTS),
  when: TEXT,
  range: nullable(RANGE),
  passed: nullable(OBJECT),
});
export const CAUSE = shape<Cause>("cause", { first: FINDING, worst: FINDING, count: COUNT, places: ARRAY });
export const WIDTH = whole("width", 1, Number.MAX_SAFE_INTEGER);
export const DEADLINE = text("deadline");
export const RULE_ROW = shape<RuleRow<never, never>>("rule", {
  title: TEXT,
  source: TEXT,
  subjects: optional(callable("subjects")),
  broken: callable("broken"),
  breach: callable("breach"),
}) as Argument<never>;
export const DETAILS = shape<FindingDetails>("details", {
  moment: TEXT,
  agent: TEXT,
  space: NUMBER,
  owed: OWED,
});

export const EXPLAINED = shape<ExplainedRule>("explained rule", {
  rule: OBJECT as Argument<never>,
  records: OBJECT as Argument<never>,
  breaks: OBJECT as Argument<never>,
  keeps: OBJECT as Argument<never>,
  also: ARRAY,
});
export const STORY = shape<Story>("story", {
  pfn: FRAME,
  lanes: ARRAY,
  lines: ARRAY,
  left: COUNT,
  gapAt: NUMBER,
});
export const RUN = shape<RecordedRun>("run", { world: OBJECT, opening: OBJECT });
export const LISTENER_ID = whole("listener", 0, Number.MAX_SAFE_INTEGER);

export const FORM = oneOf("form", FORMS);
export const HEADER = shape<TraceHeader>("header", {
  schema: OBJECT,
  model: MODEL,
  levels: oneOf("levels", [4, 5]),
  memory: COUNT,
  cpus: COUNT,
});
export const MACHINE = instance<Machine>("machine", Machine);
export const SUBJECT: Argument<Machine | Kernel> = {
  noun: "subject",
  words: "a machine or a kernel",
  types: [],
  accepts: (value) => value instanceof Machine || value instanceof Kernel,
};
export const READ_OPTIONS = shape<ReadOptions>("options", {
  file: optional(NAME),
  maxRecords: optional(COUNT),
  maxTables: optional(COUNT),
  maxLine: optional(COUNT),
});
export const FIELD_NAME = oneOf("field", Object.keys(FIELDS) as FieldName[]);
export const CHUNKS = iterable<Uint8Array>("chunks");
export const RECORDS = iterable<TraceRecord>("records");
