import type { Pfn } from "../../arch/x86/cpu/address.ts";
import type { Kernel, mm_struct } from "./mm_types.ts";
import { reportRss } from "./report.ts";

/** Indices of rss_stat (include/linux/mm_types_task.h). */
export const MM_FILEPAGES = 0;
export const MM_ANONPAGES = 1;
export const MM_SWAPENTS = 2;
export const MM_SHMEMPAGES = 3;

export function get_mm_rss(mm: mm_struct): number {
  return mm.rss_stat[MM_FILEPAGES]! + mm.rss_stat[MM_ANONPAGES]! + mm.rss_stat[MM_SHMEMPAGES]!;
}

export function add_mm_counter(mm: mm_struct, member: number, value: number): void {
  mm.rss_stat[member]! += value;
  reportRss(mm, member, value);
}

export function dec_mm_counter(mm: mm_struct, member: number): void {
  add_mm_counter(mm, member, -1);
}

export function inc_mm_counter(mm: mm_struct, member: number): void {
  add_mm_counter(mm, member, 1);
}

/** Remembers the largest rss before it goes down. */
export function update_hiwater_rss(mm: mm_struct): void {
  const rss = get_mm_rss(mm);
  if (mm.hiwater_rss < rss) mm.hiwater_rss = rss;
}

/** The counter that a file page belongs to (include/linux/mm.h mm_counter_file). */
export function mm_counter_file(k: Kernel, page: Pfn): number {
  return k.mem_map.PageSwapBacked(page) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

export function mm_counter(k: Kernel, page: Pfn): number {
  return k.mem_map.PageAnon(page) ? MM_ANONPAGES : mm_counter_file(k, page);
}
