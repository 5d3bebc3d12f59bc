import { NONE } from "./address.ts";
import type { ControlRegisters } from "./control-registers.ts";
import type { HardwareRecordOf, INVALIDATION_CAUSES } from "./records.ts";

/** What an operation removes from the caches of one logical CPU, as data. */
export interface InvalidationScope {
  /** The PCID whose translations go, or {@link ALL_PCIDS}. */
  readonly pcid: number;
  /** Words of a linear address: only pages of any size that hold it. Null: whatever the address. */
  readonly page: { readonly lo: number; readonly hi: number } | null;
  /** Global translations: they stay; those filled under `pcid` go; those of every PCID go. */
  readonly globals: "keep" | "own" | "all";
  /** Paging-structure cache entries of `pcid`: they stay; those go that lead to the page; all go. */
  readonly tables: "keep" | "path" | "all";
}

/** The `pcid` of a scope that takes the translations of every PCID. */
export const ALL_PCIDS = NONE;

/** An operation that drops translations; INVLPGB is not among them, because it says itself what it drops. */
export type Invalidation = Exclude<(typeof INVALIDATION_CAUSES)[number], "INVLPGB">;

/** What one operation drops, before what the registers and the vendor make of it. */
interface InvalidationRow extends Pick<InvalidationScope, "globals" | "tables"> {
  /** Of which PCID: the current one, the one that the operation names, every one. */
  readonly pcid: "current" | "named" | "every";
  /** Of the page that the operation names, or of all. */
  readonly page: "named" | "all";
  /** What differs on AMD (APM vol. 2, 5.5.3). */
  readonly amd?: Partial<Pick<InvalidationScope, "globals" | "tables">>;
  /** Whether EFER.TCE spares the cached table entries that do not lead to the page. */
  readonly tce?: true;
}

/**
 * The least that the manual demands of each operation (SDM vol. 3, 4.10.4.1); hardware may drop more. Concrete TLBs,
 * paging-structure caches, the oracle of allowed outcomes, the auditor and readers of traces all go by this table.
 */
export const INVALIDATIONS: Readonly<Record<Invalidation, InvalidationRow>> = {
  INVLPG: { pcid: "current", page: "named", globals: "all", tables: "all", tce: true },
  "INVPCID 0": {
    pcid: "named",
    page: "named",
    globals: "keep",
    tables: "path",
    amd: { tables: "all" },
    tce: true,
  },
  "INVPCID 1": { pcid: "named", page: "all", globals: "keep", tables: "all" },
  "INVPCID 2": { pcid: "every", page: "all", globals: "all", tables: "all" },
  "INVPCID 3": { pcid: "every", page: "all", globals: "keep", tables: "all" },
  "MOV CR3": { pcid: "current", page: "all", globals: "keep", tables: "all" },
  "CR4.PGE": { pcid: "every", page: "all", globals: "all", tables: "all" },
  "CR4.PCIDE": { pcid: "every", page: "all", globals: "all", tables: "all" },
  "CR4.SMEP": { pcid: "current", page: "all", globals: "own", tables: "all" },
  "#PF": { pcid: "current", page: "named", globals: "all", tables: "path" },
};

/** The PCID and the linear address that an operation names, where it names them. */
export interface InvalidationOperand {
  readonly pcid?: number;
  readonly lo?: number;
  readonly hi?: number;
}

/**
 * What an operation drops on a CPU with these registers. The PCID in effect is the current one: after a MOV to CR3 the
 * new one.
 */
export function scopeOf(
  operation: Invalidation,
  control: Pick<ControlRegisters, "model" | "pcid" | "pcide" | "tce">,
  { pcid = 0, lo = 0, hi = 0 }: InvalidationOperand = {},
): InvalidationScope {
  const row = INVALIDATIONS[operation];
  const { model } = control;
  const { globals, tables } = model.vendor === "amd" ? { ...row, ...row.amd } : row;
  const keepsGlobal = operation === "INVLPG" && control.pcide && model.invlpgKeepsGlobal;
  return {
    pcid: row.pcid === "every" ? ALL_PCIDS : row.pcid === "named" ? pcid : control.pcid,
    page: row.page === "all" ? null : { lo, hi },
    globals: keepsGlobal ? "keep" : globals,
    tables: row.tce && control.tce && tables === "all" ? "path" : tables,
  };
}

/** The scope that a recorded invalidation had. */
export function recordedScope(record: HardwareRecordOf<"invalidated">): InvalidationScope {
  const { pcid, all, linearLo, linearHi, globals, tables } = record;
  return { pcid, page: all ? null : { lo: linearLo, hi: linearHi }, globals, tables };
}

/** Whether two linear addresses are controlled by the same entry of a level, given the entries above are the same. */
export function sameRegion(level: number, aLo: number, aHi: number, bLo: number, bHi: number): boolean {
  const shift = 3 + 9 * level;
  if (shift >= 32) return (aHi ^ bHi) >>> (shift - 32) === 0;
  return aHi === bHi && (aLo ^ bLo) >>> shift === 0;
}

/** Whether the scope takes a translation: words of its page, leaf level, the PCID it was filled under, and its G. */
export function coversLeaf(
  scope: InvalidationScope,
  level: number,
  lo: number,
  hi: number,
  pcid: number,
  global: boolean,
): boolean {
  const { page } = scope;
  if (page !== null && !sameRegion(level, lo, hi, page.lo, page.hi)) return false;
  if (global && scope.globals !== "own") return scope.globals === "all";
  return scope.pcid === ALL_PCIDS || scope.pcid === pcid;
}

/** Whether it takes a cached table entry of a level whose region holds the linear address with these words. */
export function coversTable(
  scope: InvalidationScope,
  level: number,
  lo: number,
  hi: number,
  pcid: number,
): boolean {
  if (scope.tables === "keep" || (scope.pcid !== ALL_PCIDS && scope.pcid !== pcid)) return false;
  const { page } = scope;
  return scope.tables === "all" || page === null || sameRegion(level, lo, hi, page.lo, page.hi);
}
