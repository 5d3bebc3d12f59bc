import { BYTES_OF_LEVEL, NONE, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { ALL_PCIDS, type InvalidationScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { ByteRange } from "./byte-range.ts";
import { type Contexts, NOT_HELD } from "./contexts.ts";
import type { CpuContexts } from "./cpu-contexts.ts";
import type { Change, Context, Debt, SuspendedFinding, TableDebt } from "./debt.ts";
import { PfnIndex } from "./pfn-index.ts";
import { TableDebts, unchain } from "./table-debts.ts";
import { type Leaf, type Reach, WAS_ACCESSED, WAS_GLOBAL } from "./translation.ts";

const NO_TABLES: readonly TableDebt[] = [];

/**
 * The debts: what contexts may still hold although the tables no longer say so. Weakening an entry makes a debt for each
 * context that may hold it; an invalidation that covers it, in that context, pays it. What the tables say now is never
 * listed.
 */
export class Debts {
  readonly byPfn = new PfnIndex<Debt>();
  /** Debts of CPUs, for translations whose A was set, that each flush has paid. */
  readonly paidYoung = new Map<number, number>();
  /** Of entries that led to tables. */
  readonly tables: TableDebts;
  readonly #contexts: Contexts;
  /** Suspended on global translations that a PCID which is loaded again can fill. */
  #revived: Debt[] = [];

  constructor(contexts: Contexts) {
    this.#contexts = contexts;
    this.tables = new TableDebts(contexts, (debt) => this.#remove(debt));
  }

  /** A of a leaf was cleared: the CPUs' contexts that reach it may have used it before. */
  age(reach: Reach, page: number, level: number): void {
    for (const context of this.#contexts.reaching(reach)) {
      if (context.cpu !== NONE) context.aged[level]!.add(page / BYTES_OF_LEVEL[level]!);
    }
  }

  /**
   * Every context that may hold the changed translation owes an invalidation. `slot` is the entry that was stored: the
   * leaf's own, or one above it, whose cached value leads to the leaf still.
   */
  owe(change: Change, slot: number, isGlobalOn: (cpu: number) => boolean): void {
    const { leaf } = change;
    const contexts = this.#contexts.reaching(leaf.reach);
    // Lists of a frame's debts are built back to front: this way CPU 0 comes first.
    for (let i = contexts.length - 1; i >= 0; i--) {
      const context = contexts[i]!;
      const global = context.cpu >= 0 && (leaf.rights & WAS_GLOBAL) !== 0 && isGlobalOn(context.cpu);
      if (context.cpu >= 0 && context.isGlobal !== global) continue;
      const rights = this.#contexts.heldRights(context, leaf);
      const vias = leaf.slot === slot ? NO_TABLES : this.#viasOf(context, leaf);
      if (vias.length === 0 && rights !== NOT_HELD) this.oweIn(context, change, rights, null);
      for (const via of vias) {
        this.oweIn(context, change, rights === NOT_HELD ? leaf.rights : rights, via, rights === NOT_HELD);
      }
    }
  }

  /** The cached entries that lead to the leaf's table still; a global leaf can be had through those of every PCID. */
  #viasOf(context: Context, leaf: Leaf): readonly TableDebt[] {
    if (this.tables.byTable.size === 0 || context.cpu < 0) return NO_TABLES;
    const contexts = context.isGlobal ? this.#contexts.cpu(context.cpu).byPcid.values() : [context];
    const vias: TableDebt[] = [];
    for (const each of contexts) {
      const via = this.tables.find(each, Math.floor(leaf.slot / PAGE_SIZE), leaf.level + 1, leaf.page);
      if (via !== null) vias.push(via);
    }
    return vias;
  }

  /** One context owes; `unfilled`: not before it is loaded again, unless it is. */
  oweIn(context: Context, change: Change, rights: number, via: TableDebt | null, unfilled = false): Debt {
    const { leaf } = change;
    const { level } = leaf;
    const debts = context.debts[level]!;
    const key = leaf.page / BYTES_OF_LEVEL[level]!;
    const older = debts.get(key) ?? null;
    const isLate = unfilled && via !== null && !via.context.active;
    // The context may hold the same translation, and with as many rights, since an earlier change: blame that one. But one
    // that a walk could make anew outlives what pays for that.
    for (let debt = older; debt !== null; debt = debt.older) {
      if (debt.pfn !== leaf.pfn || (rights & ~debt.rights) !== 0) continue;
      if ((via !== null && debt.via !== via) || (debt.unfilled && !isLate)) continue;
      for (const pcid of pcidsOf(context, leaf.reach, via)) debt.filledUnder!.add(pcid);
      change.debts.push(debt);
      return debt;
    }
    const debt: Debt = {
      context,
      change,
      pfn: leaf.pfn,
      level,
      rights: rights | (context.aged[level]!.has(key) ? WAS_ACCESSED : 0),
      via,
      unfilled: isLate,
      filledUnder: context.isGlobal ? new Set(pcidsOf(context, leaf.reach, via)) : null,
      older,
      paid: false,
      suspended: null,
      nextOnPfn: null,
      previousOnPfn: null,
    };
    if (isLate) via.late.add(debt);
    debts.set(key, debt);
    this.byPfn.add(debt);
    change.debts.push(debt);
    return debt;
  }

  /**
   * The entry of a table that cached entries lead to has got another value: what it said is not to be had by them any
   * more. Returns what was suspended on that.
   */
  overwritten(via: TableDebt, level: number, page: number): readonly SuspendedFinding[] {
    this.tables.overwritten(via, level, page);
    const lost: SuspendedFinding[] = [];
    if (level > 3) return lost;
    const key = page / BYTES_OF_LEVEL[level]!;
    for (const context of [via.context, this.#contexts.cpu(via.context.cpu).global]) {
      for (let debt = context.debts[level]!.get(key) ?? null; debt !== null; debt = debt.older) {
        if (debt.via !== via) continue;
        if (debt.unfilled) {
          lost.push(...(debt.suspended ?? []));
          this.#remove(debt);
        } else debt.via = null;
      }
    }
    return lost;
  }

  /** A context is loaded: what it could not fill while it was away it can now. */
  returned(context: Context): void {
    this.tables.returned(context, (debt) => {
      debt.unfilled = false;
      if (debt.context.isGlobal) this.#revived.push(debt);
    });
  }

  /** Takes out a debt that no translation can stand for. */
  #remove(debt: Debt): void {
    const debts = debt.context.debts[debt.level]!;
    unchain(debts, debt.change.leaf.page / BYTES_OF_LEVEL[debt.level]!, debt);
    debt.via?.late.delete(debt);
    debt.paid = true;
    debt.suspended = null;
    this.byPfn.remove(debt);
  }

  /** A CPU dropped what the scope covers, on behalf of a flush. */
  pay(cpu: CpuContexts, scope: InvalidationScope, flush: number): void {
    for (const context of cpu.byPcid.values()) {
      if (scope.pcid !== ALL_PCIDS && scope.pcid !== context.pcid) continue;
      if (scope.tables !== "keep") this.tables.pay(context, scope);
      this.#payLeaves(context, scope, flush, null);
    }
    if (scope.globals === "keep") return;
    this.#payLeaves(cpu.global, scope, flush, scope.globals === "own" ? scope.pcid : null);
  }

  /** A device dropped what overlaps the bytes: a large translation goes as a whole. */
  payRange(context: Context, { start, length }: ByteRange): void {
    for (let level = 1; level <= 3; level++) {
      const debts = context.debts[level]!;
      if (debts.size === 0) continue;
      const size = BYTES_OF_LEVEL[level]!;
      const first = Math.floor(start / size);
      const last = Math.floor((start + length - 1) / size);
      if (first === last) {
        if (debts.has(first)) this.#payKey(debts, first, 0, null);
        continue;
      }
      forKeys(debts, first, last, (key) => this.#payKey(debts, key, 0, null));
    }
  }

  /** A context has dropped everything. */
  payAll(context: Context, flush: number): void {
    this.#payLeaves(context, { pcid: context.pcid, page: null, globals: "keep", tables: "all" }, flush, null);
  }

  /** Of a context's leaves; `own` limits a flush of global ones to those filled under that PCID. */
  #payLeaves(context: Context, { page }: InvalidationScope, flush: number, own: number | null): void {
    const address = page === null ? 0 : linearNumber(page.lo & ~0xfff, page.hi);
    for (let level = 1; level <= 3; level++) {
      const debts = context.debts[level]!;
      const aged = context.aged[level]!;
      if (debts.size + aged.size === 0) continue;
      if (page === null) {
        aged.clear();
        for (const key of debts.keys()) this.#payKey(debts, key, flush, own);
        continue;
      }
      const key = Math.floor(address / BYTES_OF_LEVEL[level]!);
      aged.delete(key);
      this.#payKey(debts, key, flush, own);
    }
  }

  /** Pays the debts of one address; those that remain stay in their order. */
  #payKey(debts: Map<number, Debt>, key: number, flush: number, own: number | null): void {
    let debt = debts.get(key) ?? null;
    let newest: Debt | null = null;
    let last: Debt | null = null;
    while (debt !== null) {
      const { older }: Debt = debt;
      if (isPaidBy(debt, own)) this.#paid(debt, flush);
      else {
        if (last === null) newest = debt;
        else last.older = debt;
        last = debt;
      }
      debt = older;
    }
    if (last !== null) last.older = null;
    if (newest === null) debts.delete(key);
    else debts.set(key, newest);
  }

  #paid(debt: Debt, flush: number): void {
    debt.paid = true;
    debt.suspended = null;
    this.byPfn.remove(debt);
    if (debt.context.cpu >= 0 && (debt.rights & WAS_ACCESSED) !== 0 && flush !== 0) {
      this.paidYoung.set(flush, (this.paidYoung.get(flush) ?? 0) + 1);
    }
  }

  /** A debt of the context by which it may reach the frame, null if there is none. */
  debtOn(pfn: number, context: Context): Debt | null {
    let found: Debt | null = null;
    this.byPfn.on(pfn, (debt) => {
      if (debt.context === context) found ??= debt;
    });
    return found;
  }

  /** Calls `visit` with the context's newest debt for each address in the bytes, of any size. */
  inRange(context: Context, start: number, length: number, visit: (debt: Debt) => void): void {
    for (let level = 1; level <= 3; level++) {
      const debts = context.debts[level]!;
      if (debts.size === 0) continue;
      const first = Math.floor(start / BYTES_OF_LEVEL[level]!);
      const last = Math.floor((start + length - 1) / BYTES_OF_LEVEL[level]!);
      forKeys(debts, first, last, (key) => {
        const debt = debts.get(key);
        if (debt !== undefined) visit(debt);
      });
    }
  }

  /** Calls `visit` with everything that is suspended on the context, leaves and tables; nothing is suspended any more then. */
  revive(context: Context, visit: (found: SuspendedFinding) => void): void {
    const one = (debt: Debt | TableDebt): void => {
      const { suspended } = debt;
      debt.suspended = null;
      for (const found of suspended ?? []) visit(found);
    };
    for (const debt of this.#revived) one(debt);
    this.#revived = [];
    for (const debts of [...context.debts, ...context.tableDebts]) {
      for (const newest of debts.values()) {
        for (let debt: Debt | TableDebt | null = newest; debt !== null; debt = debt.older) one(debt);
      }
    }
  }
}

/** The PCIDs under which a translation with that reach may have been filled, if it is global; none if it is not. */
function* pcidsOf(context: Context, { roots }: Reach, via: TableDebt | null): Iterable<number> {
  if (!context.isGlobal) return;
  for (const root of roots) yield* context.roots.get(root)?.pcids ?? [];
  if (via !== null) yield via.context.pcid;
}

/** Whether a flush that reaches a debt's address pays it. */
function isPaidBy(debt: Debt, own: number | null): boolean {
  const { via } = debt;
  if (via !== null && !via.paid) {
    // Gone it is, but there again as soon as its owner can walk.
    if (!via.context.active && own === null) {
      debt.unfilled = true;
      via.late.add(debt);
    }
    return false;
  }
  if (own === null || debt.filledUnder === null) return true;
  debt.filledUnder.delete(own);
  return debt.filledUnder.size === 0;
}

/** Visits the keys held from `first` to `last`, by whichever is shorter: the keys of the range or those that are held. */
function forKeys(
  held: ReadonlyMap<number, unknown>,
  first: number,
  last: number,
  visit: (key: number) => void,
): void {
  if (last - first < held.size) {
    for (let key = first; key <= last; key++) if (held.has(key)) visit(key);
    return;
  }
  for (const key of held.keys()) if (key >= first && key <= last) visit(key);
}
