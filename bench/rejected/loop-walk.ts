import { ACCESS_READ, MODE_USER } from "../../arch/x86/cpu/access-rights.ts";
import { isCanonical } from "../../arch/x86/cpu/linear-address.ts";
import { WALK_OK } from "../../arch/x86/cpu/page-fault.ts";
import { HARDWARE_WALK, WalkResult, walkGenerally } from "../../arch/x86/cpu/page-walk.ts";
import type { Benchmark, Workload } from "../benchmark.ts";
import { ORDER_STRIDE, userPages } from "../user-pages.ts";
import { WALK_PAGES } from "../walk.ts";

const READ = ACCESS_READ;
const USER = MODE_USER;
const OK = WALK_OK;

/** Rejected: the loop that decides what is not common, for every walk. */
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
        found.linearLo = order[i]!;
        found.linearHi = order[i + 1]!;
        if (!isCanonical(found.linearHi, control.levels)) throw new RangeError("not canonical");
        if (walkGenerally(memory, control, READ, USER, HARDWARE_WALK, found) !== OK)
          throw new RangeError("a page fault");
        sum = (sum + found.lo) | 0;
      }
      return sum;
    },
  };
}

export const loopWalkBenchmark: Benchmark = {
  name: "walk-loop",
  group: "rejected",
  operation: "the walk by the general loop alone",
  reference: "walk",
  insteadOf: "walk",
  prepare,
};
