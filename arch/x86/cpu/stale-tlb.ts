import { ALL_PCIDS, coversLeaf, type InvalidationScope } from "./invalidation-scope.ts";
import { OFFSET_MASK, WalkResult } from "./page-walk.ts";
import { TLB_DIRTY, TLB_GLOBAL, TLB_MISS, type TlbEntry } from "./tlb-entry.ts";
import { checkPolicy, checkTranslation, type TlbState, walkOf } from "./tlb-state.ts";

/** Words of a slot; 32 bytes, so that a slot never straddles a cache line. */
const STRIDE = 8;
/** Linear page number bits 31:0. */
const KEY_LO = 0;
/** Linear page number bits 51:32, and the leaf level above them. */
const KEY_HI = 1;
/** The generation of the PCID (or of the globals) that filled it; 0 = never used, DEAD = dropped. */
const TAG = 2;
/** Raw rights, D, G, and the PCID in bits 31:20. */
const FLAGS = 3;
/** Physical page address when it is below 2^31, else -1. */
const BASE = 4;
const OFFSET = 5;
/** Frame number bits 31:0 and 39:32. */
const PFN_LO = 6;
const PFN_HI = 7;

const DEAD = -1;
const PCIDS = 4096;
const PCID_SHIFT = 20;
const LEVEL_SHIFT = 20;
/** The level of a 4-KiB page in KEY_HI. */
const SMALL = 1 << LEVEL_SHIFT;
const FIRST_SLOTS = 1024;
const LAST_TAG = 0x7fff_ffff;

/**
 * The maximally stale TLB: a hash table without a capacity, whose entries go only when an operation must remove them.
 * When pages of several sizes match, the smallest wins.
 *
 * A flush of a PCID gives it a new generation, so entries of older ones stop matching at once; their slots are
 * reclaimed when the table is next rebuilt.
 */
export class StaleTlb {
  readonly policy = "stale";
  private words = new Int32Array(FIRST_SLOTS * STRIDE);
  private mask = FIRST_SLOTS - 1;
  /** Slots that are not empty, dead ones included. */
  private used = 0;
  private readonly tags = new Int32Array(PCIDS);
  private globalTag = 0;
  private lastTag = 0;
  /** Whether any entry is large or global: only then does a lookup look further than one probe. */
  private mixed = false;
  readonly keepsAnswers = true;
  private readonly changed: () => void;

  /** `changed` is called whenever a lookup that hit may answer otherwise. */
  constructor(changed: () => void = () => {}) {
    this.changed = changed;
    this.restartTags();
  }

  lookup(lo: number, hi: number, pcid: number): number {
    const slot = this.find((lo >>> 12) | (hi << 20), (hi >>> 12) | SMALL, this.tags[pcid]!);
    return slot >= 0 || !this.mixed ? slot : this.lookupMixed(lo, hi, pcid);
  }

  flags(slot: number): number {
    return this.words[slot + FLAGS]!;
  }

  physical(slot: number, lo: number): number {
    const words = this.words;
    const base = words[slot + BASE]!;
    const offset = lo & words[slot + OFFSET]!;
    if (base >= 0) return base | offset;
    return this.frame(slot) * 4096 + offset;
  }

  fill(walk: WalkResult, pcid: number, global: boolean): void {
    if (2 * this.used >= this.mask) this.rebuild();
    const { level, linearLo, linearHi } = walk;
    const offset = OFFSET_MASK[level] ?? 0;
    const frameLo = walk.lo & ~offset;
    const frameHi = walk.hi & 0xf_ffff;
    if (global || level !== 1) this.mixed = true;
    // The page may have been found as part of a larger one, or as a global one.
    if (this.mixed) this.changed();
    const tag = global ? this.globalTag : this.tags[pcid]!;
    const slot = this.claim(keyLo(linearLo, linearHi, level), keyHi(linearHi, level), tag);
    const words = this.words;
    words[slot + FLAGS] =
      walk.rights | (walk.dirty ? TLB_DIRTY : 0) | (global ? TLB_GLOBAL : 0) | (pcid << PCID_SHIFT);
    words[slot + BASE] = frameHi === 0 && frameLo >= 0 ? frameLo : -1;
    words[slot + OFFSET] = offset;
    words[slot + PFN_LO] = (frameLo >>> 12) | (frameHi << 20);
    words[slot + PFN_HI] = frameHi >>> 12;
  }

  drop(slot: number): void {
    if (slot < 0) return;
    this.words[slot + TAG] = DEAD;
    this.changed();
  }

  invlpg(lo: number, hi: number, pcid: number): void {
    this.dropPage(lo, hi, this.tags[pcid]!);
    this.dropPage(lo, hi, this.globalTag);
  }

  invalidate(scope: InvalidationScope): void {
    const { pcid, page, globals } = scope;
    if (pcid === ALL_PCIDS) {
      if (page === null && globals === "all") this.flushAll();
      else this.dropCovered(scope);
    } else if (page === null) {
      if (globals !== "keep") this.dropCovered(scope);
      this.tags[pcid] = this.newTag();
    } else if (globals === "own") {
      this.dropCovered(scope);
    } else {
      this.dropPage(page.lo, page.hi, this.tags[pcid]!);
      if (globals === "all") this.dropPage(page.lo, page.hi, this.globalTag);
    }
  }

  flushAll(): void {
    this.words = new Int32Array(FIRST_SLOTS * STRIDE);
    this.mask = FIRST_SLOTS - 1;
    this.used = 0;
    this.mixed = false;
    this.restartTags();
  }

  entries(): TlbEntry[] {
    const list: TlbEntry[] = [];
    for (let slot = 0; slot < this.words.length; slot += STRIDE) {
      if (this.isLive(slot)) list.push(this.entryAt(slot));
    }
    return list;
  }

  save(): TlbState {
    return { policy: this.policy, entries: this.entries() };
  }

  restore(state: TlbState): void {
    checkPolicy(this.policy, state);
    state.entries.forEach(checkTranslation);
    this.flushAll();
    const walk = new WalkResult();
    for (const entry of state.entries) this.fill(walkOf(entry, walk), entry.pcid, entry.global);
  }

  private dropPage(lo: number, hi: number, tag: number): void {
    for (let level = 1; level <= 3; level++) this.drop(this.findPage(lo, hi, level, tag));
  }

  /** The rare operations look at every entry. */
  private dropCovered(scope: InvalidationScope): void {
    const words = this.words;
    for (let slot = 0; slot < words.length; slot += STRIDE) {
      if (!this.isLive(slot)) continue;
      const flags = words[slot + FLAGS]!;
      const low = words[slot + KEY_LO]!;
      const high = words[slot + KEY_HI]!;
      const lo = low << 12;
      const hi = ((high & 0xf_ffff) << 12) | (low >>> 20);
      const global = (flags & TLB_GLOBAL) !== 0;
      if (coversLeaf(scope, high >>> LEVEL_SHIFT, lo, hi, flags >>> PCID_SHIFT, global)) this.drop(slot);
    }
  }

  private lookupMixed(lo: number, hi: number, pcid: number): number {
    const own = this.tags[pcid]!;
    let slot = this.findPage(lo, hi, 1, this.globalTag);
    for (let level = 2; level <= 3 && slot < 0; level++) {
      slot = this.findPage(lo, hi, level, own);
      if (slot < 0) slot = this.findPage(lo, hi, level, this.globalTag);
    }
    return slot;
  }

  /** The slot of a page of any size, for a linear address in it. */
  private findPage(lo: number, hi: number, level: number, tag: number): number {
    return this.find(keyLo(lo, hi, level), keyHi(hi, level), tag);
  }

  private find(low: number, high: number, tag: number): number {
    const words = this.words;
    let slot = (hash(low, high, tag) & this.mask) * STRIDE;
    for (;;) {
      const found = words[slot + TAG]!;
      if (found === tag && words[slot + KEY_LO] === low && words[slot + KEY_HI] === high) return slot;
      if (found === 0) return TLB_MISS;
      slot = (slot + STRIDE) & (words.length - 1);
    }
  }

  /** The slot of this key, taken over from a dead or an empty one when it is new. */
  private claim(low: number, high: number, tag: number): number {
    const words = this.words;
    let dead = TLB_MISS;
    let slot = (hash(low, high, tag) & this.mask) * STRIDE;
    for (;;) {
      const found = words[slot + TAG]!;
      if (found === tag && words[slot + KEY_LO] === low && words[slot + KEY_HI] === high) {
        this.changed();
        return slot;
      }
      if (found === 0) break;
      if (found === DEAD && dead < 0) dead = slot;
      slot = (slot + STRIDE) & (words.length - 1);
    }
    if (dead >= 0) slot = dead;
    else this.used++;
    words[slot + KEY_LO] = low;
    words[slot + KEY_HI] = high;
    words[slot + TAG] = tag;
    return slot;
  }

  private isLive(slot: number): boolean {
    const tag = this.words[slot + TAG]!;
    if (tag <= 0) return false;
    const flags = this.words[slot + FLAGS]!;
    return tag === ((flags & TLB_GLOBAL) !== 0 ? this.globalTag : this.tags[flags >>> PCID_SHIFT]!);
  }

  private frame(slot: number): number {
    return this.words[slot + PFN_HI]! * 2 ** 32 + (this.words[slot + PFN_LO]! >>> 0);
  }

  private entryAt(slot: number): TlbEntry {
    const words = this.words;
    const flags = words[slot + FLAGS]!;
    const high = words[slot + KEY_HI]!;
    const pageNumber = (high & 0xf_ffff) * 2 ** 32 + (words[slot + KEY_LO]! >>> 0);
    return {
      page: pageNumber * 4096,
      level: high >>> LEVEL_SHIFT,
      pcid: flags >>> PCID_SHIFT,
      global: (flags & TLB_GLOBAL) !== 0,
      pfn: this.frame(slot),
      rights: flags & 0xf_ffff & ~(TLB_DIRTY | TLB_GLOBAL),
      dirty: (flags & TLB_DIRTY) !== 0,
    };
  }

  /** Copies what is live into a table at most a quarter full. */
  private rebuild(): void {
    const old = this.words;
    const live: number[] = [];
    for (let slot = 0; slot < old.length; slot += STRIDE) if (this.isLive(slot)) live.push(slot);
    let slots = FIRST_SLOTS;
    while (slots < 4 * live.length) slots *= 2;
    this.words = new Int32Array(slots * STRIDE);
    this.mask = slots - 1;
    this.used = 0;
    for (const from of live) {
      const slot = this.claim(old[from + KEY_LO]!, old[from + KEY_HI]!, old[from + TAG]!);
      this.words.set(old.subarray(from + FLAGS, from + STRIDE), slot + FLAGS);
    }
  }

  private newTag(): number {
    this.changed();
    // Tags are never reused while an entry may carry one; after two thousand million flushes, start over.
    if (this.lastTag === LAST_TAG) this.flushAll();
    return ++this.lastTag;
  }

  private restartTags(): void {
    this.changed();
    for (let pcid = 0; pcid < PCIDS; pcid++) this.tags[pcid] = pcid + 1;
    this.globalTag = PCIDS + 1;
    this.lastTag = PCIDS + 1;
  }
}

function keyLo(lo: number, hi: number, level: number): number {
  return ((lo & ~OFFSET_MASK[level as 1 | 2 | 3]) >>> 12) | (hi << 20);
}

function keyHi(hi: number, level: number): number {
  return (hi >>> 12) | (level << LEVEL_SHIFT);
}

function hash(low: number, high: number, tag: number): number {
  const mixed = Math.imul(low ^ Math.imul(high ^ (tag << 4), 0x85eb_ca6b), 0x9e37_79b1);
  return mixed ^ (mixed >>> 15);
}
