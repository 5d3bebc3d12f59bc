import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { instance } from "../../arch/x86/cpu/argument-kinds.ts";
import { foldLeaves, type LeafRange, linearOf } from "./leaf-ranges.ts";
import { LeafCursor } from "./leaves.ts";

/**
 * More ranges than this are not compared: 100 MB. An index of one fits beside a frame's number in 64 bits, see
 * {@link inOrder}.
 */
const MAX_RANGES = 2 ** 20;
const INDEX_BITS = 20;
/** Ranges that the columns have room for at first. */
const FIRST_ROOM = 2 ** 10;

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

const LEAVES = instance("leaves", LeafCursor);

/**
 * Which linear addresses of an address space lead to the same memory. Ranges stand in order of physical address below
 * a tree of their highest ends, so a question costs the logarithm of their number and what it finds; the number of
 * aliases comes from two binary searches, however many they are.
 */
export class AliasIndex {
  /** In order of physical address. */
  readonly #ranges: Columns;
  /** Highest end of the ranges below a node of a binary tree; node 1 is the root, range i is node #leaves + i. */
  readonly #ends: Float64Array;
  readonly #leaves: number;
  // Mappings up to a place: repeats of a range are mappings of their own.
  readonly #starts: Counts;
  readonly #stops: Counts;

  private constructor(gathered: Columns) {
    const ranges = gathered.ordered(inOrder(gathered.physical, gathered.count));
    const { count, physical, length, repeats } = ranges;
    this.#ranges = ranges;
    this.#leaves = 2 ** Math.ceil(Math.log2(Math.max(1, count)));
    this.#ends = new Float64Array(2 * this.#leaves);
    for (let at = 0; at < count; at++) this.#ends[this.#leaves + at] = physical[at]! + length[at]!;
    const byEnd = inOrder(this.#ends.subarray(this.#leaves), count);
    for (let node = this.#leaves - 1; node > 0; node--) {
      this.#ends[node] = Math.max(this.#ends[2 * node]!, this.#ends[2 * node + 1]!);
    }
    this.#starts = new Counts(physical, repeats);
    const stops = Float64Array.from(byEnd, (index) => this.#ends[this.#leaves + index]!);
    this.#stops = new Counts(
      stops,
      Uint32Array.from(byEnd, (index) => repeats[index]!),
    );
  }

  /** The index of everything that the cursor still gives; null when that is too much, or the cursor was stopped. */
  static of(leaves: LeafCursor): AliasIndex | null {
    const ranges = new Columns(FIRST_ROOM);
    for (const range of foldLeaves(need(LEAVES, leaves))) {
      if (range.rights.reserved) continue;
      if (ranges.count === MAX_RANGES) return null;
      ranges.add(range);
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
    const { count, physical } = this.#ranges;
    if (found.length === most || low >= count) return;
    if (this.#ends[node]! <= range.physical || physical[low]! >= endOf(range)) return;
    if (size === 1) {
      const alias = aliasOf(this.#ranges.at(low), range);
      if (alias !== null) found.push(alias);
      return;
    }
    const half = size / 2;
    this.#collect(2 * node + 1, low + half, half, range, most, found);
    this.#collect(2 * node, low, half, range, most, found);
  }
}

/** The first mapping in `other` of memory that `range` maps, too, and that is not a mapping of `range` itself. */
function aliasOf(other: Place, range: LeafRange): Alias | null {
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

function endOf(range: Place): number {
  return range.physical + range.length;
}

/** Where a range is mapped, and what. */
type Place = Pick<LeafRange, "start" | "physical" | "length" | "repeats" | "stride">;
const COLUMN_NAMES = ["start", "physical", "length"] as const;

/** Ranges by the million: numbers in columns take a third of what objects take, and no time of the collector. */
class Columns {
  count = 0;
  start: Float64Array;
  physical: Float64Array;
  length: Float64Array;
  repeats: Uint32Array;
  /** By index; of ranges that repeat, which are few. */
  readonly #stride = new Map<number, number>();

  constructor(room: number) {
    this.start = new Float64Array(room);
    this.physical = new Float64Array(room);
    this.length = new Float64Array(room);
    this.repeats = new Uint32Array(room);
  }

  add({ start, physical, length, repeats, stride }: Place): void {
    const at = this.count++;
    if (at === this.start.length) this.#grow();
    this.start[at] = start;
    this.physical[at] = physical;
    this.length[at] = length;
    this.repeats[at] = repeats;
    if (repeats > 1) this.#stride.set(at, stride);
  }

  at(index: number): Place {
    return {
      start: this.start[index]!,
      physical: this.physical[index]!,
      length: this.length[index]!,
      repeats: this.repeats[index]!,
      stride: this.#stride.get(index) ?? 0,
    };
  }

  /** The same ranges in another order; this object is empty then. */
  ordered(order: Uint32Array): Columns {
    const columns = new Columns(0);
    columns.count = this.count;
    columns.repeats = Uint32Array.from(order, (index) => this.repeats[index]!);
    for (const [at, index] of order.entries()) {
      const stride = this.#stride.get(index);
      if (stride !== undefined) columns.#stride.set(at, stride);
    }
    for (const name of COLUMN_NAMES) {
      const from = this[name];
      const to = new Float64Array(this.count);
      for (let at = 0; at < to.length; at++) to[at] = from[order[at]!]!;
      columns[name] = to;
      this[name] = new Float64Array(0);
    }
    this.count = 0;
    return columns;
  }

  #grow(): void {
    const room = 2 * this.repeats.length;
    const repeats = new Uint32Array(room);
    repeats.set(this.repeats);
    this.repeats = repeats;
    for (const name of COLUMN_NAMES) {
      const wider = new Float64Array(room);
      wider.set(this[name]);
      this[name] = wider;
    }
  }
}

/**
 * Indices of the first `count` page-aligned addresses in ascending order; equal ones stay in theirs. The engine sorts
 * 64-bit numbers without asking a function: a frame's 40 bits stand above the index.
 */
function inOrder(addresses: Float64Array, count: number): Uint32Array {
  const keys = new BigUint64Array(count);
  const words = new Uint32Array(keys.buffer);
  const lowFrames = 2 ** (32 - INDEX_BITS);
  for (let index = 0; index < count; index++) {
    const frame = addresses[index]! / PAGE_SIZE;
    words[2 * index] = (frame % lowFrames) * 2 ** INDEX_BITS + index;
    words[2 * index + 1] = Math.floor(frame / lowFrames);
  }
  keys.sort();
  const order = new Uint32Array(count);
  for (let at = 0; at < count; at++) order[at] = words[2 * at]! % 2 ** INDEX_BITS;
  return order;
}

/** Stretches of equal size that the keys are divided into, so that a search begins near its end. */
const STRETCHES = 2 ** 16;

/** How many mappings have a key below some value. */
class Counts {
  readonly #keys: Float64Array;
  readonly #sums: Float64Array;
  /** Index of the first key of a stretch or behind it. */
  readonly #first = new Uint32Array(STRETCHES + 1);
  readonly #least: number;
  readonly #stretch: number;

  /** Keys in order, and how many mappings each stands for. */
  constructor(keys: Float64Array, repeats: Uint32Array) {
    this.#keys = keys;
    this.#sums = new Float64Array(keys.length + 1);
    for (let at = 0; at < keys.length; at++) this.#sums[at + 1] = this.#sums[at]! + repeats[at]!;
    this.#least = keys[0] ?? 0;
    this.#stretch = ((keys.at(-1) ?? 0) - this.#least) / STRETCHES + 1;
    let stretch = 0;
    for (const [at, key] of keys.entries()) {
      for (const own = this.#stretchOf(key); stretch <= own; stretch++) this.#first[stretch] = at;
    }
    this.#first.fill(keys.length, stretch);
  }

  below(value: number): number {
    if (value <= this.#least) return 0;
    const stretch = Math.min(STRETCHES - 1, this.#stretchOf(value));
    let low = this.#first[stretch]!;
    let high = value > this.#keys.at(-1)! ? this.#keys.length : this.#first[stretch + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return this.#sums[low]!;
  }

  #stretchOf(key: number): number {
    return Math.floor((key - this.#least) / this.#stretch);
  }
}
