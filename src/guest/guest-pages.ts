import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { PAGE_SIZE, PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { KPF } from "../formats/proc-pagemap.ts";
import type { MemMap } from "../mm/mem_map.ts";
import type { AnonSets } from "./anon-sets.ts";
import type { LeftOutReason, NumberedVma, UserMapping } from "./guest-mappings.ts";

/** One page of user memory, small or compound, and what maps it. */
export interface GuestPage {
  /** Frame of the page, for a compound page of its head. */
  readonly head: Pfn;
  readonly anon: boolean;
  /** By process, then by address. */
  readonly mappings: readonly UserMapping[];
  /** Why it is not in rmap, or null if it is. */
  reason: LeftOutReason | null;
  /** Where the head belongs in its file or anonymous space, in 4K pages. */
  index: number;
}

/**
 * Gathers the mappings that struct page counts by page, in order of frame number. `ksmUnknown`: KPF_KSM stands on every
 * anonymous page, as with 6.12, and says nothing.
 */
export function groupPages(
  kpageflags: Uint32Array,
  mem_map: MemMap,
  mappings: readonly UserMapping[],
  vmas: readonly NumberedVma[],
  ksmUnknown = false,
): GuestPage[] {
  const ignored = ksmUnknown ? ~KPF.KPF_KSM : -1;
  const byHead = new Map<Pfn, UserMapping[]>();
  for (const mapping of mappings) {
    if (mapping.reason !== null) continue;
    const head = mem_map.compound_head(mapping.pfn);
    const known = byHead.get(head);
    if (known === undefined) byHead.set(head, [mapping]);
    else known.push(mapping);
  }
  return [...byHead]
    .sort(([a], [b]) => a - b)
    .map(([head, found]) => ({
      head,
      anon: (kpageflags[head]! & KPF.KPF_ANON) !== 0,
      mappings: found,
      reason: pageReason(kpageflags[head]! & ignored, mem_map, found, vmas),
      index: 0,
    }));
}

function pageReason(
  kpf: number,
  mem_map: MemMap,
  mappings: readonly UserMapping[],
  vmas: readonly NumberedVma[],
): LeftOutReason | null {
  if ((kpf & KPF.KPF_KSM) !== 0) return "KSM";
  if (!mappings.every((mapping) => fitsPage(mem_map, mapping))) return "contradiction";
  if ((kpf & KPF.KPF_ANON) !== 0) return null;
  const foreign = mappings.find(({ vma }) => vmas[vma]!.file < 0);
  if (foreign === undefined) return null;
  return vmas[foreign.vma]!.vma.name === "[vdso]" ? "vdso" : "no file";
}

/** A large entry maps a whole compound page of its size, and hugetlb has no other entries. */
function fitsPage(mem_map: MemMap, { pfn, level }: UserMapping): boolean {
  if (level === 1) return !mem_map.PageHuge(pfn);
  return mem_map.compound_head(pfn) === pfn && mem_map.hpage_nr_pages(pfn) === PAGES_OF_LEVEL[level]!;
}

/** How far the page's head lies from linear address 0 where this entry maps the page, in pages. */
function headPosition(head: Pfn, { address, pfn }: UserMapping): number {
  return address / PAGE_SIZE - (pfn - head);
}

/** Whether a page can have that index: hugetlb counts in pages of its own size. */
function fitsIndex(mem_map: MemMap, head: Pfn, index: number): boolean {
  return index >= 0 && (!mem_map.PageHuge(head) || index % mem_map.hpage_nr_pages(head) === 0);
}

/** What a vma of a file would show at linear address 0; null for other vmas, whose offset maps does not tell. */
export function fileBase({ vma, file }: NumberedVma): number | null {
  return file < 0 ? null : vma.offset / PAGE_SIZE - vma.start / PAGE_SIZE;
}

/** Index of the page's head in its file, as this entry has it. */
function filePosition(head: Pfn, mapping: UserMapping, vmas: readonly NumberedVma[]): number {
  return (fileBase(vmas[mapping.vma]!) ?? 0) + headPosition(head, mapping);
}

/**
 * Finds the index of each file page. One whose mappings are of different files or offsets is left out, and so is a
 * second frame for the same place in a file.
 */
export function placeFilePages(
  mem_map: MemMap,
  pages: readonly GuestPage[],
  vmas: readonly NumberedVma[],
): void {
  const taken = new Set<string>();
  for (const page of pages) {
    if (page.anon || page.reason !== null) continue;
    const first = page.mappings[0]!;
    const { file } = vmas[first.vma]!;
    page.index = filePosition(page.head, first, vmas);
    const agree = page.mappings.every((mapping) => {
      return vmas[mapping.vma]!.file === file && filePosition(page.head, mapping, vmas) === page.index;
    });
    const place = `${file}+${page.index}`;
    if (!agree || taken.has(place) || !fitsIndex(mem_map, page.head, page.index)) {
      page.reason = "contradiction";
    }
    taken.add(place);
  }
}

/**
 * Joins the vmas that share an anonymous page. A page that contradicts the pages before it is left out. Pages that
 * are at one address wherever they are mapped come first: fork leaves them so, and one wrong entry then does not
 * outweigh them.
 */
export function joinAnonPages(pages: readonly GuestPage[], sets: AnonSets): void {
  const moved: GuestPage[] = [];
  for (const page of pages) {
    if (!page.anon || page.reason !== null) continue;
    const position = headPosition(page.head, page.mappings[0]!);
    if (page.mappings.every((mapping) => headPosition(page.head, mapping) === position)) joinPage(page, sets);
    else moved.push(page);
  }
  for (const page of moved) joinPage(page, sets);
}

function joinPage(page: GuestPage, sets: AnonSets): void {
  const first = page.mappings[0]!;
  sets.use(first.vma);
  for (const mapping of page.mappings) {
    const difference = headPosition(page.head, first) - headPosition(page.head, mapping);
    if (!sets.join(first.vma, mapping.vma, difference)) page.reason = "contradiction";
  }
}

/** Finds the index of each anonymous page, once the bases of the vmas are known. */
export function placeAnonPages(mem_map: MemMap, pages: readonly GuestPage[], base: Float64Array): void {
  for (const page of pages) {
    if (!page.anon || page.reason !== null) continue;
    const first = page.mappings[0]!;
    page.index = base[first.vma]! + headPosition(page.head, first);
    if (!fitsIndex(mem_map, page.head, page.index)) page.reason = "contradiction";
  }
}
