import { FracturingTlb } from "./fracturing-tlb.ts";
import { type Replacement, SetAssociativeTlb } from "./set-associative-tlb.ts";
import { StaleTlb } from "./stale-tlb.ts";
import { TLB_POLICIES, type Tlb, type TlbPolicy } from "./tlb.ts";
import { TLB_MISS, type TlbEntry } from "./tlb-entry.ts";
import { checkGeometry, TLB_GEOMETRIES, type TlbGeometry } from "./tlb-geometry.ts";
import { checkPolicy, type TlbState } from "./tlb-state.ts";

/** How a TLB behaves beyond its policy; the first matters only where a geometry makes it evict. */
export interface TlbSettings {
  /** Who makes room in a full set: the one used least recently (default), or a seeded choice. */
  readonly replacement?: Replacement;
  /** Keep large pages as 4-KiB pieces, as hardware may (SDM vol. 3, 4.10.2.3); default false. */
  readonly fractureLargePages?: boolean;
}

/** What the caches of one logical CPU keep. */
export interface CacheOptions extends TlbSettings {
  /** A policy by name, or the structures of a TLB. Default "stale". */
  readonly tlb?: TlbPolicy | TlbGeometry;
  /** Seed of random replacement, of CPU 0; each further CPU takes the next. Default 1. */
  readonly tlbSeed?: number;
  /** PML5, PML4, PDPTE and PDE caches; default false, as in the emulators that were measured. */
  readonly pagingStructureCaches?: boolean;
}

/** What {@link createTlb} takes beside the policy. */
export interface TlbOptions extends TlbSettings {
  /** Seed of the random replacement; default 1. */
  readonly seed?: number;
  /** Called at every change after which a lookup that hit may answer otherwise. */
  readonly changed?: () => void;
}

/** A TLB that never holds anything: every access walks. */
class NoTlb implements Tlb {
  readonly policy = "none";
  readonly keepsAnswers = false;

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

  entries(): TlbEntry[] {
    return [];
  }

  save(): TlbState {
    return { policy: this.policy, entries: [] };
  }

  restore(state: TlbState): void {
    checkPolicy(this.policy, state);
    if (state.entries.length > 0)
      throw new RangeError(`${state.entries.length} saved translations: this TLB keeps none`);
  }
}

/**
 * A TLB with the given policy, or with the structures given. Throws RangeError for an unknown one, and for a geometry whose structures no TLB can have.
 */
export function createTlb(policy: TlbPolicy | TlbGeometry, options: TlbOptions = {}): Tlb {
  const tlb = createWhole(policy, options);
  return options.fractureLargePages ? new FracturingTlb(tlb) : tlb;
}

function createWhole(policy: TlbPolicy | TlbGeometry, options: TlbOptions): Tlb {
  const { replacement = "lru", seed = 1, changed = () => {} } = options;
  if (policy === "stale") return new StaleTlb(changed);
  if (policy === "none") return new NoTlb();
  if (typeof policy !== "string") {
    checkGeometry(policy);
    return new SetAssociativeTlb("custom", policy, replacement, seed);
  }
  if (!Object.hasOwn(TLB_GEOMETRIES, policy)) {
    throw new RangeError(`unknown TLB policy "${policy}": known are ${TLB_POLICIES.join(", ")}`);
  }
  return new SetAssociativeTlb(policy, TLB_GEOMETRIES[policy], replacement, seed);
}
