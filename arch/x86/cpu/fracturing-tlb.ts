import type { InvalidationScope } from "./invalidation-scope.ts";
import { sameRegion } from "./invalidation-scope.ts";
import { linearHi, linearLo } from "./linear-address.ts";
import { OFFSET_MASK, WalkResult } from "./page-walk.ts";
import type { Tlb, TlbPolicy } from "./tlb.ts";
import type { TlbEntry } from "./tlb-entry.ts";

/** A large page of which pieces may be held. */
interface LargePage {
  readonly level: number;
  readonly lo: number;
  readonly hi: number;
}

/**
 * A TLB that keeps large pages as 4-KiB pieces, one for each piece used (SDM vol. 3, 4.10.2.3). An operation on any
 * address of the large page drops all pieces, as it must: software need not know that there are pieces.
 */
export class FracturingTlb implements Tlb {
  readonly policy: TlbPolicy;
  readonly keepsAnswers: boolean;
  private readonly inner: Tlb;
  private readonly piece = new WalkResult();
  private readonly broken = new Map<string, LargePage>();

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
    const first = lo & ~offset;
    this.broken.set(`${level} ${hi} ${first}`, { level, lo: first, hi });
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

  drop(slot: number): void {
    this.inner.drop(slot);
  }

  invlpg(lo: number, hi: number, pcid: number): void {
    this.invalidate({ pcid, page: { lo, hi }, globals: "all", tables: "keep" });
  }

  invalidate(scope: InvalidationScope): void {
    this.inner.invalidate(scope);
    const { page } = scope;
    if (page === null || this.broken.size === 0) return;
    for (const { level, lo, hi } of this.broken.values()) {
      if (sameRegion(level, lo, hi, page.lo, page.hi)) this.dropPieces(scope, level, lo, hi);
    }
  }

  flushAll(): void {
    this.broken.clear();
    this.inner.flushAll();
  }

  entries(): TlbEntry[] {
    return this.inner.entries();
  }

  private dropPieces(scope: InvalidationScope, level: number, lo: number, hi: number): void {
    for (const entry of this.inner.entries()) {
      const piece = { lo: linearLo(entry.page), hi: linearHi(entry.page) };
      if (sameRegion(level, lo, hi, piece.lo, piece.hi)) this.inner.invalidate({ ...scope, page: piece });
    }
  }
}
