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
  unsigned,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import type { DecodedField } from "../../../arch/x86/cpu/entry-layout.ts";
import type { GuestSwapTypes } from "../../formats/guest-manifest.ts";
import type { ReservedBits } from "../../formats/table-pages.ts";
import { AbsentReader } from "../../inspect/absent-entry.ts";
import { AliasIndex } from "../../inspect/alias-index.ts";
import type { RulerField } from "../../inspect/bit-ruler.ts";
import type { WalkedAccess, WalkedTables } from "../../inspect/cpu-differences.ts";
import { type DecodedEntry, LINUX_LEVELS } from "../../inspect/decode-report.ts";
import type { DecodeSummary, SummaryContext } from "../../inspect/decode-summary.ts";
import { DirectMap } from "../../inspect/direct-map.ts";
import type { FoundDoubt } from "../../inspect/doubt.ts";
import type { FoldExtras, LeafRange } from "../../inspect/leaf-ranges.ts";
import { LeafCursor, type TableMemory } from "../../inspect/leaves.ts";
import type { LinuxReading } from "../../inspect/linux-reading.ts";
import type { Lost } from "../../inspect/lost-ranges.ts";
import type { OopsReport } from "../../inspect/oops-report.ts";
import type { OopsText } from "../../inspect/oops-text.ts";
import type { PageFilter } from "../../inspect/page-filter.ts";
import type { ProcessCounts } from "../../inspect/process-counts.ts";
import { PageCounts, type PageNames } from "../../inspect/range-table.ts";
import type { EntryMark, WalkAccess, WalkReport, WalkSource } from "../../inspect/walk-report.ts";
import type { Tone } from "../../text/paint.ts";
import {
  ARRAY,
  BITS,
  CONTROL,
  COUNT,
  ENTRY,
  ENTRY_KIND,
  FLAG,
  LEVEL,
  MEMORY,
  NUMBER,
  OBJECT,
  TEXT,
  WORD,
} from "./cpu-arguments.ts";
import { PTE_FORMAT } from "./linux-arguments.ts";

/* What arguments must be that have to do with looking at page tables, and with text. */

export const PAINT = callable<(tone: Tone, text: string) => string>("paint");
export const TONE = oneOf<Tone>("tone", ["heading", "quiet", "good", "warning", "danger"]);
export const LINUX_LEVEL = oneOf("level's name", LINUX_LEVELS);
export const LINUX_READING = shape<LinuxReading>("reading", { kind: TEXT as Argument<never> });
export const PTE_FORMATS = list("pte formats", PTE_FORMAT);
const DECODED_FIELD = shape<DecodedField>("field", {
  name: TEXT,
  bits: ARRAY,
  value: NUMBER,
  use: TEXT as Argument<never>,
});
export const DECODED_FIELDS = list("fields", DECODED_FIELD);
export const FIELD_BITS = shape<{ readonly bits: readonly [number, number] }>("field", { bits: ARRAY });
export const RULER_FIELDS = list("fields", shape<RulerField>("field", { name: TEXT, bits: ARRAY }));
export const DECODED = shape<DecodedEntry>("decoded entry", {
  entry: ENTRY,
  name: LINUX_LEVEL,
  level: LEVEL,
  kind: ENTRY_KIND,
  present: FLAG,
  fields: DECODED_FIELDS,
  reserved: list("reserved", TEXT),
  kernels: list(
    "kernels",
    shape<DecodedEntry["kernels"][number]>("kernel", { pteFormat: PTE_FORMAT, linux: LINUX_READING }),
  ),
});
export const SUMMARY_CONTEXT = shape<SummaryContext>("context", {
  control: CONTROL,
  marked: nullable(TEXT),
  value: unsigned("value", 64),
});
export const SUMMARY = shape<DecodeSummary>("summary", {
  value: TEXT,
  what: TEXT,
  address: TEXT,
  rights: TEXT,
  type: TEXT,
  linux: list("linux", TEXT),
});
export const FOUND_DOUBTS = list("doubts", shape<FoundDoubt>("doubt", { id: TEXT, text: TEXT }));
export const ERROR_CODE = BITS;

export const OOPS = shape<OopsText>("oops", {
  entries: list(
    "entries",
    shape<OopsText["entries"][number]>("entry", { level: LEVEL, value: unsigned("value", 64) }),
  ),
  fiveLevels: FLAG,
  registers: OBJECT,
  address: nullable(unsigned("address", 64)),
  errorCode: nullable(BITS),
  rip: nullable(TEXT),
  twice: list("twice", TEXT),
});
export const MARK = shape<EntryMark>("mark", { bit: COUNT, mask: WORD, set: TEXT, clear: TEXT });
export const KNOWN = instance<ReadonlySet<string>>("set of registers", Set as never);
export const WALK_ACCESS = shape<WalkAccess>("access", {
  kind: oneOf("kind", [0, 1, 2, 4, 5]),
  mode: oneOf("mode", [0, 1, 2, 3]),
});
export const WALK_REPORT = shape<WalkReport>("report of a walk", {
  address: unsigned("address", 64),
  access: WALK_ACCESS,
  steps: ARRAY,
  end: OBJECT,
  mapping: nullable(OBJECT),
  differences: ARRAY,
  linux: nullable(TEXT),
});
export const OOPS_REPORT = shape<OopsReport>("report of an oops", {
  oops: OOPS,
  walk: WALK_REPORT,
  explained: nullable(FLAG),
  verdict: TEXT,
  notes: list("notes", TEXT),
});
export const WALK_SOURCE = shape<WalkSource>("source of a walk", {
  memory: MEMORY,
  control: CONTROL,
  pteFormat: PTE_FORMAT,
  holds: callable("holds"),
});
export const WALKED_TABLES = shape<WalkedTables>("tables", { memory: MEMORY, holds: callable("holds") });
export const WALKED_ACCESS = shape<WalkedAccess>("access", {
  lo: WORD,
  hi: WORD,
  kind: oneOf<number>("kind", [0, 1, 2, 4, 5]),
  mode: oneOf<number>("mode", [0, 1, 2, 3]),
});
export const ADDRESS_VALUE = unsigned("linear address", 64);

export const LEAVES = instance<LeafCursor>("leaves", LeafCursor);
export const PAGE_FILTER = callable<PageFilter>("filter");
export const FOLD_EXTRAS = shape<FoldExtras>("extras", {
  absent: optional(instance<AbsentReader>("absent", AbsentReader)),
  vmas: optional(ARRAY),
});
export const LEAF_RANGE = shape<LeafRange>("range", {
  start: bytes("start"),
  length: bytes("length"),
  physical: NUMBER,
  level: LEVEL,
  rights: OBJECT,
  repeats: COUNT,
  stride: bytes("stride"),
  code: WORD,
  absent: nullable(OBJECT),
  vma: nullable(OBJECT),
});
export const LEAF_PLACE = shape<Pick<LeafRange, "start" | "physical">>("range", {
  start: bytes("start"),
  physical: NUMBER,
});
export const LEAF_RANGES = iterable<LeafRange>("ranges");
export const DIRECT_MAP = instance<DirectMap>("direct map", DirectMap);
export const LEAF_CODE = shape<Pick<LeafRange, "code">>("range", { code: WORD });
export const ALIASES = instance<AliasIndex>("index of aliases", AliasIndex as never);
export const PAGE_COUNTS = instance("counts", PageCounts);
export const PAGE_NAMES = shape<PageNames>("names", {
  pat: ARRAY,
  mark: nullable(OBJECT),
  vmasUpTo: bytes("vmasUpTo"),
});
export const TABLE_MEMORY = shape<TableMemory>("memory", { tableAt: callable("tableAt") });
export const LOSE = callable<(lost: Lost) => void>("function");
export const COUNTS = shape<ProcessCounts>("counts of a process", {
  present4K: COUNT,
  present2M: COUNT,
  present1G: COUNT,
  protNone4K: COUNT,
  protNone2M: COUNT,
  swap: COUNT,
});
export const SWAP_TYPES = shape<GuestSwapTypes>("swap types", {
  hwpoison: COUNT,
  migration: ARRAY,
  pteMarker: COUNT,
});
export const LAYOUT_NAME = text("layout");
export const RESERVED_BITS = shape<ReservedBits>("reserved bits", {
  reservedHi: WORD,
  reservedTop: WORD,
  reservedLarge: callable("reservedLarge"),
});

function bytes(noun: string): Argument<number> {
  return numeral(noun, "a number of bytes", (value) => value >= 0);
}
