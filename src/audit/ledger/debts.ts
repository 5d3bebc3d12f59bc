import { BYTES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";
import { ALL_PCIDS, type InvalidationScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { FindingDetails, RuleHead } from "../findings.ts";
import type { Context, Contexts, CpuContexts } from "./contexts.ts";
import { type OnPfn, PfnIndex } from "./pfn-index.ts";
import { type Leaf, type Reach, WAS_ACCESSED, WAS_GLOBAL } from "./translation.ts";

/** Bytes of linear addresses. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** A call of the notifier core, as one change saw it. */
export interface ToldCall {
  readonly op: string;
  readonly range: ByteRange;
  /** Number of the record. */
  readonly seq: number;
}

/** Who changed an entry, on whose behalf. */
export interface Changer {
  /** Number of the record of the store: the change's id. */
  readonly seq: number;
  readonly agent: number;
  /** The kernel function that it was in, or what it is otherwise. */
  readonly site: string;
  /** The primitive that stored, where a hint says so; else empty. */
  readonly primitive: string;
}

/** One weakening of one leaf entry: who made it, and who owes an invalidation for it. */
export interface Change extends Changer {
  /** The leaf as it was. */
  readonly leaf: Leaf;
  readonly debts: Debt[];
  /** Its flush was put off to try_to_unmap_flush. */
  deferred: boolean;
  /** The last range that the listeners were told of for it, whether it covers the change or not. */
  told: ToldCall | null;
  /** What that call should have covered and did not: the bytes left out, and the range that it should have had. */
  missed: { readonly stale: readonly ByteRange[]; readonly needed: ByteRange } | null;
}

/** A translation that a context may still hold although the tables no longer say so. */
export interface Debt extends OnPfn<Debt> {
  readonly context: Context;
  readonly change: Change;
  /** RIGHT_* and WAS_* of the translation. */
  readonly rights: number;
  /** The cached entry through which a walk could make it anew: it is not paid before that one is. */
  readonly via: TableDebt | null;
  /** Of a global one: the PCIDs under which it may have been filled. */
  readonly filledUnder: Set<number> | null;
  /** An earlier debt of the same context for the same address. */
  older: Debt | null;
  paid: boolean;
  /** What will be found if the context can be used again and this is still unpaid. */
  suspended: SuspendedFinding[] | null;
}

/** A cached entry that still leads to a table which its slot does not lead to any more, or not with the same rights. */
export interface TableDebt {
  readonly context: Context;
  readonly changer: Changer;
  /** Level of the entry, from 2, and the first address that it is for. */
  readonly level: number;
  readonly base: number;
  readonly table: number;
  readonly reach: Reach;
  older: TableDebt | null;
  paid: boolean;
  suspended: SuspendedFinding[] | null;
}

/** A finding with its key, not reported yet. */
export interface SuspendedFinding {
  readonly rule: RuleHead;
  readonly key: string;
  readonly details: FindingDetails;
}

/**
 * The debts: what contexts may still hold although the tables no longer say so. Weakening an entry makes a debt for each
 * context that may hold it; an invalidation that covers it, in that context, pays it. What the tables say now is never
 * listed.
 */
export class Debts {
  readonly byPfn = new PfnIndex<Debt>();
  /** Debts of table entries, by the table. */
  readonly byTable = new Map<number, Set<TableDebt>>();
  /** Debts of CPUs, for translations whose A was set, that each flush has paid. */
  readonly paidYoung = new Map<number, number>();
  readonly #contexts: Contexts;

  constructor(contexts: Contexts) {
    this.#contexts = contexts;
  }

  /** A of the leaf was cleared: the contexts that reach it may have used it before. */
  age(leaf: Leaf): void {
    const key = leaf.page / BYTES_OF_LEVEL[leaf.level]!;
    for (const context of this.#contexts.reaching(leaf.reach)) context.aged[leaf.level]!.add(key);
  }

  /** Every context that may hold the changed translation owes an invalidation. */
  owe(change: Change, isGlobalOn: (cpu: number) => boolean): void {
    const { leaf } = change;
    const contexts = this.#contexts.reaching(leaf.reach);
    // Lists of a frame's debts are built back to front: this way CPU 0 comes first.
    for (let i = contexts.length - 1; i >= 0; i--) {
      const context = contexts[i]!;
      const global = context.cpu >= 0 && (leaf.rights & WAS_GLOBAL) !== 0 && isGlobalOn(context.cpu);
      if (context.cpu >= 0 && context.isGlobal !== global) continue;
      this.#oweIn(context, change);
    }
  }

  #oweIn(context: Context, change: Change): void {
    const { leaf } = change;
    const { level } = leaf;
    const debts = context.debts[level]!;
    const key = leaf.page / BYTES_OF_LEVEL[level]!;
    const older = debts.get(key) ?? null;
    const via = this.#tableDebtOver(context, leaf.page, change.seq);
    // The context may hold the same translation, and with as many rights, since an earlier change: blame that one. But one
    // that a walk could make anew outlives what pays for that.
    const isHeld = older !== null && older.pfn === leaf.pfn && (leaf.rights & ~older.rights) === 0;
    if (isHeld && via === null) {
      change.debts.push(older);
      return;
    }
    const debt: Debt = {
      context,
      change,
      pfn: leaf.pfn,
      level,
      rights: leaf.rights | (context.aged[level]!.has(key) ? WAS_ACCESSED : 0),
      via,
      filledUnder: context.isGlobal ? pcidsOf(context, leaf.reach) : null,
      older,
      paid: false,
      suspended: null,
      nextOnPfn: null,
      previousOnPfn: null,
    };
    debts.set(key, debt);
    this.byPfn.add(debt);
    change.debts.push(debt);
  }

  /** The context's debt of an entry above the address that the same store has made. */
  #tableDebtOver(context: Context, address: number, seq: number): TableDebt | null {
    for (let level = 2; level <= 5; level++) {
      const debts = context.tableDebts[level]!;
      if (debts.size === 0) continue;
      const debt = debts.get(Math.floor(address / BYTES_OF_LEVEL[level]!));
      if (debt?.changer.seq === seq) return debt;
    }
    return null;
  }

  /** Every PCID of every CPU that may hold the entry which led to the table owes an invalidation; such entries are never global. */
  oweTable(reach: Reach, level: number, base: number, table: number, changer: Changer): void {
    for (const context of this.#contexts.reaching(reach)) {
      if (context.cpu < 0 || context.isGlobal) continue;
      const debts = context.tableDebts[level]!;
      const key = base / BYTES_OF_LEVEL[level]!;
      const older = debts.get(key) ?? null;
      const debt: TableDebt = {
        context,
        changer,
        level,
        base,
        table,
        reach,
        older,
        paid: false,
        suspended: null,
      };
      debts.set(key, debt);
      const same = this.byTable.get(table);
      if (same === undefined) this.byTable.set(table, new Set([debt]));
      else same.add(debt);
    }
  }

  /** A CPU dropped what the scope covers, on behalf of a flush. */
  pay(cpu: CpuContexts, scope: InvalidationScope, flush: number): void {
    for (const context of cpu.byPcid.values()) {
      if (scope.pcid !== ALL_PCIDS && scope.pcid !== context.pcid) continue;
      if (scope.tables !== "keep") this.#payTables(context, scope);
      this.#payLeaves(context, scope, flush, null);
    }
    if (scope.globals === "keep") return;
    this.#payLeaves(cpu.global, scope, flush, scope.globals === "own" ? scope.pcid : null);
  }

  /** A device dropped what overlaps the bytes: a large translation goes as a whole. */
  payRange(context: Context, { start, length }: ByteRange): void {
    for (let level = 1; level <= 3; level++) {
      const debts = context.debts[level]!;
      const aged = context.aged[level]!;
      if (debts.size + aged.size === 0) continue;
      const size = BYTES_OF_LEVEL[level]!;
      const first = Math.floor(start / size);
      const last = Math.floor((start + length - 1) / size);
      forKeys(aged, first, last, (key) => aged.delete(key));
      forKeys(debts, first, last, (key) => this.#payKey(debts, key, 0, null));
    }
  }

  /** A context has dropped everything. */
  payAll(context: Context, flush: number): void {
    this.#payLeaves(context, { pcid: context.pcid, page: null, globals: "keep", tables: "all" }, flush, null);
  }

  #payTables(context: Context, { page, tables }: InvalidationScope): void {
    for (let level = 2; level <= 5; level++) {
      const debts = context.tableDebts[level]!;
      if (debts.size === 0) continue;
      if (tables === "all" || page === null) {
        for (const debt of debts.values()) this.#payTable(debt);
        debts.clear();
        continue;
      }
      const key = Math.floor(linearNumber(page.lo & ~0xfff, page.hi) / BYTES_OF_LEVEL[level]!);
      const debt = debts.get(key);
      if (debt === undefined) continue;
      this.#payTable(debt);
      debts.delete(key);
    }
  }

  #payTable(newest: TableDebt): void {
    for (let debt: TableDebt | null = newest; debt !== null; debt = debt.older) {
      debt.paid = true;
      debt.suspended = null;
      const same = this.byTable.get(debt.table);
      same?.delete(debt);
      if (same?.size === 0) this.byTable.delete(debt.table);
    }
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
    for (const debts of [...context.debts, ...context.tableDebts]) {
      for (const newest of debts.values()) {
        for (let debt: Debt | TableDebt | null = newest; debt !== null; debt = debt.older) {
          const { suspended } = debt;
          debt.suspended = null;
          for (const found of suspended ?? []) visit(found);
        }
      }
    }
  }
}

/** Whether a flush that reaches a debt's address pays it. */
function isPaidBy(debt: Debt, own: number | null): boolean {
  if (debt.via !== null && !debt.via.paid) return false;
  if (own === null || debt.filledUnder === null) return true;
  debt.filledUnder.delete(own);
  return debt.filledUnder.size === 0;
}

/** The PCIDs under which a global translation with that reach may have been filled. */
function pcidsOf(context: Context, { roots }: Reach): Set<number> {
  const pcids = new Set<number>();
  for (const root of roots) for (const pcid of context.roots.get(root) ?? []) pcids.add(pcid);
  return pcids;
}

/** Visits the keys held from `first` to `last`, by whichever is shorter: the keys of the range or those that are held. */
function forKeys(
  held: ReadonlyMap<number, unknown> | ReadonlySet<number>,
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
