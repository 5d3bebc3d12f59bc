import { expect, test } from "vitest";
import { SetAssociativeTlb } from "../../../../arch/x86/cpu/set-associative-tlb.ts";
import { xorshift32 } from "../../../../arch/x86/cpu/xorshift32.ts";
import { type LeafLevel, TLB_GEOMETRIES, type TlbGeometry, WalkResult } from "../../../../src/package/cpu.ts";
import { PlainWaysTlb } from "./plain-ways-tlb.ts";

const STEPS = 1200;
const GLOBALS = ["keep", "own", "all"] as const;
/** Few sets and ways, not all of them powers of two, so that all overflow. */
const SMALL: TlbGeometry = [
  { name: "D1", level: 1, use: "load", sizes: [1, 2, 3], ways: 5, sets: 1 },
  { name: "S1", level: 1, use: "store", sizes: [1, 2], ways: 2, sets: 3 },
  { name: "I1", level: 1, use: "instruction", sizes: [1], ways: 2, sets: 2 },
  { name: "U2", level: 2, use: "unified", sizes: [1, 2], ways: 3, sets: 3 },
  { name: "V2", level: 2, use: "unified", sizes: [1, 3], ways: 2, sets: 4 },
];

test.each<[string, TlbGeometry, number]>([
  ["a small one", SMALL, 1],
  ["a small one", SMALL, 2],
  ["amd-zen4", TLB_GEOMETRIES["amd-zen4"], 3],
  ["intel-icelake-client", TLB_GEOMETRIES["intel-icelake-client"], 4],
])("%s holds what looking at every way would hold (seed %3$i)", (_name, geometry, seed) => {
  const random = xorshift32(seed);
  const below = (end: number): number => random() % end;
  let tlb = new SetAssociativeTlb("custom", geometry, "lru", 1);
  const plain = new PlainWaysTlb(geometry);
  const walk = new WalkResult();
  const drawPage = (): number => below(3) * 2 ** 18 + below(3) * 512 + below(24);
  for (let step = 0; step < STEPS; step++) {
    const page = drawPage();
    const lo = (page * 4096) | 0;
    const hi = Math.floor(page / 2 ** 20);
    const pcid = below(3);
    const kind = below(3);
    const what = below(40);
    if (what < 18) {
      const slot = tlb.lookup(lo, hi, pcid, kind);
      const frame = slot < 0 ? null : tlb.physical(slot, lo) / 4096;
      expect(frame, `seed ${seed}, step ${step}`).toBe(plain.lookup(page, pcid, kind));
    } else if (what < 36) {
      const size = (below(8) < 6 ? 1 : 2 + below(2)) as LeafLevel;
      const global = below(4) === 0;
      const frame = below(64) * 2 ** 18;
      walk.level = size;
      walk.linearLo = lo;
      walk.linearHi = hi;
      walk.lo = (frame * 4096) | 0;
      walk.hi = Math.floor(frame / 2 ** 20);
      tlb.fill(walk, pcid, global, kind);
      plain.fill(page, size, pcid, global, frame, kind);
    } else if (what < 39) {
      const globals = GLOBALS[below(3)]!;
      tlb.invalidate({ pcid, page: { lo, hi }, globals, tables: "keep" });
      plain.invalidate(page, pcid, globals);
    } else if (below(8) === 0) {
      const globals = GLOBALS[below(3)]!;
      tlb.invalidate({ pcid, page: null, globals, tables: "keep" });
      plain.invalidate(null, pcid, globals);
    } else {
      const saved = tlb.save();
      tlb = new SetAssociativeTlb("custom", geometry, "lru", 1);
      tlb.restore(saved);
      expect(tlb.save()).toEqual(saved);
    }
    if (step % 50 !== 0) continue;
    const held = tlb.entries().map((e) => `${e.structure} ${e.page / 4096} ${e.level} ${e.pcid} ${e.pfn}`);
    expect(held.sort(), `seed ${seed}, step ${step}`).toEqual(plain.held());
  }
});
