import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { whole } from "../../arch/x86/cpu/argument-kinds.ts";

/** The slot's page is in the swap cache; the other bits of a count are references by ptes. */
export const SWAP_HAS_CACHE = 0x40;
/** References that a slot's byte can count. */
const SWAP_MAP_MAX = 0x3e;

const SLOTS = whole("swapSlots", 1, 2 ** 31 - 1);
const COUNT = whole("number of slots", 1, 2 ** 31 - 1);

/** One swap area's slots: how many entries refer to each, and which page caches it (mm/swapfile.c swap_map). */
export class SwapSpace {
  readonly swap_map: Uint8Array;
  /** References to a slot beyond the 62 that its byte can count (the kernel's continuation pages), by slot. */
  readonly continued = new Map<number, number>();
  /** Swap cache: frame by slot. */
  readonly cache = new Map<number, Pfn>();
  #next = 1;
  /** The next duplications fail, as when no continuation page can be allocated; for tests of that branch. */
  failDuplicates = 0;

  constructor(slots: number) {
    this.swap_map = new Uint8Array(need(SLOTS, slots));
  }

  /**
   * Takes `count` consecutive free slots, the next ones after those taken last, from the start again behind the end;
   * returns the first, or null when there are none. Slot 0 is the header.
   */
  takeSlots(count: number): number | null {
    need(COUNT, count);
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
    return (this.swap_map[this.#check(slot)]! & ~SWAP_HAS_CACHE) + (this.continued.get(slot) ?? 0);
  }

  addReference(slot: number): void {
    if ((this.swap_map[this.#check(slot)]! & ~SWAP_HAS_CACHE) < SWAP_MAP_MAX) this.swap_map[slot]!++;
    else this.continued.set(slot, (this.continued.get(slot) ?? 0) + 1);
  }

  dropReference(slot: number): void {
    this.#check(slot);
    const beyond = this.continued.get(slot) ?? 0;
    if (beyond === 0) this.swap_map[slot]!--;
    else if (beyond === 1) this.continued.delete(slot);
    else this.continued.set(slot, beyond - 1);
  }

  #check(slot: number): number {
    if (this.swap_map[slot] === undefined) need(whole("swap slot", 0, this.swap_map.length - 1), slot);
    return slot;
  }
}
