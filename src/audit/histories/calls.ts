import { Linear } from "../../../arch/x86/cpu/address.ts";
import { flush_cache_page } from "../../../arch/x86/mm/cacheflush.ts";
import { PMD_SIZE } from "../../../arch/x86/mm/pgtable_types.ts";
import { ptep_clear_flush } from "../../../arch/x86/mm/ptep.ts";
import { switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { enter, leave } from "../../mm/calls.ts";
import { lock_page } from "../../mm/locks.ts";
import { get_page, put_page } from "../../mm/page_alloc.ts";
import {
  PageVmaMappedWalk,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "../../mm/page_vma_mapped.ts";
import { add_to_swap } from "../../mm/swapfile.ts";
import { try_to_unmap } from "../../mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS, TTU_MIGRATION } from "../../mm/ttu-flags.ts";
import type { HistoryPair } from "./history.ts";
import { AT, NEXT, Stage } from "./stage.ts";

/** Rules 50, 52, 61, 62 and 69: what functions owe their callers, and callers them. */
export const CALL_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 50,
    breaks: "A CPU loads a root without its bit in mm_cpumask: the next flush does not reach it.",
    keeps: "switch_mm sets the bit before it loads the root.",
    play(keeps, begin) {
      const s = new Stage({ cpus: [] });
      const cpu = s.machine.cpu(1);
      begin(s.kernel);
      if (keeps) switch_mm(s.kernel, 1, s.mm);
      else cpu.loadCr3(s.mm.pgd);
      cpu.cpl = 3;
      s.store();
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      s.load();
      return s.page;
    },
  },
  {
    rule: 52,
    breaks:
      "A page is unmapped by a caller without a reference: the one that is dropped with the entry is the last.",
    keeps: "The caller has a reference of its own, and drops it when try_to_unmap has returned.",
    play(keeps, begin) {
      const s = new Stage();
      s.run(lock_page(s.kernel, s.page));
      if (keeps) get_page(s.kernel, s.page);
      begin(s.kernel);
      s.store();
      s.run(try_to_unmap(s.kernel, s.page, TTU_IGNORE_ACCESS | TTU_MIGRATION));
      if (keeps) put_page(s.kernel, s.page);
      return s.page;
    },
  },
  {
    rule: 61,
    breaks:
      "A walk is left at its hit without page_vma_mapped_walk_done: the next one holds two locks at its own.",
    keeps: "page_vma_mapped_walk_done lets go of the first walk's lock.",
    play(keeps, begin) {
      const s = new Stage();
      // Under another page table, which has a lock of its own.
      const far = Linear.of(AT + PMD_SIZE);
      const other = s.anonymous(far);
      const [first, second] = [
        new PageVmaMappedWalk(s.kernel, s.page, s.vma, AT),
        new PageVmaMappedWalk(s.kernel, other, s.vma, far),
      ];
      begin(s.kernel);
      const one = enter(s.kernel.current, "page_referenced_one", s.page, s.mm);
      s.run(page_vma_mapped_walk(first));
      if (keeps) page_vma_mapped_walk_done(first);
      leave(one, true);
      const two = enter(s.kernel.current, "page_referenced_one", other, s.mm);
      s.run(page_vma_mapped_walk(second));
      page_vma_mapped_walk_done(second);
      leave(two, true);
      return null;
    },
  },
  {
    rule: 62,
    breaks:
      "A second entry maps the page, of which its counts know nothing; try_to_unmap says that none is left.",
    keeps: "The second entry is taken away before try_to_unmap.",
    play(keeps, begin) {
      const s = new Stage();
      s.run(lock_page(s.kernel, s.page));
      add_to_swap(s.kernel, s.page);
      const entry = s.machine.memory.read(s.slot);
      s.machine.storeEntry(s.slot + 8, entry.lo, entry.hi, 0);
      begin(s.kernel);
      s.store();
      if (keeps) s.run(ptep_clear_flush(s.vma, NEXT, (s.slot + 8) as typeof s.slot));
      s.run(try_to_unmap(s.kernel, s.page, TTU_IGNORE_ACCESS));
      return s.page;
    },
  },
  {
    rule: 69,
    breaks:
      "try_to_unmap_one clears an entry without flush_cache_page before: a cache by linear address keeps data.",
    keeps: "flush_cache_page comes first, while the address can still be translated.",
    tells: ["cache-flushed"],
    play(keeps, begin) {
      const s = new Stage();
      begin(s.kernel);
      s.store();
      const task = enter(s.kernel.current, "try_to_unmap_one", s.page, s.mm);
      if (keeps) flush_cache_page(s.vma, AT, s.page);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      leave(task, true);
      return s.page;
    },
  },
];
