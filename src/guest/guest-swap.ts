import type { Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { PteFormat, SwapTypes } from "../../arch/x86/mm/pte-format.ts";
import { swp_entry, swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import type { GuestSwapTypes } from "../formats/guest-manifest.ts";
import { KPF } from "../formats/proc-pagemap.ts";
import { PG } from "../mm/mem_map.ts";
import { MM_SWAPENTS } from "../mm/mm_struct.ts";
import type { Kernel, mm_struct } from "../mm/mm_types.ts";
import { SWAP_HAS_CACHE } from "../mm/swap-space.ts";
import type { AnonSets, AnonSolution } from "./anon-sets.ts";
import type { UserEntry } from "./guest-mappings.ts";
import type { GuestPage } from "./guest-pages.ts";

/** Largest swap area that is modelled: 64 GiB of pages. */
const MAX_SLOTS = 2 ** 24;
/** The largest count of a slot (mm/swapfile.c SWAP_MAP_MAX); beyond it the kernel keeps continuation pages. */
const SWAP_MAP_MAX = 0x3e;

/** What an entry that maps nothing stands for. */
export type SoftwareKind = "swap" | "hwpoison" | "migration" | "pte marker" | "swapin error";

/** An entry for a page that was swapped out to area 0. */
export interface SwapEntry extends UserEntry {
  readonly offset: number;
}

export interface SoftwareEntries {
  readonly counts: ReadonlyMap<SoftwareKind, number>;
  /** Those of swap area 0, the one that is modelled. */
  readonly swap: readonly SwapEntry[];
}

/** The type numbers of a guest's kernel, for its {@link PteFormat}. */
export function swapTypesOf(types: GuestSwapTypes): SwapTypes {
  const [first, last] = types.migration;
  return {
    swapfiles: Math.min(types.hwpoison, first, types.pteMarker, types.swapinError ?? types.hwpoison),
    hwpoison: types.hwpoison,
    migrationRead: first,
    migrationReadExclusive: last - first >= 2 ? first + 1 : null,
    migrationWrite: last,
    marker: types.pteMarker,
    swapinError: types.swapinError,
  };
}

/** What each software entry is, and the swap entries among them. */
export function sortSoftware(format: PteFormat, entries: readonly UserEntry[]): SoftwareEntries {
  const counts = new Map<SoftwareKind, number>();
  const swap: SwapEntry[] = [];
  for (const found of entries) {
    const generic = format.pte_to_swp_entry(found.entry);
    const kind = softwareKind(format, swp_type(generic));
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const offset = swp_offset(generic);
    if (kind === "swap" && swp_type(generic) === 0 && offset < MAX_SLOTS) swap.push({ ...found, offset });
  }
  return { counts, swap };
}

function softwareKind({ types }: PteFormat, type: number): SoftwareKind {
  if (type < types.swapfiles) return "swap";
  if (type === types.hwpoison) return "hwpoison";
  if (type === types.marker) return "pte marker";
  return type === types.swapinError ? "swapin error" : "migration";
}

/** Slots for every one in use, and for every frame to be swapped out as well. */
export function slotsFor(swap: readonly SwapEntry[], frames: number): number {
  return swap.reduce((most, { offset }) => Math.max(most, offset + 1), 1) + frames;
}

/**
 * Joins the vmas whose entries name one slot: they shared the page before it was swapped out, and will again. What
 * pages in memory say has precedence: a slot that contradicts them joins nothing.
 */
export function joinSwapEntries(swap: readonly SwapEntry[], sets: AnonSets): void {
  const firsts = new Map<number, SwapEntry>();
  for (const entry of swap) {
    if (entry.vma < 0) continue;
    sets.use(entry.vma);
    const first = firsts.get(entry.offset);
    if (first === undefined) firsts.set(entry.offset, entry);
    else sets.join(first.vma, entry.vma, (first.address - entry.address) / PAGE_SIZE);
  }
}

/** Counts the entries of each slot, and of each process. */
export function importSwapMap(k: Kernel, swap: readonly SwapEntry[], mms: readonly mm_struct[]): void {
  const { swap_map } = k.swap;
  for (const { offset, process } of swap) {
    if (swap_map[offset]! < SWAP_MAP_MAX) swap_map[offset]!++;
    const mm = mms[process]!;
    mm.rss_stat[MM_SWAPENTS]!++;
    mm.onMmlist = true;
  }
}

/**
 * Puts the mapped pages of the swap cache back into it. The snapshot does not tell their slots. Where another
 * process of the set still has a swap entry at the page's place, that names it; else any slot that no entry names
 * does. Returns how many slots were found in the first way and in the second.
 */
export function importSwapCache(
  k: Kernel,
  kpageflags: Uint32Array,
  pages: readonly GuestPage[],
  swap: readonly SwapEntry[],
  { set, base }: AnonSolution,
): { found: number; made: number } {
  const slots = new Map<string, number>();
  for (const { vma, address, offset } of swap) {
    if (vma >= 0) slots.set(`${set[vma]}+${base[vma]! + address / PAGE_SIZE}`, offset);
  }
  const result = { found: 0, made: 0 };
  for (const page of pages) {
    if (page.reason !== null || !page.anon || (kpageflags[page.head]! & KPF.KPF_SWAPCACHE) === 0) continue;
    const known = slots.get(`${set[page.mappings[0]!.vma]}+${page.index}`);
    const usable =
      known !== undefined && k.mem_map.hpage_nr_pages(page.head) === 1 && !k.swap.cache.has(known);
    const slot = usable ? known : k.swap.takeSlots(k.mem_map.hpage_nr_pages(page.head));
    if (slot === null) continue;
    cachePage(k, page.head, slot as Slot);
    if (usable) result.found++;
    else result.made++;
  }
  return result;
}

function cachePage(k: Kernel, head: Pfn, slot: Slot): void {
  const nr = k.mem_map.hpage_nr_pages(head);
  for (let i = 0; i < nr; i++) {
    k.swap.swap_map[slot + i]! |= SWAP_HAS_CACHE;
    k.swap.cache.set(slot + i, (head + i) as Pfn);
    k.mem_map.set_page_private((head + i) as Pfn, swp_entry(0, slot + i));
  }
  k.mem_map.setFlag(head, PG.swapcache);
  k.mem_map._refcount[head]! += nr;
}
