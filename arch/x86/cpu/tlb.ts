import { FracturingTlb } from "./fracturing-tlb.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";
import type { WalkResult } from "./page-walk.ts";
import { type Replacement, SetAssociativeTlb } from "./set-associative-tlb.ts";
import { StaleTlb } from "./stale-tlb.ts";
import { TLB_MISS, type TlbEntry } from "./tlb-entry.ts";
import { TLB_GEOMETRIES } from "./tlb-geometry.ts";

/**
 * `stale` keeps every translation until an operation must remove it: the bug finder. `none` keeps nothing. Any other
 * name is that of a CPU whose TLBs it has the shape of ({@link TLB_GEOMETRIES}).
 */
export type TlbPolicy = "stale" | "none" | keyof typeof TLB_GEOMETRIES;

export const TLB_POLICIES: readonly [TlbPolicy, ...TlbPolicy[]] = [
  "stale",
  "none",
  ...(Object.keys(TLB_GEOMETRIES) as (keyof typeof TLB_GEOMETRIES)[]),
];

/** How a TLB behaves beyond its policy; the first two matter only where a geometry makes it evict. */
export interface TlbOptions {
  /** Who makes room in a full set: the one used least recently (default), or a seeded choice. */
  readonly replacement?: Replacement;
  /** Seed of the random replacement; default 1. */
  readonly seed?: number;
  /** Keep large pages as 4-KiB pieces, as hardware may (SDM vol. 3, 4.10.2.3); default false. */
  readonly fractureLargePages?: boolean;
}

/**
 * A TLB of one logical CPU (SDM vol. 3, 4.10.2). Entries have the size of their page, hold raw rights and the leaf's
 * D, and are tagged with a PCID or global. Control bits are applied by the user of the entry, not here.
 *
 * `lookup` returns a slot for the next call of `flags` and `physical`; any other call invalidates it. The kind of
 * access (ACCESS_*) chooses between instruction and data TLBs where they are apart; without one it is a read.
 */
export interface Tlb {
  readonly policy: TlbPolicy;
  lookup(lo: number, hi: number, pcid: number, kind?: number): number;
  flags(slot: number): number;
  /** Physical byte address of a linear address that hits this slot. */
  physical(slot: number, lo: number): number;
  /** Caches the translation of a successful walk. */
  fill(walk: WalkResult, pcid: number, global: boolean, kind?: number): void;
  /** Drops the one translation of a slot that a lookup returned, all its copies; nothing for a miss. */
  drop(slot: number): void;
  /** Drops the page's entries of every size: those of the PCID, and global ones. */
  invlpg(lo: number, hi: number, pcid: number): void;
  /** Drops exactly what the scope covers. */
  invalidate(scope: InvalidationScope): void;
  flushAll(): void;
  /**
   * From now on calls `changed` at every change after which a lookup that hit may answer otherwise; at most one watches.
   * False where answers cannot be kept at all, because a lookup itself changes something: in a TLB that makes room.
   */
  watch(changed: () => void): boolean;
  /** Every entry that a lookup can still hit, in no particular order. */
  entries(): TlbEntry[];
}

/** A TLB that never holds anything: every access walks. */
class NoTlb implements Tlb {
  readonly policy = "none";

  lookup(): number {
    return TLB_MISS;
  }

  flags(): number {
    return 0;
  }

  physical(): number {
    return 0;
  }

  fill(): void {}

  drop(): void {}

  invlpg(): void {}

  invalidate(): void {}

  flushAll(): void {}

  watch(): boolean {
    return false;
  }

  entries(): TlbEntry[] {
    return [];
  }
}

/** A TLB with the given policy. Throws RangeError for an unknown one. */
export function createTlb(policy: TlbPolicy, options: TlbOptions = {}): Tlb {
  const tlb = createWhole(policy, options);
  return options.fractureLargePages ? new FracturingTlb(tlb) : tlb;
}

function createWhole(policy: TlbPolicy, { replacement = "lru", seed = 1 }: TlbOptions): Tlb {
  if (policy === "stale") return new StaleTlb();
  if (policy === "none") return new NoTlb();
  if (!Object.hasOwn(TLB_GEOMETRIES, policy)) {
    throw new RangeError(`unknown TLB policy "${policy}": known are ${TLB_POLICIES.join(", ")}`);
  }
  return new SetAssociativeTlb(policy, TLB_GEOMETRIES[policy], replacement, seed);
}
