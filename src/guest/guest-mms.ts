import type { Linear, Pfn } from "../../arch/x86/cpu/address.ts";
import { PAGE_SIZE, PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { VM_HUGETLB } from "../../arch/x86/mm/pgtable_types.ts";
import type { GuestSnapshot } from "../formats/guest-snapshot.ts";
import { attachAnonVma } from "../mm/anon_vma.ts";
import { pgtable_trans_huge_deposit } from "../mm/huge_memory.ts";
import { PG } from "../mm/mem_map.ts";
import { mm_counter } from "../mm/mm_struct.ts";
import type { Kernel } from "../mm/mm_types.ts";
import { address_space, anon_vma, type mm_struct, type vm_area_struct } from "../mm/mm_types.ts";
import { setAnonMapping, setFileMapping, setKsmMapping } from "../mm/util.ts";
import { VM_LOCKED } from "../mm/vma.ts";
import type { AnonSolution } from "./anon-sets.ts";
import { countMappings } from "./frame-state.ts";
import type { NumberedVma, UserMapping } from "./guest-mappings.ts";
import type { GuestPage } from "./guest-pages.ts";

/** What the guest's processes became. */
export interface ImportedMms {
  /** By number of the process. */
  readonly mms: readonly mm_struct[];
  /** By number of the vma. */
  readonly vmas: readonly vm_area_struct[];
  /** By number of the file. */
  readonly files: readonly address_space[];
}

/**
 * An mm for each process, on the tables it has, with its vmas in the i_mmap of their files and, for a set of vmas
 * that share anonymous pages, in the one anon_vma of the set. (The kernel has a tree of them, child below parent;
 * one for all visits more vmas in a walk and finds the same mappings.)
 */
export function importMms(
  k: Kernel,
  guest: GuestSnapshot,
  numbered: readonly NumberedVma[],
  { set, base }: AnonSolution,
  pages: readonly GuestPage[],
): ImportedMms {
  const mms = guest.processes.map(({ name, root }) => k.adoptMm(name, root));
  const files = importFiles(k, numbered, pages);
  const anons = new Map<number, anon_vma>();
  const vmas = numbered.map(({ process, vma, vm_flags, file }, number) => {
    const imported = mms[process]!.insertVma({
      start: vma.start as Linear,
      end: vma.end as Linear,
      flags: vm_flags,
      pgoff: base[number]! + vma.start / PAGE_SIZE,
      file: files[file] ?? null,
      name: vma.name,
    });
    const member = set[number]!;
    if (member >= 0) {
      const anon = anons.get(member) ?? new anon_vma();
      anons.set(member, anon);
      attachAnonVma(imported, anon);
    }
    return imported;
  });
  return { mms, vmas, files };
}

/**
 * A file for each device and inode. Shared memory shows by its pages: they are swap-backed. Dirty accounting is
 * assumed for all but hugetlb, so that writeback has something to clean: the kernel does none for tmpfs.
 */
function importFiles(
  k: Kernel,
  numbered: readonly NumberedVma[],
  pages: readonly GuestPage[],
): address_space[] {
  const inSwapBacked = new Set<number>();
  for (const { anon, reason, head, mappings } of pages) {
    if (anon || reason !== null || !k.mem_map.PageSwapBacked(head)) continue;
    inSwapBacked.add(numbered[mappings[0]!.vma]!.file);
  }
  const files: address_space[] = [];
  for (const { vma, vm_flags, file } of numbered) {
    if (file !== files.length) continue;
    const swapBacked = inSwapBacked.has(file);
    const accountsDirty = (vm_flags & VM_HUGETLB) === 0;
    files.push(new address_space(vma.name, { swapBacked, accountsDirty }));
  }
  return files;
}

/** Fills struct page of every mapped page: where rmap looks for it, and the counts; and each mm's counters. */
export function importPages(
  k: Kernel,
  pages: readonly GuestPage[],
  numbered: readonly NumberedVma[],
  imported: ImportedMms,
): void {
  const { mem_map } = k;
  for (const page of pages) {
    const { head, anon, mappings } = page;
    if (!anon && page.reason === null) cacheFilePage(k, page, numbered, imported);
    if (anon) placeInAnonVma(k, page, imported);
    // A reference of the user of the frame was counted already: the page cache's, or for anonymous pages nobody's.
    if (anon) mem_map._refcount[head] = 0;
    countMappings(mem_map, head, anon, mappings);
    if (isMlocked(k, page, imported)) mem_map.setFlag(head, PG.mlocked);
    for (const { process, level } of mappings) {
      const mm = imported.mms[process]!;
      if (mem_map.PageHuge(head)) mm.hugetlb_usage += PAGES_OF_LEVEL[level]!;
      else mm.rss_stat[mm_counter(k, head)]! += PAGES_OF_LEVEL[level]!;
    }
  }
}

/** Index and page cache of a file page, with a reference of the cache for each subpage of a THP. */
function cacheFilePage(
  k: Kernel,
  { head, index, mappings }: GuestPage,
  numbered: readonly NumberedVma[],
  { files }: ImportedMms,
): void {
  const { mem_map } = k;
  const file = files[numbered[mappings[0]!.vma]!.file] ?? null;
  const nr = mem_map.hpage_nr_pages(head);
  setFileMapping(k, head, file);
  if (mem_map.PageHuge(head)) {
    mem_map.index[head] = index / nr;
    file?.page_tree.set(index / nr, head);
    return;
  }
  mem_map.index[head] = index;
  mem_map._refcount[head] = nr;
  for (let i = 0; i < nr; i++) file?.page_tree.set(index + i, (head + i) as Pfn);
}

function placeInAnonVma(k: Kernel, { head, reason, index, mappings }: GuestPage, { vmas }: ImportedMms) {
  const { mem_map } = k;
  if (reason === "KSM") {
    setKsmMapping(k, head);
    return;
  }
  // A page that is left out still is anonymous; nothing is linked to its anon_vma.
  const anon = reason === null ? vmas[mappings[0]!.vma]!.anon_vma : null;
  setAnonMapping(k, head, anon ?? new anon_vma());
  mem_map.index[head] = mem_map.PageHuge(head) ? index / mem_map.hpage_nr_pages(head) : index;
}

/** kpageflags has no PG_mlocked in its low word: an unevictable page in a locked vma has it. */
function isMlocked({ mem_map }: Kernel, { head, mappings }: GuestPage, { vmas }: ImportedMms): boolean {
  const unevictable = (mem_map.flags[head]! & PG.unevictable) !== 0;
  return unevictable && mappings.some(({ vma }) => (vmas[vma]!.vm_flags & VM_LOCKED) !== 0);
}

/**
 * Puts a spare table aside for each huge pmd that a split may need one for: anonymous ones, and those of the huge
 * zero page. The guest's own spare tables are not in its dump; these come from its free frames.
 */
export function depositTables(
  k: Kernel,
  mappings: readonly UserMapping[],
  numbered: readonly NumberedVma[],
  mms: readonly mm_struct[],
): void {
  for (const { process, vma, level, pfn, reason, slot } of mappings) {
    if (level !== 2 || vma < 0 || (numbered[vma]!.vm_flags & VM_HUGETLB) !== 0) continue;
    const splits = reason === null ? k.mem_map.PageAnon(pfn) : reason === "huge zero page";
    if (!splits) continue;
    const table = k.frames.allocate();
    k.machine.memory.clear(table * PAGE_SIZE, PAGE_SIZE);
    pgtable_trans_huge_deposit(mms[process]!, slot, table);
  }
}
