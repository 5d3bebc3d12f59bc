import { BYTES_OF_LEVEL } from "./address.ts";
import { need } from "./argument.ts";
import { list, oneOf, shape, whole } from "./argument-kinds.ts";
import type { CacheHook } from "./cache-hook.ts";
import type { ControlRegisters } from "./control-registers.ts";
import { PTE_PAT, PTE_PAT_LARGE, PTE_PCD, PTE_PWT } from "./entry-layout.ts";
import { MEMORY_TYPES, type MemoryType } from "./pat.ts";
import type { WalkResult } from "./walk-result.ts";

/** Effective type by MTRR (row) and PAT (column) type (SDM vol. 3, table 11-7). */
const COMBINED: Readonly<Record<Exclude<MemoryType, "UC-">, Readonly<Record<MemoryType, MemoryType>>>> = {
  UC: { UC: "UC", "UC-": "UC", WC: "WC", WT: "UC", WB: "UC", WP: "UC" },
  WC: { UC: "UC", "UC-": "WC", WC: "WC", WT: "UC", WB: "WC", WP: "UC" },
  WT: { UC: "UC", "UC-": "UC", WC: "WC", WT: "WT", WB: "WT", WP: "WP" },
  WB: { UC: "UC", "UC-": "UC", WC: "WC", WT: "WT", WB: "WB", WP: "WP" },
  WP: { UC: "UC", "UC-": "WC", WC: "WC", WT: "WT", WB: "WP", WP: "WP" },
};

/**
 * The type that an MTRR (or EPT) type and a PAT type give together. Bochs differs in two cells: the smaller encoding wins
 * between WT and WP, and UC- over WP is UC.
 */
export function combineMemoryTypes(
  mtrr: Exclude<MemoryType, "UC-">,
  pat: MemoryType,
  merge: "manual" | "bochs" = "manual",
): MemoryType {
  if (merge === "bochs" && mtrr === "WT" && pat === "WP") return "WT";
  if (merge === "bochs" && mtrr === "WP" && pat === "UC-") return "UC";
  return COMBINED[mtrr][pat];
}

/** A type that an MTRR can have. */
export type MtrrType = Exclude<MemoryType, "UC-">;

/** A variable-range MTRR: a power of two of bytes at a multiple of it. */
export interface MtrrRange {
  readonly base: number;
  readonly length: number;
  readonly type: MtrrType;
}

const MTRR_TYPE = oneOf<MtrrType>(
  "memory type",
  MEMORY_TYPES.filter((type): type is MtrrType => type !== null && type !== "UC-"),
);
const MTRR_RANGES = list(
  "ranges",
  shape<MtrrRange>("range", {
    base: whole("base", 0, 2 ** 52 - 1),
    length: whole("length", 1, 2 ** 52),
    type: MTRR_TYPE,
  }),
);
const PHYSICAL = whole("physical address", 0, 2 ** 52 - 1);
const LENGTH = whole("length", 1, 2 ** 52);

/** The MTRRs of one CPU (SDM vol. 3, 11.11), without the fixed ranges below 1 MiB. */
export class Mtrrs {
  readonly defaultType: MtrrType;
  readonly ranges: readonly MtrrRange[];

  /** Throws RangeError for a range whose length is no power of two from 4 KiB on, or whose base is no multiple of it. */
  constructor(defaultType: MtrrType = "WB", ranges: readonly MtrrRange[] = []) {
    need(MTRR_TYPE, defaultType);
    need(MTRR_RANGES, ranges);
    for (const { base, length } of ranges) {
      if (!(length >= 4096 && Number.isInteger(Math.log2(length))) || !(base >= 0 && base % length === 0)) {
        throw new RangeError(
          `MTRR of ${length} bytes at ${base}: give a power of two from 4096 on, at a multiple of it`,
        );
      }
    }
    this.defaultType = defaultType;
    this.ranges = ranges;
  }

  /**
   * The type of a physical address. Where ranges overlap UC wins and WT beats WB; what other mixtures give is undefined,
   * and here UC, the safe one.
   */
  typeAt(physical: number): MtrrType {
    need(PHYSICAL, physical);
    let found: MtrrType | null = null;
    for (const { base, length, type } of this.ranges) {
      if (physical < base || physical >= base + length) continue;
      found = found === null ? type : overlap(found, type);
    }
    return found ?? this.defaultType;
  }

  /**
   * The one type of a page, or null where types meet inside it: a CPU may then use any of them or split the page in its
   * TLB (SDM vol. 3, 11.11.9).
   */
  typeOfPage(physical: number, length: number): MtrrType | null {
    need(PHYSICAL, physical);
    need(LENGTH, length);
    const edges = this.ranges.flatMap((range) => [range.base, range.base + range.length]);
    const first = this.typeAt(physical);
    for (const edge of edges) {
      if (edge > physical && edge < physical + length && this.typeAt(edge) !== first) return null;
    }
    return first;
  }
}

function overlap(a: MtrrType, b: MtrrType): MtrrType {
  if (a === b) return a;
  const writeThrough = (a === "WT" && b === "WB") || (a === "WB" && b === "WT");
  return writeThrough ? "WT" : "UC";
}

/** Index of a leaf's entry in the PAT: PAT, PCD, PWT. */
export function patIndex(level: number, lo: number): number {
  const pat = level === 1 ? PTE_PAT : PTE_PAT_LARGE;
  return ((lo & pat) !== 0 ? 4 : 0) | tableIndexOf(lo);
}

/** The same for the table that an entry or CR3 points to: those have no PAT bit. */
function tableIndexOf(lo: number): number {
  return ((lo & PTE_PCD) !== 0 ? 2 : 0) | ((lo & PTE_PWT) !== 0 ? 1 : 0);
}

/** How the memory of one walk is cached. */
export interface WalkMemoryTypes {
  /** Of the page, by MTRR and PAT. */
  readonly page: MemoryType;
  /** Of the reads of the tables, the top one first. */
  readonly tables: readonly MemoryType[];
}

/**
 * The memory types that a walk used: `walk` is one that was asked to record its path and reached a leaf. CR0.CD makes
 * everything UC (SDM vol. 3, 4.9 and 11.5.2).
 */
export function memoryTypesOf(walk: WalkResult, control: ControlRegisters, mtrrs: Mtrrs): WalkMemoryTypes {
  const { rootCaching } = control;
  const typeOf = (physical: number, index: number): MemoryType => typeAt(physical, index, control, mtrrs);
  // Each table's type stands in what points to it.
  const pointers = [rootCaching, ...walk.path.map(({ entry }) => entry.lo)];
  const tables = walk.path.map(({ address }, i) => typeOf(address, tableIndexOf(pointers[i]!)));
  return { page: pageTypeOf(walk, control, mtrrs), tables };
}

/** The memory type of the byte that a walk reached. */
export function pageTypeOf(walk: WalkResult, control: ControlRegisters, mtrrs: Mtrrs): MemoryType {
  return typeAt(walk.physical, patIndex(walk.level, walk.lo), control, mtrrs);
}

/** Tells a hook of the page that a walk reached, with its memory type. */
export function tellPageType(
  hook: CacheHook,
  cpu: number,
  walk: WalkResult,
  control: ControlRegisters,
  mtrrs: Mtrrs,
): void {
  if (hook.walked === undefined) return;
  const bytes = BYTES_OF_LEVEL[walk.level]!;
  const { physical } = walk;
  hook.walked(cpu, physical - (physical % bytes), bytes, pageTypeOf(walk, control, mtrrs));
}

function typeAt(
  physical: number,
  index: number,
  { cd, pat, model }: ControlRegisters,
  mtrrs: Mtrrs,
): MemoryType {
  return cd ? "UC" : combineMemoryTypes(mtrrs.typeAt(physical), pat[index]!, model.memoryTypeMerge);
}
