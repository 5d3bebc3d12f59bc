import { BYTES_OF_LEVEL } from "./address.ts";
import { coversLeaf, type InvalidationScope } from "./invalidation-scope.ts";
import { linearHi, linearLo, linearNumber } from "./linear-address.ts";
import { OFFSET_MASK, WalkResult } from "./page-walk.ts";
import type { Tlb } from "./tlb.ts";
import type { TlbEntry } from "./tlb-entry.ts";
import { checkTranslation, type TlbState } from "./tlb-state.ts";

/** A large page of which pieces may be held under a PCID, or for every PCID. */
interface LargePage {
  readonly level: LargeLevel;
  readonly lo: number;
  readonly hi: number;
  readonly pcid: number;
  readonly global: boolean;
  /** Low words of the addresses of its pieces. */
  readonly pieces: Set<number>;
}

type LargeLevel = 2 | 3;
const LARGE: readonly LargeLevel[] = [2, 3];

/**
 * A TLB that keeps large pages as 4-KiB pieces, one for each piece used (SDM vol. 3, 4.10.2.3). An operation on any
 * address of the large page drops all pieces, as it must: software need not know that there are pieces.
 */
export class FracturingTlb implements Tlb {
  readonly policy: Tlb["policy"];
  readonly keepsAnswers: boolean;
  private readonly inner: Tlb;
  private readonly piece = new WalkResult();
  /** By level and first address, then by PCID and whether it is global. */
  private readonly broken = new Map<string, Map<number, LargePage>>();

  constructor(inner: Tlb) {
    this.inner = inner;
    this.policy = inner.policy;
    this.keepsAnswers = inner.keepsAnswers;
  }

  lookup(lo: number, hi: number, pcid: number, kind?: number): number {
    return this.inner.lookup(lo, hi, pcid, kind);
  }

  flags(slot: number): number {
    return this.inner.flags(slot);
  }

  physical(slot: number, lo: number): number {
    return this.inner.physical(slot, lo);
  }

  fill(walk: WalkResult, pcid: number, global: boolean, kind?: number): void {
    const { level, linearLo: lo, linearHi: hi } = walk;
    if (level === 1) {
      this.inner.fill(walk, pcid, global, kind);
      return;
    }
    const offset = OFFSET_MASK[level as 2 | 3];
    this.remember(level as LargeLevel, lo, hi, pcid, global);
    const { piece } = this;
    piece.level = 1;
    piece.linearLo = lo;
    piece.linearHi = hi;
    piece.lo = (walk.lo & ~offset) | (lo & offset & ~0xfff);
    piece.hi = walk.hi;
    piece.rights = walk.rights;
    piece.dirty = walk.dirty;
    this.inner.fill(piece, pcid, global, kind);
  }

  /** How many large pages it remembers the pieces of. */
  get remembered(): number {
    return this.broken.size;
  }

  drop(slot: number): void {
    this.inner.drop(slot);
  }

  invlpg(lo: number, hi: number, pcid: number): void {
    this.invalidate({ pcid, page: { lo, hi }, globals: "all", tables: "keep" });
  }

  invalidate(scope: InvalidationScope): void {
    this.inner.invalidate(scope);
    if (this.broken.size === 0) return;
    const { page } = scope;
    if (page === null) {
      for (const name of this.broken.keys()) this.forget(scope, name);
    } else {
      for (const level of LARGE) this.forget(scope, nameOf(level, page.lo, page.hi));
    }
  }

  flushAll(): void {
    this.broken.clear();
    this.inner.flushAll();
  }

  entries(): TlbEntry[] {
    return this.inner.entries();
  }

  save(): TlbState {
    const owners = [...this.broken.values()].flatMap((each) => [...each.values()]);
    const large = owners.map(({ level, lo, hi, pcid, global, pieces }) => ({
      level,
      page: linearNumber(lo, hi),
      pcid,
      global,
      pieces: [...pieces].map((piece) => linearNumber(piece, hi)),
    }));
    return { ...this.inner.save(), large };
  }

  restore(state: TlbState): void {
    const { large = [] } = state;
    for (const { level, page, pcid, pieces } of large) {
      checkTranslation({ page, level, pcid, pfn: 0, rights: 0, global: false, dirty: false });
      const outside = pieces.find((piece) => piece - (piece % BYTES_OF_LEVEL[level]!) !== page);
      if (outside !== undefined || level < 2) throw new RangeError(`saved piece ${outside} of page ${page}`);
    }
    this.inner.restore(state);
    this.broken.clear();
    for (const { level, pcid, global, pieces } of large) {
      for (const piece of pieces) this.remember(level, linearLo(piece), linearHi(piece), pcid, global);
    }
  }

  private remember(level: LargeLevel, lo: number, hi: number, pcid: number, global: boolean): void {
    const name = nameOf(level, lo, hi);
    let owners = this.broken.get(name);
    if (owners === undefined) {
      owners = new Map();
      this.broken.set(name, owners);
    }
    const owner = 2 * pcid + Number(global);
    let large = owners.get(owner);
    if (large === undefined) {
      large = { level, lo: lo & ~OFFSET_MASK[level], hi, pcid, global, pieces: new Set() };
      owners.set(owner, large);
    }
    large.pieces.add(lo & ~0xfff);
  }

  /** Drops the pieces of a large page that the scope takes, under every PCID that it takes, and forgets them. */
  private forget(scope: InvalidationScope, name: string): void {
    const owners = this.broken.get(name);
    if (owners === undefined) return;
    for (const [owner, { level, lo, hi, pcid, global, pieces }] of owners) {
      if (!coversLeaf(scope, level, lo, hi, pcid, global)) continue;
      if (scope.page !== null) {
        for (const piece of pieces) this.inner.invalidate({ ...scope, page: { lo: piece, hi } });
      }
      owners.delete(owner);
    }
    if (owners.size === 0) this.broken.delete(name);
  }
}

function nameOf(level: LargeLevel, lo: number, hi: number): string {
  return `${level} ${hi} ${lo & ~OFFSET_MASK[level]}`;
}
