import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import {
  isReservedLeaf,
  isTable,
  type LeafOptions,
  rootTable,
  stopsAt,
  type TableMemory,
  tableKey,
} from "./leaves.ts";

/**
 * How many leaves and missing tables a {@link LeafCursor} of the whole space meets below a root, present entries only. Each
 * table is read once for each level that it stands at, so that 2^36 leaves of a few tables are counted at once. Throws
 * RangeError for a root that is unaligned or not in memory.
 */
export function countLeaves(
  memory: TableMemory,
  root: number,
  levels: 4 | 5,
  { reserved, marked = 0 }: Pick<LeafOptions, "reserved" | "marked"> = {},
): number {
  const known = new Map<number, number>();
  const below = (frame: number, level: number): number => {
    const key = tableKey(frame, level);
    const before = known.get(key);
    if (before !== undefined) return before;
    const table = memory.tableAt(frame * PAGE_SIZE);
    const sum = table === null ? 1 : count(table, level);
    known.set(key, sum);
    return sum;
  };
  const count = (words: Int32Array, level: number): number => {
    let sum = 0;
    for (let slot = 0; slot < words.length; slot += 2) {
      const lo = words[slot]!;
      const hi = words[slot + 1]! & ~marked;
      if ((lo | hi) === 0) continue;
      if (isReservedLeaf(reserved ?? null, level, lo, hi) || stopsAt(level, lo, false)) sum++;
      else if (isTable(level, lo)) sum += below(frameOf(lo, hi), level - 1);
    }
    return sum;
  };
  return count(rootTable(memory, root), levels);
}
