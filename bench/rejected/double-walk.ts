import type { Benchmark, Workload } from "../benchmark.ts";
import { ROOT } from "../user-pages.ts";
import { visited } from "./visited.ts";

/*
 * Rejected: a linear address as one Number that division takes apart, and physical addresses added up as doubles. The
 * same checks as the walk that was chosen, for four levels and user mode. It cannot hold a 57-bit address to the byte.
 */
const P = 1;
const W = 2;
const U = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
/** MAXPHYADDR 46. */
const RESERVED_HI = 0xf_c000;
const RESERVED_LARGE = [0, 0, 0x1f_e000, 0x3fff_e000];
const SPAN = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39];

/** The low word of the leaf that a user's access reaches, A and D set in memory; 0 for a fault. */
function walk(words: Int32Array, linear: number, write: boolean): number {
  if (linear >= 2 ** 47 && linear < 2 ** 64 - 2 ** 47) return 0;
  let every = -1;
  let table = ROOT;
  let missing = write ? A | D : A;
  for (let level = 4; level >= 1; level--) {
    const slot = (table + 8 * (Math.floor(linear / SPAN[level]!) % 512)) / 4;
    if (slot >= words.length) return 0;
    const lo = words[slot]!;
    const hi = words[slot + 1]!;
    if ((lo & P) === 0 || (hi & RESERVED_HI) !== 0) return 0;
    const large = (lo & PS) !== 0;
    if (large && level === 4) return 0;
    if (large && level > 1 && (lo & RESERVED_LARGE[level]!) !== 0) return 0;
    every &= lo;
    if (level === 1 || large) {
      if ((every & U) === 0 || (write && (every & W) === 0)) return 0;
      missing &= ~lo;
      if (missing !== 0) words[slot] = lo | missing;
      return lo;
    }
    if ((lo & A) === 0) words[slot] = lo | A;
    table = (hi & 0xf_ffff) * 2 ** 32 + ((lo & ~0xfff) >>> 0);
  }
  return 0;
}

function prepare(): Workload {
  const { memory, addresses } = visited();
  return {
    operations: addresses.length,
    run() {
      let sum = 0;
      for (const address of addresses) sum = (sum + walk(memory.words, address, false)) | 0;
      return sum;
    },
  };
}

export const doubleWalkBenchmark: Benchmark = {
  name: "walk-double",
  group: "rejected",
  operation: "the walk in floating point",
  reference: "walk",
  insteadOf: "walk",
  prepare,
};
