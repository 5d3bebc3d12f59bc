import type { LeafRange } from "./leaf-ranges.ts";

/** Linux maps all memory at one distance from its physical addresses, a multiple of the 1 GiB of a PUD entry. */
const GRAIN = 2 ** 30;
/** The upper half of the address space, as positive Numbers, up to where the kernel's own image may be. */
const FIRST = 2 ** 63;
const IMAGE = 2 ** 64 - 2 ** 31;
/** Less than any machine has that Linux boots on. */
const MIN_BYTES = 2 ** 24;

/** How much of a range's memory the direct map maps. */
export type DirectlyMapped = "self" | "all" | "part" | "none";

/** A mapping of a page as far as it matters here. */
type Mapping = Pick<LeafRange, "start" | "physical" | "length" | "repeats" | "rights">;

/** Stretches of physical memory, in order and apart from each other. */
interface Stretch {
  readonly from: number;
  to: number;
}

/**
 * The kernel's mapping of all physical memory at `start` plus the physical address. That a page is there, too, says
 * nothing; that it is not, does: secretmem, poisoned frames, device memory.
 */
export class DirectMap {
  /** Linear address of physical address 0. */
  readonly start: number;
  /** Memory that it maps. */
  readonly bytes: number;
  /** Whether no table was missing, so that what is not here is not mapped. */
  readonly whole: boolean;
  readonly #stretches: readonly Stretch[];

  constructor(start: number, stretches: readonly Stretch[], whole: boolean) {
    this.start = start;
    this.whole = whole;
    this.bytes = stretches.reduce((sum, { from, to }) => sum + to - from, 0);
    this.#stretches = stretches;
  }

  /** Whether a page that is mapped there is part of it. */
  isAt(linear: number, physical: number): boolean {
    return linear - physical === this.start;
  }

  isPart({ start, physical, repeats }: Mapping): boolean {
    return repeats === 1 && this.isAt(start, physical);
  }

  /** How much of a range's memory is here. */
  shareOf(range: Mapping): DirectlyMapped {
    if (this.isPart(range)) return "self";
    const { physical, length } = range;
    const end = physical + length;
    let low = 0;
    let high = this.#stretches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#stretches[middle]!.to <= physical) low = middle + 1;
      else high = middle;
    }
    const stretch = this.#stretches[low];
    if (stretch === undefined || stretch.from >= end) return "none";
    return stretch.from <= physical && stretch.to >= end ? "all" : "part";
  }
}

/** Finds the direct map among the ranges of an address space. */
export class DirectMapSearch {
  /** By linear address of physical address 0: what stands there, in the order of addresses. */
  readonly #candidates = new Map<number, Stretch[]>();

  /** The next range by linear address. */
  offer({ start, physical, length, repeats, rights }: Mapping): void {
    if (rights.user || repeats > 1 || start < FIRST || start >= IMAGE) return;
    const zero = start - physical;
    if (zero % GRAIN !== 0 || zero < FIRST) return;
    const stretches = this.#candidates.get(zero);
    const last = stretches?.at(-1);
    if (stretches === undefined) this.#candidates.set(zero, [{ from: physical, to: physical + length }]);
    else if (last?.to === physical) last.to += length;
    else stretches.push({ from: physical, to: physical + length });
  }

  /** The candidate that maps most, unless that is little; `whole` says that no table was missing. */
  found(whole: boolean): DirectMap | null {
    let best: DirectMap | null = null;
    for (const [start, stretches] of this.#candidates) {
      const map = new DirectMap(start, stretches, whole);
      if (map.bytes >= MIN_BYTES && map.bytes > (best?.bytes ?? 0)) best = map;
    }
    return best;
  }
}
