import { ACCESS_READ, ACCESS_WRITE } from "../arch/x86/cpu/access-rights.ts";
import type { TlbGeometry } from "../arch/x86/cpu/tlb-geometry.ts";
import type { Benchmark, Workload } from "./benchmark.ts";
import { ORDER_STRIDE, userPages } from "./user-pages.ts";

export const MISS_PAGES = 16_384;
/** 2,048 entries: the shape of the second level of Zen 2. */
export const MISS_GEOMETRY: TlbGeometry = [
  { name: "L1 data 4K", level: 1, use: "data", sizes: [1], ways: 8, sets: 256 },
];
const READ = ACCESS_READ;
const WRITE = ACCESS_WRITE;

/**
 * Every page once, eight times as many as the TLB holds: least recently used, so that each access misses, walks, fills
 * the TLB, and then loads or stores 8 bytes.
 */
function missing(kind: number): Workload {
  const { machine, order } = userPages(MISS_PAGES, MISS_GEOMETRY);
  const { memory } = machine;
  const cpu = machine.cpu(0);
  const translate = (lo: number, hi: number): number => {
    const physical = cpu.translate(kind, lo, hi);
    if (physical < 0) throw new RangeError("a page fault");
    if (cpu.tlbHit) throw new RangeError("a TLB hit");
    return physical;
  };
  const load = (lo: number, hi: number): number => {
    const physical = translate(lo, hi);
    return memory.readLo(physical) + memory.readHi(physical);
  };
  const store = (lo: number, hi: number): number => {
    const physical = translate(lo, hi);
    memory.write(physical, lo, hi);
    return physical | 0;
  };
  const access = kind === READ ? load : store;
  return {
    operations: MISS_PAGES,
    run() {
      let sum = 0;
      for (let i = 0; i < order.length; i += ORDER_STRIDE) sum = (sum + access(order[i]!, order[i + 1]!)) | 0;
      return sum;
    },
  };
}

export const tlbMissBenchmark: Benchmark = {
  name: "tlb-miss",
  group: "claim",
  operation: "a TLB miss, walk, fill and an 8-byte load; 16,384 pages, 2,048 TLB entries",
  reference: "tlb-miss",
  insteadOf: null,
  prepare: () => missing(READ),
};

export const storeBenchmark: Benchmark = {
  name: "store",
  group: "claim",
  operation: "the same with an 8-byte store",
  reference: "store",
  insteadOf: null,
  prepare: () => missing(WRITE),
};
