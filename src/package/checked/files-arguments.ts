import type { Argument } from "../../../arch/x86/cpu/argument.ts";
import {
  callable,
  instance,
  iterable,
  list,
  nullable,
  oneOf,
  optional,
  shape,
  text,
  whole,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import { MAX_CPUS } from "../../../arch/x86/cpu/machine.ts";
import { TLB_POLICIES } from "../../../arch/x86/cpu/tlb.ts";
import type { ElfCore, ElfCoreOptions } from "../../formats/elf-core.ts";
import type { GuestSnapshot } from "../../formats/guest-snapshot.ts";
import { IMAGE_FORMATS } from "../../formats/image-file.ts";
import type { SegmentedFile } from "../../formats/memory-image.ts";
import type { RawPiece } from "../../formats/raw.ts";
import { ReadBudget } from "../../formats/read-budget.ts";
import type { TableCore } from "../../formats/table-pages.ts";
import type { ImportedGuest, ImportOptions } from "../../guest/import-kernel.ts";
import type { Truth } from "../../guest/truth.ts";
import type { AuditReport, AuditSettings } from "../../jobs/reclaim/audit-report.ts";
import type { ProtocolDiff } from "../../jobs/reclaim/diff.ts";
import { LISTENER_KINDS, type ListenerKind } from "../../jobs/reclaim/listeners.ts";
import type { NotifierProtocol } from "../../mm/mm_types.ts";
import { ARRAY, COUNT, FLAG, LEVELS, NAME, OBJECT, TEXT } from "./cpu-arguments.ts";

/* What arguments must be that have to do with files and the guests in them. */

export const FILE_NAME = text("file");
export const BUDGET = instance("budget", ReadBudget);
export const IMAGE_FORMAT = oneOf("image format", IMAGE_FORMATS);
export const RAW_PIECES = list(
  "pieces",
  shape<RawPiece>("piece", { start: COUNT, end: COUNT, offset: COUNT }),
);
const SEGMENTS = { segments: ARRAY };
export const SEGMENTED = shape<Pick<SegmentedFile, "segments">>("image", SEGMENTS);
export const SEGMENTED_FILE = shape<SegmentedFile>("image", { ...SEGMENTS, file: NAME });
export const TABLE_CORE = shape<TableCore>("image", { ...SEGMENTS, file: NAME, note: nullable(OBJECT) });
export const ELF_CORE = shape<ElfCore>("image", { ...SEGMENTS, file: NAME, memoryTop: COUNT });
export const ELF_OPTIONS = shape<ElfCoreOptions>("options", {
  maxBytes: optional(COUNT),
  budget: optional(BUDGET),
});
export const GUEST_SNAPSHOT = shape<GuestSnapshot>("guest", {
  name: NAME,
  directory: NAME,
  layout: NAME,
  levels: LEVELS,
  memoryBytes: COUNT,
  core: ELF_CORE,
  processes: ARRAY,
});
export const ROOTS = iterable<number>("roots");
export const SIZED = shape<{ readonly size: number }>("memory", { size: COUNT });
const CPUS = whole("number of CPUs", 1, MAX_CPUS);
const PROTOCOL: Argument<string | NotifierProtocol> = {
  noun: "protocol",
  words: "a protocol or its name",
  types: [],
  accepts: (value) => typeof value === "string" || (typeof value === "object" && value !== null),
};
export const IMPORT_OPTIONS = shape<ImportOptions>("options", {
  cpus: optional(CPUS),
  tlb: optional(oneOf("tlb", TLB_POLICIES)),
  notifiers: optional(PROTOCOL),
  observe: optional(FLAG),
});
export const IMPORTED = shape<ImportedGuest>("imported guest", {
  guest: GUEST_SNAPSHOT,
  machine: OBJECT,
  kernel: OBJECT,
  mms: OBJECT,
  frames: OBJECT,
});
const TALLY = { frames: COUNT, equal: COUNT };
export const TRUTH = shape<Truth>("truth", {
  kpagecount: shape<Truth["kpagecount"]>("kpagecount", TALLY),
  pagemap: shape<Truth["pagemap"]>("pagemap", { words: COUNT, equal: COUNT }),
  rmap: shape<Truth["rmap"]>("rmap", { pages: COUNT, equal: COUNT }),
});
const SETTINGS = {
  listeners: list("listeners", oneOf("listener", Object.keys(LISTENER_KINDS) as ListenerKind[])),
  cpus: CPUS,
  tlb: oneOf("tlb", TLB_POLICIES),
  seed: whole("seed", -(2 ** 31), 2 ** 32 - 1),
  shuffle: FLAG,
  snapshot: TEXT,
  progress: optional(callable<never>("progress")),
};
export const AUDIT_SETTINGS = shape<AuditSettings>("settings", {
  ...SETTINGS,
  protocols: list("protocols", PROTOCOL),
});
export const AUDIT_REPORT = shape<AuditReport>("report", {
  format: oneOf("format", ["ptescope-audit"]),
  snapshot: OBJECT,
  settings: OBJECT,
  truth: TRUTH,
  runs: ARRAY,
});
export const PROTOCOL_PAIR: Argument<readonly [string | NotifierProtocol, string | NotifierProtocol]> = {
  noun: "protocols",
  words: "an array of two",
  types: [],
  accepts: (value, owner) =>
    Array.isArray(value) && value.length === 2 && value.every((each) => PROTOCOL.accepts(each, owner)),
};
export const DIFF = shape<ProtocolDiff>("differences", { protocols: ARRAY, partings: ARRAY, others: ARRAY });
export const FRAME_ASKED = whole("frame number", 0, 2 ** 40 - 1);
