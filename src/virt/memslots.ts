import { type Linear, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { list, numeral, shape, whole } from "../../arch/x86/cpu/argument-kinds.ts";

/** Guest-physical pages [base_gfn, base_gfn + npages) are backed by linear addresses from userspace_addr. */
export interface Memslot {
  readonly base_gfn: number;
  readonly npages: number;
  readonly userspace_addr: Linear;
}

const PAGES = whole("number of pages", 0, 2 ** 52);
const SLOTS = list(
  "memslots",
  shape<Memslot>("memslot", {
    base_gfn: PAGES,
    npages: PAGES,
    userspace_addr: numeral("userspace_addr", "a multiple of 4096", (at) => at >= 0 && at % PAGE_SIZE === 0),
  }),
);

/** A guest's memslots, by linear address. Two may be backed by the same addresses. */
export class Memslots {
  #slots: readonly Memslot[] = [];
  /** By slot: the furthest end of it and all before it. */
  #ends: readonly number[] = [];

  constructor(slots: readonly Memslot[]) {
    this.set(slots);
  }

  /** Replaces all of them. */
  set(slots: readonly Memslot[]): void {
    need(SLOTS, slots);
    this.#slots = [...slots].sort((a, b) => a.userspace_addr - b.userspace_addr);
    let furthest = 0;
    this.#ends = this.#slots.map((slot) => {
      furthest = Math.max(furthest, endOf(slot));
      return furthest;
    });
  }

  /** The guest-physical page behind a linear address, -1 if none. */
  gfnOf(hva: Linear): number {
    for (let i = this.#firstEndingAfter(hva); i < this.#slots.length; i++) {
      const slot = this.#slots[i]!;
      if (slot.userspace_addr > hva) break;
      if (hva < endOf(slot)) return slot.base_gfn + Math.floor((hva - slot.userspace_addr) / PAGE_SIZE);
    }
    return -1;
  }

  /** Calls `visit` with the first and last guest-physical page of each slot that the addresses [start, end) touch. */
  overlapping(start: Linear, end: Linear, visit: (first: number, last: number) => void): void {
    for (let i = this.#firstEndingAfter(start); i < this.#slots.length; i++) {
      const slot = this.#slots[i]!;
      const { base_gfn, userspace_addr } = slot;
      if (userspace_addr >= end) break;
      const from = Math.max(start, userspace_addr);
      const to = Math.min(end, endOf(slot));
      if (from >= to) continue;
      visit(
        base_gfn + Math.floor((from - userspace_addr) / PAGE_SIZE),
        base_gfn + Math.ceil((to - userspace_addr) / PAGE_SIZE) - 1,
      );
    }
  }

  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle]! > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function endOf({ userspace_addr, npages }: Memslot): number {
  return userspace_addr + npages * PAGE_SIZE;
}
