import { foldLeaves, type LeafRange, linearOf } from "./leaf-ranges.ts";
import type { LeafCursor } from "./leaves.ts";

/** More ranges than this are not compared: some 200 MB. */
const MAX_RANGES = 2 ** 20;

/** A linear address that maps the same memory as some range, or the first part of it that both map. */
export interface Alias {
  readonly linear: number;
  readonly physical: number;
  /** Bytes that both map from here on. */
  readonly length: number;
}

/** The other mappings of a range's memory: how many there are, and the first of them. */
export interface Aliases {
  readonly count: number;
  readonly first: readonly Alias[];
}

const NONE: Aliases = { count: 0, first: [] };

/**
 * Which linear addresses of an address space lead to the same memory. Ranges stand in order of physical address below
 * a tree of their highest ends, so a question costs the logarithm of their number and what it finds; the number of
 * aliases comes from two binary searches, however many they are.
 */
export class AliasIndex {
  /** By physical address. */
  readonly #ranges: readonly LeafRange[];
  /** Highest end of the ranges below a node of a binary tree; node 1 is the root, range i is node #leaves + i. */
  readonly #ends: Float64Array;
  readonly #leaves: number;
  // Mappings up to a place: repeats of a range are mappings of their own.
  readonly #starts: Counts;
  readonly #stops: Counts;

  private constructor(ranges: readonly LeafRange[]) {
    this.#ranges = [...ranges].sort((a, b) => a.physical - b.physical || a.start - b.start);
    this.#leaves = 2 ** Math.ceil(Math.log2(Math.max(1, ranges.length)));
    this.#ends = new Float64Array(2 * this.#leaves);
    for (const [at, range] of this.#ranges.entries()) this.#ends[this.#leaves + at] = endOf(range);
    for (let node = this.#leaves - 1; node > 0; node--) {
      this.#ends[node] = Math.max(this.#ends[2 * node]!, this.#ends[2 * node + 1]!);
    }
    this.#starts = new Counts(this.#ranges, ({ physical }) => physical);
    const byEnd = [...this.#ranges].sort((a, b) => endOf(a) - endOf(b));
    this.#stops = new Counts(byEnd, endOf);
  }

  /** The index of everything that the cursor still gives; null when that is too much, or the cursor was stopped. */
  static of(leaves: LeafCursor): AliasIndex | null {
    const ranges: LeafRange[] = [];
    for (const range of foldLeaves(leaves)) {
      if (ranges.length === MAX_RANGES) return null;
      if (!range.rights.reserved) ranges.push(range);
    }
    return leaves.stopped ? null : new AliasIndex(ranges);
  }

  /**
   * Other mappings of a range's memory; at most `most` are spelled out. Those that begin last come first: a mapping of
   * the same page before the kernel's mapping of all memory.
   */
  aliasesOf(range: LeafRange, most: number): Aliases {
    if (range.rights.reserved) return NONE;
    const all = this.#starts.below(endOf(range)) - this.#stops.below(range.physical + 1);
    const count = all - range.repeats;
    if (count <= 0) return NONE;
    const first: Alias[] = [];
    this.#collect(1, 0, this.#leaves, range, most, first);
    return { count, first };
  }

  /** Looks below a node that stands for the ranges from `low` on, `size` of them. */
  #collect(node: number, low: number, size: number, range: LeafRange, most: number, found: Alias[]): void {
    if (found.length === most || low >= this.#ranges.length) return;
    if (this.#ends[node]! <= range.physical || this.#ranges[low]!.physical >= endOf(range)) return;
    if (size === 1) {
      const alias = aliasOf(this.#ranges[low]!, range);
      if (alias !== null) found.push(alias);
      return;
    }
    const half = size / 2;
    this.#collect(2 * node + 1, low + half, half, range, most, found);
    this.#collect(2 * node, low, half, range, most, found);
  }
}

/** The first mapping in `other` of memory that `range` maps, too, and that is not a mapping of `range` itself. */
function aliasOf(other: LeafRange, range: LeafRange): Alias | null {
  const physical = Math.max(other.physical, range.physical);
  const length = Math.min(endOf(other), endOf(range)) - physical;
  const own = linearOf(range, physical);
  const base = linearOf(other, physical);
  if (base === own && other.repeats === range.repeats) return null;
  for (let repeat = 0; repeat < other.repeats; repeat++) {
    const linear = base + repeat * other.stride;
    if (!repeatsAt(range, linear - own)) return { linear, physical, length };
  }
  return null;
}

/** Whether the range stands so many bytes behind its first place, too. */
function repeatsAt({ repeats, stride }: LeafRange, distance: number): boolean {
  if (distance === 0) return true;
  return repeats > 1 && distance > 0 && distance % stride === 0 && distance / stride < repeats;
}

function endOf(range: LeafRange): number {
  return range.physical + range.length;
}

/** How many mappings have a key below some value. */
class Counts {
  readonly #keys: Float64Array;
  readonly #sums: Float64Array;

  /** The ranges stand in order of the key. */
  constructor(ranges: readonly LeafRange[], key: (range: LeafRange) => number) {
    this.#keys = Float64Array.from(ranges, key);
    this.#sums = new Float64Array(ranges.length + 1);
    for (const [at, { repeats }] of ranges.entries()) this.#sums[at + 1] = this.#sums[at]! + repeats;
  }

  below(value: number): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return this.#sums[low]!;
  }
}
