import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { try_to_munlock, try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS } from "../../../src/mm/ttu-flags.ts";
import { Scene, type SceneOptions } from "../../support/scene.ts";
import { Trace, type TraceOptions } from "../../support/trace.ts";

/* try_to_unmap where something is out of the ordinary: an architecture's hint, a broken page, an exception. */
const a = 0x7f00_0020_0000;
const PFN = Pfn.of(0x345);
const HEAD = Pfn.of(0x400);
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;

function anon(options: SceneOptions & { inSwapCache?: boolean } = {}) {
  const scene = new Scene(options);
  const { kernel } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: a, length: 0x4000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, a, page, 0x8000_0000_0034_5847n);
  if (options.inSwapCache ?? true) scene.putInSwapCache(page, 0x77);
  scene.listen(mm, "K", {});
  return { scene, kernel, mem_map: kernel.mem_map, mm };
}

function attach(scene: Scene, options: TraceOptions = { names: { a } }): Trace {
  const trace = new Trace(options);
  scene.kernel.attach(trace.observer);
  return trace;
}

test("a page whose count of swap references has outgrown a byte can still be swapped out", () => {
  const { scene, kernel, mm } = anon();
  kernel.swap.swap_map[0x77]! |= 62;
  expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(true);
  expect([scene.pte(mm, a), kernel.swap.references(0x77)]).toEqual([0x1d_c080n, 63]);
});

describe("branch B: an entry whose page is known to hold nothing, where an architecture says so", () => {
  const GONE = "L+ FC X(0x8000000000345847) F[a,+4K) SPD rss(1-1)";
  const expected = {
    a0: `${GONE} RM PP L- NP(a)`,
    c: `${GONE} RM PP NP(a) L-`,
    b: `${GONE} RM PP L- NR[a,+1)`,
    d: `NS[a,+4K) ${GONE} RM PP NR[a,+4K) L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${GONE} NR[a,+4K) RM PP L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s: the slot stays empty, no swap slot is used", (notifiers) => {
    const { scene, kernel, mm } = anon({ notifiers });
    kernel.pte_unused = (pte) => pte.toBigInt() === 0x8000_0000_0034_5847n;
    const trace = attach(scene, { names: { a }, also: ["rss"] });
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(true);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect([scene.pte(mm, a), kernel.swap.references(0x77)]).toEqual([0n, 0]);
  });
});

test("a swap-backed page outside the swap cache is warned of once, however often it happens", () => {
  const { scene, kernel } = anon({ inSwapCache: false });
  const warned: unknown[] = [];
  kernel.attach((record) => {
    if (record.kind === "warned") warned.push(record.pfn);
  });
  kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS));
  const vma = scene.vma(scene.mm(), { at: a, length: 0x1000 });
  const other = scene.page(PFN + 1);
  scene.mapAnon(vma, a, other, 0x8000_0000_0034_6847n);
  kernel.run(try_to_unmap(kernel, other, TTU_IGNORE_ACCESS));
  expect(warned).toEqual([PFN]);
});

describe("an exception leaves nothing held", () => {
  test("a pmd hit: page-table lock, rmap lock and bracket are given back", () => {
    const scene = new Scene({ notifiers: "d" });
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: a, length: 0x20_0000 });
    scene.mapHugeAnon(vma, a, scene.compoundPage(HEAD), 0x8000_0000_0040_08c7n);
    scene.listen(mm, "K", {});
    const trace = attach(scene);
    expect(() => kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_ACCESS))).toThrow(/split it first/);
    expect(trace.toString()).toBe("NS[a,+2M) L+(pmd) L-(pmd) NE[a,+2M)");
    expect([kernel.current.locksHeld, vma.anon_vma?.root.rwsem.readers, mm.openBrackets]).toEqual([0, 0, 0]);
  });

  test("a listener that throws", () => {
    const { scene, kernel, mm } = anon({ notifiers: "d" });
    scene.listen(mm, "broken", {
      clear_flush_young: () => {
        throw new RangeError("broken listener");
      },
    });
    expect(() => kernel.run(try_to_unmap(kernel, PFN, 0))).toThrow("broken listener");
    expect([kernel.current.locksHeld, mm.openBrackets]).toEqual([0, 0]);
    expect(mm.mmap[0]?.anon_vma?.root.rwsem.readers).toBe(0);
  });
});

test("in front of a lock that is free a thread yields lock, not blocked", () => {
  const { kernel } = anon();
  kernel.contended = true;
  const steps: string[] = [];
  for (const { kind } of try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS)) {
    if (kind === "ipi-wait") kernel.machine.cpu(1).handleIpis();
    steps.push(kind);
  }
  expect(steps).not.toContain("blocked");
  // The family's lock, then the table's.
  expect(steps.filter((step) => step === "lock")).toHaveLength(2);
});

test("try_to_munlock wants the page off the LRU lists and not mapped in both sizes", () => {
  const { scene, kernel, mem_map } = anon();
  mem_map.setFlag(PFN, PG.lru);
  expect(() => kernel.run(try_to_munlock(kernel, PFN))).toThrow(/837, which is on an LRU list/);
  const head = scene.compoundPage(HEAD);
  mem_map.setFlag(head, PG.double_map);
  expect(() => kernel.run(try_to_munlock(kernel, head))).toThrow(/1024, which is mapped by pmds and by ptes/);
});
