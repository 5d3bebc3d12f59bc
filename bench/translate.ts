import { ACCESS_READ } from "../arch/x86/cpu/access-rights.ts";
import { TLB_POLICIES, type TlbPolicy } from "../arch/x86/cpu/tlb.ts";
import type { Benchmark, Workload } from "./benchmark.ts";
import { MISS_PAGES } from "./tlb-miss.ts";
import { ORDER_STRIDE, ROOT, userPages } from "./user-pages.ts";

const READ = ACCESS_READ;
/** How many pages a short-lived process touches. */
const FEW_PAGES = 64;
const FEW_ROUNDS = 256;

/** Translations that all miss: more pages than a TLB has entries, or a load of CR3 before each round. */
function misses(policy: TlbPolicy, pages: number, rounds: number): Workload {
  const { machine, order } = userPages(pages, policy);
  const cpu = machine.cpu(0);
  return {
    operations: pages * rounds,
    run() {
      let sum = 0;
      for (let round = 0; round < rounds; round++) {
        if (policy === "stale") cpu.loadCr3(ROOT);
        for (let i = 0; i < order.length; i += ORDER_STRIDE) {
          const physical = cpu.translate(READ, order[i]!, order[i + 1]!);
          if (cpu.tlbHit || physical < 0) throw new RangeError("no miss");
          sum = (sum + physical) | 0;
        }
      }
      return sum;
    },
  };
}

function missBenchmark(policy: TlbPolicy): Benchmark {
  const after = policy === "stale" ? ", after a load of CR3" : "";
  return {
    name: `miss-${policy}`,
    group: "translate",
    operation: `\`${policy}\`${after}`,
    reference: null,
    insteadOf: null,
    prepare: () => misses(policy, MISS_PAGES, 1),
  };
}

/** A translation that misses, through each TLB that a machine can have. */
export const TRANSLATE_BENCHMARKS: readonly Benchmark[] = [
  {
    name: "switch-stale",
    group: "translate",
    operation: "`stale`, with a load of CR3 every 64 pages",
    reference: null,
    insteadOf: null,
    prepare: () => misses("stale", FEW_PAGES, FEW_ROUNDS),
  },
  ...TLB_POLICIES.map(missBenchmark),
];
