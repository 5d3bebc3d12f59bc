import type { WalkResult } from "./page-walk.ts";
import { StaleTlb } from "./stale-tlb.ts";
import { TLB_MISS, type TlbEntry } from "./tlb-entry.ts";

/** `stale` keeps every translation until an operation must remove it: the bug finder. `none` keeps nothing. */
export type TlbPolicy = "stale" | "none";

export const TLB_POLICIES: readonly TlbPolicy[] = ["stale", "none"];

/**
 * A TLB of one logical CPU (SDM vol. 3, 4.10.2). Entries have the size of their page, hold raw rights and the leaf's
 * D, and are tagged with a PCID or global. Control bits are applied by the user of the entry, not here.
 *
 * `lookup` returns a slot for the next call of `flags` and `physical`; any other call invalidates it.
 */
export interface Tlb {
  readonly policy: TlbPolicy;
  lookup(lo: number, hi: number, pcid: number): number;
  flags(slot: number): number;
  /** Physical byte address of a linear address that hits this slot. */
  physical(slot: number, lo: number): number;
  /** Caches the translation of a successful walk. */
  fill(walk: WalkResult, pcid: number, global: boolean): void;
  /** Drops the one entry of a slot that a lookup returned; nothing for a miss. */
  drop(slot: number): void;
  /** Drops the page's entries of every size: those of the PCID, and global ones. */
  invlpg(lo: number, hi: number, pcid: number): void;
  /** Drops the PCID's entries, not the global ones. */
  flushNonGlobal(pcid: number): void;
  /** Drops every entry filled under the PCID, global ones included. */
  flushPcid(pcid: number): void;
  flushAll(): void;
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

  flushNonGlobal(): void {}

  flushPcid(): void {}

  flushAll(): void {}

  entries(): TlbEntry[] {
    return [];
  }
}

/** A TLB with the given policy. Throws RangeError for an unknown one. */
export function createTlb(policy: TlbPolicy): Tlb {
  switch (policy) {
    case "stale":
      return new StaleTlb();
    case "none":
      return new NoTlb();
    default:
      throw new RangeError(`unknown TLB policy "${policy}": known are ${TLB_POLICIES.join(", ")}`);
  }
}
