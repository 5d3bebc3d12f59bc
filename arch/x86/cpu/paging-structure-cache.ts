import { BYTES_OF_LEVEL } from "./address.ts";
import { need } from "./argument.ts";
import { oneOf } from "./argument-kinds.ts";
import { PTE_A } from "./entry-layout.ts";
import { coversTable, type InvalidationScope } from "./invalidation-scope.ts";
import { linearHi, linearLo, linearNumber } from "./linear-address.ts";
import { WALK_OK } from "./page-fault.ts";
import { checkPcid } from "./tlb-state.ts";
import type { WalkResult, WalkStart } from "./walk-result.ts";

/** One cached table entry, for people and tools to look at. */
export interface CachedTableEntry {
  /** Level of the entry: 2 = PDE .. 5 = PML5E. */
  level: number;
  /** First linear address of the region that the entry controls. */
  region: number;
  pcid: number;
  start: WalkStart;
}

interface Slot {
  readonly level: number;
  readonly lo: number;
  readonly hi: number;
  readonly pcid: number;
  readonly start: WalkStart;
}

const PCIDS = 4096;

const LEVELS = oneOf("levels", [4, 5]);

/**
 * The PML5, PML4, PDPTE and PDE caches of one logical CPU (SDM vol. 3, 4.10.3), without a capacity: an entry stays until
 * an operation must remove it, so a table page that was freed too early is found by the walks that still go through it.
 * Entries are tagged with a PCID and never global.
 */
export class PagingStructureCache {
  private readonly slots = new Map<number, Slot>();
  private readonly top: number;

  constructor(levels: 4 | 5) {
    this.top = need(LEVELS, levels);
  }

  /** Where a walk of this address begins: below the deepest entry that leads to it, or null for the root. */
  start(lo: number, hi: number, pcid: number): WalkStart | null {
    if (this.slots.size === 0) return null;
    for (let level = 2; level <= this.top; level++) {
      const slot = this.slots.get(keyOf(level, lo, hi, pcid));
      if (slot !== undefined) return slot.start;
    }
    return null;
  }

  /**
   * Keeps the table entries that a walk used; it must have kept its path. Only an entry with P=1, no reserved bit and
   * A=1 is cached, so `setsUpperAOnFault` says whether a walk that faulted has set A above.
   */
  fill(walk: WalkResult, pcid: number, setsUpperAOnFault: boolean): void {
    const { linearLo, linearHi, pathLo, pathHi } = walk;
    const setA = walk.code === WALK_OK || setsUpperAOnFault;
    let above = walk.start === null ? -1 : walk.start.above;
    let anyHi = walk.start === null ? 0 : walk.start.anyHi;
    for (let level = walk.top; level > walk.level; level--) {
      const lo = pathLo[level]!;
      const hi = pathHi[level]!;
      above &= lo | PTE_A;
      anyHi |= hi;
      if (!setA && (lo & PTE_A) === 0) return;
      const start = { level: level - 1, lo, hi, above, anyHi };
      this.slots.set(keyOf(level, linearLo, linearHi, pcid), {
        level,
        lo: linearLo,
        hi: linearHi,
        pcid,
        start,
      });
    }
  }

  invalidate(scope: InvalidationScope): void {
    if (scope.tables === "keep") return;
    for (const [key, { level, lo, hi, pcid }] of this.slots) {
      if (coversTable(scope, level, lo, hi, pcid)) this.slots.delete(key);
    }
  }

  /** Puts these entries in place of what is cached. Throws RangeError for a level or a PCID that there is not. */
  restore(entries: readonly CachedTableEntry[]): void {
    for (const { level, pcid } of entries) {
      if (!(level >= 2 && level <= this.top && Number.isInteger(level)))
        throw new RangeError(`saved table entry of level ${level}: give 2 to ${this.top}`);
      checkPcid(pcid);
    }
    this.slots.clear();
    for (const { level, region, pcid, start } of entries) {
      const lo = linearLo(region);
      const hi = linearHi(region);
      this.slots.set(keyOf(level, lo, hi, pcid), { level, lo, hi, pcid, start: { ...start } });
    }
  }

  /** Every cached entry, in no particular order. */
  entries(): CachedTableEntry[] {
    return [...this.slots.values()].map(({ level, lo, hi, pcid, start }) => {
      const address = linearNumber(lo & ~0xfff, hi);
      return { level, region: address - (address % BYTES_OF_LEVEL[level]!), pcid, start };
    });
  }
}

/** Region number and PCID in one exact number: at most 36 and 12 bits. */
function keyOf(level: number, lo: number, hi: number, pcid: number): number {
  const shift = 3 + 9 * level;
  const number =
    shift >= 32 ? (hi & 0x1ff_ffff) >>> (shift - 32) : (hi & 0x1ff_ffff) * 2 ** (32 - shift) + (lo >>> shift);
  // Levels differ in the lowest bits, which no two of them share.
  return (number * PCIDS + pcid) * 4 + (level - 2);
}
