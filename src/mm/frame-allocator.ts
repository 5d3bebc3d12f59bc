import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { instance, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { MemMap } from "./mem_map.ts";

const MEM_MAP = instance("mem_map", MemMap);
const ORDER = whole("order", 0, 30);

/**
 * Which frames are free. Frames are handed out from the top of memory down, so that a snapshot's own tables and
 * pages, which lie low, are seldom next to new ones.
 */
export class FrameAllocator {
  readonly #mem_map: MemMap;
  readonly #used: Uint8Array;
  #next: number;

  constructor(mem_map: MemMap) {
    this.#mem_map = need(MEM_MAP, mem_map);
    this.#used = new Uint8Array(mem_map.nr_pages);
    this.#next = mem_map.nr_pages - 1;
  }

  /** Marks a frame as not free. */
  reserve(pfn: Pfn): void {
    this.#used[this.#mem_map.check(pfn)] = 1;
  }

  isFree(pfn: Pfn): boolean {
    return this.#used[this.#mem_map.check(pfn)] === 0;
  }

  /** A zero-reference free frame, now in use. Throws RangeError when none is left. */
  allocate(): Pfn {
    while (this.#next > 0 && this.#used[this.#next] !== 0) this.#next--;
    if (this.#next <= 0) throw new RangeError(`all ${this.#mem_map.nr_pages} frames of memory are in use`);
    const pfn = this.#next--;
    this.#used[pfn] = 1;
    this.#mem_map._refcount[pfn] = 1;
    return pfn as Pfn;
  }

  /** 2^order contiguous aligned free frames; returns the first. Throws RangeError when there are none. */
  allocateOrder(order: number): Pfn {
    const nr = 2 ** need(ORDER, order);
    for (let head = Math.floor(this.#mem_map.nr_pages / nr - 1) * nr; head > 0; head -= nr) {
      if (this.#used.subarray(head, head + nr).some((used) => used !== 0)) continue;
      this.#used.fill(1, head, head + nr);
      this.#mem_map._refcount[head] = 1;
      return head as Pfn;
    }
    throw new RangeError(`no ${nr} contiguous frames are free`);
  }

  release(pfn: Pfn): void {
    this.#used[this.#mem_map.check(pfn)] = 0;
    if (pfn > this.#next) this.#next = pfn;
  }
}
