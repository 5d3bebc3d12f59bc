import { NO_PFN } from "../../../arch/x86/cpu/address.ts";
import { withoutCpu } from "../../../arch/x86/mm/cpumask.ts";
import { ptep_get_and_clear } from "../../../arch/x86/mm/ptep.ts";
import { enter, leave } from "../../mm/calls.ts";
import { lock_page } from "../../mm/locks.ts";
import { add_to_swap } from "../../mm/swapfile.ts";
import { set_tlb_ubc_flush_pending, try_to_unmap_flush } from "../../mm/tlb_ubc.ts";
import { try_to_unmap } from "../../mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../../mm/ttu-flags.ts";
import type { HistoryPair } from "./history.ts";
import { AT, Stage } from "./stage.ts";

const UNMAP = TTU_IGNORE_ACCESS | TTU_BATCH_FLUSH;

/** A page about to be reclaimed, on a machine where these CPUs run its program. */
function reclaimed(cpus?: readonly number[]): Stage {
  const s = new Stage(cpus === undefined ? {} : { cpus });
  s.run(lock_page(s.kernel, s.page));
  add_to_swap(s.kernel, s.page);
  return s;
}

/** Rules 46 to 48: flushes that reclaim puts off. */
export const BATCH_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 46,
    breaks: "The set of CPUs that the put-off flush must reach loses one that runs the program.",
    keeps: "The put-off flush reaches both CPUs that run the program.",
    play(keeps, begin) {
      const s = reclaimed([1, 2]);
      begin(s.kernel);
      s.store();
      s.run(try_to_unmap(s.kernel, s.page, UNMAP));
      if (!keeps) s.kernel.current.tlb_ubc.cpumask = withoutCpu(s.kernel.current.tlb_ubc.cpumask, 2);
      s.run(try_to_unmap_flush(s.kernel));
      return s.page;
    },
  },
  {
    rule: 47,
    breaks: "The flush of a dirty entry is put off as if the entry were clean.",
    keeps: "The flush of a dirty entry is put off as one that is due before the write-out.",
    play(keeps, begin) {
      const s = reclaimed();
      begin(s.kernel);
      s.store();
      ptep_get_and_clear(s.mm, AT, s.slot);
      set_tlb_ubc_flush_pending(s.kernel, s.mm, keeps);
      s.run(try_to_unmap_flush(s.kernel));
      return s.page;
    },
  },
  {
    rule: 48,
    breaks: "shrink_page_list returns, and a flush that it has put off is still due.",
    keeps: "shrink_page_list flushes before it returns.",
    play(keeps, begin) {
      const s = reclaimed();
      begin(s.kernel);
      s.store();
      const task = enter(s.kernel.current, "shrink_page_list", NO_PFN, null);
      s.run(try_to_unmap(s.kernel, s.page, UNMAP));
      if (keeps) s.run(try_to_unmap_flush(s.kernel));
      leave(task, 0);
      return s.page;
    },
  },
];
