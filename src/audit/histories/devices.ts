import { ptep_clear_flush, set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import { lockTable, unlockTable } from "../../mm/locks.ts";
import { mmu_notifier_invalidate_range } from "../../mm/mmu_notifier.ts";
import { alloc_page } from "../../mm/page_alloc.ts";
import { tableOf } from "../../mm/page-table.ts";
import type { HistoryPair } from "./history.ts";
import { AT, NEXT, Stage } from "./stage.ts";

/** Rule 72: one address, one page. */
export const DEVICE_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 72,
    breaks:
      "An address gets another page under the lock, and a device that has cached the old one is not told.",
    keeps: "The device is told by invalidate_range before the new page is there, under the same lock.",
    play(keeps, begin) {
      const s = new Stage();
      const iommu = s.device();
      const next = s.kernel.format.mk_pte(alloc_page(s.kernel), s.vma.vm_page_prot);
      const table = tableOf(s.slot);
      begin(s.kernel);
      iommu.access(AT, true);
      s.run(lockTable(s.kernel, table, "pte"));
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      if (keeps) mmu_notifier_invalidate_range(s.mm, AT, NEXT);
      set_pte_at(s.mm, AT, s.slot, next);
      unlockTable(s.kernel, table, "pte");
      iommu.access(AT, false);
      return s.page;
    },
  },
];
