import {
  type AccessSize,
  isInEntry,
  type Location,
  readBytes,
  swapBytes,
  writeBytes,
  writeEntries,
} from "./memory-access.ts";
import type { System } from "./system.ts";

/*
 * Stores of a CPU that were translated already. Where somebody watches a page table, what they change is told as entries
 * written: one record for each entry, as it is stored.
 */

/** Stores the bytes of an access of a CPU. */
export function storeAt(machine: System, cpu: number, at: Location, size: AccessSize, bytes: bigint): void {
  const { memory } = machine;
  if (!isWatched(machine, at)) writeBytes(memory, at, size, bytes);
  else writeEntries(memory, at, size, bytes, (slot, { lo, hi }) => machine.storeEntry(slot, lo, hi, cpu));
}

/** Stores what `change` makes of the bytes that are there (taken modulo the size); returns those. */
export function modifyAt(
  machine: System,
  cpu: number,
  at: Location,
  size: AccessSize,
  change: (old: bigint) => bigint,
): bigint {
  const { memory } = machine;
  const watched = isWatched(machine, at);
  if ((watched || memory.isShared(at.first)) && isInEntry(at, size)) {
    return swapBytes(memory, at, size, change, (slot, old, value) =>
      watched
        ? machine.compareExchangeEntry(slot, old, value, cpu)
        : memory.compareExchange(slot, old.lo, old.hi, value.lo, value.hi),
    );
  }
  const old = readBytes(memory, at, size);
  storeAt(machine, cpu, at, size, BigInt.asUintN(8 * size, change(old)));
  return old;
}

function isWatched({ records }: System, { first, second }: Location): boolean {
  return records.live && (records.watches(first) || (second >= 0 && records.watches(second)));
}
