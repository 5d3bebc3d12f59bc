import type { Mmu } from "./mmu.ts";
import type { CachedTableEntry } from "./paging-structure-cache.ts";
import type { TlbState } from "./tlb-state.ts";

/** All that the caches of one CPU hold, as plain data that JSON carries. */
export interface CacheState {
  readonly tlb: TlbState;
  /** Null where the machine models no paging-structure caches. */
  readonly tables: readonly CachedTableEntry[] | null;
  /** PCID and root, for those of which something may be cached. */
  readonly contexts: readonly (readonly [pcid: number, root: number])[];
}

/** What the TLB and the paging-structure caches of a CPU hold now. */
export function saveCaches({ tlb, tables, contexts }: Mmu): CacheState {
  return { tlb: tlb.save(), tables: tables?.entries() ?? null, contexts: [...contexts] };
}

/**
 * Puts back what {@link saveCaches} returned, in place of what the CPU's caches hold: on it, or on a CPU whose machine has the
 * same options. Nothing is recorded, so whoever judges by records begins to listen afterwards. Throws RangeError for what
 * these caches cannot hold, which may leave them emptied.
 */
export function restoreCaches(cpu: Mmu, state: CacheState): void {
  if ((cpu.tables === null) !== (state.tables === null)) {
    const has = cpu.tables === null ? "has no" : "has";
    throw new RangeError(
      `saved paging-structure caches ${String(state.tables)}: this machine ${has} such caches`,
    );
  }
  cpu.tlb.restore(state.tlb);
  cpu.tables?.restore(state.tables ?? []);
  cpu.contexts.clear();
  for (const [pcid, root] of state.contexts) cpu.contexts.set(pcid, root);
}
