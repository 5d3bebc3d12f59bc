import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { instance } from "../../arch/x86/cpu/argument-kinds.ts";
import { type DirectMap, DirectMapSearch } from "./direct-map.ts";
import { foldLeaves, isMapped, type LeafRange, linearOf } from "./leaf-ranges.ts";
import { LeafCursor } from "./leaves.ts";

/** More ranges than this are not compared: 100 MB. */
const MAX_RANGES = 2 ** 21;
/** An index of one fits beside a frame's number in 64 bits, see {@link inOrder}. */
const INDEX_BITS = 21;
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
const ONCE = { repeats: 1, stride: 0 } as const;

const LEAVES = instance("leaves", LeafCursor);

/**
 * Which linear addresses of an address space lead to the same memory. Only ranges that share memory with another are
 * kept, few of many as a rule, and not those of the kernel's direct map, which shares all of it. They stand in order of
 * physical address below a tree of their highest ends, so a question costs the logarithm of their number and what it
 * finds; the number of aliases comes from two binary searches, however many they are.
 */
export class AliasIndex {
  /** The mapping of all memory, which is no alias here; null when there is none that looks like it. */
  readonly directMap: DirectMap | null;
  /** In order of physical address. */
  readonly #ranges: Columns;
  /** Highest end of the ranges below a node of a binary tree; node 1 is the root, range i is node #leaves + i. */
  readonly #ends: Float64Array;
  readonly #leaves: number;
  // Mappings up to a place: repeats of a range are mappings of their own.
  readonly #starts: Counts;
  readonly #stops: Counts;

  private constructor(ranges: Columns, directMap: DirectMap | null) {
    this.directMap = directMap;
    this.#ranges = ranges;
    const { count, physical, length } = ranges;
    this.#leaves = 2 ** Math.ceil(Math.log2(Math.max(1, count)));
    this.#ends = new Float64Array(2 * this.#leaves);
    for (let at = 0; at < count; at++) this.#ends[this.#leaves + at] = physical[at]! + length[at]!;
    const byEnd = inOrder(this.#ends.subarray(this.#leaves), count);
    for (let node = this.#leaves - 1; node > 0; node--) {
      this.#ends[node] = Math.max(this.#ends[2 * node]!, this.#ends[2 * node + 1]!);
    }
    const { repeating } = ranges;
    this.#starts = new Counts(physical, repeating ? (at) => ranges.repeatsOf(at) : null);
    const stops = new Float64Array(count);
    for (let at = 0; at < count; at++) stops[at] = this.#ends[this.#leaves + byEnd[at]!]!;
    this.#stops = new Counts(stops, repeating ? (at) => ranges.repeatsOf(byEnd[at]!) : null);
  }

  /** The index of everything that the cursor still gives; null when that is too much, or the cursor was stopped. */
  static of(leaves: LeafCursor): AliasIndex | null {
    const ranges = new Columns(FIRST_ROOM);
    const search = new DirectMapSearch();
    for (const range of foldLeaves(need(LEAVES, leaves))) {
      if (!isMapped(range)) continue;
      if (ranges.count === MAX_RANGES) return null;
      ranges.add(range);
      search.offer(range);
    }
    if (leaves.stopped) return null;
    const directMap = search.found(leaves.lostCount === 0);
    return new AliasIndex(ranges.shared(directMap), directMap);
  }

  /**
   * Other mappings of a range's memory; at most `most` are spelled out. Those that begin last come first: a mapping of
   * the same page before the kernel's mapping of all memory.
   */
  aliasesOf(range: LeafRange, most: number): Aliases {
    if (this.#ranges.count === 0 || !isMapped(range) || this.directMap?.isPart(range) === true) return NONE;
    let behind = this.#starts.indexOf(endOf(range));
    let left = this.#starts.upTo(behind) - this.#stops.upTo(this.#stops.indexOf(range.physical + 1));
    const count = left - range.repeats;
    if (count <= 0) return NONE;
    const first: Alias[] = [];
    while (left > 0 && first.length < most) {
      behind = this.#before(behind, range.physical);
      if (behind < 0) break;
      const other = this.#ranges.at(behind);
      left -= other.repeats;
      const alias = aliasOf(other, range);
      if (alias !== null) first.push(alias);
    }
    return { count, first };
  }

  /** The last range before a place that ends above an address: up the tree, and down to the right; -1 for none. */
  #before(place: number, address: number): number {
    // Node 2 would be the root's right neighbour: before it is the whole tree.
    let node = place === this.#leaves ? 2 : place + this.#leaves;
    while (node > 2 && ((node & 1) === 0 || this.#ends[node - 1]! <= address)) node >>>= 1;
    if (node === 2 && place < this.#leaves) return -1;
    node--;
    if (this.#ends[node]! <= address) return -1;
    while (node < this.#leaves) node = this.#ends[2 * node + 1]! > address ? 2 * node + 1 : 2 * node;
    return node - this.#leaves;
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
  /** By index; of ranges that repeat, which are few. */
  readonly #repeating = new Map<number, Pick<Place, "repeats" | "stride">>();

  constructor(room: number) {
    this.start = new Float64Array(room);
    this.physical = new Float64Array(room);
    this.length = new Float64Array(room);
  }

  add({ start, physical, length, repeats, stride }: Place): void {
    const at = this.count++;
    if (at === this.start.length) this.#grow();
    this.start[at] = start;
    this.physical[at] = physical;
    this.length[at] = length;
    if (repeats > 1) this.#repeating.set(at, { repeats, stride });
  }

  at(index: number): Place {
    const { repeats, stride } = this.#repeating.get(index) ?? ONCE;
    return {
      start: this.start[index]!,
      physical: this.physical[index]!,
      length: this.length[index]!,
      repeats,
      stride,
    };
  }

  repeatsOf(index: number): number {
    return (this.#repeating.get(index) ?? ONCE).repeats;
  }

  /**
   * In order of physical address, those that share memory with another or repeat; without the direct map's. This object
   * is empty then.
   */
  shared(directMap: DirectMap | null): Columns {
    const { start, physical, length } = this;
    const order = inOrder(physical, this.count).filter(
      (index) => directMap?.isAt(start[index]!, physical[index]!) !== true,
    );
    let kept = 0;
    let end = 0;
    for (let at = 0; at < order.length; at++) {
      const index = order[at]!;
      const next = at + 1 < order.length ? physical[order[at + 1]!]! : Number.POSITIVE_INFINITY;
      const own = physical[index]! + length[index]!;
      if (physical[index]! < end || next < own || this.#repeating.has(index)) order[kept++] = index;
      if (own > end) end = own;
    }
    const columns = new Columns(kept);
    for (let at = 0; at < kept; at++) columns.add(this.at(order[at]!));
    this.count = 0;
    for (const name of COLUMN_NAMES) this[name] = new Float64Array(0);
    return columns;
  }

  get repeating(): boolean {
    return this.#repeating.size > 0;
  }

  #grow(): void {
    const room = Math.ceil(1.25 * this.start.length);
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

/** How many mappings have a key below some value, found by its index. */
class Counts {
  readonly #keys: Float64Array;
  /** Null when every key stands for one. */
  readonly #sums: Float64Array | null;
  /** Index of the first key of a stretch or behind it. */
  readonly #first = new Uint32Array(STRETCHES + 1);
  readonly #least: number;
  readonly #stretch: number;

  /** Keys in order, and how many mappings each stands for. */
  constructor(keys: Float64Array, repeatsOf: ((at: number) => number) | null) {
    this.#keys = keys;
    this.#sums = repeatsOf === null ? null : sumsOf(keys.length, repeatsOf);
    this.#least = keys[0] ?? 0;
    this.#stretch = ((keys.at(-1) ?? 0) - this.#least) / STRETCHES + 1;
    let stretch = 0;
    for (let at = 0; at < keys.length; at++) {
      for (const own = this.#stretchOf(keys[at]!); stretch <= own; stretch++) this.#first[stretch] = at;
    }
    this.#first.fill(keys.length, stretch);
  }

  /** Index of the first key that is not below a value. */
  indexOf(value: number): number {
    if (value <= this.#least) return 0;
    const stretch = Math.min(STRETCHES - 1, this.#stretchOf(value));
    let low = this.#first[stretch]!;
    let high = value > this.#keys.at(-1)! ? this.#keys.length : this.#first[stretch + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Mappings of the keys before an index. */
  upTo(index: number): number {
    return this.#sums === null ? index : this.#sums[index]!;
  }

  #stretchOf(key: number): number {
    return Math.floor((key - this.#least) / this.#stretch);
  }
}

/** What stands before each index, and all together at the end. */
function sumsOf(count: number, repeatsOf: (at: number) => number): Float64Array {
  const sums = new Float64Array(count + 1);
  for (let at = 0; at < count; at++) sums[at + 1] = sums[at]! + repeatsOf(at);
  return sums;
}
