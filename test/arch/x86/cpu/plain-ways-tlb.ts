import type { LeafLevel, TlbGeometry, TlbStructure, TlbUse } from "../../../../src/package/cpu.ts";

/** A translation in one way of one set. */
interface Way {
  page: number;
  size: LeafLevel;
  pcid: number;
  global: boolean;
  frame: number;
  used: number;
}

const SERVES: readonly (readonly TlbUse[])[] = [
  ["data", "load", "unified"],
  ["data", "store", "unified"],
  ["instruction", "unified"],
];

/** What a TLB of sets and ways is by its words: every way is looked at, and each has the time of its last use. */
export class PlainWaysTlb {
  readonly #structures: readonly { readonly structure: TlbStructure; readonly ways: (Way | null)[] }[];
  #time = 0;

  constructor(geometry: TlbGeometry) {
    this.#structures = geometry.map((structure) => ({
      structure,
      ways: new Array<Way | null>(structure.sets * structure.ways).fill(null),
    }));
  }

  /** The frame of a page number, or null; the linear page is counted in 4-KiB pages. */
  lookup(page: number, pcid: number, kind: number): number | null {
    for (const level of [1, 2]) {
      for (const size of [1, 2, 3] as const) {
        for (const { structure, ways } of this.#serving(kind, level, size)) {
          const found = this.#set(structure, page, size)
            .map((at) => ways[at]!)
            .find((way) => way !== null && covers(way, size, page) && (way.global || way.pcid === pcid));
          if (found === undefined) continue;
          found.used = ++this.#time;
          if (level === 2) this.#copyUp(found, kind);
          return found.frame + (page % pagesOf(size));
        }
      }
    }
    return null;
  }

  fill(page: number, size: LeafLevel, pcid: number, global: boolean, frame: number, kind: number): void {
    const first = page - (page % pagesOf(size));
    for (const level of [1, 2]) {
      for (const { structure, ways } of this.#serving(kind, level, size))
        this.#put(structure, ways, { page: first, size, pcid, global, frame, used: 0 });
    }
  }

  /** Those that are dropped: of a page or, without one, of all. */
  invalidate(page: number | null, pcid: number | null, globals: "keep" | "own" | "all"): void {
    for (const { ways } of this.#structures) {
      for (const [at, way] of ways.entries()) {
        if (way === null || (page !== null && !covers(way, way.size, page))) continue;
        const own = pcid === null || way.pcid === pcid;
        if (way.global && globals !== "own" ? globals === "all" : own) ways[at] = null;
      }
    }
  }

  /** Every translation held as a text, sorted. */
  held(): string[] {
    return this.#structures
      .flatMap(({ structure, ways }) =>
        ways.flatMap((way) =>
          way === null ? [] : [`${structure.name} ${way.page} ${way.size} ${way.pcid} ${way.frame}`],
        ),
      )
      .sort();
  }

  #serving(kind: number, level: number, size: LeafLevel) {
    return this.#structures.filter(
      ({ structure: { use, sizes, level: own } }) =>
        SERVES[kind]!.includes(use) && own === level && sizes.includes(size),
    );
  }

  #set({ sets, ways }: TlbStructure, page: number, size: LeafLevel): number[] {
    const first = (Math.floor(page / pagesOf(size)) % sets) * ways;
    return Array.from({ length: ways }, (_, way) => first + way);
  }

  #copyUp(found: Way, kind: number): void {
    for (const { structure, ways } of this.#serving(kind, 1, found.size))
      this.#put(structure, ways, { ...found });
  }

  #put(structure: TlbStructure, ways: (Way | null)[], entry: Way): void {
    const set = this.#set(structure, entry.page, entry.size);
    const same = set.find((at) => {
      const way = ways[at]!;
      if (way === null || way.page !== entry.page || way.size !== entry.size) return false;
      return way.global === entry.global && (way.global || way.pcid === entry.pcid);
    });
    const oldest = set.reduce((a, b) => ((ways[b]?.used ?? 0) < (ways[a]?.used ?? 0) ? b : a));
    entry.used = ++this.#time;
    ways[same ?? set.find((at) => ways[at] === null) ?? oldest] = entry;
  }
}

function covers(way: Way, size: LeafLevel, page: number): boolean {
  return way.size === size && way.page === page - (page % pagesOf(size));
}

function pagesOf(size: LeafLevel): number {
  return 512 ** (size - 1);
}
