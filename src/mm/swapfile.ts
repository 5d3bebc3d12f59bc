import { swp_entry, type swp_entry_t, swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import type { Kernel } from "./kernel.ts";
import { PG } from "./mem_map.ts";

/** The slot's page is in the swap cache; the other bits of a count are references by ptes. */
export const SWAP_HAS_CACHE = 0x40;
const SWAP_MAP_MAX = 0x3e;
const ENOENT = 2;
const ENOMEM = 12;
const EINVAL = 22;

/** One swap area's slots: how many entries refer to each, and which page caches it (mm/swapfile.c swap_map). */
export class SwapSpace {
  readonly swap_map: Uint8Array;
  /** References to a slot beyond the 62 that its byte can count (the kernel's continuation pages), by slot. */
  readonly continued = new Map<number, number>();
  /** Swap cache: frame by slot. */
  readonly cache = new Map<number, number>();
  #next = 1;
  /** The next duplications fail, as when no continuation page can be allocated; for tests of that branch. */
  failDuplicates = 0;

  constructor(slots: number) {
    this.swap_map = new Uint8Array(slots);
  }

  /**
   * Takes `count` consecutive free slots, the next ones after those taken last, from the start again behind the end;
   * returns the first, or null when there are none. Slot 0 is the header.
   */
  takeSlots(count: number): number | null {
    const start = this.#search(this.#next, count) ?? this.#search(1, count);
    if (start !== null) this.#next = start + count;
    return start;
  }

  #search(from: number, count: number): number | null {
    for (let start = from; start + count <= this.swap_map.length; start++) {
      let run = 0;
      while (run < count && this.swap_map[start + run] === 0) run++;
      if (run === count) return start;
      start += run;
    }
    return null;
  }

  /** How many entries refer to the slot. */
  references(slot: number): number {
    return (this.swap_map[slot]! & ~SWAP_HAS_CACHE) + (this.continued.get(slot) ?? 0);
  }

  addReference(slot: number): void {
    if ((this.swap_map[slot]! & ~SWAP_HAS_CACHE) < SWAP_MAP_MAX) this.swap_map[slot]!++;
    else this.continued.set(slot, (this.continued.get(slot) ?? 0) + 1);
  }

  dropReference(slot: number): void {
    const beyond = this.continued.get(slot) ?? 0;
    if (beyond === 0) this.swap_map[slot]!--;
    else if (beyond === 1) this.continued.delete(slot);
    else this.continued.set(slot, beyond - 1);
  }
}

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
  k.emit?.({ type: "swap-duplicated", entry, ok: error === 0 });
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
}

/**
 * Gives an anonymous page swap slots and puts it into the swap cache, dirty, since its content is only in memory
 * (mm/swap_state.c add_to_swap). The page is locked. Returns false when swap is full.
 */
export function add_to_swap(k: Kernel, page: number): boolean {
  const { mem_map, swap } = k;
  const nr = mem_map.hpage_nr_pages(page);
  const slot = swap.takeSlots(nr);
  if (slot === null) return false;
  for (let i = 0; i < nr; i++) {
    swap.swap_map[slot + i] = SWAP_HAS_CACHE;
    swap.cache.set(slot + i, page + i);
    mem_map.set_page_private(page + i, swp_entry(0, slot + i));
  }
  mem_map.setFlag(page, PG.swapcache);
  mem_map._refcount[page]! += nr;
  set_page_dirty(k, page);
  return true;
}

/** Takes a page out of the swap cache; its slots stay while entries refer to them. The references stay, too. */
export function __delete_from_swap_cache(k: Kernel, page: number): void {
  const { mem_map, swap } = k;
  const nr = mem_map.hpage_nr_pages(page);
  for (let i = 0; i < nr; i++) {
    const slot = swp_offset(mem_map.page_private(page + i));
    swap.swap_map[slot]! &= ~SWAP_HAS_CACHE;
    swap.cache.delete(slot);
    mem_map.clearPrivate(page + i);
  }
  mem_map.clearFlag(page, PG.swapcache);
}

/** Marks the page newer than its copy on disk; returns whether it was not marked before (mm/page-writeback.c). */
export function set_page_dirty(k: Kernel, page: number): boolean {
  const was = k.mem_map.PageDirty(page);
  k.mem_map.setFlag(page, PG.dirty);
  k.emit?.({ type: "set-page-dirty", page });
  return !was;
}

export function ClearPageDirty(k: Kernel, page: number): void {
  k.mem_map.clearFlag(page, PG.dirty);
  k.emit?.({ type: "clear-page-dirty", page });
}
