import { ACCESS_READ, ACCESS_WRITE } from "../arch/x86/cpu/access-rights.ts";
import type { Benchmark, Workload } from "./benchmark.ts";
import { ORDER_STRIDE, userPages } from "./user-pages.ts";

const PAGES = 64;
const ROUNDS = 1024;
const READ = ACCESS_READ;
const WRITE = ACCESS_WRITE;

/** A user's loads of 8 bytes from pages that the TLB holds. */
function loads(): Workload {
  const { machine, order } = userPages(PAGES, "stale");
  const { memory } = machine;
  const cpu = machine.cpu(0);
  return repeated(() => {
    let sum = 0;
    for (let i = 0; i < order.length; i += ORDER_STRIDE) {
      const physical = cpu.translate(READ, order[i]!, order[i + 1]!);
      if (physical < 0) throw new RangeError("a page fault");
      sum = (sum + memory.readLo(physical) + memory.readHi(physical)) | 0;
    }
    return sum;
  });
}

/** A user's stores of 8 bytes to pages that the TLB holds dirty. */
function stores(): Workload {
  const { machine, order } = userPages(PAGES, "stale");
  const { memory } = machine;
  const cpu = machine.cpu(0);
  return repeated(() => {
    let sum = 0;
    for (let i = 0; i < order.length; i += ORDER_STRIDE) {
      const lo = order[i]!;
      const hi = order[i + 1]!;
      const physical = cpu.translate(WRITE, lo, hi);
      if (physical < 0) throw new RangeError("a page fault");
      memory.write(physical, lo, hi);
      sum = (sum + physical) | 0;
    }
    return sum;
  });
}

function repeated(round: () => number): Workload {
  return {
    operations: PAGES * ROUNDS,
    run() {
      let sum = 0;
      for (let n = 0; n < ROUNDS; n++) sum = (sum + round()) | 0;
      return sum;
    },
  };
}

export const tlbHitBenchmark: Benchmark = {
  name: "tlb-hit",
  group: "claim",
  operation: "a TLB hit and an 8-byte load; 64 pages",
  reference: "tlb-hit",
  insteadOf: null,
  prepare: loads,
};

export const hitStoreBenchmark: Benchmark = {
  name: "hit-store",
  group: "claim",
  operation: "a TLB hit and an 8-byte store; 64 pages",
  reference: "hit-store",
  insteadOf: null,
  prepare: stores,
};
