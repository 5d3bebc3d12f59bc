import type { Pfn } from "../../arch/x86/cpu/address.ts";
import type { Kernel } from "./mm_types.ts";
import { reportPages, reportPut } from "./report.ts";

/** Takes a frame from the allocator, with one reference (mm/page_alloc.c). Throws RangeError when none is left. */
export function alloc_page(k: Kernel): Pfn {
  return alloc_pages(k, 0);
}

/** Takes 2^order frames in one piece, aligned; returns the first. Throws RangeError when there are none. */
export function alloc_pages(k: Kernel, order: number): Pfn {
  const page = order === 0 ? k.frames.allocate() : k.frames.allocateOrder(order);
  reportPages(k, "page-allocated", page, order);
  return page;
}

/** Makes 2^order frames from `head` one compound page (mm/page_alloc.c). Throws RangeError for a head not aligned. */
export function prep_compound_page(k: Kernel, head: Pfn, order: number, hugetlb = false): void {
  k.mem_map.prep_compound_page(head, order, hugetlb);
  if (k.records.live) k.records.emit({ kind: "page-compound", ...k.header(), pfn: head, order, hugetlb });
}

/**
 * Drops a page's last reference and gives its frames to the allocator: the moment at which no translation of any
 * agent may be left (invariants 1 to 3). One that is still counted as mapped or referenced is reported and, unlike in
 * the kernel, which loses the frame then, used again: so that what the mistake leads to can be seen.
 */
export function free_page(k: Kernel, page: Pfn): void {
  const { mem_map } = k;
  const nr = mem_map.hpage_nr_pages(page);
  const order = nr === 1 ? 0 : mem_map.compound_order[page]!;
  reportPages(k, "page-freed", page, order);
  const mappings = mem_map.total_mapcount(page);
  const references = mem_map._refcount[page]!;
  if (!mem_map.free_pages_prepare(page, nr) && k.records.live) {
    k.records.emit({ kind: "bad-page", ...k.header(), pfn: page, mappings, references });
  }
  for (let subpage = page; subpage < page + nr; subpage++) k.frames.release(subpage as Pfn);
}

/** Takes one more reference on a page; of a compound one on its head (include/linux/mm.h). */
export function get_page(k: Kernel, page: Pfn): void {
  k.mem_map._refcount[k.mem_map.compound_head(page)]!++;
}

/** Drops one reference, and frees the page with the last one. Throws if there was none. */
export function put_page(k: Kernel, page: Pfn): void {
  const { mem_map } = k;
  const head = mem_map.compound_head(page);
  const refcount = --mem_map._refcount[head]!;
  if (refcount < 0) throw new TypeError(`put_page of frame ${page}, which has no reference`);
  reportPut(k, head, refcount);
  if (refcount === 0) free_page(k, head);
}

/** Freezes the count to 0 if it is exactly `count`; returns whether it was (include/linux/page_ref.h). */
export function page_ref_freeze(k: Kernel, page: Pfn, count: number): boolean {
  if (k.mem_map._refcount[k.mem_map.check(page)] !== count) return false;
  k.mem_map._refcount[page] = 0;
  return true;
}
