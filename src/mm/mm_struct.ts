import type { Pfn } from "../../arch/x86/cpu/address.ts";
import type { Kernel, mm_struct } from "./mm_types.ts";
import { reportRss } from "./report.ts";

/* Indices of rss_stat (include/linux/mm_types_task.h). */

/** Counts resident pages of files. */
export const MM_FILEPAGES = 0;
/** Counts resident anonymous pages. */
export const MM_ANONPAGES = 1;
/** Counts swap entries. */
export const MM_SWAPENTS = 2;
/** Counts resident pages of shared memory. */
export const MM_SHMEMPAGES = 3;

/** Resident pages of an mm, in 4-KiB units, hugetlb's not among them (include/linux/mm.h). */
export function get_mm_rss(mm: mm_struct): number {
  return mm.rss_stat[MM_FILEPAGES]! + mm.rss_stat[MM_ANONPAGES]! + mm.rss_stat[MM_SHMEMPAGES]!;
}

/** Adds to one of an mm's counters (MM_*). */
export function add_mm_counter(mm: mm_struct, member: number, value: number): void {
  mm.rss_stat[member]! += value;
  reportRss(mm, member, value);
}

/** Takes one off a counter. */
export function dec_mm_counter(mm: mm_struct, member: number): void {
  add_mm_counter(mm, member, -1);
}

/** Adds one to a counter. */
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

/** The counter that a page belongs to (include/linux/mm.h mm_counter). */
export function mm_counter(k: Kernel, page: Pfn): number {
  return k.mem_map.PageAnon(page) ? MM_ANONPAGES : mm_counter_file(k, page);
}
