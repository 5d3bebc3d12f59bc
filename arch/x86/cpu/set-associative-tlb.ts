import { coversLeaf, type InvalidationScope } from "./invalidation-scope.ts";
import { linearHi, linearLo } from "./linear-address.ts";
import { OFFSET_MASK, WalkResult } from "./page-walk.ts";
import type { TlbPolicy } from "./tlb.ts";
import { TLB_DIRTY, TLB_GLOBAL, TLB_MISS, type TlbEntry } from "./tlb-entry.ts";
import type { LeafLevel, TlbGeometry, TlbStructure, TlbUse } from "./tlb-geometry.ts";
import { checkPolicy, checkTranslation, type SavedTranslation, type TlbState, walkOf } from "./tlb-state.ts";
import { nextXorshift32 } from "./xorshift32.ts";

/** Who leaves a full set: the entry used longest ago, or one chosen by a seeded generator. */
export type Replacement = "lru" | "random";

/** Words of a slot. */
const STRIDE = 8;
/** Linear page number in 4-KiB pages, bits 31:0; bits 51:32 with the leaf level above them. */
const KEY_LO = 0;
const KEY_HI = 1;
/** 0 = empty, PCID + 1, or EVERYONE for a global entry. */
const OWNER = 2;
/** Raw rights, D, G, and in bits 31:20 the PCID that filled it. */
const FLAGS = 3;
/** Words of the leaf's address. */
const FRAME_LO = 4;
const FRAME_HI = 5;
/** Index of the structure. */
const HOME = 6;

const EVERYONE = 4097;
const PCID_SHIFT = 20;
const LEVEL_SHIFT = 20;
const TWO_32 = 2 ** 32;

/** A structure with the place of its first slot. */
interface Bank extends TlbStructure {
  readonly index: number;
  readonly base: number;
}

/** One look into one bank for one page size. */
interface Probe {
  readonly bank: Bank;
  readonly size: LeafLevel;
}

/** Which uses serve a read, a write and a fetch (ACCESS_* & 3). */
const SERVES: readonly (readonly TlbUse[])[] = [
  ["data", "load", "unified"],
  ["data", "store", "unified"],
  ["instruction", "unified"],
];

/**
 * The TLBs of one logical CPU with a real part's structures: each has sets and ways, and a full set makes room. A
 * lookup goes through level 1, then level 2, smallest pages first; what it finds on level 2 is copied to level 1.
 *
 *   page number of the size ──► % sets ──► ways: compare page, size and owner (a PCID, or everyone for G)
 */
export class SetAssociativeTlb {
  readonly policy: TlbPolicy | "custom";
  readonly keepsAnswers = false;
  private readonly banks: readonly Bank[];
  /** By ACCESS_* & 3. */
  private readonly probes: readonly (readonly Probe[])[];
  private readonly words: Int32Array;
  /** Slots that hold something. */
  private readonly live = new Set<number>();
  private readonly lastUse: Float64Array;
  private readonly replacement: Replacement;
  private time = 0;
  private random: number;

  /** Throws RangeError for a seed that is not a whole number from 1 to 2^32-1. */
  constructor(policy: TlbPolicy | "custom", geometry: TlbGeometry, replacement: Replacement, seed: number) {
    if (!(Number.isInteger(seed) && seed >= 1 && seed < TWO_32)) {
      throw new RangeError(`TLB seed ${seed}: give a whole number from 1 to 2^32-1`);
    }
    this.policy = policy;
    this.replacement = replacement;
    this.random = seed | 0;
    let base = 0;
    this.banks = geometry.map((structure, index) => {
      const bank = { ...structure, index, base };
      base += structure.sets * structure.ways;
      return bank;
    });
    this.words = new Int32Array(base * STRIDE);
    this.lastUse = new Float64Array(base);
    this.probes = SERVES.map((uses) => probesOf(this.banks.filter(({ use }) => uses.includes(use))));
  }

  lookup(lo: number, hi: number, pcid: number, kind = 0): number {
    for (const { bank, size } of this.probes[kind & 3]!) {
      const slot = this.find(bank, size, lo, hi, pcid + 1);
      if (slot < 0) continue;
      this.lastUse[slot / STRIDE] = ++this.time;
      return bank.level === 1 ? slot : this.copyUp(slot, size, kind);
    }
    return TLB_MISS;
  }

  flags(slot: number): number {
    return this.words[slot + FLAGS]!;
  }

  physical(slot: number, lo: number): number {
    const { words } = this;
    const offset = OFFSET_MASK[sizeOf(words[slot + KEY_HI]!)];
    return words[slot + FRAME_HI]! * TWO_32 + ((words[slot + FRAME_LO]! | (lo & offset)) >>> 0);
  }

  fill(walk: WalkResult, pcid: number, global: boolean, kind = 0): void {
    const size = walk.level as LeafLevel;
    const entry = wordsOf(walk, pcid, global);
    for (const { bank, size: taken } of this.probes[kind & 3]!) {
      if (taken === size) this.put(bank, entry);
    }
  }

  drop(slot: number): void {
    if (slot < 0) return;
    const { words } = this;
    const low = words[slot + KEY_LO]!;
    const high = words[slot + KEY_HI]!;
    const owner = words[slot + OWNER]!;
    for (const bank of this.banks) {
      const copy = this.findExact(bank, low, high, owner);
      if (copy >= 0) this.empty(copy);
    }
  }

  invlpg(lo: number, hi: number, pcid: number): void {
    this.invalidate({ pcid, page: { lo, hi }, globals: "all", tables: "keep" });
  }

  invalidate(scope: InvalidationScope): void {
    const { page } = scope;
    if (this.live.size === 0) return;
    if (page === null) {
      for (const slot of this.live) this.dropCovered(scope, slot);
      return;
    }
    for (const bank of this.banks) {
      for (const size of bank.sizes) {
        const first = this.setOf(bank, size, page.lo, page.hi);
        for (let way = 0; way < bank.ways; way++) this.dropCovered(scope, first + way * STRIDE);
      }
    }
  }

  flushAll(): void {
    for (const slot of this.live) this.empty(slot);
  }

  entries(): TlbEntry[] {
    return [...this.live].map((slot) => this.entryAt(slot));
  }

  save(): TlbState {
    const slots = [...this.live].sort((a, b) => this.lastUse[a / STRIDE]! - this.lastUse[b / STRIDE]!);
    const entries = slots.map((slot) => ({ ...this.entryAt(slot), slot: slot / STRIDE }));
    return { policy: this.policy, entries, random: this.random };
  }

  restore(state: TlbState): void {
    checkPolicy(this.policy, state);
    const { entries, random = 1 } = state;
    const places = entries.map((entry) => this.placeOf(entry));
    if (!Number.isInteger(random) || (random | 0) !== random || random === 0)
      throw new RangeError(`saved generator ${random}: give a whole number of 32 bits but 0`);
    this.flushAll();
    this.random = random;
    const walk = new WalkResult();
    entries.forEach((entry, i) => {
      const { bank, slot } = places[i]!;
      this.words.set(wordsOf(walkOf(entry, walk), entry.pcid, entry.global), slot);
      this.words[slot + HOME] = bank.index;
      this.live.add(slot);
      this.lastUse[slot / STRIDE] = ++this.time;
    });
  }

  /** Where a saved translation goes. Throws RangeError for a place that is not its own. */
  private placeOf(entry: SavedTranslation): { readonly bank: Bank; readonly slot: number } {
    checkTranslation(entry);
    const { page, slot = -1 } = entry;
    const level = entry.level as LeafLevel;
    const bank = this.banks.find(({ base, sets, ways }) => slot >= base && slot < base + sets * ways);
    if (bank?.sizes.includes(level) && Number.isInteger(slot)) {
      const way = slot - this.setOf(bank, level, linearLo(page), linearHi(page)) / STRIDE;
      if (way >= 0 && way < bank.ways) return { bank, slot: slot * STRIDE };
    }
    throw new RangeError(`saved translation of page ${page} in slot ${slot}: it has no place there`);
  }

  /** Copies an entry of level 2 to level 1, and returns where it can be read. */
  private copyUp(from: number, size: LeafLevel, kind: number): number {
    const entry = Array.from(this.words.subarray(from, from + HOME));
    for (const { bank, size: taken } of this.probes[kind & 3]!) {
      if (bank.level === 1 && taken === size) this.put(bank, entry);
    }
    return from;
  }

  /** Puts an entry in its set: over itself, into a free way, or in another's place. */
  private put(bank: Bank, entry: readonly number[]): void {
    const { words } = this;
    const low = entry[KEY_LO]!;
    const high = entry[KEY_HI]!;
    let slot = this.findExact(bank, low, high, entry[OWNER]!);
    if (slot < 0) slot = this.roomIn(bank, this.setOf(bank, sizeOf(high), low << 12, hiOf(low, high)));
    words.set(entry, slot);
    words[slot + HOME] = bank.index;
    this.live.add(slot);
    this.lastUse[slot / STRIDE] = ++this.time;
  }

  private roomIn(bank: Bank, first: number): number {
    const { words, lastUse } = this;
    let oldest = first;
    for (let way = 0; way < bank.ways; way++) {
      const slot = first + way * STRIDE;
      if (words[slot + OWNER] === 0) return slot;
      if (lastUse[slot / STRIDE]! < lastUse[oldest / STRIDE]!) oldest = slot;
    }
    if (this.replacement === "lru") return oldest;
    return first + (this.nextRandom() % bank.ways) * STRIDE;
  }

  private find(bank: Bank, size: LeafLevel, lo: number, hi: number, owner: number): number {
    const { words } = this;
    const low = ((lo & ~OFFSET_MASK[size]) >>> 12) | (hi << 20);
    const high = (hi >>> 12) | (size << LEVEL_SHIFT);
    const first = this.setOf(bank, size, lo, hi);
    for (let slot = first; slot < first + bank.ways * STRIDE; slot += STRIDE) {
      const found = words[slot + OWNER]!;
      if (
        (found === owner || found === EVERYONE) &&
        words[slot + KEY_LO] === low &&
        words[slot + KEY_HI] === high
      )
        return slot;
    }
    return TLB_MISS;
  }

  private findExact(bank: Bank, low: number, high: number, owner: number): number {
    const size = sizeOf(high);
    if (!bank.sizes.includes(size)) return TLB_MISS;
    const { words } = this;
    const first = this.setOf(bank, size, low << 12, hiOf(low, high));
    for (let slot = first; slot < first + bank.ways * STRIDE; slot += STRIDE) {
      if (words[slot + OWNER] === owner && words[slot + KEY_LO] === low && words[slot + KEY_HI] === high)
        return slot;
    }
    return TLB_MISS;
  }

  /** First slot of the set of a page of a size. */
  private setOf(bank: Bank, size: LeafLevel, lo: number, hi: number): number {
    const pageNumber = ((lo >>> 12) | (hi << 20)) >>> (9 * (size - 1));
    return (bank.base + (pageNumber % bank.sets) * bank.ways) * STRIDE;
  }

  private dropCovered(scope: InvalidationScope, slot: number): void {
    const { words } = this;
    if (words[slot + OWNER] === 0) return;
    const low = words[slot + KEY_LO]!;
    const high = words[slot + KEY_HI]!;
    const flags = words[slot + FLAGS]!;
    const global = (flags & TLB_GLOBAL) !== 0;
    const covered = coversLeaf(scope, sizeOf(high), low << 12, hiOf(low, high), flags >>> PCID_SHIFT, global);
    if (covered) this.empty(slot);
  }

  private empty(slot: number): void {
    this.words[slot + OWNER] = 0;
    this.live.delete(slot);
  }

  private entryAt(slot: number): TlbEntry {
    const { words } = this;
    const flags = words[slot + FLAGS]!;
    const high = words[slot + KEY_HI]!;
    return {
      page: ((high & 0xf_ffff) * TWO_32 + (words[slot + KEY_LO]! >>> 0)) * 4096,
      level: sizeOf(high),
      pcid: flags >>> PCID_SHIFT,
      global: (flags & TLB_GLOBAL) !== 0,
      pfn: words[slot + FRAME_HI]! * 2 ** 20 + (words[slot + FRAME_LO]! >>> 12),
      rights: flags & 0xf_ffff & ~(TLB_DIRTY | TLB_GLOBAL),
      dirty: (flags & TLB_DIRTY) !== 0,
      structure: this.banks[words[slot + HOME]!]!.name,
    };
  }

  private nextRandom(): number {
    this.random = nextXorshift32(this.random);
    return this.random >>> 0;
  }
}

/** The words of a slot, but for its structure. */
function wordsOf(walk: WalkResult, pcid: number, global: boolean): number[] {
  const size = walk.level as LeafLevel;
  const offset = OFFSET_MASK[size];
  const { linearLo, linearHi, rights, dirty } = walk;
  return [
    ((linearLo & ~offset) >>> 12) | (linearHi << 20),
    (linearHi >>> 12) | (size << LEVEL_SHIFT),
    global ? EVERYONE : pcid + 1,
    rights | (dirty ? TLB_DIRTY : 0) | (global ? TLB_GLOBAL : 0) | (pcid << PCID_SHIFT),
    walk.lo & ~offset,
    walk.hi & 0xf_ffff,
  ];
}

function sizeOf(high: number): LeafLevel {
  return (high >>> LEVEL_SHIFT) as LeafLevel;
}

/** High word of the linear address of a key. */
function hiOf(low: number, high: number): number {
  return ((high & 0xf_ffff) << 12) | (low >>> 20);
}

/** Level 1 before level 2, small pages before large ones. */
function probesOf(banks: readonly Bank[]): Probe[] {
  const probes = banks.flatMap((bank) => bank.sizes.map((size) => ({ bank, size })));
  return probes.sort((a, b) => a.bank.level - b.bank.level || a.size - b.size);
}
