import type { Benchmark, Workload } from "../benchmark.ts";
import { ROOT } from "../user-pages.ts";
import { visited } from "./visited.ts";

/*
 * Rejected: entries and addresses as bigint, memory as a BigUint64Array. The same checks as the walk that was chosen, for
 * four levels and user mode; every operation on a bigint allocates one.
 */
const P = 1n;
const W = 2n;
const U = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const XD = 1n << 63n;
const FRAME = 0xf_ffff_ffff_f000n;
/** MAXPHYADDR 46. */
const RESERVED = 0xf_c000_0000_0000n;
const RESERVED_LARGE = [0n, 0n, 0x1f_e000n, 0x3fff_e000n];

/** The leaf that a user's access reaches, A and D set in memory; 0 for a fault. */
function walk(memory: BigUint64Array, linear: bigint, write: boolean): bigint {
  const sign = linear >> 47n;
  if (sign !== 0n && sign !== 0x1_ffffn) return 0n;
  let every = -1n;
  let any = 0n;
  let table = BigInt(ROOT);
  let missing = write ? A | D : A;
  for (let level = 4; level >= 1; level--) {
    const index = (linear >> BigInt(3 + 9 * level)) & 0x1ffn;
    const slot = Number((table >> 3n) + index);
    const entry = slot < memory.length ? memory[slot]! : -1n;
    if ((entry & P) === 0n || (entry & RESERVED) !== 0n) return 0n;
    const large = (entry & PS) !== 0n;
    if (large && level === 4) return 0n;
    if (large && level > 1 && (entry & RESERVED_LARGE[level]!) !== 0n) return 0n;
    every &= entry;
    any |= entry;
    if (level === 1 || large) {
      if ((every & U) === 0n || (write && (every & W) === 0n)) return 0n;
      missing &= ~entry;
      if (missing !== 0n) memory[slot] = entry | missing;
      return entry | (any & XD);
    }
    if ((entry & A) === 0n) memory[slot] = entry | A;
    table = entry & FRAME;
  }
  return 0n;
}

function prepare(): Workload {
  const { memory, addresses } = visited();
  const entries = new BigUint64Array(memory.words.buffer);
  const linear = BigUint64Array.from(addresses, BigInt);
  return {
    operations: linear.length,
    run() {
      let sum = 0n;
      for (const address of linear) sum += walk(entries, address, false);
      return Number(BigInt.asIntN(32, sum));
    },
  };
}

export const bigintWalkBenchmark: Benchmark = {
  name: "walk-bigint",
  group: "rejected",
  operation: "the walk on bigints",
  reference: "walk",
  insteadOf: "walk",
  prepare,
};
