import { PAGES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";

/** Something that translates to a frame: 4K at level 1, 2M at level 2, 1G at level 3. */
export interface OnPfn<T> {
  /** First frame; aligned to the size. */
  readonly pfn: number;
  readonly level: number;
  nextOnPfn: T | null;
  previousOnPfn: T | null;
}

/**
 * Items by the frames that they translate to, in lists that are linked through the items: adding and removing take
 * constant time, and looking a frame up takes one look in each size's table that is in use.
 */
export class PfnIndex<T extends OnPfn<T>> {
  readonly #heads: readonly Map<number, T>[] = [new Map(), new Map(), new Map(), new Map()];

  add(item: T): void {
    const heads = this.#heads[item.level]!;
    const key = item.pfn / PAGES_OF_LEVEL[item.level]!;
    const head = heads.get(key) ?? null;
    item.nextOnPfn = head;
    if (head !== null) head.previousOnPfn = item;
    heads.set(key, item);
  }

  remove(item: T): void {
    const { nextOnPfn: next, previousOnPfn: previous } = item;
    if (next !== null) next.previousOnPfn = previous;
    if (previous !== null) previous.nextOnPfn = next;
    else {
      const heads = this.#heads[item.level]!;
      const key = item.pfn / PAGES_OF_LEVEL[item.level]!;
      if (next === null) heads.delete(key);
      else heads.set(key, next);
    }
    item.nextOnPfn = null;
    item.previousOnPfn = null;
  }

  /** Calls `visit` with every item that translates to the frame. */
  on(pfn: number, visit: (item: T) => void): void {
    for (let level = 1; level <= 3; level++) {
      const heads = this.#heads[level]!;
      if (heads.size === 0) continue;
      const key = level === 1 ? pfn : Math.floor(pfn / PAGES_OF_LEVEL[level]!);
      let item = heads.get(key) ?? null;
      while (item !== null) {
        const next: T | null = item.nextOnPfn;
        visit(item);
        item = next;
      }
    }
  }
}

/** Which slots hold a leaf that maps a frame: the tables read backwards, whatever map counts say. */
export class MappedSlots {
  readonly #slots: readonly Map<number, number[]>[] = [new Map(), new Map(), new Map(), new Map()];

  add(pfn: number, level: number, slot: number): void {
    const key = pfn / PAGES_OF_LEVEL[level]!;
    const slots = this.#slots[level]!.get(key);
    if (slots === undefined) this.#slots[level]!.set(key, [slot]);
    else slots.push(slot);
  }

  remove(pfn: number, level: number, slot: number): void {
    const key = pfn / PAGES_OF_LEVEL[level]!;
    const slots = this.#slots[level]!.get(key);
    const at = slots?.indexOf(slot) ?? -1;
    if (slots === undefined || at < 0) return;
    if (slots.length === 1) {
      this.#slots[level]!.delete(key);
      return;
    }
    slots[at] = slots[slots.length - 1]!;
    slots.pop();
  }

  /** Calls `visit` with each slot whose leaf maps the frame. */
  on(pfn: number, visit: (slot: number) => void): void {
    for (let level = 1; level <= 3; level++) {
      const byPfn = this.#slots[level]!;
      if (byPfn.size === 0) continue;
      const slots = byPfn.get(level === 1 ? pfn : Math.floor(pfn / PAGES_OF_LEVEL[level]!));
      if (slots !== undefined) for (const slot of slots) visit(slot);
    }
  }
}
