const UNKNOWN = Number.NaN;

/** Where each vma's anonymous pages belong: see {@link AnonSets.solve}. */
export interface AnonSolution {
  /** By vma: a number that all vmas of its set have, or -1 for a vma without anonymous pages. */
  readonly set: Int32Array;
  /** By vma: the page offset that linear address 0 would have; vm_pgoff is `base + vm_start / 4096`. */
  readonly base: Float64Array;
}

/**
 * Which vmas may map the same anonymous pages, and at which page offsets: union-find in which each vma knows how
 * far its base lies from its parent's. maps prints offset 0 for anonymous memory; but a page that two vmas map has
 * one index, which ties their offsets together:
 *
 *      index of the page = base(a) + address in a / 4096 = base(b) + address in b / 4096
 *
 * Without mremap all bases of a set are equal. A vma of a file has a known base, from its offset.
 */
export class AnonSets {
  readonly #parent: Int32Array;
  /** base(vma) - base(parent); 0 at a root. */
  readonly #delta: Float64Array;
  readonly #size: Int32Array;
  /** At a root: its base, if a vma of the set has a known one. */
  readonly #known: Float64Array;
  readonly #used: Uint8Array;

  /** By vma: its base if maps tells it, else null. */
  constructor(bases: readonly (number | null)[]) {
    this.#parent = Int32Array.from(bases, (_, vma) => vma);
    this.#delta = new Float64Array(bases.length);
    this.#size = new Int32Array(bases.length).fill(1);
    this.#known = Float64Array.from(bases, (base) => base ?? UNKNOWN);
    this.#used = new Uint8Array(bases.length);
  }

  /** Says that the vma has anonymous pages of its own, shared or not. */
  use(vma: number): void {
    this.#used[vma] = 1;
  }

  /**
   * Puts two vmas into one set, given base(b) - base(a). Returns false, and changes nothing, if that contradicts
   * what is known already.
   */
  join(a: number, b: number, difference: number): boolean {
    const rootA = this.#find(a);
    const rootB = this.#find(b);
    const fromRoots = this.#delta[a]! + difference - this.#delta[b]!;
    if (rootA === rootB) return fromRoots === 0;
    const knownA = this.#known[rootA]!;
    const knownB = this.#known[rootB]!;
    if (knownB - knownA !== fromRoots && !Number.isNaN(knownB - knownA)) return false;
    this.use(a);
    this.use(b);
    if (this.#size[rootA]! >= this.#size[rootB]!) this.#attach(rootB, rootA, fromRoots);
    else this.#attach(rootA, rootB, -fromRoots);
    return true;
  }

  /**
   * The sets, with one base for each vma. In a set without a known base the most common base becomes 0, as in an
   * mmap that nobody moved, where vm_pgoff is vm_start / 4096; then no vma's offset is negative. `starts` are the
   * vm_start of the vmas.
   */
  solve(starts: readonly number[]): AnonSolution {
    const members = this.#members();
    const set = new Int32Array(starts.length).fill(-1);
    const base = Float64Array.from(this.#known, (known) => (Number.isNaN(known) ? 0 : known));
    for (const [root, vmas] of members) {
      const known = this.#known[root]!;
      const origin = Number.isNaN(known) ? this.#originOf(vmas, starts) : known;
      for (const vma of vmas) {
        set[vma] = root;
        base[vma] = origin + this.#delta[vma]!;
      }
    }
    return { set, base };
  }

  /** The root of a vma's set, which becomes its parent. */
  #find(vma: number): number {
    let root = vma;
    let fromRoot = 0;
    while (this.#parent[root] !== root) {
      fromRoot += this.#delta[root]!;
      root = this.#parent[root]!;
    }
    for (let at = vma; at !== root; ) {
      const next = this.#parent[at]!;
      const step = this.#delta[at]!;
      this.#parent[at] = root;
      this.#delta[at] = fromRoot;
      fromRoot -= step;
      at = next;
    }
    return root;
  }

  #attach(root: number, under: number, delta: number): void {
    this.#parent[root] = under;
    this.#delta[root] = delta;
    this.#size[under]! += this.#size[root]!;
    if (Number.isNaN(this.#known[under]!)) this.#known[under] = this.#known[root]! - delta;
  }

  #members(): Map<number, number[]> {
    const members = new Map<number, number[]>();
    for (let vma = 0; vma < this.#parent.length; vma++) {
      if (this.#used[vma] === 0) continue;
      const root = this.#find(vma);
      const known = members.get(root);
      if (known === undefined) members.set(root, [vma]);
      else known.push(vma);
    }
    return members;
  }

  #originOf(vmas: readonly number[], starts: readonly number[]): number {
    const votes = new Map<number, number>();
    for (const vma of vmas) votes.set(this.#delta[vma]!, (votes.get(this.#delta[vma]!) ?? 0) + 1);
    const most = Math.max(...votes.values());
    const [unmoved] = [...votes].find(([, count]) => count === most) ?? [0];
    let lowest = 0;
    for (const vma of vmas) lowest = Math.min(lowest, this.#delta[vma]! - unmoved + starts[vma]! / 4096);
    return 0 - unmoved - lowest;
  }
}
