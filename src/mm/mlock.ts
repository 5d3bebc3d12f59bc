import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { PG } from "./mem_map.ts";
import type { Kernel } from "./mm_types.ts";
import { reportPage } from "./report.ts";

/**
 * Takes a page that no locked vma maps any more from the unevictable ones; reclaim may have it again (mm/mlock.c). A
 * page that is unevictable for another reason stays so.
 */
export function clear_page_mlock(k: Kernel, page: Pfn): void {
  if (k.mem_map.PageMlocked(page)) k.mem_map.clearFlag(page, PG.mlocked | PG.unevictable);
}

/** Moves a page found in a locked vma to the unevictable ones (mm/mlock.c). */
export function mlock_vma_page(k: Kernel, page: Pfn): void {
  if (k.mem_map.PageMlocked(page)) return;
  k.mem_map.setFlag(page, PG.mlocked | PG.unevictable);
  reportPage(k, "page-mlocked", page);
}
