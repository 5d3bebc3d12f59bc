import { NO_PFN } from "../../../arch/x86/cpu/address.ts";
import { pte_mkclean, pte_wrprotect } from "../../../arch/x86/mm/pgtable.ts";
import { ptep_get_and_clear, set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import { flush_tlb_page } from "../../../arch/x86/mm/tlb.ts";
import { enter, leave } from "../../mm/calls.ts";
import { lock_page } from "../../mm/locks.ts";
import { page_mkclean } from "../../mm/page_mkclean.ts";
import { pageout } from "../../mm/page-writeback.ts";
import { add_to_swap, set_page_dirty } from "../../mm/swapfile.ts";
import { try_to_unmap_flush, try_to_unmap_flush_dirty } from "../../mm/tlb_ubc.ts";
import { try_to_unmap } from "../../mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../../mm/ttu-flags.ts";
import type { HistoryPair } from "./history.ts";
import { AT, Stage } from "./stage.ts";

/** Rules 11, 35 and 36: nothing that was stored is lost between memory and disk. */
export const WRITEBACK_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 11,
    breaks:
      "page_mkclean makes an entry clean and read-only but does not flush: the next store does not fault.",
    keeps: "The entry is flushed before page_mkclean returns: the next store faults.",
    play(keeps, begin) {
      const s = new Stage({ file: true });
      begin(s.kernel);
      s.store();
      const task = enter(s.kernel.current, "page_mkclean", s.page, null);
      const old = ptep_get_and_clear(s.mm, AT, s.slot);
      if (keeps) s.run(flush_tlb_page(s.vma, AT));
      set_pte_at(s.mm, AT, s.slot, pte_wrprotect(pte_mkclean(old)));
      leave(task, 1);
      set_page_dirty(s.kernel, s.page);
      s.store();
      return s.page;
    },
  },
  {
    rule: 35,
    breaks:
      "page_mkclean takes D out of the only entry that has it, and its caller forgets what it returned.",
    keeps: "The caller marks the page dirty because page_mkclean has found a dirty entry.",
    play(keeps, begin) {
      const s = new Stage({ file: true });
      s.run(lock_page(s.kernel, s.page));
      begin(s.kernel);
      s.store();
      const cleaned = s.run(page_mkclean(s.kernel, s.page));
      if (keeps && cleaned > 0) set_page_dirty(s.kernel, s.page);
      return s.page;
    },
  },
  {
    rule: 36,
    breaks: "Reclaim puts the flush of a dirty entry off and writes the page out before it.",
    keeps: "Reclaim calls try_to_unmap_flush_dirty before it writes the page out.",
    play(keeps, begin) {
      const s = new Stage();
      s.run(lock_page(s.kernel, s.page));
      add_to_swap(s.kernel, s.page);
      begin(s.kernel);
      s.store();
      const task = enter(s.kernel.current, "shrink_page_list", NO_PFN, null);
      s.run(try_to_unmap(s.kernel, s.page, TTU_IGNORE_ACCESS | TTU_BATCH_FLUSH));
      if (keeps) s.run(try_to_unmap_flush_dirty(s.kernel));
      s.run(pageout(s.kernel, s.page));
      s.run(try_to_unmap_flush(s.kernel));
      leave(task, 0);
      return s.page;
    },
  },
];
