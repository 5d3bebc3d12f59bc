import type { Kernel } from "../mm/kernel.ts";
import { type GhostTlb, TranslationCache } from "./ghost-tlb.ts";
import type { TableMap } from "./table-map.ts";

/** One CPU: a cache for each PCID that it has used, of which one is current. */
interface CpuContexts {
  readonly byPcid: Map<number, TranslationCache>;
  current: TranslationCache;
}

/** Follows which roots each CPU has loaded, and what it drops when, from what the hardware reports. */
export class CpuContextMap {
  readonly #kernel: Kernel;
  readonly #ghost: GhostTlb;
  readonly #tables: TableMap;
  readonly #cpus: readonly CpuContexts[];

  constructor(kernel: Kernel, ghost: GhostTlb, tables: TableMap) {
    this.#kernel = kernel;
    this.#ghost = ghost;
    this.#tables = tables;
    this.#cpus = kernel.machine.cpus.map((cpu) => {
      const { pcid } = cpu.control;
      const current = new TranslationCache(`CPU ${cpu.id}`, cpu.id);
      const mm = tables.ofRoot(cpu.root);
      if (mm !== undefined) ghost.attach(current, mm);
      return { byPcid: new Map([[pcid, current]]), current };
    });
  }

  current(cpu: number): TranslationCache {
    return this.#cpus[cpu]!.current;
  }

  /**
   * A load of CR3 drops the new PCID's translations, unless told to keep them; with them go its debts. Global ones stay
   * where CR4.PGE is set.
   */
  rootLoaded(cpu: number, root: number, pcid: number, keep: boolean): void {
    const contexts = this.#cpus[cpu]!;
    let cache = contexts.byPcid.get(pcid);
    if (cache === undefined) {
      cache = new TranslationCache(`CPU ${cpu}`, cpu);
      contexts.byPcid.set(pcid, cache);
    }
    const mm = this.#tables.ofRoot(root);
    if (!keep) {
      if (this.#kernel.machine.cpu(cpu).control.pge) this.#ghost.dropNonGlobal(cache);
      else this.#ghost.dropAll(cache);
      if (mm === undefined || cache.mms.size !== 1 || !cache.mms.has(mm)) this.#ghost.detachAll(cache);
    }
    if (mm !== undefined) this.#ghost.attach(cache, mm);
    contexts.current.active = false;
    contexts.current = cache;
    cache.active = true;
  }

  /** The CPU dropped an address: what its PCID had of it, and every global translation. */
  addressDropped(cpu: number, address: number): void {
    const { byPcid, current } = this.#cpus[cpu]!;
    this.#ghost.dropAddress(current, address);
    if (this.#ghost.globals === 0) return;
    for (const cache of byPcid.values()) this.#ghost.dropGlobalAddress(cache, address);
  }

  /** The CPU dropped everything, or everything of one PCID. */
  flushed(cpu: number, pcid: number | null): void {
    for (const [number, cache] of this.#cpus[cpu]!.byPcid) {
      if (pcid !== null && number !== pcid) continue;
      this.#ghost.dropAll(cache);
      // What another PCID held is gone, and it cannot be filled again before its root is loaded.
      if (cache !== this.#cpus[cpu]!.current) this.#ghost.detachAll(cache);
    }
  }
}
