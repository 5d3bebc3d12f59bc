import { BYTES_OF_LEVEL, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import type { InvalidationScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { Changer } from "./changer.ts";
import type { Contexts } from "./contexts.ts";
import type { Context, Debt, TableDebt } from "./debt.ts";
import type { TableUse } from "./translation.ts";

/** Takes an item out of its list. */
export function unchain<T extends { older: T | null }>(lists: Map<number, T>, key: number, item: T): void {
  const newest = lists.get(key);
  if (newest === item) {
    if (item.older === null) lists.delete(key);
    else lists.set(key, item.older);
    return;
  }
  for (let each = newest ?? null; each !== null; each = each.older) {
    if (each.older === item) each.older = item.older;
  }
}

/** What contexts may still hold of entries that led to tables: what such a table says a walk still finds. */
export class TableDebts {
  /** By the table. */
  readonly byTable = new Map<number, Set<TableDebt>>();
  readonly #contexts: Contexts;
  readonly #removeLeaf: (debt: Debt) => void;

  constructor(contexts: Contexts, removeLeaf: (debt: Debt) => void) {
    this.#contexts = contexts;
    this.#removeLeaf = removeLeaf;
  }

  /**
   * Every PCID of every CPU that may hold the entry which led to the table at its place owes an invalidation; such entries
   * are never global. `above` is the table that the entry stood in, NONE if it was itself that was stored.
   */
  owe(use: TableUse, table: number, above: number, changer: Changer): void {
    const level = use.level + 1;
    for (const context of this.#contexts.reaching(use.reach)) {
      if (context.cpu < 0 || context.isGlobal) continue;
      const held = this.#contexts.holdsTable(context, use.reach, level, use.base);
      const parent = this.find(context, above, level + 1, use.base);
      if (held || parent !== null) this.oweIn(context, use, table, changer, held ? null : parent);
    }
  }

  /** One context owes; with `parent` not before it is loaded again, unless it is. Returns what it owes now. */
  oweIn(
    context: Context,
    use: TableUse,
    table: number,
    changer: Changer,
    parent: TableDebt | null,
  ): TableDebt {
    const level = use.level + 1;
    const debts = context.tableDebts[level]!;
    const key = use.base / BYTES_OF_LEVEL[level]!;
    const older = debts.get(key) ?? null;
    const unfilled = parent !== null && !context.active;
    for (let debt = older; debt !== null; debt = debt.older) {
      if (debt.table !== table || (use.allow & ~debt.allow) !== 0 || debt.unfilled !== unfilled) continue;
      if (!unfilled || debt.parent === parent) return debt;
    }
    const debt: TableDebt = {
      context,
      changer,
      level,
      base: use.base,
      table,
      reach: use.reach,
      allow: use.allow,
      parent,
      unfilled,
      late: new Set(),
      older,
      paid: false,
      suspended: null,
    };
    if (unfilled) parent.late.add(debt);
    debts.set(key, debt);
    const same = this.byTable.get(table);
    if (same === undefined) this.byTable.set(table, new Set([debt]));
    else same.add(debt);
    return debt;
  }

  /** The context's newest debt of the entry of a level over an address that led to a table, null if there is none. */
  find(context: Context, table: number, level: number, address: number): TableDebt | null {
    const debts = context.tableDebts[level];
    if (debts === undefined || debts.size === 0) return null;
    let debt = debts.get(Math.floor(address / BYTES_OF_LEVEL[level]!)) ?? null;
    while (debt !== null && debt.table !== table) debt = debt.older;
    return debt;
  }

  /** Debts of cached entries that lead to the table of a slot. */
  over(slot: number): readonly TableDebt[] {
    return this.byTable.size === 0 ? [] : [...(this.byTable.get(Math.floor(slot / PAGE_SIZE)) ?? [])];
  }

  /** A context dropped what the scope covers. */
  pay(context: Context, { page, tables }: InvalidationScope): void {
    for (let level = 2; level <= 5; level++) {
      const debts = context.tableDebts[level]!;
      if (debts.size === 0) continue;
      if (tables === "all" || page === null) {
        for (const debt of [...debts.values()]) this.#payAll(debt);
        debts.clear();
        continue;
      }
      const key = Math.floor(linearNumber(page.lo & ~0xfff, page.hi) / BYTES_OF_LEVEL[level]!);
      const debt = debts.get(key);
      if (debt === undefined) continue;
      debts.delete(key);
      this.#payAll(debt);
    }
  }

  #payAll(newest: TableDebt): void {
    for (let debt: TableDebt | null = newest; debt !== null; debt = debt.older) this.#paid(debt);
  }

  #paid(debt: TableDebt): void {
    debt.paid = true;
    debt.suspended = null;
    const same = this.byTable.get(debt.table);
    same?.delete(debt);
    if (same?.size === 0) this.byTable.delete(debt.table);
    for (const each of debt.late) this.#remove(each);
  }

  /** Takes out what could only have been filled through a cached entry that is gone, or that says something else. */
  #remove(debt: Debt | TableDebt): void {
    if (!("table" in debt)) {
      this.#removeLeaf(debt);
      return;
    }
    debt.parent?.late.delete(debt);
    unchain(debt.context.tableDebts[debt.level]!, debt.base / BYTES_OF_LEVEL[debt.level]!, debt);
    this.#paid(debt);
  }

  /** An entry of the table has got another value: what it led to cannot be filled through it any more. */
  overwritten(parent: TableDebt, level: number, base: number): void {
    for (const debt of parent.late) {
      if ("table" in debt && debt.level === level && debt.base === base) this.#remove(debt);
    }
  }

  /** A context is loaded: what it could not fill while it was away it can now. */
  returned(context: Context, filled: (debt: Debt) => void): void {
    for (const debts of context.tableDebts) {
      for (const newest of debts.values()) {
        for (let debt: TableDebt | null = newest; debt !== null; debt = debt.older) {
          debt.unfilled = false;
          for (const each of debt.late) if (!("table" in each)) filled(each);
          debt.late.clear();
        }
      }
    }
  }
}
