import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { Entry, frameOf, sameEntry } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { OopsEntry } from "./oops-text.ts";

/** An entry that the text does not have: everything is allowed, its table follows in a page of its own. */
const OPEN = 0x67;
const LAST_LARGE = 3;

/** Memory that holds the entries of one walk, each in its table, and nothing else. */
export class OopsMemory extends PhysicalMemory {
  readonly #entries = new Map<number, Entry>();
  /** Levels whose entry was made up, because only lower ones are known. */
  readonly assumed: readonly number[];
  /** Places where two entries with different values would stand: the text contradicts itself. */
  readonly clashes: readonly number[];

  /**
   * `indexAt` says which entry of a table the address uses. `hidden` are bits of the high word that are no part of an
   * address; they read as zero, unless they are `shown`.
   */
  constructor(
    entries: readonly OopsEntry[],
    root: number,
    levels: number,
    indexAt: (level: number) => number,
    hidden: number,
    shown: boolean,
  ) {
    super(PAGE_SIZE);
    const assumed: number[] = [];
    const clashes: number[] = [];
    let table = root;
    for (let level = levels; level > 0; level--) {
      const known = entries.find((each) => each.level === level);
      if (known === undefined && !entries.some((each) => each.level < level)) break;
      if (known === undefined) assumed.push(level);
      const whole = known === undefined ? madeUp(level) : Entry.fromBigInt(known.value);
      const entry = shown ? whole : new Entry(whole.lo, whole.hi & ~hidden);
      const at = table + 8 * indexAt(level);
      const other = this.#entries.get(at);
      if (other !== undefined && !sameEntry(other, entry)) clashes.push(at);
      this.#entries.set(at, entry);
      // The walk reads the page at address 0 by itself.
      if (table === 0) this.words.set([entry.lo, entry.hi], at / 4);
      const isLarge = level <= LAST_LARGE && (entry.lo & PTE_PS) !== 0;
      if ((entry.lo & PTE_P) === 0 || isLarge) break;
      table = frameOf(entry.lo, entry.hi & ~hidden) * PAGE_SIZE;
    }
    this.assumed = assumed;
    this.clashes = clashes;
  }

  /** Whether an entry is known in the page at a physical address. */
  holds(page: number): boolean {
    return [...this.#entries.keys()].some((at) => at - (at % PAGE_SIZE) === page);
  }

  override hasFrame(pfn: number): boolean {
    return this.holds(pfn * PAGE_SIZE);
  }

  override fetch(address: number): void {
    this.lo = this.readLo(address);
    this.hi = this.readHi(address);
  }

  override readLo(address: number): number {
    return this.#entries.get(address)?.lo ?? 0;
  }

  override readHi(address: number): number {
    return this.#entries.get(address)?.hi ?? 0;
  }

  override tableAt(page: number): Int32Array | null {
    if (!this.holds(page)) return null;
    const words = new Int32Array(PAGE_SIZE / 4);
    for (const [at, { lo, hi }] of this.#entries) {
      if (at - (at % PAGE_SIZE) === page) words.set([lo, hi], (at - page) / 4);
    }
    return words;
  }
}

function madeUp(level: number): Entry {
  return new Entry((level * PAGE_SIZE) | OPEN, 0);
}
