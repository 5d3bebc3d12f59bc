import { PAGE_SIZE, type Pfn } from "./address.ts";
import { type Argument, misuse, need } from "./argument.ts";
import { numeral, oneOf, whole } from "./argument-kinds.ts";
import { type Bus, type BusSize, busWord, exchangeOnBus, readBus } from "./bus.ts";
import { Entry } from "./entry.ts";
import { SharedWords } from "./shared-words.ts";

/** A slot that is not memory; the slot after it is not memory either. */
export const OUTSIDE = -2;
// A module's own const is a constant to V8, an exported one is read from its cell at each use.
const NOWHERE = OUTSIDE;

/**
 * Bits of the address of a word, and of an entry. What they leave as it is is a multiple of 4, or 8, below 2^31 or a
 * negative number, whose index as an unsigned number no memory has: so one comparison and one mask accept the usual address.
 */
const WORDS = -4;
const ENTRIES = -8;

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
 * Physical memory: one buffer from address 0, of which the host commits what is touched, and beyond it what a bus serves.
 * Addresses are byte addresses as Numbers (a physical address has at most 52 bits, so a Number is exact).
 *
 *   0 ........ size ................................. 2^52
 *   | buffer  | bus: sparse memory, devices          |
 *
 * Reads where nothing answers return all ones and writes there are dropped, as on a PC's bus: page tables
 * may point anywhere, and a walk through them must stay bounded and must not throw.
 *
 * In a SharedArrayBuffer entries are read, stored and compared whole, so that the threads that share it see what the
 * CPUs of one machine would see of each other (SDM vol. 3, 8.1.1).
 *
 * Throws TypeError or RangeError, naming it, for an address that cannot be one of what is read or stored there.
 */
export class PhysicalMemory {
  // A field without "declare" is undefined first, and V8 then looks at what it holds at each use.
  /** Bytes of the buffer. */
  declare readonly size: number;
  /**
   * Index of the last word that a walk reads by itself: unlike the count of words, it is a small integer even for the
   * largest memory. -1 for shared memory, where {@link fetch} reads an entry whole.
   */
  declare readonly lastWord: number;
  /** The whole buffer as 32-bit little-endian words: word i is at address 4 * i. */
  declare readonly words: Int32Array;
  /** What answers beyond the buffer, or null. */
  declare readonly bus: Bus | null;
  /** Words of the entry that {@link fetch} read last. */
  lo = 0;
  hi = 0;

  /** The buffer where other threads may use it, else null. */
  private readonly shared: SharedWords | null;
  /** Bytes that one thread alone uses: size, or 0. */
  declare private readonly ownBytes: number;

  /**
   * Memory of a size in bytes, or in a buffer, also one of a WebAssembly.Memory (which must not grow, for that takes the
   * buffer away). Throws RangeError for a size that is not a multiple of 4096 up to {@link MAX_MEMORY_BYTES}, TypeError
   * for what is no buffer.
   */
  constructor(source: number | ArrayBufferLike, bus: Bus | null = null) {
    const size = typeof source === "number" ? source : bytesOf(source);
    if (!Number.isInteger(size) || size <= 0 || size % PAGE_SIZE !== 0 || size > MAX_MEMORY_BYTES) {
      throw new RangeError(
        `memory of ${size} bytes: give a positive multiple of ${PAGE_SIZE} up to ${MAX_MEMORY_BYTES}`,
      );
    }
    const buffer = typeof source === "number" ? new ArrayBuffer(size) : source;
    this.size = size;
    this.words = new Int32Array(buffer, 0, size / 4);
    this.shared = tagOf(buffer) === SHARED ? new SharedWords(buffer) : null;
    this.lastWord = this.shared === null ? size / 4 - 1 : -1;
    this.ownBytes = this.shared === null ? size : 0;
    this.bus = bus;
  }

  /** Whether every byte of the frame is memory: in the buffer, or where the bus says so. */
  hasFrame(pfn: number): boolean {
    if (pfn >= 0 && pfn * PAGE_SIZE < this.size) return true;
    return pfn >= 0 && this.bus?.isMemory?.(pfn * PAGE_SIZE) === true;
  }

  /** Whether other threads may use the byte at a physical address. */
  isShared(address: number): boolean {
    return this.shared !== null && address < this.size;
  }

  /** Reads the aligned entry at a physical address whole, into {@link lo} and {@link hi}. */
  fetch(address: number): void {
    const near = address >>> 2;
    if ((address & ENTRIES) === address && near < this.lastWord) {
      this.lo = this.words[near]!;
      this.hi = this.words[near + 1]!;
      return;
    }
    if (address >= this.ownBytes || isOdd(address, 7)) {
      this.fetchElsewhere(address);
      return;
    }
    const index = indexOf(address);
    this.lo = this.words[index]!;
    this.hi = this.words[index + 1]!;
  }

  /** What others may change at the same time, and what the bus serves. */
  private fetchElsewhere(address: number): void {
    checkEntry(address);
    const entry = address >= this.size ? readBus(this.bus, address, 8) : this.shared!.load(address);
    this.lo = Number(BigInt.asIntN(32, entry));
    this.hi = Number(BigInt.asIntN(32, entry >> 32n));
  }

  /** Low word of the entry at a physical address. */
  readLo(address: number): number {
    const near = address >>> 2;
    if ((address & WORDS) === address && near < this.lastWord) return this.words[near]!;
    if (address < this.size && !isOdd(address, 3)) return this.words[indexOf(address)]!;
    return busWord(this.bus, wordAt(address));
  }

  /** High word of the entry at a physical address. */
  readHi(address: number): number {
    const near = address >>> 2;
    if ((address & WORDS) === address && near < this.lastWord) return this.words[near + 1]!;
    if (address < this.size && !isOdd(address, 3)) return this.words[indexOf(address) + 1]!;
    return busWord(this.bus, wordAt(address) + 4);
  }

  /**
   * The bytes of a range, as a view of memory and not a copy. Throws RangeError when the range leaves the buffer. Node 20
   * has no view of more than 4 GiB.
   */
  bytesAt(address: number, length: number): Uint8Array {
    this.checkInside(address, length);
    return new Uint8Array(this.words.buffer, address, length);
  }

  /** A copy of a table's 512 entries, low word and high word in turn; all ones where there is no memory. */
  tableWords(table: Pfn): Int32Array {
    const words = this.tableAt(table * PAGE_SIZE);
    return words === null ? new Int32Array(PAGE_SIZE / 4).fill(-1) : words.slice();
  }

  /**
   * The words of the table page at a physical address, low and high of each entry in turn: a view that is only read, or
   * null where no memory is. What the bus holds is a copy.
   */
  tableAt(page: number): Int32Array | null {
    need(PAGE, page);
    if (!this.hasFrame(page / PAGE_SIZE)) return null;
    if (page < this.size) return this.words.subarray(page / 4, (page + PAGE_SIZE) / 4);
    const words = new Int32Array(PAGE_SIZE / 4);
    for (let i = 0; i < words.length; i += 2) {
      this.fetch(page + 4 * i);
      words[i] = this.lo;
      words[i + 1] = this.hi;
    }
    return words;
  }

  /** Zeroes a range of any length. Throws RangeError when the range leaves the buffer. */
  clear(address: number, length: number): void {
    this.checkInside(address, length);
    const end = address + length;
    for (let at = address; at < end; at += CLEAR_STEP) {
      this.bytesAt(at, Math.min(CLEAR_STEP, end - at)).fill(0);
    }
  }

  /** The byte at a physical address. */
  readByte(address: number): number {
    return Number(this.readPiece(address, 1));
  }

  /** Stores the low eight bits. */
  writeByte(address: number, byte: number): void {
    need(WORD, byte);
    this.writePiece(address, 1, BigInt(byte & 0xff));
  }

  /** 1, 2, 4 or 8 bytes at a multiple of as many. */
  readPiece(address: number, size: BusSize): bigint {
    checkPiece(address, size);
    if (size === 8) {
      this.fetch(address);
      return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
    }
    if (address >= this.size) return readBus(this.bus, address, size);
    const word = this.words[Math.floor(address / 4)]! >>> (8 * (address & 3));
    return BigInt.asUintN(8 * size, BigInt(word));
  }

  /** Stores 1, 2, 4 or 8 bytes at a multiple of as many, in one cycle. */
  writePiece(address: number, size: BusSize, value: bigint): void {
    checkPiece(address, size);
    if (typeof value !== "bigint") need(PIECE, value);
    if (size === 8) {
      this.write(address, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
    } else if (address >= this.size) {
      this.bus?.write(address, size, value);
    } else {
      const index = Math.floor(address / 4);
      const shift = 8 * (address & 3);
      const bits = size === 4 ? -1 : ((1 << (8 * size)) - 1) << shift;
      const put = Number(value) << shift;
      if (this.shared !== null) this.shared.merge(index, bits, put);
      else this.words[index] = (this.words[index]! & ~bits) | put;
    }
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
    this.fetch(address);
    return new Entry(this.lo, this.hi);
  }

  /** One 64-bit store. Nothing is reported: page-table writes that must be seen go through Machine. */
  write(address: number, lo: number, hi: number): void {
    const near = address >>> 2;
    if ((address & ENTRIES) === address && near < this.lastWord && lo === (lo | 0) && hi === (hi | 0)) {
      this.words[near] = lo;
      this.words[near + 1] = hi;
      return;
    }
    checkWords(lo, hi);
    if (address >= this.ownBytes || isOdd(address, 7)) {
      this.writeElsewhere(address, wideOf(lo, hi));
      return;
    }
    const index = indexOf(address);
    this.words[index] = lo;
    this.words[index + 1] = hi;
  }

  private writeElsewhere(address: number, value: bigint): void {
    checkEntry(address);
    if (address >= this.size) this.bus?.write(address, 8, value);
    else this.shared!.store(address, value);
  }

  /** XCHG: one 64-bit store; returns what was there, all ones where nothing answers. */
  exchange(address: number, lo: number, hi: number): Entry {
    checkWords(lo, hi);
    if (address < this.size && this.shared !== null) {
      checkEntry(address);
      return Entry.fromBigInt(this.shared.exchange(address, wideOf(lo, hi)));
    }
    const old = this.read(address);
    this.write(address, lo, hi);
    return old;
  }

  /**
   * Locked compare-and-swap of one entry (SDM vol. 3, 8.1.2.1: updates of A and D are locked cycles).
   * Compares all 64 bits; returns whether the new value was stored.
   */
  compareExchange(address: number, oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
    if (isOdd(address, 7)) checkEntry(address);
    checkWords(oldLo, oldHi);
    checkWords(newLo, newHi);
    if (address >= this.size || this.shared !== null) {
      checkEntry(address);
      const old = wideOf(oldLo, oldHi);
      const value = wideOf(newLo, newHi);
      if (address >= this.size) return exchangeOnBus(this.bus, address, old, value);
      return this.shared!.compareExchange(address, old, value);
    }
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

const ENTRY = numeral<number>(
  "address of an entry",
  "a multiple of 8 below 2^52",
  (address) => address >= 0 && address < 2 ** 52 && address % 8 === 0,
);
const PAGE = numeral<number>(
  "address of a page",
  "a multiple of 4096 below 2^52",
  (address) => address >= 0 && address < 2 ** 52 && address % PAGE_SIZE === 0,
);
const WORD = whole("word", -(2 ** 31), 2 ** 32 - 1);
const SIZE = oneOf("size", [1, 2, 4, 8]);
const PIECE: Argument<bigint> = {
  noun: "value",
  words: "a bigint",
  types: [],
  accepts: (value) => typeof value === "bigint",
};

/** Whether it is no multiple of a power of two; a remainder of numbers from 2^31 on would be a division. */
function isOdd(address: number, mask: number): boolean {
  return (address & mask) !== 0 || address < 0 || address !== Math.floor(address);
}

function checkWords(lo: number, hi: number): void {
  if (lo !== (lo | 0)) need(WORD, lo);
  if (hi !== (hi | 0)) need(WORD, hi);
}

function checkEntry(address: number): void {
  if (isOdd(address, 7) || address >= 2 ** 52) need(ENTRY, address);
}

function wordAt(address: number): number {
  checkPiece(address, 4);
  return address;
}

function checkPiece(address: number, size: BusSize): void {
  if (size !== 8 && size !== 4 && size !== 1 && size !== 2) need(SIZE, size);
  if (isOdd(address, size - 1) || address >= 2 ** 52) {
    throw misuse(
      numeral("physical address", `a multiple of ${size} below 2^52`, () => false),
      address,
    );
  }
}

/** Index of the word at an aligned address; below 2^31 a shift finds it, without floating point. */
function indexOf(address: number): number {
  return address <= 0x7fff_ffff ? address >> 2 : address / 4;
}

const SHARED = "SharedArrayBuffer";

/** What kind of object it is, of whatever realm. */
function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Bytes of a buffer. Throws TypeError for what is none. */
function bytesOf(source: ArrayBufferLike): number {
  const tag = tagOf(source);
  if (tag === "ArrayBuffer" || tag === SHARED) return source.byteLength;
  throw new TypeError(
    `memory ${String(source)}: give bytes, a size like "64MiB", an ArrayBuffer or a SharedArrayBuffer`,
  );
}

function wideOf(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
