import { Entry } from "./entry.ts";

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

/** A slot that is not memory; the slot after it is not memory either. */
export const OUTSIDE = -2;
// A module's own const is a constant to V8, an exported one is read from its cell at each use.
const NOWHERE = OUTSIDE;

/** Frame bits of an entry's high word that no memory reaches: it ends at 2^33. */
const BEYOND_MEMORY = 0xf_fffe;

/** 8 GiB: what one typed array of 32-bit words holds with room to spare on Node 20. */
const MAX_BYTES = 2 ** 33;

/**
 * Physical memory: one ArrayBuffer from address 0. Addresses are byte addresses as Numbers (a physical
 * address has at most 52 bits, so a Number is exact).
 *
 * Reads where nothing answers return all ones and writes there are dropped, as on a PC's bus: page tables
 * may point anywhere, and a walk through them must stay bounded and must not throw.
 */
export class PhysicalMemory {
  readonly size: number;
  /** Index of the last word: unlike the count of words, it is a small integer even for the largest memory. */
  readonly lastWord: number;
  /** All of memory as 32-bit little-endian words: word i is at address 4 * i. */
  readonly words: Int32Array;
  readonly bytes: Uint8Array;

  constructor(size: number) {
    if (!Number.isInteger(size) || size <= 0 || size % PAGE_SIZE !== 0 || size > MAX_BYTES) {
      throw new RangeError(
        `memory of ${size} bytes: give a positive multiple of ${PAGE_SIZE} up to ${MAX_BYTES}`,
      );
    }
    this.size = size;
    this.lastWord = size / 4 - 1;
    const buffer = new ArrayBuffer(size);
    this.words = new Int32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** Whether every byte of the frame exists. */
  hasFrame(pfn: number): boolean {
    return pfn >= 0 && pfn * PAGE_SIZE < this.size;
  }

  /** Low word of the aligned entry at a physical address. */
  readLo(address: number): number {
    return address < this.size ? this.words[address / 4]! : -1;
  }

  /** High word of the aligned entry at a physical address. */
  readHi(address: number): number {
    return address < this.size ? this.words[address / 4 + 1]! : -1;
  }

  /**
   * Index in `words` of entry `index` of the table that an entry (or CR3) with these words points to, or
   * {@link OUTSIDE} when that table is beyond any memory. Integers only: this is the walk's inner step.
   */
  slotOf(lo: number, hi: number, index: number): number {
    if ((hi & BEYOND_MEMORY) !== 0) return NOWHERE;
    return ((hi & 1) << 30) | ((lo >>> 2) & 0x3fff_fc00) | (index << 1);
  }

  /** The word at an index of {@link slotOf} (low word) or one more (high word); all ones outside memory. */
  wordAt(slot: number): number {
    return slot >= 0 && slot <= this.lastWord ? this.words[slot]! : -1;
  }

  /** One single-copy-atomic 64-bit read of an aligned entry. */
  read(address: number): Entry {
    return new Entry(this.readLo(address), this.readHi(address));
  }

  /** One 64-bit store. Nothing is reported: page-table writes that must be seen go through Machine. */
  write(address: number, lo: number, hi: number): void {
    if (address >= this.size) return;
    this.words[address / 4] = lo;
    this.words[address / 4 + 1] = hi;
  }

  /**
   * Locked compare-and-swap of one entry (SDM vol. 3, 8.1.2.1: updates of A and D are locked cycles).
   * Compares all 64 bits; returns whether the new value was stored.
   */
  compareExchange(address: number, oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
    if (this.readLo(address) !== oldLo || this.readHi(address) !== oldHi) return false;
    this.write(address, newLo, newHi);
    return true;
  }
}
