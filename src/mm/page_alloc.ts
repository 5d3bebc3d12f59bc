import type { Kernel } from "./kernel.ts";
import type { MemMap } from "./mem_map.ts";

/**
 * Which frames are free. Frames are handed out from the top of memory down, so that a snapshot's own tables and
 * pages, which lie low, are seldom next to new ones.
 */
export class FrameAllocator {
  readonly #mem_map: MemMap;
  readonly #used: Uint8Array;
  #next: number;

  constructor(mem_map: MemMap) {
    this.#mem_map = mem_map;
    this.#used = new Uint8Array(mem_map.nr_pages);
    this.#next = mem_map.nr_pages - 1;
  }

  /** Marks a frame as not free. */
  reserve(pfn: number): void {
    this.#used[pfn] = 1;
  }

  isFree(pfn: number): boolean {
    return this.#used[pfn] === 0;
  }

  /** A zero-reference free frame, now in use. Throws RangeError when none is left. */
  allocate(): number {
    while (this.#next > 0 && this.#used[this.#next] !== 0) this.#next--;
    if (this.#next <= 0) throw new RangeError(`all ${this.#mem_map.nr_pages} frames of memory are in use`);
    const pfn = this.#next--;
    this.#used[pfn] = 1;
    this.#mem_map._refcount[pfn] = 1;
    return pfn;
  }

  /** 2^order contiguous aligned free frames; returns the first. Throws RangeError when there are none. */
  allocateOrder(order: number): number {
    const nr = 2 ** order;
    for (let head = Math.floor(this.#mem_map.nr_pages / nr - 1) * nr; head > 0; head -= nr) {
      if (this.#used.subarray(head, head + nr).some((used) => used !== 0)) continue;
      this.#used.fill(1, head, head + nr);
      this.#mem_map._refcount[head] = 1;
      return head;
    }
    throw new RangeError(`no ${nr} contiguous frames are free`);
  }

  release(pfn: number): void {
    this.#used[pfn] = 0;
    if (pfn > this.#next) this.#next = pfn;
  }
}

/**
 * Drops a page's last reference and gives its frames to the allocator: the moment at which no translation of any
 * agent may be left (invariants 1 to 3). One that is still counted as mapped or referenced is reported and, unlike in
 * the kernel, which loses the frame then, used again: so that what the mistake leads to can be seen.
 */
export function free_page(k: Kernel, page: number): void {
  const { mem_map } = k;
  const nr = mem_map.hpage_nr_pages(page);
  for (let subpage = page; subpage < page + nr; subpage++) k.emit?.({ type: "page-freed", page: subpage });
  const mappings = mem_map.total_mapcount(page);
  const references = mem_map._refcount[page]!;
  if (!mem_map.free_pages_prepare(page, nr)) k.emit?.({ type: "bad-page", page, mappings, references });
  for (let subpage = page; subpage < page + nr; subpage++) k.frames.release(subpage);
}

export function get_page(k: Kernel, page: number): void {
  k.mem_map._refcount[k.mem_map.compound_head(page)]!++;
}

/** Drops one reference, and frees the page with the last one. Throws if there was none. */
export function put_page(k: Kernel, page: number): void {
  const { mem_map } = k;
  const head = mem_map.compound_head(page);
  const refcount = --mem_map._refcount[head]!;
  if (refcount < 0) throw new TypeError(`put_page of frame ${page}, which has no reference`);
  k.emit?.({ type: "page-put", page: head, refcount });
  if (refcount === 0) free_page(k, head);
}

/** Freezes the count to 0 if it is exactly `count`; returns whether it was (include/linux/page_ref.h). */
export function page_ref_freeze(k: Kernel, page: number, count: number): boolean {
  if (k.mem_map._refcount[page] !== count) return false;
  k.mem_map._refcount[page] = 0;
  return true;
}
