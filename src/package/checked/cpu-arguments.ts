import { PAGE_SIZE, type Pfn } from "../../../arch/x86/cpu/address.ts";
import type { Argument } from "../../../arch/x86/cpu/argument.ts";
import {
  callable,
  flag,
  instance,
  list,
  nullable,
  numeral,
  oneOf,
  optional,
  shape,
  text,
  unsigned,
  whole,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import type { CacheState } from "../../../arch/x86/cpu/cache-state.ts";
import { ControlRegisters, type RegisterValues } from "../../../arch/x86/cpu/control-registers.ts";
import { Cpu } from "../../../arch/x86/cpu/cpu.ts";
import type { CpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import type { TlbOptions } from "../../../arch/x86/cpu/create-tlb.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { ENTRY_KINDS, type EntryField, type LayoutModel } from "../../../arch/x86/cpu/entry-layout.ts";
import type { InvlpgbRequest } from "../../../arch/x86/cpu/invalidation.ts";
import {
  INVALIDATIONS,
  type Invalidation,
  type InvalidationOperand,
  type InvalidationScope,
} from "../../../arch/x86/cpu/invalidation-scope.ts";
import type { LamState } from "../../../arch/x86/cpu/linear-address.ts";
import { Mtrrs } from "../../../arch/x86/cpu/memory-type.ts";
import { Mmu } from "../../../arch/x86/cpu/mmu.ts";
import type { ErrorCodePolicy } from "../../../arch/x86/cpu/page-fault.ts";
import type { WalkOptions } from "../../../arch/x86/cpu/page-walk.ts";
import { MEMORY_TYPES, type MemoryType } from "../../../arch/x86/cpu/pat.ts";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import type { HardwareRecordOf } from "../../../arch/x86/cpu/records.ts";
import type { TlbPolicy } from "../../../arch/x86/cpu/tlb.ts";
import type { TlbGeometry } from "../../../arch/x86/cpu/tlb-geometry.ts";
import type { TlbState } from "../../../arch/x86/cpu/tlb-state.ts";
import { WalkResult } from "../../../arch/x86/cpu/walk-result.ts";

/* What arguments must be that have to do with the processor; and the general ones. */

const MOST = Number.MAX_SAFE_INTEGER;

/** Whatever it is, it is not looked at here. */
const ANYTHING: Argument<never> = { noun: "value", words: "", types: [], accepts: () => true };
export const FLAG = flag("flag");
export const TEXT = text("text");
export const NAME = text("name");
export const COUNT = whole("count", 0, MOST);
export const NUMBER = whole("number", -MOST, MOST);
export const FUNCTION = callable<never>("function");
export const OBJECT = shape<object>("object", {}) as Argument<never>;
export const ARRAY = list("array", ANYTHING) as Argument<never>;

/** A word of 32 bits, as it is kept (signed) or as it is written (unsigned). */
export const WORD = whole("word of 32 bits", -(2 ** 31), 2 ** 32 - 1);
export const BITS = whole("bits", 0, 2 ** 32 - 1);
export const VALUE = unsigned("value", 64);
export const ENTRY = instance("entry", Entry);
export const FRAME = whole<Pfn>("frame number", 0, 2 ** 40 - 1);
export const PHYSICAL = whole("physical address", 0, 2 ** 52 - 1);
export const TABLE = numeral<number>(
  "physical address of a table",
  "a multiple of 4096 below 2^52",
  (value) => value >= 0 && value < 2 ** 52 && value % PAGE_SIZE === 0,
);

/** A Number or a bigint; from 2^53 on a Number is that of a page. */
export const ADDRESS: Argument<number | bigint> = {
  noun: "linear address",
  words: "a whole number from 0 to 2^64-1, a bigint from 2^53 on",
  types: ["number", "bigint"],
  accepts(value) {
    if (typeof value === "bigint") return value >= 0n && value < 2n ** 64n;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) return false;
    return value <= MOST || (value < 2 ** 64 && value % PAGE_SIZE === 0);
  },
};

export const CPL = whole("CPL", 0, 3);
export const MODE = whole("access mode", 0, 3);
export const ACCESS = oneOf<number>("access kind", [0, 1, 2, 4, 5]);
export const WALK_END = whole("end of a walk", 0, 3);
export const LEVEL = whole("level", 1, 5);
export const LEVELS = oneOf<4 | 5>("number of levels", [4, 5]);
export const PCID = whole("PCID", 0, 4095);
export const MAXPHYADDR = whole("MAXPHYADDR", 36, 52);
export const MSR = whole("MSR", 0, 2 ** 32 - 1);

export const VENDOR = oneOf<"intel" | "amd">("vendor", ["intel", "amd"]);
export const MODEL = shape<CpuModel>("CPU model", { name: NAME, vendor: VENDOR, maxPhyAddr: MAXPHYADDR });
export const LAYOUT = shape<LayoutModel>("layout of entries", {
  vendor: VENDOR,
  maxPhyAddr: MAXPHYADDR,
  gbPages: flag("gbPages"),
});
export const ENTRY_KIND = oneOf("entry kind", ENTRY_KINDS);
export const FIELD = shape<EntryField>("field of an entry", { name: NAME, bits: ARRAY });
export const FIELD_USE = oneOf("use of a field", ["used", "ignored", "reserved", "address"]);
export const REGISTER = oneOf("control register", ["CR0", "CR4", "EFER"]);

export const CPU = instance("CPU", Cpu);
export const MMU = instance<Mmu>("CPU", Mmu);
export const CONTROL = instance("control registers", ControlRegisters);
export const MEMORY = instance("memory", PhysicalMemory);
export const MTRRS = instance("MTRRs", Mtrrs);
export const WALK_RESULT = instance("walk result", WalkResult);
export const WALK_OPTIONS = shape<WalkOptions>("options of a walk", {
  setAccessedDirty: flag("setAccessedDirty"),
  record: oneOf<boolean | "words">("record", [true, false, "words"]),
});

/** What decides rights: some control registers, or all of them. */
export const POLICY = shape<Record<"wp" | "nxe" | "smep" | "smap", boolean>>("policy", {
  wp: FLAG,
  nxe: FLAG,
  smep: FLAG,
  smap: FLAG,
});
export const KEY_POLICY = shape<ControlRegisters>("policy", {
  wp: FLAG,
  pke: FLAG,
  pks: FLAG,
  pkru: BITS,
  pkrs: BITS,
});
export const SMAP_POLICY = shape<{ readonly smap: boolean }>("policy", { smap: FLAG });
export const ERROR_POLICY = shape<ErrorCodePolicy>("policy", { nxe: FLAG, smep: FLAG, rsvdKeepsP: FLAG });
export const LAM = shape<LamState>("LAM state", {
  levels: LEVELS,
  lamU57: FLAG,
  lamU48: FLAG,
  lamSup: FLAG,
  uaie: FLAG,
});
export const LINEAR_WIDTH = shape<{ readonly linearWidth: 48 | 57 }>("CPU model", {
  linearWidth: oneOf<48 | 57>("width", [48, 57]),
});
export const REGISTER_VALUES = shape<RegisterValues>("register values", {
  cr0: VALUE,
  cr3: VALUE,
  cr4: VALUE,
  efer: VALUE,
});
export const SOME_REGISTERS = shape<Partial<Pick<RegisterValues, "cr0" | "cr4" | "efer">>>(
  "register values",
  {
    cr0: optional(VALUE),
    cr4: optional(VALUE),
    efer: optional(VALUE),
  },
);

export const CACHE_STATE = shape<CacheState>("state of the caches", {
  tlb: shape<TlbState>("state of a TLB", { policy: TEXT, entries: list("translations", OBJECT) }),
  tables: nullable(list("entries", OBJECT)),
  contexts: list("contexts", OBJECT),
});
export const POLICY_OF_TLB: Argument<TlbPolicy | TlbGeometry> = {
  noun: "TLB policy",
  words: "a policy's name or a geometry",
  types: [],
  accepts: (value) => typeof value === "string" || Array.isArray(value),
};
export const TLB_OPTIONS = shape<TlbOptions>("TLB options", {});
export const MEMORY_TYPE = oneOf<MemoryType>(
  "memory type",
  MEMORY_TYPES.filter((type) => type !== null),
);
export const MTRR_TYPE = oneOf<Exclude<MemoryType, "UC-">>(
  "memory type of MTRRs",
  MEMORY_TYPES.filter((type) => type !== null && type !== "UC-") as Exclude<MemoryType, "UC-">[],
);
export const MERGE = oneOf("merge", ["manual", "bochs"]);

export const INVALIDATION = oneOf("invalidation", Object.keys(INVALIDATIONS) as Invalidation[]);
export const SCOPE = shape<InvalidationScope>("scope of an invalidation", {
  pcid: whole("PCID", -1, 4095),
  globals: oneOf("globals", ["keep", "own", "all"]),
  tables: oneOf("tables", ["keep", "path", "all"]),
});
export const OPERAND = shape<InvalidationOperand>("operand", {});
export const INVLPGB_REQUEST = shape<InvlpgbRequest>("operands of INVLPGB", {
  address: optional(ADDRESS),
  pcid: optional(COUNT),
  extraPages: optional(COUNT),
});
export const INVALIDATED = shape<HardwareRecordOf<"invalidated">>("record of an invalidation", {
  kind: oneOf("kind", ["invalidated"]),
  pcid: whole("PCID", -1, 4095),
});
export const FLUSHING_BITS = shape<Record<"pge" | "pcide" | "pse" | "pke" | "smep", boolean>>(
  "control bits",
  {
    pge: FLAG,
    pcide: FLAG,
    pse: FLAG,
    pke: FLAG,
    smep: FLAG,
  },
);
export const SCOPING = shape<ControlRegisters>("control registers", {
  model: MODEL,
  pcid: PCID,
  pcide: FLAG,
});

export const HANDLERS = shape<Record<string, never>>("handlers", {});

const NUMERIC_DESCRIPTOR = unsigned("PCID descriptor", 64);
/** Bits 63:0 of INVPCID's descriptor. */
export const DESCRIPTOR: Argument<number | bigint> = {
  ...COUNT,
  noun: "PCID descriptor",
  types: ["number", "bigint"],
  accepts: (value, owner) => COUNT.accepts(value, owner) || NUMERIC_DESCRIPTOR.accepts(value, owner),
};
export const OUTCOMES = ARRAY;
export const OUTCOME = OBJECT;
