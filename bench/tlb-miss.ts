import { ACCESS_READ, ACCESS_WRITE, MODE_USER } from "../arch/x86/cpu/access-rights.ts";
import { PTE_G } from "../arch/x86/cpu/entry-layout.ts";
import { isCanonical } from "../arch/x86/cpu/linear-address.ts";
import { WALK_OK } from "../arch/x86/cpu/page-fault.ts";
import { HARDWARE_WALK, WalkResult, walk } from "../arch/x86/cpu/page-walk.ts";
import { SetAssociativeTlb } from "../arch/x86/cpu/set-associative-tlb.ts";
import type { TlbGeometry } from "../arch/x86/cpu/tlb-geometry.ts";
import type { Benchmark, Workload } from "./benchmark.ts";
import { ORDER_STRIDE, userPages } from "./user-pages.ts";

const PAGES = 16_384;
/** 2,048 entries: the shape of the second level of Zen 2. */
const GEOMETRY: TlbGeometry = [{ name: "L1 data 4K", level: 1, use: "data", sizes: [1], ways: 8, sets: 256 }];
const MODE = MODE_USER;
const OK = WALK_OK;
const G = PTE_G;

/**
 * Every page once, eight times as many as the TLB holds: least recently used, so that each access misses, walks, fills
 * the TLB, and then loads or stores 8 bytes.
 */
function missing(kind: number): Workload {
  const { machine, order } = userPages(PAGES, "none");
  const { memory } = machine;
  const { control } = machine.cpu(0);
  const tlb = new SetAssociativeTlb("amd-zen2", GEOMETRY, "lru", 1);
  const found = new WalkResult();
  const translate = (lo: number, hi: number): number => {
    if (tlb.lookup(lo, hi, control.pcid, kind) >= 0) throw new RangeError("a TLB hit");
    if (!isCanonical(hi, control.levels)) throw new RangeError("not canonical");
    if (walk(memory, control, lo, hi, kind, MODE, HARDWARE_WALK, found) !== OK) {
      throw new RangeError("a page fault");
    }
    tlb.fill(found, control.pcid, control.globals && (found.lo & G) !== 0, kind);
    return found.physical;
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
  const access = kind === ACCESS_READ ? load : store;
  return {
    operations: PAGES,
    run() {
      let sum = 0;
      for (let i = 0; i < order.length; i += ORDER_STRIDE) sum = (sum + access(order[i]!, order[i + 1]!)) | 0;
      return sum;
    },
  };
}

export const tlbMissBenchmark: Benchmark = {
  name: "tlb-miss",
  operation: "a TLB miss, walk, fill and an 8-byte load; 16,384 pages, 2,048 TLB entries",
  reference: "tlb-miss",
  rejectedFor: null,
  prepare: () => missing(ACCESS_READ),
};

export const storeBenchmark: Benchmark = {
  name: "store",
  operation: "the same with an 8-byte store",
  reference: "store",
  rejectedFor: null,
  prepare: () => missing(ACCESS_WRITE),
};
