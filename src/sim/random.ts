import { need } from "../../arch/x86/cpu/argument.ts";
import { list } from "../../arch/x86/cpu/argument-kinds.ts";
import { nextXorshift32 } from "../../arch/x86/cpu/xorshift32.ts";
import { type Dice, refuseBound, SEED } from "./draws.ts";

const ITEMS = list("items", { noun: "item", words: "", types: [], accepts: () => true });

/** Numbers that a seed decides, the same everywhere, so that it replays a run. */
export class Random implements Dice {
  readonly seed: number;
  #state: number;

  /** Any integer; 0 is replaced, because xorshift would stay there. */
  constructor(seed: number) {
    this.seed = need(SEED, seed);
    // Spread small seeds over all bits, or the first numbers of seeds 1 and 2 would be alike.
    const spread = Math.imul((seed | 0) ^ 0x9e37_79b9, 0x85eb_ca6b) | 0;
    this.#state = spread === 0 ? 0x1234_5678 : spread;
  }

  /** The next 32 bits, as an unsigned integer. */
  next(): number {
    this.#state = nextXorshift32(this.#state);
    return this.#state >>> 0;
  }

  /** An integer from 0 to bound - 1. Throws RangeError for a bound below 1. */
  below(bound: number): number {
    if (bound >>> 0 !== bound || bound === 0) refuseBound(bound);
    return this.next() % bound;
  }

  /** True once in `n` times on average. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** Reorders an array in place (Fisher and Yates). */
  shuffle<T>(items: T[]): T[] {
    need(ITEMS, items);
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const item = items[i]!;
      items[i] = items[j]!;
      items[j] = item;
    }
    return items;
  }
}
