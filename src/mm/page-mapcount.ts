import type { anon_vma } from "./anon_vma.ts";
import type { Kernel } from "./kernel.ts";
import { PG } from "./mem_map.ts";
import { linear_page_index, type vm_area_struct } from "./vma.ts";

/*
 * Adding and removing mappings in the counts of struct page (mm/rmap.c). All with the page-table lock held.
 *
 *                      mapped by a pte            mapped by a pmd
 *   small page         _mapcount                  -
 *   anonymous THP      _mapcount of the subpage   compound_mapcount of the head; while both kinds exist
 *                                                 (DoubleMap) every subpage's _mapcount carries one more
 *   file THP           _mapcount of the subpage   compound_mapcount and every subpage's _mapcount
 *   hugetlb            -                          compound_mapcount
 */

function report(k: Kernel, type: "rmap-added" | "rmap-removed", page: number): void {
  k.emit?.({ type, page, mapcount: k.mem_map.total_mapcount(page) });
}

/** The first mapping of an anonymous page decides where rmap looks for it. */
function __page_set_anon_rmap(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  exclusive: boolean,
): void {
  const { mem_map } = k;
  const head = mem_map.compound_head(page);
  if (mem_map.PageAnon(head)) return;
  if (vma.anon_vma === null) throw new TypeError(`anonymous page ${page} mapped into a vma without anon_vma`);
  const anon: anon_vma = exclusive ? vma.anon_vma : vma.anon_vma.root;
  mem_map.setAnonMapping(head, anon);
  mem_map.index[head] = linear_page_index(vma, address - (page - head) * 4096);
}

/** One more mapping of an anonymous page (page_add_anon_rmap; exclusive as do_page_add_anon_rmap's flag). */
export function page_add_anon_rmap(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  compound: boolean,
  exclusive = false,
): void {
  const { mem_map } = k;
  const count = compound ? mem_map.compound_mapcount : mem_map._mapcount;
  const first = ++count[page]! === 0;
  if (first && !mem_map.PageKsm(page)) __page_set_anon_rmap(k, page, vma, address, exclusive);
  report(k, "rmap-added", page);
}

/** The first mapping of a page that nobody else has seen. */
export function page_add_new_anon_rmap(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  compound: boolean,
): void {
  const { mem_map } = k;
  mem_map.setFlag(page, PG.swapbacked);
  if (compound) mem_map.compound_mapcount[page] = 0;
  else mem_map._mapcount[page] = 0;
  __page_set_anon_rmap(k, page, vma, address, true);
  report(k, "rmap-added", page);
}

/** One more mapping of a file page. */
export function page_add_file_rmap(k: Kernel, page: number, compound: boolean): void {
  const { mem_map } = k;
  if (compound) {
    const nr = mem_map.hpage_nr_pages(page);
    for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!++;
    mem_map.compound_mapcount[page]!++;
  } else {
    if (mem_map.PageTransCompound(page) && mem_map.fileMapping(page) !== null) {
      mem_map.setFlag(page, PG.double_map);
      mem_map.clearFlag(page, PG.mlocked);
    }
    mem_map._mapcount[page]!++;
  }
  report(k, "rmap-added", page);
}

/** hugetlb: one more mapping of a page that may have been mapped before (hugepage_add_anon_rmap). */
export function hugepage_add_anon_rmap(k: Kernel, page: number, vma: vm_area_struct, address: number): void {
  const { mem_map } = k;
  if (++mem_map.compound_mapcount[page]! === 0 && !mem_map.PageAnon(page) && vma.anon_vma !== null) {
    mem_map.setAnonMapping(page, vma.anon_vma.root);
    mem_map.index[page] = linear_page_index(vma, address) / 2 ** mem_map.compound_order[page]!;
  }
  report(k, "rmap-added", page);
}

/** One more mapping by fork or of a shared hugetlb page. */
export function page_dup_rmap(k: Kernel, page: number, compound: boolean): void {
  const count = compound ? k.mem_map.compound_mapcount : k.mem_map._mapcount;
  count[page]!++;
  report(k, "rmap-added", page);
}

/** One mapping less. The page keeps its mapping pointer: it stays valid until the page is freed. */
export function page_remove_rmap(k: Kernel, page: number, compound: boolean): void {
  const { mem_map } = k;
  if (!mem_map.PageAnon(page)) removeFileRmap(k, page, compound);
  else if (compound) removeAnonCompoundRmap(k, page);
  else if (--mem_map._mapcount[page]! < 0) mem_map.clearFlag(page, PG.mlocked);
  if (mem_map._mapcount[page]! < -1 || mem_map.compound_mapcount[mem_map.compound_head(page)]! < -1) {
    throw new TypeError(`page_remove_rmap of frame ${page}, which had no mapping left`);
  }
  report(k, "rmap-removed", page);
}

function removeFileRmap(k: Kernel, page: number, compound: boolean): void {
  const { mem_map } = k;
  if (mem_map.PageHuge(page)) {
    mem_map.compound_mapcount[page]!--;
    return;
  }
  if (!compound) {
    if (--mem_map._mapcount[page]! < 0) mem_map.clearFlag(page, PG.mlocked);
    return;
  }
  const nr = mem_map.hpage_nr_pages(page);
  for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!--;
  if (--mem_map.compound_mapcount[page]! < 0) mem_map.clearFlag(page, PG.mlocked);
}

function removeAnonCompoundRmap(k: Kernel, page: number): void {
  const { mem_map } = k;
  if (--mem_map.compound_mapcount[page]! >= 0 || mem_map.PageHuge(page)) return;
  if (mem_map.PageDoubleMap(page)) {
    mem_map.clearFlag(page, PG.double_map);
    const nr = mem_map.hpage_nr_pages(page);
    for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!--;
  }
  mem_map.clearFlag(page, PG.mlocked);
}
