import { PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { type Entry, frameOf } from "../../../arch/x86/cpu/entry.ts";
import type { World } from "../../trace/world.ts";
import type { Changer } from "./changer.ts";
import { type Contexts, NOT_HELD } from "./contexts.ts";
import type { Context, Debt, TableDebt } from "./debt.ts";
import type { Debts } from "./debts.ts";
import { EntryReader } from "./entry-reader.ts";
import type { Root } from "./spaces.ts";
import type { Tables } from "./tables.ts";
import { addressOf, below, type Leaf, leafOf, leafPfn, type TableUse, WAS_GLOBAL } from "./translation.ts";

/**
 * Tables that no root leads to any more, but cached entries do: a walker reads what is stored there *later*, too. Each leaf
 * that it may find is a debt from when it is stored on, as it would be if it had been there before the table was unlinked.
 */
export class Followed {
  readonly #tables: Tables;
  readonly #contexts: Contexts;
  readonly #debts: Debts;
  readonly #reader: EntryReader;
  readonly #isGlobalOn: (cpu: number) => boolean;

  constructor(
    world: World,
    tables: Tables,
    contexts: Contexts,
    debts: Debts,
    isGlobalOn: (cpu: number) => boolean,
  ) {
    this.#tables = tables;
    this.#contexts = contexts;
    this.#debts = debts;
    this.#reader = new EntryReader(world);
    this.#isGlobalOn = isGlobalOn;
  }

  /** An entry was stored; the world has it already. `isMarked`: by a walker that set D, so that it is the same translation. */
  stored(slot: Slot, value: Entry, isMarked: boolean): void {
    const { tables } = this.#debts;
    if (tables.byTable.size === 0) return;
    for (const via of tables.over(slot)) {
      const { reach, base, level: above, allow } = via;
      const use = { reach, base, level: above - 1, allow };
      const lost = this.#debts.overwritten(via, use.level, addressOf(use, slot));
      const debt = this.#entry(via, use, slot, value);
      if (isMarked && debt?.unfilled && lost.length > 0) debt.suspended = [...lost];
    }
  }

  /** What an entry of a followed table says can be had, once the context is there. */
  #entry(via: TableDebt, use: TableUse, slot: Slot, entry: Entry): Debt | null {
    const { level } = use;
    if (this.#reader.isLeaf(entry, level)) {
      return this.#owe(via.context, leafOf(use, slot, entry, leafPfn(entry, level)), via.changer, via);
    }
    if (this.#reader.isTable(entry, level)) {
      const child = below(use, slot, entry);
      const table = frameOf(entry.lo, entry.hi);
      const { context, changer } = via;
      const next = this.#debts.tables.oweIn(context, child, table, changer, context.active ? null : via);
      this.#reader.eachUsed(table, (at, each) => void this.#entry(next, child, at, each));
    }
    return null;
  }

  #owe(context: Context, leaf: Leaf, changer: Changer, via: TableDebt | null): Debt {
    const isGlobal = (leaf.rights & WAS_GLOBAL) !== 0 && this.#isGlobalOn(context.cpu);
    const holder = isGlobal ? this.#contexts.cpu(context.cpu).global : context;
    const change = { ...changer, leaf, debts: [], deferred: false, told: null, missed: null };
    return this.#debts.oweIn(holder, change, leaf.rights, via, via !== null);
  }

  /**
   * A PCID is loaded with another root and keeps its translations: what it may have of an old root's tables is stale from
   * now on, and cached entries lead into them still.
   */
  displaced(context: Context, old: Root, loaded: Root, changer: Changer): void {
    const table = old.physical / PAGE_SIZE;
    const use = this.#tables.usesOf(table).find(({ reach }) => !reach.kernel && reach.roots[0] === old);
    if (use !== undefined) this.#displace(context, use, table, null, { loaded, changer });
    this.#contexts.detach(context, old);
  }

  #displace(
    context: Context,
    use: TableUse,
    table: number,
    via: TableDebt | null,
    by: { readonly loaded: Root; readonly changer: Changer },
  ): void {
    this.#reader.eachUsed(table, (slot, entry) => {
      if (this.#reader.isTable(entry, use.level)) {
        const child = this.#tables.childOf(use, slot, entry);
        // Kernel tables that both roots share are no less what memory says.
        if (child === undefined || (child.reach.kernel && child.reach.roots.includes(by.loaded))) return;
        const next = frameOf(entry.lo, entry.hi);
        const held = via !== null || this.#contexts.holdsTable(context, child.reach, use.level, child.base);
        const debt = held ? this.#debts.tables.oweIn(context, child, next, by.changer, null) : null;
        this.#displace(context, child, next, debt, by);
      } else if (this.#reader.isLeaf(entry, use.level)) {
        const leaf = leafOf(use, slot, entry, leafPfn(entry, use.level));
        // What is global the CPU has under its roots, whatever its PCID.
        if ((leaf.rights & WAS_GLOBAL) !== 0 && this.#isGlobalOn(context.cpu) && via === null) return;
        const rights = this.#contexts.heldRights(context, leaf);
        if (via !== null) this.#owe(context, leaf, by.changer, via);
        else if (rights !== NOT_HELD) this.#owe(context, { ...leaf, rights }, by.changer, null);
      }
    });
  }
}
