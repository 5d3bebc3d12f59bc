import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { xorshift32 } from "../../../arch/x86/cpu/xorshift32.ts";

/** Page tables written by hand into a small memory: `at(table, index, entry)` with tables named by their frame. */
export class TableBuilder {
  readonly memory: PhysicalMemory;

  constructor(frames = 64) {
    this.memory = new PhysicalMemory(frames * 4096);
  }

  at(frame: number, index: number, entry: bigint): this {
    const lo = Number(BigInt.asIntN(32, entry));
    const hi = Number(BigInt.asIntN(32, entry >> 32n));
    this.memory.write(frame * 4096 + index * 8, lo, hi);
    return this;
  }

  /** An entry that points at the table in a frame, with every right unless said otherwise. */
  table(frame: number, index: number, target: number, flags = 0x67n): this {
    return this.at(frame, index, (BigInt(target) << 12n) | flags);
  }
}

/** The same numbers for the same seed, which must not be 0. */
export function randomNumbers(seed: number): (below: number) => number {
  const next = xorshift32(seed);
  return (below) => next() % below;
}
