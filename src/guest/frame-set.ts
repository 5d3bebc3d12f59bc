import { PAGES_OF_LEVEL, type Pfn } from "../../arch/x86/cpu/address.ts";

const PAGES_OF_PMD = PAGES_OF_LEVEL[2]!;
const PAGES_OF_PUD = PAGES_OF_LEVEL[3]!;

/**
 * A set of frames to which leaves are added. A large leaf costs one step however many frames it holds: for each aligned
 * 2 MiB and GiB it is known how many frames of it are members, and where all are nothing more is kept of it.
 */
export class FrameSet {
  #size = 0;
  /** Members by number of the 2 MiB and of the GiB that they lie in. */
  readonly #inPmd = new Map<number, number>();
  readonly #inPud = new Map<number, number>();
  /** Bits of the members, by number of their 2 MiB. */
  readonly #bits = new Map<number, Uint32Array>();

  /** How many frames it has. */
  get size(): number {
    return this.#size;
  }

  /** Adds the frames of an aligned leaf of level 1 (4 KiB), 2 (2 MiB) or 3 (1 GiB); returns how many are new. */
  add(pfn: Pfn, level: number): number {
    const pud = Math.floor(pfn / PAGES_OF_PUD);
    const inPud = this.#inPud.get(pud) ?? 0;
    if (inPud === PAGES_OF_PUD) return 0;
    const added = level === 3 ? PAGES_OF_PUD - inPud : this.#addBelow(pfn, level);
    this.#inPud.set(pud, inPud + added);
    this.#size += added;
    return added;
  }

  #addBelow(pfn: Pfn, level: number): number {
    const pmd = Math.floor(pfn / PAGES_OF_PMD);
    const inPmd = this.#inPmd.get(pmd) ?? 0;
    if (inPmd === PAGES_OF_PMD) return 0;
    const added = level === 2 ? PAGES_OF_PMD - inPmd : this.#addFrame(pmd, pfn % PAGES_OF_PMD);
    this.#inPmd.set(pmd, inPmd + added);
    if (inPmd + added === PAGES_OF_PMD) this.#bits.delete(pmd);
    return added;
  }

  #addFrame(pmd: number, index: number): number {
    let bits = this.#bits.get(pmd);
    if (bits === undefined) {
      bits = new Uint32Array(PAGES_OF_PMD / 32);
      this.#bits.set(pmd, bits);
    }
    const bit = 1 << (index & 31);
    if ((bits[index >> 5]! & bit) !== 0) return 0;
    bits[index >> 5]! |= bit;
    return 1;
  }
}
