import type { Kernel } from "./kernel.ts";
import { PG } from "./mem_map.ts";

/** Moves a page found in a locked vma to the unevictable ones (mm/mlock.c). */
export function mlock_vma_page(k: Kernel, page: number): void {
  if (k.mem_map.PageMlocked(page)) return;
  k.mem_map.setFlag(page, PG.mlocked | PG.unevictable);
  k.emit?.({ type: "page-mlocked", page });
}
