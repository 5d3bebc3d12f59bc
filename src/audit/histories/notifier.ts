import { Linear, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { flush_cache_page } from "../../../arch/x86/mm/cacheflush.ts";
import { ptep_clear_flush } from "../../../arch/x86/mm/ptep.ts";
import type { KernelThread } from "../../../arch/x86/mm/step.ts";
import { enter, leave } from "../../mm/calls.ts";
import { lockTable, unlockTable } from "../../mm/locks.ts";
import type { mmu_notifier } from "../../mm/mm_types.ts";
import {
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_register,
} from "../../mm/mmu_notifier.ts";
import { tableOf } from "../../mm/page-table.ts";
import type { HistoryPair } from "./history.ts";
import { AT, NEXT, Stage } from "./stage.ts";

const BEYOND = Linear.of(NEXT + PAGE_SIZE);

function start(s: Stage, end: Linear): void {
  s.run(mmu_notifier_invalidate_range_start(s.mm, AT, end));
}

function end(s: Stage, to: Linear): void {
  s.run(mmu_notifier_invalidate_range_end(s.mm, AT, to));
}

/** A driver that has nothing to do with what it is told; perhaps it sleeps meanwhile. */
function driver(s: Stage, sleeps: mmu_notifier["sleeps"]): void {
  const ops: mmu_notifier["ops"] = {
    *invalidate_page(): KernelThread<void> {},
    invalidate_range() {},
  };
  mmu_notifier_register({ name: "driver", sleeps, ops }, s.mm);
}

/** Rules 5, 12, 13, 15, 16 and 70: how listeners are told. */
export const NOTIFIER_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 5,
    breaks: "range_end is called with an end other than that of its range_start.",
    keeps: "range_start and range_end have the same bounds.",
    play(keeps, begin) {
      const s = new Stage();
      s.device();
      begin(s.kernel);
      start(s, NEXT);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      end(s, keeps ? NEXT : BEYOND);
      return null;
    },
  },
  {
    rule: 12,
    breaks: "invalidate_page is called under the page-table lock, and a driver's may sleep.",
    keeps: "The lock is dropped first.",
    play(keeps, begin) {
      const s = new Stage();
      driver(s, new Set(["invalidate_page"]));
      const table = tableOf(s.slot);
      begin(s.kernel);
      s.run(lockTable(s.kernel, table, "pte"));
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      if (keeps) unlockTable(s.kernel, table, "pte");
      s.run(mmu_notifier_invalidate_page(s.mm, AT));
      if (!keeps) unlockTable(s.kernel, table, "pte");
      return null;
    },
  },
  {
    rule: 13,
    breaks: "A driver is told by invalidate_range, which is called under locks, and may sleep in it.",
    keeps: "The driver's invalidate_range does not sleep.",
    play(keeps, begin) {
      const s = new Stage();
      driver(s, new Set(keeps ? [] : ["invalidate_range"]));
      begin(s.kernel);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      mmu_notifier_invalidate_range(s.mm, AT, NEXT);
      return null;
    },
  },
  {
    rule: 15,
    breaks:
      "A device is told of one byte where a page was unmapped: pages were taken for bytes (aac2fea94f7a).",
    keeps: "The device is told of the whole page.",
    play(keeps, begin) {
      const s = new Stage();
      const iommu = s.device();
      begin(s.kernel);
      iommu.access(AT, true);
      const task = enter(s.kernel.current, "try_to_unmap_one", s.page, s.mm);
      flush_cache_page(s.vma, AT, s.page);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      mmu_notifier_invalidate_range(s.mm, AT, keeps ? NEXT : Linear.of(AT + 1));
      leave(task, true);
      return s.page;
    },
  },
  {
    rule: 16,
    breaks:
      "Two pages are unmapped between range_start and range_end that have the bounds of the first only.",
    keeps: "The bounds hold both pages.",
    also: [{ rule: 15, why: "range_end has the same bounds, and by then an entry outside was changed" }],
    play(keeps, begin) {
      const s = new Stage();
      const iommu = s.device();
      const second = s.anonymous(NEXT);
      const to = keeps ? BEYOND : NEXT;
      begin(s.kernel);
      iommu.access(NEXT, true);
      start(s, to);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      s.run(ptep_clear_flush(s.vma, NEXT, (s.slot + 8) as typeof s.slot));
      end(s, to);
      return second;
    },
  },
  {
    rule: 70,
    breaks: "A device is told before the entry is cleared, and caches it again.",
    keeps: "The device is told after the entry was cleared.",
    play(keeps, begin) {
      const s = new Stage();
      const iommu = s.device();
      begin(s.kernel);
      iommu.access(AT, true);
      start(s, NEXT);
      if (!keeps) mmu_notifier_invalidate_range(s.mm, AT, NEXT);
      iommu.access(AT, true);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      if (keeps) mmu_notifier_invalidate_range(s.mm, AT, NEXT);
      iommu.access(AT, true);
      end(s, NEXT);
      return s.page;
    },
  },
];
