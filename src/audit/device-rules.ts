import type { mm_struct } from "../mm/mm_struct.ts";
import type { AuditState } from "./audit-state.ts";
import { changedBy, owedInvalidation, pageRange, staleDebt } from "./describe.ts";
import { BYTES_OF_LEVEL } from "./frame-index.ts";
import type { Debt } from "./ghost-tlb.ts";

/** Rule 72: a device that still uses an address's old page when another one is there has two views of memory. */
export class DeviceViews {
  readonly #state: AuditState;
  /** Debts whose address got another page, by the table that the page was put into. */
  readonly #doubtful = new Map<number, Debt[]>();

  constructor(state: AuditState) {
    this.#state = state;
  }

  /**
   * A present leaf, or by a table one of several, was stored where another page, or none, was. What a device still has
   * of the address may be of any size, and the same page if frame and offset say so.
   */
  installed(mm: mm_struct, page: number, level: number, frame: number, slot: number): void {
    for (const cache of this.#state.ghost.of(mm)) {
      if (cache.cpu >= 0) continue;
      this.#state.ghost.inRange(cache, page, BYTES_OF_LEVEL[level]!, (debt) => {
        if (debt.frame * 4096 - debt.change.leaf.page === frame * 4096 - page) return;
        const table = Math.floor(slot / 4096);
        const debts = this.#doubtful.get(table);
        if (debts === undefined) this.#doubtful.set(table, [debt]);
        else debts.push(debt);
      });
    }
  }

  /** The lock of a table was dropped: an invalidation that was to come under it has come. */
  unlocked(table: number): void {
    if (this.#doubtful.size === 0) return;
    const debts = this.#doubtful.get(table);
    if (debts === undefined) return;
    this.#doubtful.delete(table);
    for (const debt of debts) if (!debt.paid) this.#report(debt);
  }

  /** At the end of a run: entries that were stored with no lock at all. */
  finish(): void {
    for (const table of [...this.#doubtful.keys()]) this.unlocked(table);
  }

  #report(debt: Debt): void {
    const s = this.#state;
    const { cache, change } = debt;
    const { leaf } = change;
    s.report(`${leaf.mm.name}/${leaf.page}/${s.life(leaf.frame)}`, {
      rule: 72,
      moment: "lock dropped",
      agent: cache.name,
      mm: leaf.mm.name,
      address: leaf.page,
      frame: leaf.frame,
      stale: staleDebt(debt, leaf.frame),
      changedBy: changedBy(change),
      owed: owedInvalidation(change, "the lock of its table is dropped"),
      staleRanges: change.missed?.stale ?? [pageRange(leaf.page)],
    });
  }
}
