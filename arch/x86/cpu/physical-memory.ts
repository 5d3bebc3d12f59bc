import { PAGE_SIZE, type Pfn } from "./address.ts";
import { Entry } from "./entry.ts";

/** A slot that is not memory; the slot after it is not memory either. */
export const OUTSIDE = -2;
// A module's own const is a constant to V8, an exported one is read from its cell at each use.
const NOWHERE = OUTSIDE;

/** Frame bits of an entry's high word that no memory reaches: it ends at 2^33. */
const BEYOND_MEMORY = 0xf_fffe;

/**
 * Most bytes of a memory: 8 GiB. One array of 32-bit words holds them on Node 20, where an array of bytes ends at 4 GiB;
 * and the index of a word stays an int32.
 */
export const MAX_MEMORY_BYTES = 2 ** 33;

/** Bytes cleared through one view. */
const CLEAR_STEP = 2 ** 30;

/**
 * Physical memory: one ArrayBuffer from address 0, of which the host commits what is touched. Addresses are byte
 * addresses as Numbers (a physical address has at most 52 bits, so a Number is exact).
 *
 * Reads where nothing answers return all ones and writes there are dropped, as on a PC's bus: page tables
 * may point anywhere, and a walk through them must stay bounded and must not throw.
 */
export class PhysicalMemory {
  // A field without "declare" is undefined first, and V8 then looks at what it holds at each use.
  declare readonly size: number;
  /** Index of the last word: unlike the count of words, it is a small integer even for the largest memory. */
  declare readonly lastWord: number;
  /** All of memory as 32-bit little-endian words: word i is at address 4 * i. */
  declare readonly words: Int32Array;

  constructor(size: number) {
    if (!Number.isInteger(size) || size <= 0 || size % PAGE_SIZE !== 0 || size > MAX_MEMORY_BYTES) {
      throw new RangeError(
        `memory of ${size} bytes: give a positive multiple of ${PAGE_SIZE} up to ${MAX_MEMORY_BYTES}`,
      );
    }
    this.size = size;
    this.lastWord = size / 4 - 1;
    this.words = new Int32Array(new ArrayBuffer(size));
  }

  /** Whether every byte of the frame exists. */
  hasFrame(pfn: number): boolean {
    return pfn >= 0 && pfn * PAGE_SIZE < this.size;
  }

  /** Low word of the aligned entry at a physical address. */
  readLo(address: number): number {
    return address < this.size ? this.words[indexOf(address)]! : -1;
  }

  /** High word of the aligned entry at a physical address. */
  readHi(address: number): number {
    return address < this.size ? this.words[indexOf(address) + 1]! : -1;
  }

  /**
   * The bytes of a range, as a view of memory and not a copy. Throws RangeError when the range leaves memory. Node 20
   * has no view of more than 4 GiB.
   */
  bytesAt(address: number, length: number): Uint8Array {
    this.checkInside(address, length);
    return new Uint8Array(this.words.buffer, address, length);
  }

  /** A copy of a table's 512 entries, low word and high word in turn; all ones where there is no memory. */
  tableWords(table: Pfn): Int32Array {
    if (!this.hasFrame(table)) return new Int32Array(PAGE_SIZE / 4).fill(-1);
    const first = (table * PAGE_SIZE) / 4;
    return this.words.slice(first, first + PAGE_SIZE / 4);
  }

  /**
   * The words of the table page at a physical address, low and high of each entry in turn: a view that is only read, or
   * null where no memory is.
   */
  tableAt(page: number): Int32Array | null {
    if (!this.hasFrame(page / PAGE_SIZE)) return null;
    return this.words.subarray(page / 4, (page + PAGE_SIZE) / 4);
  }

  /** Zeroes a range of any length. Throws RangeError when the range leaves memory. */
  clear(address: number, length: number): void {
    this.checkInside(address, length);
    const end = address + length;
    for (let at = address; at < end; at += CLEAR_STEP) {
      this.bytesAt(at, Math.min(CLEAR_STEP, end - at)).fill(0);
    }
  }

  /** The byte at a physical address. */
  readByte(address: number): number {
    const word = address < this.size ? this.words[Math.floor(address / 4)]! : -1;
    return (word >>> (8 * (address & 3))) & 0xff;
  }

  /** Stores the low eight bits. */
  writeByte(address: number, byte: number): void {
    if (address >= this.size) return;
    const index = Math.floor(address / 4);
    const shift = 8 * (address & 3);
    this.words[index] = (this.words[index]! & ~(0xff << shift)) | ((byte & 0xff) << shift);
  }

  /**
   * Index in `words` of entry `index` of the table that an entry (or CR3) with these words points to, or
   * {@link OUTSIDE} when no memory reaches that far: the caller compares the index with {@link lastWord}. The walk
   * has the same arithmetic in line.
   */
  slotOf(lo: number, hi: number, index: number): number {
    if ((hi & BEYOND_MEMORY) !== 0) return NOWHERE;
    return ((hi & 1) << 30) | ((lo >>> 2) & 0x3fff_fc00) | (index << 1);
  }

  /** One single-copy-atomic 64-bit read of an aligned entry. */
  read(address: number): Entry {
    return new Entry(this.readLo(address), this.readHi(address));
  }

  /** One 64-bit store. Nothing is reported: page-table writes that must be seen go through Machine. */
  write(address: number, lo: number, hi: number): void {
    if (address >= this.size) return;
    const index = indexOf(address);
    this.words[index] = lo;
    this.words[index + 1] = hi;
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

  private checkInside(address: number, length: number): void {
    const whole = Number.isSafeInteger(address) && Number.isSafeInteger(length);
    if (!whole || address < 0 || length < 0 || address + length > this.size) {
      throw new RangeError(
        `${length} bytes from ${address}: give a range of whole bytes inside the memory of ${this.size} bytes`,
      );
    }
  }
}

/** Index of the word at an aligned address; below 2^31 a shift finds it, without floating point. */
function indexOf(address: number): number {
  return address <= 0x7fff_ffff ? address >> 2 : address / 4;
}
