import { NONE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { swp_entry, type swp_entry_t, swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import { PG } from "./mem_map.ts";
import type { Kernel } from "./mm_types.ts";
import { flagRecord, reportDuplicated, swapCountRecord, swapSlotRecord } from "./report.ts";
import { SWAP_HAS_CACHE, type SwapSpace } from "./swap-space.ts";

const ENOENT = 2;
const ENOMEM = 12;
const EINVAL = 22;

function slotOf(k: Kernel, entry: swp_entry_t): number {
  const slot = swp_offset(entry);
  if (swp_type(entry) !== 0 || slot >= k.swap.swap_map.length) return -1;
  return slot;
}

/**
 * One more entry refers to the slot (mm/swapfile.c). Returns 0, or why not: -EINVAL if there is no such slot, -ENOENT
 * if it is not in use, -ENOMEM if there is no memory to count on.
 */
export function swap_duplicate(k: Kernel, entry: swp_entry_t): number {
  const slot = slotOf(k, entry);
  const error = duplicateError(k.swap, slot);
  if (error === 0) k.swap.addReference(slot);
  reportDuplicated(k, slot, error === 0);
  if (error === 0) reportCount(k, slot);
  return error === 0 ? 0 : -error;
}

function duplicateError(swap: SwapSpace, slot: number): number {
  if (slot < 0) return EINVAL;
  if (swap.swap_map[slot] === 0) return ENOENT;
  if (swap.failDuplicates === 0) return 0;
  swap.failDuplicates--;
  return ENOMEM;
}

/** One entry less refers to the slot. Throws if none did. */
export function swap_free(k: Kernel, entry: swp_entry_t): void {
  const slot = slotOf(k, entry);
  if (slot < 0 || (k.swap.swap_map[slot]! & ~SWAP_HAS_CACHE) === 0) {
    throw new TypeError(`swap_free of ${entry}: no entry refers to that slot`);
  }
  k.swap.dropReference(slot);
  reportCount(k, slot);
}

function reportCount(k: Kernel, slot: number): void {
  if (k.records.live) k.records.emit(swapCountRecord(k, slot));
}

/** Gives a page a slot of swap, or takes it away. */
function setSwapSlot(k: Kernel, page: Pfn, slot: number | null): void {
  if (slot === null) k.mem_map.clearPrivate(page);
  else k.mem_map.set_page_private(page, swp_entry(0, slot));
  if (k.records.live) k.records.emit(swapSlotRecord(k, page, slot ?? NONE));
}

/**
 * Gives an anonymous page swap slots and puts it into the swap cache, dirty, since its content is only in memory
 * (mm/swap_state.c add_to_swap). Returns false when swap is full. Throws TypeError, and changes nothing, for a page that
 * is free, not locked, or in the swap cache already.
 */
export function add_to_swap(k: Kernel, page: Pfn): boolean {
  const { mem_map, swap } = k;
  const nr = mem_map.hpage_nr_pages(page);
  const why = notSwappable(k, page);
  if (why !== null) throw new TypeError(`add_to_swap of frame ${page}, which is ${why}`);
  const slot = swap.takeSlots(nr);
  if (slot === null) return false;
  for (let i = 0; i < nr; i++) {
    swap.swap_map[slot + i] = SWAP_HAS_CACHE;
    swap.cache.set(slot + i, (page + i) as Pfn);
    setSwapSlot(k, (page + i) as Pfn, slot + i);
  }
  setSwapCache(k, page, true);
  mem_map._refcount[page]! += nr;
  set_page_dirty(k, page);
  return true;
}

function notSwappable({ mem_map }: Kernel, page: Pfn): string | null {
  if (mem_map.page_count(page) === 0) return "free";
  if (!mem_map.PageLocked(page)) return "not locked";
  return mem_map.PageSwapCache(page) ? "in the swap cache" : null;
}

/** Takes a page out of the swap cache; its slots stay while entries refer to them. The references stay, too. */
export function __delete_from_swap_cache(k: Kernel, page: Pfn): void {
  const { mem_map, swap } = k;
  const nr = mem_map.hpage_nr_pages(page);
  for (let i = 0; i < nr; i++) {
    const subpage = (page + i) as Pfn;
    const slot = swp_offset(mem_map.page_private(subpage));
    swap.swap_map[slot]! &= ~SWAP_HAS_CACHE;
    swap.cache.delete(slot);
    setSwapSlot(k, subpage, null);
  }
  setSwapCache(k, page, false);
}

function setSwapCache(k: Kernel, page: Pfn, set: boolean): void {
  if (set) k.mem_map.setFlag(page, PG.swapcache);
  else k.mem_map.clearFlag(page, PG.swapcache);
  if (k.records.live) k.records.emit(flagRecord(k, page, "swap-cache", set));
}

/** Marks the page newer than its copy on disk; returns whether it was not marked before (mm/page-writeback.c). */
export function set_page_dirty(k: Kernel, page: Pfn): boolean {
  const was = k.mem_map.PageDirty(page);
  k.mem_map.setFlag(page, PG.dirty);
  if (k.records.live) k.records.emit(flagRecord(k, page, "dirty", true));
  return !was;
}

/** Says that the page is as its copy on disk (include/linux/page-flags.h). */
export function ClearPageDirty(k: Kernel, page: Pfn): void {
  k.mem_map.clearFlag(page, PG.dirty);
  if (k.records.live) k.records.emit(flagRecord(k, page, "dirty", false));
}
