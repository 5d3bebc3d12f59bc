import { ACCESS_READ, MODE_USER } from "../arch/x86/cpu/access-rights.ts";
import { isCanonical } from "../arch/x86/cpu/linear-address.ts";
import { WALK_OK } from "../arch/x86/cpu/page-fault.ts";
import { HARDWARE_WALK, WalkResult, walk } from "../arch/x86/cpu/page-walk.ts";
import type { Benchmark, Workload } from "./benchmark.ts";
import { ORDER_STRIDE, userPages } from "./user-pages.ts";

export const WALK_PAGES = 65_536;
const READ = ACCESS_READ;
const USER = MODE_USER;
const OK = WALK_OK;

/** Every page once, without a TLB: canonical, present, reserved bits, rights, A and D. */
function prepare(): Workload {
  const { machine, order } = userPages(WALK_PAGES, "none");
  const { memory } = machine;
  const { control } = machine.cpu(0);
  const found = new WalkResult();
  return {
    operations: WALK_PAGES,
    run() {
      let sum = 0;
      for (let i = 0; i < order.length; i += ORDER_STRIDE) {
        const hi = order[i + 1]!;
        if (!isCanonical(hi, control.levels)) throw new RangeError("not canonical");
        const code = walk(memory, control, order[i]!, hi, READ, USER, HARDWARE_WALK, found);
        if (code !== OK) throw new RangeError("a page fault");
        sum = (sum + found.lo) | 0;
      }
      return sum;
    },
  };
}

export const walkBenchmark: Benchmark = {
  name: "walk",
  group: "claim",
  operation: "a checked read walk with A and D, no TLB; 65,536 4K pages",
  reference: "walk",
  insteadOf: null,
  prepare,
};
