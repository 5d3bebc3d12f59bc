import type { TlbBank } from "./tlb-bank.ts";

/** Words of a slot: 64 bytes, a line of the host's cache, for a miss touches most of them. */
const WORDS = 16;
/** Linear page number in 4-KiB pages, bits 31:0; bits 51:32 with the leaf level above them. */
const KEY_LO = 0;
const KEY_HI = 1;
/** 0 = empty, else whose translation it is. */
const OWNER = 2;
const FLAGS = 3;
/** Words of the leaf's address. */
const FRAME_LO = 4;
const FRAME_HI = 5;
/** The next slot with a page of the same hash. */
const CHAIN = 6;
/** The slots of a set are a ring: the next one was used later, but after the one used last comes the one used longest ago. */
const NEXT = 7;
const PREVIOUS = 8;
/** Its place in the list of slots in use. */
const LISTED = 9;
/** Its bank, and its set among those of all banks. */
const BANK = 10;
const SET = 11;

const LEVEL_SHIFT = 20;
const PAGE_HI = 0xf_ffff;
const NO_SLOT = -1;

/** Words of a set: its first slot and the one behind its last, the slot used longest ago, the first one that may be empty. */
const SET_SHIFT = 2;
const FIRST = 0;
const END = 1;
const OLDEST = 2;
const FREE = 3;

/**
 * The slots of TLB structures with sets and ways. Where a page is and which slot of a set was used longest ago are found
 * without looking through the ways, and nothing is allocated. A slot is named by the index of its first word.
 *
 *   page ──► hash ──► slot ──► slot      every copy of the page, in whatever bank and whoever's
 *   set  ──► the slot used longest ago ──► ... ──► the one used last ──► the one used longest ago
 */
export class TlbSlots {
  /** How many slots are in use, and how many of them hold a page larger than 4 KiB. */
  used = 0;
  large = 0;
  declare private readonly words: Int32Array;
  /** The slots in use, in no order. */
  declare private readonly list: Int32Array;
  declare private readonly buckets: Int32Array;
  declare private readonly bucketShift: number;
  declare private readonly sets: Int32Array;

  constructor(banks: readonly TlbBank[]) {
    const sets = banks.reduce((sum, bank) => sum + bank.sets, 0);
    const slots = banks.reduce((sum, bank) => sum + bank.sets * bank.ways, 0);
    const bucketBits = Math.ceil(Math.log2(2 * slots));
    this.words = new Int32Array(slots * WORDS);
    this.list = new Int32Array(slots);
    this.buckets = new Int32Array(2 ** bucketBits).fill(NO_SLOT);
    this.bucketShift = 32 - bucketBits;
    this.sets = new Int32Array(sets << SET_SHIFT);
    for (const bank of banks) this.layOut(bank);
  }

  private layOut({ index, firstSet, firstSlot, sets, ways }: TlbBank): void {
    const { words } = this;
    for (let i = 0; i < sets; i++) {
      const begin = (firstSlot + i * ways) * WORDS;
      const end = begin + ways * WORDS;
      const set = (firstSet + i) << SET_SHIFT;
      this.sets[set + FIRST] = begin;
      this.sets[set + END] = end;
      this.sets[set + OLDEST] = begin;
      this.sets[set + FREE] = begin;
      for (let slot = begin; slot < end; slot += WORDS) {
        words[slot + NEXT] = slot + WORDS === end ? begin : slot + WORDS;
        words[slot + PREVIOUS] = slot === begin ? end - WORDS : slot - WORDS;
        words[slot + BANK] = index;
        words[slot + SET] = set;
      }
    }
  }

  /** The first slot in use that may hold a page, by the words of its key; negative for none. */
  chainOf(low: number, high: number): number {
    return this.buckets[this.bucketOf(low, high)]!;
  }

  /** The next one. */
  nextInChain(slot: number): number {
    return this.words[slot + CHAIN]!;
  }

  isPage(slot: number, low: number, high: number): boolean {
    return this.words[slot + KEY_LO] === low && this.words[slot + KEY_HI] === high;
  }

  keyLo(slot: number): number {
    return this.words[slot + KEY_LO]!;
  }

  keyHi(slot: number): number {
    return this.words[slot + KEY_HI]!;
  }

  owner(slot: number): number {
    return this.words[slot + OWNER]!;
  }

  flags(slot: number): number {
    return this.words[slot + FLAGS]!;
  }

  frameLo(slot: number): number {
    return this.words[slot + FRAME_LO]!;
  }

  frameHi(slot: number): number {
    return this.words[slot + FRAME_HI]!;
  }

  bank(slot: number): number {
    return this.words[slot + BANK]!;
  }

  /** The set of a slot, among those of all banks. */
  setOf(slot: number): number {
    return this.words[slot + SET]! >> SET_SHIFT;
  }

  /** The slot at a place in the list of those in use. Emptying it puts the last one there. */
  listed(at: number): number {
    return this.list[at]!;
  }

  /** Slots are counted through all banks, set by set. */
  numberOf(slot: number): number {
    return slot / WORDS;
  }

  at(number: number): number {
    return number * WORDS;
  }

  /** A way of a set: its slot. */
  way(set: number, way: number): number {
    return this.sets[(set << SET_SHIFT) + FIRST]! + way * WORDS;
  }

  /** The first empty slot of a set; negative for none. */
  emptyIn(set: number): number {
    const { words, sets } = this;
    const at = set << SET_SHIFT;
    const end = sets[at + END]!;
    let slot = sets[at + FREE]!;
    if (slot === end) return NO_SLOT;
    while (slot < end && words[slot + OWNER] !== 0) slot += WORDS;
    sets[at + FREE] = slot;
    return slot < end ? slot : NO_SLOT;
  }

  /** The slot of a full set that was used longest ago. */
  oldestIn(set: number): number {
    return this.sets[(set << SET_SHIFT) + OLDEST]!;
  }

  /** The slots of a set in use, the one used longest ago first. */
  usedIn(set: number): number[] {
    const slots: number[] = [];
    const end = this.oldestIn(set);
    let slot = end;
    do {
      if (this.words[slot + OWNER] !== 0) slots.push(slot);
      slot = this.words[slot + NEXT]!;
    } while (slot !== end);
    return slots;
  }

  /** Makes a slot the one of its set that was used last. */
  use(slot: number): void {
    const { words, sets } = this;
    const at = words[slot + SET]! + OLDEST;
    const oldest = sets[at]!;
    const next = words[slot + NEXT]!;
    // The ring turns by one; or the slot leaves its place in it for the one before the oldest.
    if (slot === oldest) {
      sets[at] = next;
      return;
    }
    if (next === oldest) return;
    const previous = words[slot + PREVIOUS]!;
    words[previous + NEXT] = next;
    words[next + PREVIOUS] = previous;
    const last = words[oldest + PREVIOUS]!;
    words[last + NEXT] = slot;
    words[slot + PREVIOUS] = last;
    words[slot + NEXT] = oldest;
    words[oldest + PREVIOUS] = slot;
  }

  /** Gives a slot to a page, whoever had it. */
  take(slot: number, low: number, high: number, owner: number): void {
    const { words, buckets } = this;
    if (words[slot + OWNER] !== 0) {
      this.unchain(slot);
    } else {
      words[slot + LISTED] = this.used;
      this.list[this.used++] = slot;
    }
    if (high >>> LEVEL_SHIFT > 1) this.large++;
    words[slot + KEY_LO] = low;
    words[slot + KEY_HI] = high;
    words[slot + OWNER] = owner;
    const bucket = this.bucketOf(low, high);
    words[slot + CHAIN] = buckets[bucket]!;
    buckets[bucket] = slot;
  }

  /** What the slot's translation is. */
  write(slot: number, flags: number, frameLo: number, frameHi: number): void {
    const { words } = this;
    words[slot + FLAGS] = flags;
    words[slot + FRAME_LO] = frameLo;
    words[slot + FRAME_HI] = frameHi;
  }

  /** Empties a slot in use. */
  empty(slot: number): void {
    const { words, list, sets } = this;
    this.unchain(slot);
    words[slot + OWNER] = 0;
    const free = words[slot + SET]! + FREE;
    if (slot < sets[free]!) sets[free] = slot;
    const last = list[--this.used]!;
    const place = words[slot + LISTED]!;
    list[place] = last;
    words[last + LISTED] = place;
  }

  private unchain(slot: number): void {
    const { words, buckets } = this;
    const high = words[slot + KEY_HI]!;
    if (high >>> LEVEL_SHIFT > 1) this.large--;
    const bucket = this.bucketOf(words[slot + KEY_LO]!, high);
    const next = words[slot + CHAIN]!;
    let before = buckets[bucket]!;
    if (before === slot) {
      buckets[bucket] = next;
      return;
    }
    while (words[before + CHAIN] !== slot) before = words[before + CHAIN]!;
    words[before + CHAIN] = next;
  }

  private bucketOf(low: number, high: number): number {
    return Math.imul(low ^ Math.imul(high, 0x85eb_ca6b), 0x9e37_79b1) >>> this.bucketShift;
  }
}

/** Low word of the key of the page of a size that holds a linear address. */
export function pageKeyLo(lo: number, hi: number, size: number): number {
  return ((lo & -(8 << (9 * size))) >>> 12) | (hi << 20);
}

export function pageKeyHi(hi: number, size: number): number {
  return (hi >>> 12) | (size << LEVEL_SHIFT);
}

/** The page size of a key, by its high word: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB. */
export function sizeOfKey(high: number): number {
  return high >>> LEVEL_SHIFT;
}

/** Words of the linear address of a key's page. */
export function linearLoOfKey(low: number): number {
  return low << 12;
}

export function linearHiOfKey(low: number, high: number): number {
  return ((high & PAGE_HI) << 12) | (low >>> 20);
}
