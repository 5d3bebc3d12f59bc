import { NONE } from "../../../arch/x86/cpu/address.ts";
import { cpusInWords, hasCpu, holderOf, missing, pageRange, spaceIdOf } from "../describe.ts";
import type { Debt } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { TaskState } from "../ledger/tasks.ts";
import { WAS_DIRTY } from "../ledger/translation.ts";
import { type Breach, type Rule, rule } from "./rule.ts";

/** What rule 46 looks at: a debt when its flush is put off, the CPUs of a flush that begins, a debt after it. */
type Deferral =
  | { readonly at: "deferred"; readonly debt: Debt; readonly cpus: readonly number[] }
  | { readonly at: "begun"; readonly task: TaskState; readonly missing: readonly number[] }
  | { readonly at: "done"; readonly debt: Debt };

function changeBreach(l: Ledger, debt: Debt, moment: string, owed: string, when: string): Breach {
  const { change, context } = debt;
  const { leaf } = change;
  return {
    key: l.pages.life(leaf.pfn),
    debt,
    details: {
      moment,
      agent: holderOf(l, context),
      space: spaceIdOf(l, leaf),
      linear: leaf.page,
      pfn: leaf.pfn,
      changed: change,
      owed: missing(owed, when),
      staleRanges: [pageRange(leaf.page)],
    },
  };
}

export const BATCH_RULES: readonly Rule[] = [
  rule({
    id: 46,
    title: "a deferred flush covers every CPU that may cache what was cleared",
    when: "flush deferred, begun or done",
    source: "arch/x86/include/asm/tlbbatch.h arch_tlbbatch_add_mm",
    before: ["flush-deferred", "flush-begun", "batch-flushed"],
    subjects(l, moment, visit: (subject: Deferral) => void) {
      if (moment.kind === "flush-deferred") {
        for (const debt of moment.change.debts) {
          if (debt.context.cpu !== NONE) visit({ at: "deferred", debt, cpus: moment.record.cpus });
        }
      } else if (moment.kind === "flush-begun") {
        if (moment.space !== NONE) return;
        const task = l.task(moment.agent);
        const left = task.batch.cpus.map((word, i) => word & ~(moment.cpus[i] ?? 0));
        visit({ at: "begun", task, missing: left });
      } else {
        for (const change of moment.task.batch.changes) {
          for (const debt of change.debts) if (debt.context.cpu !== NONE) visit({ at: "done", debt });
        }
      }
    },
    broken(_l, subject) {
      if (subject.at === "deferred") return !hasCpu(subject.cpus, subject.debt.context.cpu);
      return subject.at === "done" ? !subject.debt.paid : subject.missing.some((word) => word !== 0);
    },
    breach(l, subject) {
      if (subject.at === "begun") {
        const cpus = cpusInWords(subject.missing);
        const site = l.siteOf(subject.task);
        return {
          key: `${subject.task.agent}/mask`,
          details: {
            moment: "deferred flush begun",
            agent: cpus,
            space: NONE,
            site,
            owed: missing(`a flush of ${cpus}`, ", which was added to the batch"),
          },
        };
      }
      const { debt } = subject;
      const holder = holderOf(l, debt.context);
      return subject.at === "deferred"
        ? changeBreach(l, debt, "flush deferred", `${holder} in the batch's cpumask`, "")
        : changeBreach(l, debt, "deferred flush done", `a full flush of ${holder}`, "by try_to_unmap_flush");
    },
  }),
  rule({
    id: 47,
    title: "a deferred flush is marked writable if any of its entries was dirty",
    when: "flush deferred",
    source: "mm/rmap.c set_tlb_ubc_flush_pending",
    before: ["flush-deferred"],
    broken: (_l, { change, record }) => (change.leaf.rights & WAS_DIRTY) !== 0 && !record.dirty,
    breach(l, { change }) {
      const { leaf } = change;
      return {
        key: l.pages.life(leaf.pfn),
        details: {
          moment: "flush deferred",
          agent: l.spaces.nameOf("agent", change.agent),
          space: spaceIdOf(l, leaf),
          linear: leaf.page,
          pfn: leaf.pfn,
          changed: change,
          owed: missing("set_tlb_ubc_flush_pending with writable", ", since the entry was dirty"),
        },
      };
    },
  }),
  rule({
    id: 48,
    title: "no deferred flush is due when its pages are freed or reclaim returns",
    when: "page freed, shrink_page_list returned",
    source: "mm/vmscan.c shrink_page_list",
    before: ["page-freed", "call-left"],
    returns: ["shrink_page_list"],
    subjects(l, moment, visit: (due: { task: TaskState; pfn: number }) => void) {
      const task = l.task(moment.agent);
      if (moment.kind === "call-left") {
        visit({ task, pfn: NONE });
        return;
      }
      for (let pfn = moment.pfn as number; pfn < moment.pfn + 2 ** moment.order; pfn++) visit({ task, pfn });
    },
    broken: (_l, { task, pfn }) => (pfn === NONE ? task.flushDue : task.batch.pfns.has(pfn)),
    breach(l, { task, pfn }) {
      const returned = pfn === NONE;
      const site = l.siteOf(task);
      const count = task.batch.changes.length;
      return {
        key: returned ? `${task.agent}` : l.pages.life(pfn),
        details: {
          moment: returned ? "shrink_page_list returned" : "page freed",
          agent: l.spaces.nameOf("agent", task.agent),
          space: NONE,
          pfn: returned ? null : pfn,
          site,
          owed: missing(
            "try_to_unmap_flush",
            returned
              ? `for ${count === 1 ? "an entry" : `${count} entries`} before the return`
              : "before the page is freed",
          ),
        },
      };
    },
  }),
];
