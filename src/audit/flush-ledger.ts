import type { GhostTlb } from "./ghost-tlb.ts";

/** How often one place in the kernel flushed, and how often for nothing. */
export interface FlushSite {
  /** "caller > primitive". */
  readonly site: string;
  flushes: number;
  redundant: number;
}

/**
 * Tells useful flushes from redundant ones: a flush is redundant if, while it ran, no CPU dropped a stale translation
 * whose A was set since its last flush. (With A clear all that time, a CPU may have cached the entry, but not used it.)
 */
export class FlushLedger {
  readonly #ghost: GhostTlb;
  readonly #sites = new Map<string, FlushSite>();
  /** For each CPU, what had been paid when its flushes in progress began. */
  readonly #open = new Map<number, number[]>();

  constructor(ghost: GhostTlb) {
    this.#ghost = ghost;
  }

  begin(cpu: number): void {
    const open = this.#open.get(cpu);
    if (open === undefined) this.#open.set(cpu, [this.#ghost.paidYoung]);
    else open.push(this.#ghost.paidYoung);
  }

  end(cpu: number, caller: string, primitive: string): void {
    const paidBefore = this.#open.get(cpu)?.pop();
    if (paidBefore === undefined) return;
    const site = `${caller} > ${primitive}`;
    let entry = this.#sites.get(site);
    if (entry === undefined) {
      entry = { site, flushes: 0, redundant: 0 };
      this.#sites.set(site, entry);
    }
    entry.flushes++;
    if (this.#ghost.paidYoung === paidBefore) entry.redundant++;
  }

  /** Every place that flushed, the most redundant first. */
  sites(): FlushSite[] {
    return [...this.#sites.values()].sort((a, b) => b.redundant - a.redundant || b.flushes - a.flushes);
  }

  get flushes(): number {
    return this.sites().reduce((sum, { flushes }) => sum + flushes, 0);
  }

  get redundant(): number {
    return this.sites().reduce((sum, { redundant }) => sum + redundant, 0);
  }
}
