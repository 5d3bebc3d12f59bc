import { BYTES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";

/** The time of leaving of those that are there. */
export const PRESENT_NOW = Infinity;

/** What a leaf allowed before it allowed more. */
interface Growth {
  readonly at: number;
  readonly rights: number;
}

/** Times by level and by address divided by the level's size; maps are made when they are needed. */
export class Times {
  readonly #byLevel: (Map<number, number> | undefined)[] = [];

  set(level: number, address: number, at: number): void {
    let times = this.#byLevel[level];
    if (times === undefined) {
      times = new Map();
      this.#byLevel[level] = times;
    }
    times.set(Math.floor(address / BYTES_OF_LEVEL[level]!), at);
  }

  forget(level: number, address: number): void {
    this.#byLevel[level]?.delete(Math.floor(address / BYTES_OF_LEVEL[level]!));
  }

  /** -1 if there is none. */
  of(level: number, address: number): number {
    return this.#byLevel[level]?.get(Math.floor(address / BYTES_OF_LEVEL[level]!)) ?? -1;
  }

  clear(): void {
    this.#byLevel.length = 0;
  }
}

/**
 * Which entries under a root have changed, and when, kept while some context has left the root: a context that walks it
 * no more cannot have read what came later. Time is counted in loads of roots.
 *
 *   left ──► entry stored ──► entry cleared: nothing to drop          (stored after it left)
 *   stored ──► left ──► entry cleared: may be cached until dropped    (stored before)
 */
export class Absence {
  /** How many PCIDs have left, and how many CPUs whose global translations are meant. */
  pcids = 0;
  globals = 0;
  readonly #placed = new Times();
  readonly #grown: (Map<number, Growth[]> | undefined)[] = [];

  /** An entry, a leaf or one that leads to a table, has a value that is new. */
  placed(level: number, address: number, at: number): void {
    this.#placed.set(level, address, at);
    this.#grown[level]?.delete(Math.floor(address / BYTES_OF_LEVEL[level]!));
  }

  /** A leaf is gone. */
  gone(level: number, address: number): void {
    this.#placed.forget(level, address);
    this.#grown[level]?.delete(Math.floor(address / BYTES_OF_LEVEL[level]!));
  }

  /** A leaf allows more than it did. */
  grew(level: number, address: number, rights: number, at: number): void {
    let grown = this.#grown[level];
    if (grown === undefined) {
      grown = new Map();
      this.#grown[level] = grown;
    }
    const key = Math.floor(address / BYTES_OF_LEVEL[level]!);
    const known = grown.get(key);
    if (known === undefined) grown.set(key, [{ at, rights }]);
    else if (known.at(-1)!.at !== at) known.push({ at, rights });
  }

  /** Whether an entry, and all above it that lead to it, have been as they are since before a time. */
  isOlder(level: number, address: number, levels: number, than: number): boolean {
    for (let each = level; each <= levels; each++) if (this.#placed.of(each, address) >= than) return false;
    return true;
  }

  /** What a leaf allowed at a time, if that was less than `now`. */
  rightsAt(level: number, address: number, time: number, now: number): number {
    const grown = this.#grown[level]?.get(Math.floor(address / BYTES_OF_LEVEL[level]!));
    return grown?.find(({ at }) => at >= time)?.rights ?? now;
  }
}
