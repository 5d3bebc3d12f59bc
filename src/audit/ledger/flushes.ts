import type { Debts } from "./debts.ts";

/** How often one place flushed, and how often for nothing. */
export interface FlushSite {
  /** "function > primitive", or the function alone without hints. */
  readonly site: string;
  flushes: number;
  redundant: number;
}

interface OpenFlush {
  readonly site: FlushSite;
  /** A batch's flush, which concerns every address space. */
  readonly batched: boolean;
}

/**
 * Tells useful flushes from redundant ones: a flush is redundant if no CPU dropped, on its behalf, a stale translation
 * whose A was set since its last flush. (With A clear all that time, a CPU may have cached the entry, but not used it.)
 */
export class Flushes {
  readonly #debts: Debts;
  /** By function, then by primitive. */
  readonly #sites = new Map<string, Map<string, FlushSite>>();
  readonly #open = new Map<number, OpenFlush>();

  constructor(debts: Debts) {
    this.#debts = debts;
  }

  /** A function flushes, by a primitive where a hint says so, else the empty name. */
  begun(flush: number, site: string, primitive: string, batched: boolean): void {
    this.#open.set(flush, { site: this.#siteOf(site, primitive), batched });
  }

  /** Whether the flush is one that began and has not ended, of a batch. */
  isBatch(flush: number): boolean {
    return this.#open.get(flush)?.batched === true;
  }

  ended(flush: number): void {
    const open = this.#open.get(flush);
    if (open === undefined) return;
    this.#open.delete(flush);
    open.site.flushes++;
    if (!this.#debts.paidYoung.delete(flush)) open.site.redundant++;
  }

  #siteOf(site: string, primitive: string): FlushSite {
    let byPrimitive = this.#sites.get(site);
    if (byPrimitive === undefined) {
      byPrimitive = new Map();
      this.#sites.set(site, byPrimitive);
    }
    let known = byPrimitive.get(primitive);
    if (known === undefined) {
      const name = primitive === "" ? site : `${site} > ${primitive}`;
      known = { site: name, flushes: 0, redundant: 0 };
      byPrimitive.set(primitive, known);
    }
    return known;
  }

  /** Every place that flushed, the most redundant first. */
  sites(): FlushSite[] {
    const sites = [...this.#sites.values()].flatMap((byPrimitive) => [...byPrimitive.values()]);
    return sites
      .filter(({ flushes }) => flushes > 0)
      .sort((a, b) => b.redundant - a.redundant || b.flushes - a.flushes);
  }

  get flushes(): number {
    return this.sites().reduce((sum, { flushes }) => sum + flushes, 0);
  }

  get redundant(): number {
    return this.sites().reduce((sum, { redundant }) => sum + redundant, 0);
  }
}
