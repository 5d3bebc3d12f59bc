import { ENTRIES_PER_TABLE, PAGE_SIZE, PAGES_OF_LEVEL, type Slot } from "../../../arch/x86/cpu/address.ts";
import { type Entry, frameOf } from "../../../arch/x86/cpu/entry.ts";
import { kindOf, reservedMask } from "../../../arch/x86/cpu/entry-layout.ts";
import type { World } from "../../trace/world.ts";
import { HUGE, leafPfn, PRESENT, PROT_NONE } from "./translation.ts";

/** What an entry is at its level: to the processor of a world, and to its system. */
export class EntryReader {
  readonly #world: World;
  /** Reserved bits: of tables at 2 * level, of leaves one further. */
  readonly #reserved: readonly Entry[];

  constructor(world: World) {
    this.#world = world;
    const { layout } = world.cpu(0);
    this.#reserved = Array.from({ length: 12 }, (_, kind) =>
      reservedMask(kindOf(Math.max(1, kind >> 1), (kind & 1) * HUGE), layout),
    );
  }

  /** First frame that an entry maps as the system sees it, so one of PROT_NONE, too; -1 if it maps none. */
  mappedPfn(entry: Entry, level: number): number {
    if ((entry.lo & PRESENT) !== 0) return this.isLeaf(entry, level) ? leafPfn(entry, level) : -1;
    const { format } = this.#world;
    if (format === null || (entry.lo & PROT_NONE) === 0) return -1;
    if (level > 1 && (level > 3 || (entry.lo & HUGE) === 0)) return -1;
    const pfn = format.pte_pfn(entry);
    return level === 1 ? pfn : pfn - (pfn % PAGES_OF_LEVEL[level]!);
  }

  isLeaf(entry: Entry, level: number): boolean {
    if ((entry.lo & PRESENT) === 0) return false;
    if (level > 1 && (level > 3 || (entry.lo & HUGE) === 0)) return false;
    return !this.#isReserved(entry, level * 2 + 1);
  }

  isTable(entry: Entry, level: number): boolean {
    if (level === 1 || (entry.lo & PRESENT) === 0) return false;
    if (level <= 3 && (entry.lo & HUGE) !== 0) return false;
    return !this.#isReserved(entry, level * 2);
  }

  /** Whether two entries lead to one table. */
  isSameTable(a: Entry, b: Entry, level: number): boolean {
    return this.isTable(a, level) && this.isTable(b, level) && frameOf(a.lo, a.hi) === frameOf(b.lo, b.hi);
  }

  /** Calls `visit` with every entry of a table that means something to the system. */
  eachUsed(table: number, visit: (slot: Slot, entry: Entry) => void): void {
    for (let index = 0; index < ENTRIES_PER_TABLE; index++) {
      const slot = (table * PAGE_SIZE + index * 8) as Slot;
      const entry = this.#world.entry(slot);
      if ((entry.lo & (PRESENT | PROT_NONE)) !== 0) visit(slot, entry);
    }
  }

  /** A translation whose path has a reserved bit set is never cached. */
  #isReserved(entry: Entry, kind: number): boolean {
    const mask = this.#reserved[kind]!;
    return ((entry.lo & mask.lo) | (entry.hi & mask.hi)) !== 0;
  }
}
