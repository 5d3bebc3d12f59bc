import { PAGE_SIZE } from "./address.ts";
import type { Bus, BusSize } from "./bus.ts";

const PHYSICAL_END = 2 ** 52;

/**
 * A bus of memory of which only pages that were stored to take room: zero from `start` to `end`, anywhere below 2^52. Outside
 * that all ones are read and stores are dropped.
 */
export class SparseMemory implements Bus {
  readonly start: number;
  readonly end: number;
  readonly #pages = new Map<number, DataView>();

  /** Throws RangeError for bounds that are no multiples of 4096, or not in order from 0 to 2^52. */
  constructor(start = 0, end: number = PHYSICAL_END) {
    const aligned = Number.isInteger(start / PAGE_SIZE) && Number.isInteger(end / PAGE_SIZE);
    if (!(aligned && start >= 0 && start < end && end <= PHYSICAL_END)) {
      throw new RangeError(`sparse memory from ${start} to ${end}: give multiples of 4096 up to 2^52`);
    }
    this.start = start;
    this.end = end;
  }

  /** Pages that take room. */
  get pages(): number {
    return this.#pages.size;
  }

  isMemory(page: number): boolean {
    return page >= this.start && page < this.end;
  }

  read(physical: number, size: BusSize): bigint {
    if (!this.isMemory(physical)) return BigInt.asUintN(8 * size, -1n);
    const offset = physical % PAGE_SIZE;
    const page = this.#pages.get(physical - offset);
    if (page === undefined) return 0n;
    if (size === 8) return page.getBigUint64(offset, true);
    if (size === 4) return BigInt(page.getUint32(offset, true));
    return BigInt(size === 2 ? page.getUint16(offset, true) : page.getUint8(offset));
  }

  write(physical: number, size: BusSize, value: bigint): void {
    if (!this.isMemory(physical)) return;
    const offset = physical % PAGE_SIZE;
    const page = this.#pageAt(physical - offset);
    if (size === 8) page.setBigUint64(offset, value, true);
    else if (size === 4) page.setUint32(offset, Number(value), true);
    else if (size === 2) page.setUint16(offset, Number(value), true);
    else page.setUint8(offset, Number(value));
  }

  #pageAt(address: number): DataView {
    let page = this.#pages.get(address);
    if (page === undefined) {
      page = new DataView(new ArrayBuffer(PAGE_SIZE));
      this.#pages.set(address, page);
    }
    return page;
  }
}
