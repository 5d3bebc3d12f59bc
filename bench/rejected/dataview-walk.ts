import type { Benchmark, Workload } from "../benchmark.ts";
import { ROOT } from "../user-pages.ts";
import { visited } from "./visited.ts";

/*
 * Rejected: memory as a DataView read with getUint32, as code for any byte order does. The same checks as the walk that
 * was chosen, for four levels and user mode.
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

/** The low word of the leaf that a user's access reaches, A and D set in memory; 0 for a fault. */
function walk(memory: DataView, linear: number, write: boolean): number {
  const high = Math.floor(linear / 2 ** 32);
  const sign = high >>> 15;
  if (sign !== 0 && sign !== 0x1_ffff) return 0;
  let every = -1;
  let table = ROOT;
  let missing = write ? A | D : A;
  for (let level = 4; level >= 1; level--) {
    const index = Math.floor(linear / 2 ** (3 + 9 * level)) & 0x1ff;
    const address = table + 8 * index;
    if (address >= memory.byteLength) return 0;
    const lo = memory.getUint32(address, true);
    const hi = memory.getUint32(address + 4, true);
    if ((lo & P) === 0 || (hi & RESERVED_HI) !== 0) return 0;
    const large = (lo & PS) !== 0;
    if (large && level === 4) return 0;
    if (large && level > 1 && (lo & RESERVED_LARGE[level]!) !== 0) return 0;
    every &= lo;
    if (level === 1 || large) {
      if ((every & U) === 0 || (write && (every & W) === 0)) return 0;
      missing &= ~lo;
      if (missing !== 0) memory.setUint32(address, lo | missing, true);
      return lo;
    }
    if ((lo & A) === 0) memory.setUint32(address, lo | A, true);
    table = (hi & 0xf_ffff) * 2 ** 32 + (lo & ~0xfff);
  }
  return 0;
}

function prepare(): Workload {
  const { memory, addresses } = visited();
  const view = new DataView(memory.words.buffer);
  return {
    operations: addresses.length,
    run() {
      let sum = 0;
      for (const address of addresses) sum = (sum + walk(view, address, false)) | 0;
      return sum;
    },
  };
}

export const dataviewWalkBenchmark: Benchmark = {
  name: "walk-dataview",
  group: "rejected",
  operation: "the walk on a DataView",
  reference: "walk",
  insteadOf: "walk",
  prepare,
};
