import type { Pfn, Slot } from "./address.ts";
import type { CpuModel } from "./cpu-model.ts";
import { type Entry, frameOf } from "./entry.ts";
import { kindOf, PTE_P, PTE_PS, reservedMask } from "./entry-layout.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/** A table that can be reached, the level of its entries, and the entry that leads to it; NO_SLOT for a root. */
export interface ReachedTable {
  readonly pfn: Pfn;
  readonly level: number;
  readonly slot: Slot;
  readonly words: Int32Array;
}

const PRESENT = PTE_P;
const HUGE = PTE_PS;
const LEVELS = 8;

/** Which tables a machine's memory has under its roots, user and kernel half, and at which levels each one hangs. */
export class ReachableTables {
  readonly #memory: PhysicalMemory;
  /** Reserved bits of entries that lead to tables, by level; bit 63 is none, for EFER.NXE may be set later. */
  readonly #reserved: readonly Entry[];
  /** A bit for each level that a table was reached at. */
  readonly #levels = new Map<number, number>();

  constructor(memory: PhysicalMemory, model: CpuModel) {
    this.#memory = memory;
    this.#reserved = Array.from({ length: 6 }, (_, level) =>
      reservedMask(kindOf(Math.max(1, level), 0), { ...model, nxe: true }),
    );
  }

  /** Calls `visit` with each table under a root or another table, once for each level that it hangs at. */
  under(table: Pfn, level: number, slot: Slot, visit: (reached: ReachedTable) => void): void {
    this.#walk(table, level, slot, new Set(), visit);
  }

  /** The same for what an entry leads to that was stored in a table reached before, if it leads to a table. */
  underEntry(slot: Slot, lo: number, hi: number, visit: (reached: ReachedTable) => void): void {
    const levels = this.#levels.get(Math.floor(slot / 4096)) ?? 0;
    for (let level = 2; level <= 5; level++) {
      if ((levels & (1 << level)) === 0 || !this.#leadsToTable(lo, hi, level)) continue;
      this.under(frameOf(lo, hi), level - 1, slot, visit);
    }
  }

  /** Whether a frame was reached as a table, at whatever time. */
  has(table: Pfn): boolean {
    return this.#levels.has(table);
  }

  #walk(
    table: Pfn,
    level: number,
    slot: Slot,
    seen: Set<number>,
    visit: (reached: ReachedTable) => void,
  ): void {
    const key = table * LEVELS + level;
    if (seen.has(key) || !this.#memory.hasFrame(table)) return;
    seen.add(key);
    this.#levels.set(table, (this.#levels.get(table) ?? 0) | (1 << level));
    const words = this.#memory.tableWords(table);
    visit({ pfn: table, level, slot, words });
    if (level === 1) return;
    for (let i = 0; i < words.length; i += 2) {
      const lo = words[i]!;
      const hi = words[i + 1]!;
      if (!this.#leadsToTable(lo, hi, level)) continue;
      this.#walk(frameOf(lo, hi), level - 1, (table * 4096 + i * 4) as Slot, seen, visit);
    }
  }

  #leadsToTable(lo: number, hi: number, level: number): boolean {
    if (level === 1 || (lo & PRESENT) === 0 || (level <= 3 && (lo & HUGE) !== 0)) return false;
    const reserved = this.#reserved[level]!;
    return ((lo & reserved.lo) | (hi & reserved.hi)) === 0;
  }
}
