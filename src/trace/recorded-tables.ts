import { PAGE_SIZE, type Slot } from "../../arch/x86/cpu/address.ts";
import { Entry, ZERO_ENTRY } from "../../arch/x86/cpu/entry.ts";
import { Misfit } from "./file/misfit.ts";

const NOWHERE = new Entry(-1, -1);

/** A store, to a table that is not known if `words` is null; or a table that came to be known, with what it was before. */
type Change =
  | {
      readonly slot: number;
      readonly words: Int32Array | null;
      readonly index: number;
      readonly lo: number;
      readonly hi: number;
    }
  | { readonly table: number; readonly before: Int32Array | undefined };

/**
 * The tables that a recording told of, as they are now. Where it told of none entries are 0, and beyond memory all ones, as
 * on a PC's bus.
 */
export class RecordedTables {
  readonly #memory: number;
  readonly #most: number;
  readonly #tables = new Map<number, Int32Array>();
  /** The one looked at last: a scan asks for 512 entries in a row. */
  #last: Int32Array | undefined;
  #lastTable = -1;
  /** What has changed since the mark, oldest first; null before the first mark. */
  #changes: Change[] | null = null;
  /** Tables that were told of after the mark, by whose stores {@link restore} has gone back. */
  readonly #unneeded = new Set<number>();

  /** `memory` in bytes; `most` tables are kept. */
  constructor(memory: number, most: number) {
    this.#memory = memory;
    this.#most = most;
  }

  get size(): number {
    return this.#tables.size;
  }

  entry(slot: Slot): Entry {
    const words = this.#at(Math.floor(slot / PAGE_SIZE));
    if (words === undefined) return slot < this.#memory ? ZERO_ENTRY : NOWHERE;
    const index = (slot % PAGE_SIZE) / 4;
    return new Entry(words[index]!, words[index + 1]!);
  }

  /** Stores an entry; in a table that nobody told of nothing is kept. */
  write(slot: Slot, lo: number, hi: number): void {
    const words = this.#at(Math.floor(slot / PAGE_SIZE));
    const index = (slot % PAGE_SIZE) / 4;
    if (this.#changes !== null) {
      const [oldLo, oldHi] = words === undefined ? [0, 0] : [words[index]!, words[index + 1]!];
      this.#changes.push({ slot, words: words ?? null, index, lo: oldLo, hi: oldHi });
    }
    if (words === undefined) return;
    words[index] = lo;
    words[index + 1] = hi;
  }

  /** A table is known from now on; the words are copied. Throws Misfit when there are too many. */
  put(table: number, words: Int32Array): void {
    const before = this.#tables.get(table);
    if (before === undefined && this.#tables.size >= this.#most)
      throw new Misfit(`at most ${this.#most} tables`);
    if (this.#changes !== null) this.#changes.push({ table, before });
    this.#set(table, words.slice());
  }

  /** Whether the table is known, with just these words. */
  holds(table: number, words: Int32Array): boolean {
    const known = this.#tables.get(table);
    if (known === undefined) return false;
    for (let i = 0; i < words.length; i++) if (known[i] !== words[i]) return false;
    return true;
  }

  /** From now on changes are noted; {@link reset} comes back to here. */
  mark(): void {
    this.#changes = [];
  }

  /** Comes back to the mark, in time of what was changed since. */
  reset(): void {
    const changes = this.#changes ?? [];
    while (changes.length > 0) this.#undo(changes.pop()!);
    for (const table of this.#unneeded) this.#set(table, undefined);
    this.#unneeded.clear();
  }

  /**
   * Takes the last store back, which was to that slot, and with it what tables were told to hold instead of something else
   * since. Those that were not known before stay until {@link reset}: whoever goes back may still let go of what they lead
   * to. Without a mark, or where the last store was to another slot, it only stores.
   */
  restore(slot: Slot, lo: number, hi: number): void {
    const changes = this.#changes;
    const last = changes?.findLast((change) => "slot" in change);
    if (changes === null || last === undefined || !("slot" in last) || last.slot !== slot) {
      this.write(slot, lo, hi);
      return;
    }
    for (;;) {
      const change = changes.pop()!;
      if ("table" in change && change.before === undefined) this.#unneeded.add(change.table);
      else this.#undo(change);
      if (change === last) return;
    }
  }

  #undo(change: Change): void {
    if ("table" in change) {
      this.#set(change.table, change.before);
      return;
    }
    if (change.words === null) return;
    change.words[change.index] = change.lo;
    change.words[change.index + 1] = change.hi;
  }

  #at(table: number): Int32Array | undefined {
    if (table === this.#lastTable) return this.#last;
    this.#lastTable = table;
    this.#last = this.#tables.get(table);
    return this.#last;
  }

  #set(table: number, words: Int32Array | undefined): void {
    if (words === undefined) this.#tables.delete(table);
    else this.#tables.set(table, words);
    this.#lastTable = -1;
  }
}
