import { ENTRIES_PER_TABLE, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import { type TableMemory, tableKey } from "./leaves.ts";

/** Bits of a large leaf's low word that must be zero, by level: 20:13 of a 2-MiB page, 29:13 of a 1-GiB one. */
const RESERVED_LARGE = [0, 0, 0x001f_e000, 0x3fff_e000] as const;
const HIGHEST_LEAF = 3;
const WORDS = 2 * ENTRIES_PER_TABLE;
const HALF = WORDS / 2;
/** Address bits from 46 up: no machine has memory or devices there, while text taken for a table points there. */
const BEYOND_HI = 0xf_c000;
/** A and D: a CPU sets them in the root that it uses, and in no copy. */
const PTE_USED = 0x60;
/** Tables looked at below one candidate: the kernel's half is shared, and looked at once for all. */
const MAX_TABLES_PER_ROOT = 4096;
/** Candidates that are kept from the first look; a machine has some thousand processes. */
const MAX_CANDIDATES = 2 ** 16;
/** The same of those without an upper half, and tables looked at below each: most are the last tables of something. */
const MAX_HALF_CANDIDATES = 2 ** 12;
const MAX_TABLES_PER_HALF = 64;
/** Of the entries below a root so many may lead nowhere: memory changes while it is copied. */
const MAX_BAD_SHARE = 0.05;

/** A page that looks like the root of an address space, and why. */
export interface RootCandidate {
  readonly root: number;
  readonly levels: 4 | 5;
  /** Present entries of the root in the lower and in the upper half. */
  readonly user: number;
  readonly kernel: number;
  /** Other candidates whose upper half has the same entries. */
  readonly alike: number;
  /** Entries below it that map a page, and those that no table has: of the tables that were looked at. */
  readonly pages: number;
  readonly bad: number;
}

interface Tally {
  pages: number;
  bad: number;
}

/** The image as far as the search needs it. */
export interface RootSearch extends TableMemory {
  /** Whether the image holds the page at a physical address. */
  holds(page: number): boolean;
}

/**
 * Looks for roots among pages that are offered one by one, and judges them by what lies below: a root has pointers in its
 * upper half (where kernels live; without them it comes last), each of which leads to a table in the image, whose entries do the same, down to
 * pages; and no other table points at it, unless it maps itself. Many roots of one machine share the kernel's half.
 * Nothing of it is certain: an image may be cut, or hold the memory of another machine inside it.
 */
export class RootFinder {
  readonly #image: RootSearch;
  /** Candidates of the first look, with their upper halves folded into a number. */
  readonly #first = new Map<number, number>();
  readonly #tallies = new Map<number, Tally>();
  #halves = 0;
  #budget = 0;

  constructor(image: RootSearch) {
    this.#image = image;
  }

  /** Whether there were as many candidates as are kept. */
  get full(): boolean {
    return this.#first.size >= MAX_CANDIDATES;
  }

  /** Looks at one page: 1024 words. */
  offer(page: number, words: Int32Array): void {
    if (this.full || !this.#looksLikeRoot(words)) return;
    if (presentIn(words, HALF, WORDS) === 0 && ++this.#halves > MAX_HALF_CANDIDATES) return;
    this.#first.set(page, hashOf(words));
  }

  /** The roots, best first. */
  found(): RootCandidate[] {
    const judged = [...this.#first.keys()]
      .map((page) => this.#judge(page))
      .filter((candidate) => candidate !== null);
    const below = this.#pointedAt(judged);
    const kept = judged.filter(({ root }) => !below.has(root));
    const groups = new Map<number, number>();
    for (const { root } of kept) {
      const hash = this.#first.get(root)!;
      groups.set(hash, (groups.get(hash) ?? 0) + 1);
    }
    return kept
      .map((candidate) => ({ ...candidate, alike: groups.get(this.#first.get(candidate.root)!)! - 1 }))
      .sort((a, b) => scoreOf(b) - scoreOf(a) || a.root - b.root);
  }

  /** Only pointers to pages of the image, one at least; what is not present is zero. */
  #looksLikeRoot(words: Int32Array): boolean {
    let pointers = 0;
    for (let slot = 0; slot < WORDS; slot += 2) {
      const lo = words[slot]!;
      const hi = words[slot + 1]!;
      if ((lo & PTE_P) === 0) {
        if ((lo | hi) !== 0) return false;
        continue;
      }
      if ((lo & PTE_PS) !== 0 || !this.#image.holds(frameOf(lo, hi) * PAGE_SIZE)) return false;
      pointers++;
    }
    return pointers > 0;
  }

  /** As a root of four levels or of five, whichever reaches more pages, five first; null when neither does. */
  #judge(root: number): Omit<RootCandidate, "alike"> | null {
    const words = this.#image.tableAt(root);
    if (words === null) return null;
    const [user, kernel] = [presentIn(words, 0, HALF), presentIn(words, HALF, WORDS)];
    let best: Omit<RootCandidate, "alike"> | null = null;
    for (const levels of [4, 5] as const) {
      this.#budget = kernel > 0 ? MAX_TABLES_PER_ROOT : MAX_TABLES_PER_HALF;
      const { pages, bad } = this.#tallyOf(root, levels);
      if (pages === 0 || bad > MAX_BAD_SHARE * (pages + bad)) continue;
      if (best === null || pages >= best.pages) best = { root, levels, user, kernel, pages, bad };
    }
    return best;
  }

  #tallyOf(page: number, level: number): Tally {
    const key = tableKey(page / PAGE_SIZE, level);
    const known = this.#tallies.get(key);
    if (known !== undefined) return known;
    const tally: Tally = { pages: 0, bad: 0 };
    // Set before it is complete: a table that points at itself counts its own entries once.
    this.#tallies.set(key, tally);
    const words = this.#image.tableAt(page);
    for (let slot = 0; words !== null && slot < WORDS; slot += 2) {
      const lo = words[slot]!;
      if ((lo & PTE_P) !== 0) this.#count(tally, level, lo, words[slot + 1]!);
    }
    return tally;
  }

  #count(tally: Tally, level: number, lo: number, hi: number): void {
    const large = level > 1 && (lo & PTE_PS) !== 0;
    if (large && (level > HIGHEST_LEAF || (lo & RESERVED_LARGE[level]!) !== 0)) tally.bad++;
    else if (level === 1 && (hi & BEYOND_HI) !== 0) tally.bad++;
    else if (large || level === 1) tally.pages++;
    else if (!this.#image.holds(frameOf(lo, hi) * PAGE_SIZE)) tally.bad++;
    else if (this.#budget > 0) {
      this.#budget--;
      const below = this.#tallyOf(frameOf(lo, hi) * PAGE_SIZE, level - 1);
      tally.pages += below.pages;
      tally.bad += below.bad;
    }
  }

  /** Candidates that another one points at: tables below a root, not roots. */
  #pointedAt(judged: readonly Pick<RootCandidate, "root">[]): ReadonlySet<number> {
    const below = new Set<number>();
    for (const { root } of judged) {
      const words = this.#image.tableAt(root);
      for (let slot = 0; words !== null && slot < WORDS; slot += 2) {
        if ((words[slot]! & PTE_P) === 0) continue;
        const target = frameOf(words[slot]!, words[slot + 1]!) * PAGE_SIZE;
        if (target !== root) below.add(target);
      }
    }
    return below;
  }
}

/** Roots of one machine are many and alike; then counts what a root maps, less for what cannot be. */
function scoreOf({ alike, pages, bad, user, kernel }: RootCandidate): number {
  const family = kernel === 0 ? -32 : 4 * Math.log2(1 + alike);
  return family + Math.log2(1 + pages) + (user > 0 ? 2 : 0) - 100 * (bad / (pages + bad));
}

function presentIn(words: Int32Array, from: number, to: number): number {
  let count = 0;
  for (let slot = from; slot < to; slot += 2) if ((words[slot]! & PTE_P) !== 0) count++;
  return count;
}

/** The upper half as one number (FNV-1a over words), without A and D. */
function hashOf(words: Int32Array): number {
  let hash = 0x811c_9dc5;
  for (let at = HALF; at < WORDS; at++) {
    const word = at % 2 === 0 ? words[at]! & ~PTE_USED : words[at]!;
    hash = Math.imul(hash ^ word, 0x0100_0193);
  }
  return hash >>> 0;
}
