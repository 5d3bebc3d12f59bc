import type { Pfn } from "../../arch/x86/cpu/address.ts";
import type { GuestSnapshot } from "../formats/guest-snapshot.ts";
import { KPF } from "../formats/proc-pagemap.ts";
import type { FrameAllocator } from "../mm/frame-allocator.ts";
import { type MemMap, PG } from "../mm/mem_map.ts";

/**
 * Flags that a page keeps. What threads of the frozen guest were in the middle of does not come along: a lock or a
 * writeback that nobody would ever end. Nor does KPF_SWAPCACHE: it needs a slot (guest-swap.ts).
 */
const KEPT_FLAGS: readonly (readonly [number, number])[] = [
  [KPF.KPF_REFERENCED, PG.referenced],
  [KPF.KPF_UPTODATE, PG.uptodate],
  [KPF.KPF_DIRTY, PG.dirty],
  [KPF.KPF_LRU, PG.lru],
  [KPF.KPF_ACTIVE, PG.active],
  [KPF.KPF_SLAB, PG.slab],
  [KPF.KPF_SWAPBACKED, PG.swapbacked],
  [KPF.KPF_UNEVICTABLE, PG.unevictable],
  [KPF.KPF_HWPOISON, PG.hwpoison],
  [KPF.KPF_IDLE, PG.idle],
];

function isFree(flags: number): boolean {
  return (flags & KPF.KPF_BUDDY) !== 0;
}

/** Frames of the table pages in the core: used, whatever the flags say. */
function tableFrames({ core }: Pick<GuestSnapshot, "core">): Set<number> {
  const frames = new Set<number>();
  for (const { physical, size } of core.segments) {
    for (let at = physical; at < physical + size; at += 4096) frames.add(at / 4096);
  }
  return frames;
}

/** The highest free frame of the guest. Throws RangeError when it has none. */
export function highestFreeFrame(guest: GuestSnapshot): number {
  const tables = tableFrames(guest);
  for (let pfn = guest.kpageflags.length - 1; pfn > 0; pfn--) {
    if (isFree(guest.kpageflags[pfn]!) && !tables.has(pfn)) return pfn;
  }
  throw new RangeError(
    `guest ${guest.name} has no free frame (KPF_BUDDY) for the tables of the kernel itself`,
  );
}

/**
 * Fills mem_map from kpageflags: which frames are in use, with one reference for whoever uses them, the flags, and
 * the compound pages of user memory. Mappings are not counted yet.
 */
export function importFrames(mem_map: MemMap, guest: GuestSnapshot): void {
  const { kpageflags } = guest;
  for (const pfn of tableFrames(guest)) mem_map._refcount[pfn] = 1;
  // Neighbours mostly have the same flags.
  let last = 0;
  let flags = 0;
  for (let pfn = 0; pfn < kpageflags.length; pfn++) {
    const kpf = kpageflags[pfn]!;
    if (isFree(kpf)) continue;
    mem_map._refcount[pfn] = (kpf & KPF.KPF_COMPOUND_TAIL) === 0 ? 1 : 0;
    if (kpf !== last) flags = keptFlags(kpf);
    last = kpf;
    mem_map.flags[pfn] = flags;
  }
  for (let pfn = 0; pfn < kpageflags.length; pfn++) {
    if (!isUserCompoundHead(kpageflags[pfn]!)) continue;
    const order = compoundOrder(kpageflags, pfn as Pfn);
    if (order > 0) mem_map.prep_compound_page(pfn as Pfn, order, (kpageflags[pfn]! & KPF.KPF_HUGE) !== 0);
  }
}

function keptFlags(kpf: number): number {
  return KEPT_FLAGS.reduce((flags, [from, to]) => ((kpf & from) === 0 ? flags : flags | to), 0);
}

/** Takes the frames in use out of the allocator. */
export function reserveFrames(frames: FrameAllocator, { core, kpageflags }: GuestSnapshot): void {
  for (const pfn of tableFrames({ core })) frames.reserve(pfn as Pfn);
  for (let pfn = 0; pfn < kpageflags.length; pfn++) {
    if (!isFree(kpageflags[pfn]!)) frames.reserve(pfn as Pfn);
  }
}

/** Slab and driver memory is compound, too; rmap would take it for a THP. */
function isUserCompoundHead(kpf: number): boolean {
  return (kpf & KPF.KPF_COMPOUND_HEAD) !== 0 && (kpf & (KPF.KPF_THP | KPF.KPF_HUGE)) !== 0;
}

/** The order that the tails behind a head make up; as much of it as can be one aligned page. */
function compoundOrder(kpageflags: Uint32Array, head: Pfn): number {
  let end = head + 1;
  while (end < kpageflags.length && (kpageflags[end]! & KPF.KPF_COMPOUND_TAIL) !== 0) end++;
  let order = Math.floor(Math.log2(end - head));
  while (head % 2 ** order !== 0) order--;
  return order;
}

/**
 * The counts of one page from its mappings. Where a THP is mapped both by pmds and by ptes the kernel has set
 * DoubleMap when it split the first pmd; each subpage then carries one mapping more.
 */
export function countMappings(
  mem_map: MemMap,
  head: Pfn,
  anon: boolean,
  mappings: readonly { readonly level: number; readonly pfn: Pfn }[],
): void {
  const nr = mem_map.hpage_nr_pages(head);
  let whole = 0;
  for (const { level, pfn } of mappings) {
    if (level > 1) whole++;
    else mem_map._mapcount[pfn]!++;
  }
  mem_map.compound_mapcount[head]! += whole;
  mem_map._refcount[head]! += mappings.length;
  if (whole === 0 || mem_map.PageHuge(head)) return;
  const both = whole < mappings.length;
  if (both) mem_map.setFlag(head, PG.double_map);
  const extra = anon ? Number(both) : whole;
  for (let subpage = head; subpage < head + nr; subpage++) mem_map._mapcount[subpage]! += extra;
}
