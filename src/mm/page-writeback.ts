import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { Kernel } from "./kernel.ts";
import { page_mkclean } from "./page_mkclean.ts";
import { ClearPageDirty, set_page_dirty } from "./swapfile.ts";

/**
 * Prepares a locked page for write-out (mm/page-writeback.c clear_page_dirty_for_io): the dirty bits of all shared
 * mappings go to the page, then the page's own is cleared. Returns whether the page was dirty, so must be written.
 * A writer can dirty it again only after a new fault.
 */
export function* clear_page_dirty_for_io(k: Kernel, page: number): KernelThread<boolean> {
  const { mem_map } = k;
  const mapping = mem_map.fileMapping(page);
  if (mapping?.accountsDirty && (yield* page_mkclean(k, page)) > 0) set_page_dirty(k, page);
  if (!mem_map.PageDirty(page)) return false;
  ClearPageDirty(k, page);
  return true;
}

/**
 * Hands a page to its file or swap device if it is dirty (mm/vmscan.c pageout; the device takes it at once). Returns
 * whether there was anything to write.
 */
export function* pageout(k: Kernel, page: number): KernelThread<boolean> {
  if (!(yield* clear_page_dirty_for_io(k, page))) return false;
  if (k.contended) yield "io";
  k.emit?.({ type: "write-out", page });
  return true;
}
