import { holderOf, owedInvalidation, pageRange, spaceIdOf, staleDebt } from "../describe.ts";
import type { Debt } from "../ledger/debt.ts";
import { type Rule, rule } from "./rule.ts";

/** A device that still uses an address's old page when another one is there has two views of memory. */
export const DEVICE_RULES: readonly Rule[] = [
  rule({
    id: 72,
    title: "no address gets another page while a device may still use the old one",
    when: "lock dropped",
    source: "Documentation/vm/mmu_notifier.txt: when a flush under the lock is needed",
    before: ["lock-dropped", "views-doubtful"],
    subjects(l, moment, visit: (debt: Debt) => void) {
      const debts = moment.kind === "views-doubtful" ? moment.debts : l.views.in(moment.pfn);
      for (const debt of debts) visit(debt);
    },
    broken: (_l, debt) => !debt.paid,
    breach(l, debt) {
      const { context, change } = debt;
      const { leaf } = change;
      return {
        key: `${spaceIdOf(l, leaf)}/${leaf.page}/${l.pages.life(leaf.pfn)}`,
        details: {
          moment: "lock dropped",
          agent: holderOf(l, context),
          space: spaceIdOf(l, leaf),
          linear: leaf.page,
          pfn: leaf.pfn,
          stale: staleDebt(debt, leaf.pfn),
          changed: change,
          owed: owedInvalidation(l, change, "the lock of its table is dropped"),
          staleRanges: change.missed?.stale ?? [pageRange(leaf.page)],
        },
      };
    },
  }),
];
