import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import type { Kernel } from "./mm_types.ts";
import { page_mkclean } from "./page_mkclean.ts";
import { reportPage } from "./report.ts";
import { ClearPageDirty, set_page_dirty } from "./swapfile.ts";
import { fileMapping } from "./util.ts";

/**
 * Prepares a locked page for write-out (mm/page-writeback.c clear_page_dirty_for_io): the dirty bits of all shared
 * mappings go to the page, then the page's own is cleared. Returns whether the page was dirty, so must be written.
 * A writer can dirty it again only after a new fault.
 */
export function* clear_page_dirty_for_io(k: Kernel, page: Pfn): KernelThread<boolean> {
  const { mem_map } = k;
  const mapping = fileMapping(k, page);
  if (mapping?.accountsDirty && (yield* page_mkclean(k, page)) > 0) set_page_dirty(k, page);
  if (!mem_map.PageDirty(page)) return false;
  ClearPageDirty(k, page);
  return true;
}

/**
 * Hands a page to its file or swap device if it is dirty (mm/vmscan.c pageout; the device takes it at once). Returns
 * whether there was anything to write.
 */
export function* pageout(k: Kernel, page: Pfn): KernelThread<boolean> {
  const task = enter(k.current, "pageout", page, null);
  let result: CallResult = ABANDONED;
  try {
    const dirty = yield* clear_page_dirty_for_io(k, page);
    if (dirty) {
      if (stops(k, "io", page)) yield NEXT_STEP;
      reportPage(k, "write-out", page);
    }
    result = dirty;
    return dirty;
  } finally {
    leave(task, result);
  }
}
