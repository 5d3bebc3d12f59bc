import { coversLeaf, type InvalidationScope } from "./invalidation-scope.ts";
import { linearHi, linearLo, linearNumber } from "./linear-address.ts";
import { WalkResult } from "./page-walk.ts";
import type { TlbPolicy } from "./tlb.ts";
import { banksOf, rankAt, servedAt, serviceOf, type TlbBank, UNSERVED } from "./tlb-bank.ts";
import { TLB_DIRTY, TLB_GLOBAL, TLB_MISS, type TlbEntry } from "./tlb-entry.ts";
import type { LeafLevel, TlbGeometry } from "./tlb-geometry.ts";
import { linearHiOfKey, linearLoOfKey, pageKeyHi, pageKeyLo, sizeOfKey, TlbSlots } from "./tlb-slots.ts";
import { checkPolicy, checkTranslation, type SavedTranslation, type TlbState, walkOf } from "./tlb-state.ts";
import { nextXorshift32 } from "./xorshift32.ts";

/** Who leaves a full set: the entry used longest ago, or one chosen by a seeded generator. */
export type Replacement = "lru" | "random";

// A module's own const is a constant to V8, an imported one is read from its cell at each use.
const DIRTY = TLB_DIRTY;
const GLOBAL = TLB_GLOBAL;
const MISS = TLB_MISS;
const NEVER = UNSERVED;
/** Whose a global entry is; any other one is its PCID's, and 1. */
const EVERYONE = 4097;
/** In the flags: raw rights, D, G, and from here on the PCID that filled it. */
const PCID_SHIFT = 20;
const FLAGS_BELOW_PCID = 0xf_ffff;
const FRAME_HI = 0xf_ffff;
const LARGEST = 3;
const TWO_32 = 2 ** 32;

/**
 * The TLBs of one logical CPU with a real part's structures: each has sets and ways, and a full set makes room. A
 * lookup goes through level 1, then level 2, smallest pages first; what it finds on level 2 is copied to level 1.
 *
 *   page number of the size ──► % sets ──► ways: compare page, size and owner (a PCID, or everyone for G)
 */
export class SetAssociativeTlb {
  readonly policy: TlbPolicy | "custom";
  readonly keepsAnswers = false;
  // A field without "declare" is undefined first, and V8 then looks at what it holds at each use.
  declare private readonly banks: readonly TlbBank[];
  /** See {@link TlbService}. */
  declare private readonly fills: readonly (readonly TlbBank[])[];
  declare private readonly copies: readonly (readonly TlbBank[])[];
  declare private readonly ranks: Uint8Array;
  declare private readonly slots: TlbSlots;
  private readonly replacement: Replacement;
  private random: number;

  /** Throws RangeError for a seed that is not a whole number from 1 to 2^32-1. */
  constructor(policy: TlbPolicy | "custom", geometry: TlbGeometry, replacement: Replacement, seed: number) {
    if (!(Number.isInteger(seed) && seed >= 1 && seed < TWO_32)) {
      throw new RangeError(`TLB seed ${seed}: give a whole number from 1 to 2^32-1`);
    }
    this.policy = policy;
    this.replacement = replacement;
    this.random = seed | 0;
    this.banks = banksOf(geometry);
    const { fills, copies, ranks } = serviceOf(this.banks);
    this.fills = fills;
    this.copies = copies;
    this.ranks = ranks;
    this.slots = new TlbSlots(this.banks);
  }

  lookup(lo: number, hi: number, pcid: number, kind = 0): number {
    const { slots, ranks } = this;
    const own = pcid + 1;
    let best = MISS;
    let bestRank = NEVER;
    const largest = slots.large === 0 ? 1 : LARGEST;
    for (let size = 1; size <= largest; size++) {
      const low = pageKeyLo(lo, hi, size);
      const high = pageKeyHi(hi, size);
      for (let slot = slots.chainOf(low, high); slot >= 0; slot = slots.nextInChain(slot)) {
        if (!slots.isPage(slot, low, high)) continue;
        const owner = slots.owner(slot);
        if (owner !== own && owner !== EVERYONE) continue;
        const rank = ranks[rankAt(servedAt(kind, size), slots.bank(slot))]!;
        // In one set, an own entry and everyone's, the lower way is found first.
        if (rank < bestRank || (rank === bestRank && slot < best)) {
          best = slot;
          bestRank = rank;
        }
      }
    }
    return best < 0 ? best : this.found(best, kind);
  }

  flags(slot: number): number {
    return this.slots.flags(slot);
  }

  physical(slot: number, lo: number): number {
    const { slots } = this;
    const low = slots.frameLo(slot) | (lo & offsetOf(sizeOfKey(slots.keyHi(slot))));
    const high = slots.frameHi(slot);
    // Below 2^31 it stays an integer to V8.
    return high === 0 && low >= 0 ? low : high * TWO_32 + (low >>> 0);
  }

  fill(walk: WalkResult, pcid: number, global: boolean, kind = 0): void {
    const { slots } = this;
    const { level, linearLo: lo, linearHi: hi } = walk;
    const low = pageKeyLo(lo, hi, level);
    const high = pageKeyHi(hi, level);
    const owner = global ? EVERYONE : pcid + 1;
    const flags = flagsOf(walk, pcid, global);
    const frameLo = walk.lo & ~offsetOf(level);
    const frameHi = walk.hi & FRAME_HI;
    const banks = this.fills[servedAt(kind, level)]!;
    for (let i = 0; i < banks.length; i++) {
      slots.write(this.place(banks[i]!, low, high, owner), flags, frameLo, frameHi);
    }
  }

  drop(slot: number): void {
    if (slot < 0) return;
    const { slots } = this;
    const low = slots.keyLo(slot);
    const high = slots.keyHi(slot);
    const owner = slots.owner(slot);
    for (let copy = slots.chainOf(low, high); copy >= 0; ) {
      const next = slots.nextInChain(copy);
      if (slots.isPage(copy, low, high) && slots.owner(copy) === owner) slots.empty(copy);
      copy = next;
    }
  }

  invlpg(lo: number, hi: number, pcid: number): void {
    this.invalidate({ pcid, page: { lo, hi }, globals: "all", tables: "keep" });
  }

  invalidate(scope: InvalidationScope): void {
    const { slots } = this;
    if (scope.page === null) {
      // From the end: where one is emptied the last comes, which has been looked at.
      for (let at = slots.used - 1; at >= 0; at--) this.dropCovered(scope, slots.listed(at));
      return;
    }
    const { lo, hi } = scope.page;
    const largest = slots.large === 0 ? 1 : LARGEST;
    for (let size = 1; size <= largest; size++) {
      for (let slot = slots.chainOf(pageKeyLo(lo, hi, size), pageKeyHi(hi, size)); slot >= 0; ) {
        const next = slots.nextInChain(slot);
        this.dropCovered(scope, slot);
        slot = next;
      }
    }
  }

  flushAll(): void {
    const { slots } = this;
    while (slots.used > 0) slots.empty(slots.listed(slots.used - 1));
  }

  entries(): TlbEntry[] {
    return Array.from({ length: this.slots.used }, (_, at) => this.entryAt(this.slots.listed(at)));
  }

  save(): TlbState {
    const { slots } = this;
    const entries: SavedTranslation[] = [];
    for (const { firstSet, sets } of this.banks) {
      for (let set = firstSet; set < firstSet + sets; set++) {
        for (const slot of slots.usedIn(set))
          entries.push({ ...this.entryAt(slot), slot: slots.numberOf(slot) });
      }
    }
    return { policy: this.policy, entries, random: this.random };
  }

  restore(state: TlbState): void {
    checkPolicy(this.policy, state);
    const { entries, random = 1 } = state;
    for (const entry of entries) this.checkPlace(entry);
    if (!Number.isInteger(random) || (random | 0) !== random || random === 0)
      throw new RangeError(`saved generator ${random}: give a whole number of 32 bits but 0`);
    this.flushAll();
    this.random = random;
    const { slots } = this;
    const walk = new WalkResult();
    for (const entry of entries) {
      const { level, linearLo: lo, linearHi: hi } = walkOf(entry, walk);
      const slot = slots.at(entry.slot!);
      const owner = entry.global ? EVERYONE : entry.pcid + 1;
      slots.take(slot, pageKeyLo(lo, hi, level), pageKeyHi(hi, level), owner);
      slots.write(slot, flagsOf(walk, entry.pcid, entry.global), walk.lo, walk.hi);
      slots.use(slot);
    }
  }

  /** Throws RangeError for a saved translation in a place that is not its own. */
  private checkPlace(entry: SavedTranslation): void {
    checkTranslation(entry);
    const { slots } = this;
    const { page, slot = -1 } = entry;
    const level = entry.level as LeafLevel;
    const bank = this.banks.find(
      ({ firstSlot, sets, ways }) => slot >= firstSlot && slot < firstSlot + sets * ways,
    );
    if (bank?.sizes.includes(level) && Number.isInteger(slot)) {
      const low = pageKeyLo(linearLo(page), linearHi(page), level);
      if (slots.setOf(slots.at(slot)) === setOf(bank, level, low)) return;
    }
    throw new RangeError(`saved translation of page ${page} in slot ${slot}: it has no place there`);
  }

  /** Notes the use of an entry, and copies one of level 2 to level 1; returns where it can be read. */
  private found(slot: number, kind: number): number {
    const { slots } = this;
    slots.use(slot);
    if (this.banks[slots.bank(slot)]!.level === 1) return slot;
    const low = slots.keyLo(slot);
    const high = slots.keyHi(slot);
    const banks = this.copies[servedAt(kind, sizeOfKey(high))]!;
    for (let i = 0; i < banks.length; i++) {
      const copy = this.place(banks[i]!, low, high, slots.owner(slot));
      slots.write(copy, slots.flags(slot), slots.frameLo(slot), slots.frameHi(slot));
    }
    return slot;
  }

  /** The slot for an entry in its set: its own, a free one, or another's. */
  private place(bank: TlbBank, low: number, high: number, owner: number): number {
    const { slots } = this;
    let slot = slots.chainOf(low, high);
    while (slot >= 0) {
      const own = slots.bank(slot) === bank.index && slots.owner(slot) === owner;
      if (own && slots.isPage(slot, low, high)) break;
      slot = slots.nextInChain(slot);
    }
    if (slot < 0) {
      slot = this.roomIn(bank, setOf(bank, sizeOfKey(high), low));
      slots.take(slot, low, high, owner);
    }
    slots.use(slot);
    return slot;
  }

  private roomIn(bank: TlbBank, set: number): number {
    const { slots } = this;
    const empty = slots.emptyIn(set);
    if (empty >= 0) return empty;
    return this.replacement === "lru" ? slots.oldestIn(set) : slots.way(set, this.nextRandom() % bank.ways);
  }

  private dropCovered(scope: InvalidationScope, slot: number): void {
    const { slots } = this;
    const low = slots.keyLo(slot);
    const high = slots.keyHi(slot);
    const flags = slots.flags(slot);
    const global = (flags & GLOBAL) !== 0;
    const lo = linearLoOfKey(low);
    const hi = linearHiOfKey(low, high);
    if (coversLeaf(scope, sizeOfKey(high), lo, hi, flags >>> PCID_SHIFT, global)) slots.empty(slot);
  }

  private entryAt(slot: number): TlbEntry {
    const { slots } = this;
    const flags = slots.flags(slot);
    const low = slots.keyLo(slot);
    const high = slots.keyHi(slot);
    return {
      page: linearNumber(linearLoOfKey(low), linearHiOfKey(low, high)),
      level: sizeOfKey(high),
      pcid: flags >>> PCID_SHIFT,
      global: (flags & GLOBAL) !== 0,
      pfn: slots.frameHi(slot) * 2 ** 20 + (slots.frameLo(slot) >>> 12),
      rights: flags & FLAGS_BELOW_PCID & ~(DIRTY | GLOBAL),
      dirty: (flags & DIRTY) !== 0,
      structure: this.banks[slots.bank(slot)]!.name,
    };
  }

  private nextRandom(): number {
    this.random = nextXorshift32(this.random);
    return this.random >>> 0;
  }
}

function flagsOf({ rights, dirty }: WalkResult, pcid: number, global: boolean): number {
  return rights | (dirty ? DIRTY : 0) | (global ? GLOBAL : 0) | (pcid << PCID_SHIFT);
}

/** Offset bits in a page of a size. */
function offsetOf(size: number): number {
  return (8 << (9 * size)) - 1;
}

/** The set of a page of a size, by the low word of its key, among those of all banks. */
function setOf(bank: TlbBank, size: number, low: number): number {
  const number = low >>> (9 * (size - 1));
  return bank.firstSet + (bank.setMask >= 0 ? number & bank.setMask : number % bank.sets);
}
