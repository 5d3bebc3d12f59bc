import type { Debt } from "./debt.ts";

/**
 * Devices that have two views of an address: what they cached of it, and another page that was put there. Until the lock
 * of the table that it was put into is dropped, the first may still be taken back.
 */
export class Views {
  readonly #byTable = new Map<number, Debt[]>();

  /** The debt's address got another page, put into that table. */
  doubt(debt: Debt, table: number): void {
    const debts = this.#byTable.get(table);
    if (debts === undefined) this.#byTable.set(table, [debt]);
    else debts.push(debt);
  }

  /** What is in doubt in a table. */
  in(table: number): readonly Debt[] {
    return this.#byTable.get(table) ?? [];
  }

  /** The table's lock was dropped: whatever was to be taken back has been. */
  settle(table: number): void {
    this.#byTable.delete(table);
  }

  /** What is still in doubt, table by table; nothing is any more then. */
  takeAll(): readonly (readonly Debt[])[] {
    const all = [...this.#byTable.values()];
    this.#byTable.clear();
    return all;
  }
}
