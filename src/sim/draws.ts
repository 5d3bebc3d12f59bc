import { misuse, need } from "../../arch/x86/cpu/argument.ts";
import { callable, numeral, whole } from "../../arch/x86/cpu/argument-kinds.ts";

/** Something that draws numbers. */
export interface Dice {
  /** What replays them. */
  readonly seed: number;
  /** An integer from 0 to bound - 1. Throws RangeError for a bound below 1. */
  below(bound: number): number;
}

/** What a seed is. */
export const SEED = whole("seed", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
const AGENT = whole("agent", 0, Number.MAX_SAFE_INTEGER);
const BOUND = numeral<number>(
  "random number below",
  "a bound of 1 or more, whole and below 2^32",
  () => false,
);
const PAGE_AT_HAND = callable<() => number>("function of the page at hand");

/** Throws TypeError or RangeError, naming a bound below which there are no numbers. */
export function refuseBound(bound: number): never {
  throw misuse(BOUND, bound);
}

/**
 * Numbers that depend on nothing but the seed, the page at hand, who draws, and how many times since the page began:
 *
 *   hash(seed, page, how many times it began before, agent, ordinal)
 *
 * Two runs that part on one page, because one of them makes one step more, meet again on the next.
 */
export class Draws {
  readonly seed: number;
  readonly #pageAtHand: () => number;
  readonly #rounds = new Map<number, number>();
  #page = -1;
  #round = 0;
  /** Goes up with each page that begins. */
  #epoch = 0;

  /** `pageAtHand` says which page is worked on now; a new answer begins it. */
  constructor(seed: number, pageAtHand: () => number) {
    this.seed = need(SEED, seed);
    this.#pageAtHand = need(PAGE_AT_HAND, pageAtHand);
  }

  /** The dice of one agent: those of each number are independent of all others. */
  dice(agent: number): Dice {
    need(AGENT, agent);
    let epoch = -1;
    let ordinal = 0;
    let begun = 0;
    return {
      seed: this.seed,
      below: (bound) => {
        if (bound >>> 0 !== bound || bound === 0) refuseBound(bound);
        this.#look();
        if (epoch !== this.#epoch) {
          epoch = this.#epoch;
          ordinal = 0;
          begun = hashOf(this.seed, this.#page, this.#round, agent);
        }
        return hashEnded(begun, ordinal++) % bound;
      },
    };
  }

  #look(): void {
    const page = this.#pageAtHand();
    if (page === this.#page) return;
    this.#page = page;
    this.#round = this.#rounds.get(page) ?? 0;
    this.#rounds.set(page, this.#round + 1);
    this.#epoch++;
  }
}

/** 32 well-mixed bits, unsigned, of five integers: Austin Appleby's MurmurHash3. */
export function hash32(a: number, b: number, c: number, d: number, e: number): number {
  return hashEnded(hashOf(a, b, c, d), e);
}

/** The hash after four of the five. */
function hashOf(a: number, b: number, c: number, d: number): number {
  return mix(mix(mix(mix(0, a), b), c), d);
}

function hashEnded(begun: number, e: number): number {
  let hash = mix(begun, e) ^ (5 * 4);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mix(hash: number, word: number): number {
  const scaled = Math.imul(word, 0xcc9e_2d51);
  const mixed = hash ^ Math.imul((scaled << 15) | (scaled >>> 17), 0x1b87_3593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe654_6b64) | 0;
}
