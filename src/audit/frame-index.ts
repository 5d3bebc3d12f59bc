/** Something that translates to a frame: 4K at level 1, 2M at level 2, 1G at level 3. */
export interface OnFrame<T> {
  /** First frame; aligned to the size. */
  readonly frame: number;
  readonly level: number;
  nextOnFrame: T | null;
  previousOnFrame: T | null;
}

/** Frames that an entry of that level maps. */
export const FRAMES_OF_LEVEL: readonly number[] = [0, 1, 512, 512 * 512];

/** Bytes that an entry of that level maps. */
export const BYTES_OF_LEVEL: readonly number[] = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48];

/**
 * Items by the frames that they translate to, in lists that are linked through the items: adding and removing take
 * constant time, and looking a frame up takes one look in each size's table that is in use.
 */
export class FrameIndex<T extends OnFrame<T>> {
  readonly #heads: readonly Map<number, T>[] = [new Map(), new Map(), new Map(), new Map()];

  add(item: T): void {
    const heads = this.#heads[item.level]!;
    const key = item.frame / FRAMES_OF_LEVEL[item.level]!;
    const head = heads.get(key) ?? null;
    item.nextOnFrame = head;
    if (head !== null) head.previousOnFrame = item;
    heads.set(key, item);
  }

  remove(item: T): void {
    const { nextOnFrame: next, previousOnFrame: previous } = item;
    if (next !== null) next.previousOnFrame = previous;
    if (previous !== null) previous.nextOnFrame = next;
    else {
      const heads = this.#heads[item.level]!;
      const key = item.frame / FRAMES_OF_LEVEL[item.level]!;
      if (next === null) heads.delete(key);
      else heads.set(key, next);
    }
    item.nextOnFrame = null;
    item.previousOnFrame = null;
  }

  /** Calls `visit` with every item that translates to the frame. */
  on(frame: number, visit: (item: T) => void): void {
    for (let level = 1; level <= 3; level++) {
      const heads = this.#heads[level]!;
      if (heads.size === 0) continue;
      const key = level === 1 ? frame : Math.floor(frame / FRAMES_OF_LEVEL[level]!);
      let item = heads.get(key) ?? null;
      while (item !== null) {
        const next: T | null = item.nextOnFrame;
        visit(item);
        item = next;
      }
    }
  }
}
