import type { ControlRegisters } from "./control-registers.ts";

/**
 * What an operation removes from the caches of one logical CPU, as data: concrete TLBs, paging-structure caches and the
 * oracle of allowed outcomes all read the same value, so none of them has a table of operations of its own.
 *
 * Each scope here is the least that the manual demands (SDM vol. 3, 4.10.4.1); hardware may drop more.
 *
 *   operation            PCID      addresses   global ones     paging-structure caches
 *   -------------------  --------  ----------  --------------  ------------------------
 *   INVLPG               current   the page    of every PCID   all of the PCID (TCE: the path's)
 *   INVPCID 0            named     the page    stay            the path's (AMD: see INVLPG)
 *   INVPCID 1            named     all         stay            all of the PCID
 *   INVPCID 2            every     all         go              all
 *   INVPCID 3            every     all         stay            all
 *   MOV to CR3           the new   all         stay            all of the PCID
 *   MOV to CR4: PGE      every     all         go              all
 *   MOV to CR4: SMEP     current   all         of the PCID     all of the PCID
 *   #PF                  current   the page    of every PCID   the path's
 *   INVLPGB (AMD)        as asked  as asked    as asked        all, the path's or none
 */
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

export const ALL_PCIDS = -1;

/** PGE changed, or PCIDE cleared; also INVPCID type 2. */
export const EVERYTHING: InvalidationScope = { pcid: ALL_PCIDS, page: null, globals: "all", tables: "all" };

/** INVPCID type 3. */
export const EVERYTHING_BUT_GLOBAL: InvalidationScope = { ...EVERYTHING, globals: "keep" };

/** MOV to CR3 without bit 63, under the new PCID; also INVPCID type 1. */
export function contextScope(pcid: number): InvalidationScope {
  return { pcid, page: null, globals: "keep", tables: "all" };
}

/** MOV to CR4 that sets SMEP. */
export function ownScope(pcid: number): InvalidationScope {
  return { pcid, page: null, globals: "own", tables: "all" };
}

/** INVLPG under the current PCID; EFER.TCE and an erratum narrow it. */
export function invlpgScope(control: ControlRegisters, lo: number, hi: number): InvalidationScope {
  const { pcid, pcide, tce, model } = control;
  const keepsGlobal = pcide && model.invlpgKeepsGlobal;
  return { pcid, page: { lo, hi }, globals: keepsGlobal ? "keep" : "all", tables: tce ? "path" : "all" };
}

/** INVPCID type 0. AMD without EFER.TCE drops every table entry of the PCID, as INVLPG does. */
export function addressScope(
  { model, tce }: ControlRegisters,
  pcid: number,
  lo: number,
  hi: number,
): InvalidationScope {
  const tables = model.vendor === "amd" && !tce ? "all" : "path";
  return { pcid, page: { lo, hi }, globals: "keep", tables };
}

/** A page fault: what makes sure that a spurious one does not repeat. */
export function faultScope(pcid: number, lo: number, hi: number): InvalidationScope {
  return { pcid, page: { lo, hi }, globals: "all", tables: "path" };
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
