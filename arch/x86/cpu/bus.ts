/** Bytes that cross a bus at once, at an address that is a multiple of them. */
export type BusSize = 1 | 2 | 4 | 8;

/**
 * What answers at physical addresses beyond a machine's buffer, below 2^52: devices, or memory that is kept elsewhere. An
 * access that is no power of two of bytes at a multiple of itself, or more than 8 bytes, comes as the fewest that are.
 */
export interface Bus {
  /** The bytes at an address, little-endian; all ones where nothing answers. */
  read(physical: number, size: BusSize): bigint;
  /** Stores them; nothing is stored where nothing answers. */
  write(physical: number, size: BusSize, value: bigint): void;
  /**
   * A locked compare-and-swap of 8 bytes, as for A and D: whether `old` was there and `value` now is. Without it, it is a
   * read and a write, which is right where one thread alone uses what is there.
   */
  compareExchange?(physical: number, old: bigint, value: bigint): boolean;
  /**
   * Whether the page at an address is memory, which may be read without being changed: only there are tables recorded and
   * looked at. Without it, no page is.
   */
  isMemory?(page: number): boolean;
}

const ALL_ONES = -1n;

/** The bytes that a bus answers with; all ones without one. */
export function readBus(bus: Bus | null, physical: number, size: BusSize): bigint {
  return BigInt.asUintN(8 * size, bus === null ? ALL_ONES : bus.read(physical, size));
}

/** Four bytes as a word with a sign. */
export function busWord(bus: Bus | null, physical: number): number {
  return bus === null ? -1 : Number(BigInt.asIntN(32, bus.read(physical, 4)));
}

/** A locked compare-and-swap of 8 bytes; without a bus all ones are there, and a store is dropped. */
export function exchangeOnBus(bus: Bus | null, physical: number, old: bigint, value: bigint): boolean {
  if (bus?.compareExchange !== undefined) return bus.compareExchange(physical, old, value);
  if (readBus(bus, physical, 8) !== old) return false;
  bus?.write(physical, 8, value);
  return true;
}
