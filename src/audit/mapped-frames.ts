import { FRAMES_OF_LEVEL } from "./frame-index.ts";

/** Which slots hold a present leaf that maps a frame: the tables read backwards, whatever mapcounts say. */
export class MappedFrames {
  readonly #slots: readonly Map<number, number[]>[] = [new Map(), new Map(), new Map(), new Map()];

  add(frame: number, level: number, slot: number): void {
    const key = frame / FRAMES_OF_LEVEL[level]!;
    const slots = this.#slots[level]!.get(key);
    if (slots === undefined) this.#slots[level]!.set(key, [slot]);
    else slots.push(slot);
  }

  remove(frame: number, level: number, slot: number): void {
    const key = frame / FRAMES_OF_LEVEL[level]!;
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
  on(frame: number, visit: (slot: number) => void): void {
    for (let level = 1; level <= 3; level++) {
      const byFrame = this.#slots[level]!;
      if (byFrame.size === 0) continue;
      const slots = byFrame.get(level === 1 ? frame : Math.floor(frame / FRAMES_OF_LEVEL[level]!));
      if (slots !== undefined) for (const slot of slots) visit(slot);
    }
  }
}
