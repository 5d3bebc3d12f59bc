import { type Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { PG } from "./mem_map.ts";
import { clear_page_mlock } from "./mlock.ts";
import type { anon_vma, Kernel, vm_area_struct } from "./mm_types.ts";
import { reportMapped } from "./report.ts";
import { fileMapping, page_anon_vma, setAnonMapping } from "./util.ts";
import { linear_page_index } from "./vma.ts";

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

/** Throws TypeError, naming the caller, unless a page whose owner or index may be set is locked. */
function assertLocked(k: Kernel, page: Pfn, what: string): void {
  if (!k.mem_map.PageLocked(page)) throw new TypeError(`${what} of frame ${page}, which is not locked`);
}

function anonVmaOf(vma: vm_area_struct, page: Pfn): anon_vma {
  if (vma.anon_vma === null) throw new TypeError(`anonymous page ${page} mapped into a vma without anon_vma`);
  return vma.anon_vma;
}

/** The first mapping of an anonymous page decides where rmap looks for it. */
function __page_set_anon_rmap(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  exclusive: boolean,
): void {
  const { mem_map } = k;
  const head = mem_map.compound_head(page);
  if (mem_map.PageAnon(head)) return;
  const own = anonVmaOf(vma, page);
  const anon = exclusive ? own : own.root;
  setAnonMapping(k, head, anon);
  mem_map.index[head] = linear_page_index(vma, (address - (page - head) * PAGE_SIZE) as Linear);
}

/** A page that is mapped already must be mapped where its index says, and within its family. */
function __page_check_anon_rmap(k: Kernel, page: Pfn, vma: vm_area_struct, address: Linear): void {
  const root = page_anon_vma(k, page)?.root;
  if (root === undefined || root !== vma.anon_vma?.root) {
    throw new TypeError(`anonymous page ${page} mapped into a vma of another family`);
  }
  const pgoff = linear_page_index(vma, address);
  if (k.mem_map.page_to_pgoff(page) === pgoff) return;
  throw new TypeError(
    `anonymous page ${page} of offset ${k.mem_map.page_to_pgoff(page)} mapped where the vma shows ${pgoff}`,
  );
}

/**
 * One more mapping of an anonymous page, which is locked (page_add_anon_rmap; exclusive as do_page_add_anon_rmap's
 * flag). Throws TypeError if it is not, or if the place is not one where rmap would look for the page.
 */
export function page_add_anon_rmap(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  compound: boolean,
  exclusive = false,
): void {
  const { mem_map } = k;
  const count = compound ? mem_map.compound_mapcount : mem_map._mapcount;
  if (!mem_map.PageKsm(page)) {
    assertLocked(k, page, "page_add_anon_rmap");
    if (count[page]! < 0) __page_set_anon_rmap(k, page, vma, address, exclusive);
    else __page_check_anon_rmap(k, page, vma, address);
  }
  count[page]!++;
  reportMapped(k, "rmap-added", page);
}

function checkInVma(what: string, { vm_start, vm_end }: vm_area_struct, address: Linear): void {
  if (!(address >= vm_start && address < vm_end)) {
    throw new RangeError(`${what} at 0x${address.toString(16)}: give an address in the vma`);
  }
}

/** The first mapping of a page that nobody else has seen. Throws RangeError for an address outside the vma. */
export function page_add_new_anon_rmap(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  compound: boolean,
): void {
  checkInVma("page_add_new_anon_rmap", vma, address);
  const { mem_map } = k;
  mem_map.setFlag(page, PG.swapbacked);
  if (compound) mem_map.compound_mapcount[page] = 0;
  else mem_map._mapcount[page] = 0;
  __page_set_anon_rmap(k, page, vma, address, true);
  reportMapped(k, "rmap-added", page);
}

/** One more mapping of a file page. */
export function page_add_file_rmap(k: Kernel, page: Pfn, compound: boolean): void {
  const { mem_map } = k;
  if (compound) {
    const nr = mem_map.hpage_nr_pages(page);
    for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!++;
    mem_map.compound_mapcount[page]!++;
  } else {
    if (mem_map.PageTransCompound(page) && fileMapping(k, page) !== null) {
      mem_map.setFlag(page, PG.double_map);
      clear_page_mlock(k, page);
    }
    mem_map._mapcount[page]!++;
  }
  reportMapped(k, "rmap-added", page);
}

/** As __page_set_anon_rmap; hugetlb counts offsets in its own page size. */
function __hugepage_set_anon_rmap(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  exclusive: boolean,
): void {
  const { mem_map } = k;
  const own = anonVmaOf(vma, page);
  if (mem_map.PageAnon(page)) return;
  setAnonMapping(k, page, exclusive ? own : own.root);
  mem_map.index[page] = linear_page_index(vma, address) / 2 ** mem_map.compound_order[page]!;
}

/**
 * hugetlb: one more mapping of a locked page that may have been mapped before. Throws TypeError if it is not locked or
 * the vma has no anon_vma.
 */
export function hugepage_add_anon_rmap(k: Kernel, page: Pfn, vma: vm_area_struct, address: Linear): void {
  const { compound_mapcount } = k.mem_map;
  assertLocked(k, page, "hugepage_add_anon_rmap");
  anonVmaOf(vma, page);
  if (compound_mapcount[page]! < 0) __hugepage_set_anon_rmap(k, page, vma, address, false);
  compound_mapcount[page]!++;
  reportMapped(k, "rmap-added", page);
}

/** hugetlb: the first mapping of a page that nobody else has seen. Throws RangeError for an address outside the vma. */
export function hugepage_add_new_anon_rmap(k: Kernel, page: Pfn, vma: vm_area_struct, address: Linear): void {
  checkInVma("hugepage_add_new_anon_rmap", vma, address);
  __hugepage_set_anon_rmap(k, page, vma, address, true);
  k.mem_map.compound_mapcount[page] = 0;
  reportMapped(k, "rmap-added", page);
}

/**
 * After copy-on-write found that the vma alone maps a locked page: from now on only its anon_vma is walked, not the
 * family's. The index stays. Throws TypeError if the page is not locked or the vma has no anon_vma.
 */
export function page_move_anon_rmap(k: Kernel, page: Pfn, vma: vm_area_struct): void {
  assertLocked(k, page, "page_move_anon_rmap");
  setAnonMapping(k, k.mem_map.compound_head(page), anonVmaOf(vma, page));
}

/** One more mapping by fork or of a shared hugetlb page. */
export function page_dup_rmap(k: Kernel, page: Pfn, compound: boolean): void {
  const count = compound ? k.mem_map.compound_mapcount : k.mem_map._mapcount;
  count[page]!++;
  reportMapped(k, "rmap-added", page);
}

/** One mapping less. The page keeps its mapping pointer: it stays valid until the page is freed. */
export function page_remove_rmap(k: Kernel, page: Pfn, compound: boolean): void {
  const { mem_map } = k;
  if (!mem_map.PageAnon(page)) removeFileRmap(k, page, compound);
  else if (compound) removeAnonCompoundRmap(k, page);
  else if (--mem_map._mapcount[page]! < 0) clear_page_mlock(k, page);
  if (mem_map._mapcount[page]! < -1 || mem_map.compound_mapcount[mem_map.compound_head(page)]! < -1) {
    throw new TypeError(`page_remove_rmap of frame ${page}, which had no mapping left`);
  }
  reportMapped(k, "rmap-removed", page);
}

function removeFileRmap(k: Kernel, page: Pfn, compound: boolean): void {
  const { mem_map } = k;
  if (mem_map.PageHuge(page)) {
    mem_map.compound_mapcount[page]!--;
    return;
  }
  if (!compound) {
    if (--mem_map._mapcount[page]! < 0) clear_page_mlock(k, page);
    return;
  }
  const nr = mem_map.hpage_nr_pages(page);
  for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!--;
  if (--mem_map.compound_mapcount[page]! < 0) clear_page_mlock(k, page);
}

function removeAnonCompoundRmap(k: Kernel, page: Pfn): void {
  const { mem_map } = k;
  if (--mem_map.compound_mapcount[page]! >= 0 || mem_map.PageHuge(page)) return;
  if (mem_map.PageDoubleMap(page)) {
    mem_map.clearFlag(page, PG.double_map);
    const nr = mem_map.hpage_nr_pages(page);
    for (let i = 0; i < nr; i++) mem_map._mapcount[page + i]!--;
  }
  clear_page_mlock(k, page);
}
