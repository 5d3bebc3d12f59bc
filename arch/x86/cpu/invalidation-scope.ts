import { NONE } from "./address.ts";
import type { ControlBit, ControlRegisters } from "./control-registers.ts";
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

/** One that is a write of a control bit, which drops something on the CPUs of some vendors only. */
export type ControlInvalidation = Extract<Invalidation, `CR4.${string}`>;

/** What one operation drops, before what the registers make of it. */
export interface InvalidationRow extends Pick<InvalidationScope, "globals" | "tables"> {
  /** Of which PCID: the current one, the one that the operation names, every one. */
  readonly pcid: "current" | "named" | "every";
  /** Of the page that the operation names, or of all. */
  readonly page: "named" | "all";
  /** Whether EFER.TCE spares the cached table entries that do not lead to the page. */
  readonly tce?: true;
}

/** What an operation must drop on the CPUs of each vendor; null: nothing. */
export interface InvalidationColumns {
  readonly intel: InvalidationRow | null;
  readonly amd: InvalidationRow | null;
}

const EVERYTHING: InvalidationRow = { pcid: "every", page: "all", globals: "all", tables: "all" };
const CONTEXT: InvalidationRow = { pcid: "current", page: "all", globals: "keep", tables: "all" };
const PAGE: InvalidationRow = { pcid: "current", page: "named", globals: "all", tables: "all", tce: true };
const NAMED_PAGE: InvalidationRow = { pcid: "named", page: "named", globals: "keep", tables: "path" };
const FAULT: InvalidationRow = { pcid: "current", page: "named", globals: "all", tables: "path" };

/** What both vendors demand alike. */
function both(row: InvalidationRow): InvalidationColumns {
  return { intel: { ...row }, amd: { ...row } };
}

/**
 * The least that the manuals demand of each operation (SDM vol. 3, 4.10.4.1 Operations that Invalidate TLBs and
 * Paging-Structure Caches; APM vol. 2, 5.5.3 TLB Management, and 3.1.3 for PKE); hardware may drop more. Concrete TLBs,
 * paging-structure caches, the oracle of allowed outcomes, the auditor and readers of traces all go by this table.
 */
export const INVALIDATIONS: Readonly<Record<Invalidation, InvalidationColumns>> = {
  INVLPG: both(PAGE),
  "INVPCID 0": { intel: NAMED_PAGE, amd: { ...NAMED_PAGE, tables: "all", tce: true } },
  "INVPCID 1": both({ ...CONTEXT, pcid: "named" }),
  "INVPCID 2": both(EVERYTHING),
  "INVPCID 3": both({ ...CONTEXT, pcid: "every" }),
  "MOV CR3": both(CONTEXT),
  "CR4.PGE": both(EVERYTHING),
  "CR4.PCIDE": both(EVERYTHING),
  "CR4.PSE": { intel: null, amd: { ...EVERYTHING } },
  "CR4.PKE": { intel: null, amd: { ...EVERYTHING } },
  "CR4.SMEP": { intel: { ...CONTEXT, globals: "own" }, amd: null },
  "#PF": both(FAULT),
};

/** The bits whose writes drop translations. */
export type FlushingBits = Readonly<
  Record<Extract<ControlBit, "pge" | "pcide" | "pse" | "pke" | "smep">, boolean>
>;

/** A write of a control register that drops translations: the bit, and which change of it does. */
interface ControlFlush {
  readonly operation: ControlInvalidation;
  readonly bit: keyof FlushingBits;
  readonly change: "set" | "clear" | "either";
}

/** The widest first: the first one that a write makes, and whose vendor drops anything, covers those after it. */
const CONTROL_FLUSHES: readonly ControlFlush[] = [
  { operation: "CR4.PGE", bit: "pge", change: "either" },
  { operation: "CR4.PCIDE", bit: "pcide", change: "clear" },
  { operation: "CR4.PSE", bit: "pse", change: "either" },
  { operation: "CR4.PKE", bit: "pke", change: "set" },
  { operation: "CR4.SMEP", bit: "smep", change: "set" },
];

/** The operation that a write of control bits is, by what it drops on a CPU of this vendor; null when it drops nothing. */
export function controlFlushOf(
  vendor: keyof InvalidationColumns,
  before: FlushingBits,
  after: FlushingBits,
): ControlInvalidation | null {
  for (const { operation, bit, change } of CONTROL_FLUSHES) {
    if (before[bit] === after[bit] || INVALIDATIONS[operation][vendor] === null) continue;
    if (change === "either" || after[bit] === (change === "set")) return operation;
  }
  return null;
}

/** The PCID and the linear address that an operation names, where it names them. */
export interface InvalidationOperand {
  readonly pcid?: number;
  readonly lo?: number;
  readonly hi?: number;
}

/** A write of a control register may drop nothing; every other operation drops something. */
type ScopeOf<I extends Invalidation> = I extends ControlInvalidation
  ? InvalidationScope | null
  : InvalidationScope;

/**
 * What an operation drops on a CPU with these registers; null for a write of a control register that drops nothing
 * there. The PCID in effect is the current one: after a MOV to CR3 the new one.
 */
export function scopeOf<I extends Invalidation>(
  operation: I,
  control: Pick<ControlRegisters, "model" | "pcid" | "pcide" | "tce">,
  { pcid = 0, lo = 0, hi = 0 }: InvalidationOperand = {},
): ScopeOf<I> {
  const { model } = control;
  const row = INVALIDATIONS[operation][model.vendor];
  // Only rows of control registers are null.
  if (row === null) return null as ScopeOf<I>;
  const { globals, tables } = row;
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
