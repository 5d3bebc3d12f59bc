import { ptep_clear_flush, ptep_get_and_clear } from "../../../arch/x86/mm/ptep.ts";
import { flush_tlb_page } from "../../../arch/x86/mm/tlb.ts";
import {
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../mm/mmu_notifier.ts";
import type { HistoryPair } from "./history.ts";
import { AT, NEXT, Stage } from "./stage.ts";

/** Rules 1 to 3: who can still reach a page when it is freed. */
export const FREED_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 1,
    breaks: "An entry is cleared and its page freed, and no CPU is told.",
    keeps: "An entry is cleared, the CPU that may have cached it flushes, and the page is freed.",
    play(keeps, begin) {
      const s = new Stage();
      begin(s.kernel);
      s.store();
      ptep_get_and_clear(s.mm, AT, s.slot);
      if (keeps) s.run(flush_tlb_page(s.vma, AT));
      s.free();
      s.load();
      return s.page;
    },
  },
  {
    rule: 2,
    breaks: "An entry is cleared and its page freed, and the virtual machine that copied it is not told.",
    keeps: "The same between range_start and range_end, at which the virtual machine drops its copy.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      begin(s.kernel);
      s.run(kvm.access(AT, true));
      if (keeps) s.run(mmu_notifier_invalidate_range_start(s.mm, AT, NEXT));
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      if (keeps) s.run(mmu_notifier_invalidate_range_end(s.mm, AT, NEXT));
      s.free();
      s.run(kvm.access(AT, true));
      return s.page;
    },
  },
  {
    rule: 3,
    breaks:
      "An entry is cleared and flushed on all CPUs, but not in the TLB of a device, and its page is freed.",
    keeps: "The device is told by invalidate_range before the page is freed.",
    play(keeps, begin) {
      const s = new Stage();
      const iommu = s.device();
      begin(s.kernel);
      iommu.access(AT, true);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      if (keeps) mmu_notifier_invalidate_range(s.mm, AT, NEXT);
      s.free();
      iommu.access(AT, true);
      return s.page;
    },
  },
];
