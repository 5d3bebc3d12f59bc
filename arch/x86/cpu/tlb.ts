import type { InvalidationScope } from "./invalidation-scope.ts";
import type { WalkResult } from "./page-walk.ts";
import type { TlbEntry } from "./tlb-entry.ts";
import { TLB_GEOMETRIES } from "./tlb-geometry.ts";
import type { TlbState } from "./tlb-state.ts";

/**
 * `stale` keeps every translation until an operation must remove it: the bug finder. `none` keeps nothing. Any other
 * name is that of a CPU whose TLBs it has the shape of ({@link TLB_GEOMETRIES}).
 */
export type TlbPolicy = "stale" | "none" | keyof typeof TLB_GEOMETRIES;

/** Every policy by name, "stale" and "none" first. */
export const TLB_POLICIES: readonly [TlbPolicy, ...TlbPolicy[]] = [
  "stale",
  "none",
  ...(Object.keys(TLB_GEOMETRIES) as (keyof typeof TLB_GEOMETRIES)[]),
];

/**
 * A TLB of one logical CPU (SDM vol. 3, 4.10.2). Entries have the size of their page, hold raw rights and the leaf's
 * D, and are tagged with a PCID or global. Control bits are applied by the user of the entry, not here.
 *
 * `lookup` returns a slot for the next call of `flags` and `physical`; any other call invalidates it. The kind of
 * access (ACCESS_*) chooses between instruction and data TLBs where they are apart; without one it is a read.
 */
export interface Tlb {
  /** "custom": its structures were given ({@link TlbGeometry}). */
  readonly policy: TlbPolicy | "custom";
  /**
   * Whether the answer to a lookup that hit may be kept until the TLB says that it has changed ({@link createTlb}); not
   * where a lookup itself changes something, as in a TLB that makes room.
   */
  readonly keepsAnswers: boolean;
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
  /** Every entry that a lookup can still hit, in no particular order. */
  entries(): TlbEntry[];
  /** All that it holds, as plain data. */
  save(): TlbState;
  /** Puts back what a TLB of the same policy saved. Throws RangeError, naming it, for what this one cannot hold. */
  restore(state: TlbState): void;
}
