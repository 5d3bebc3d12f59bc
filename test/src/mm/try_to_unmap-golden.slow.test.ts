import { describe, expect, test } from "vitest";
import { PG } from "../../../src/mm/mem_map.ts";
import { MM_ANONPAGES, MM_FILEPAGES, MM_SWAPENTS } from "../../../src/mm/mm_struct.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS, TTU_IGNORE_MLOCK } from "../../../src/mm/ttu-flags.ts";
import { VM_LOCKED } from "../../../src/mm/vma.ts";
import { Scene } from "../../support/scene.ts";
import { Trace, type TraceExtra } from "../../support/trace.ts";

/*
 * Golden traces T5 to T10 and T12 of try_to_unmap for every notifier protocol. a = 0x7F0000201000, page 0x12345, swap
 * slot 0x77, both CPUs have the mm loaded unless a test says otherwise, one listener is registered.
 */
const a = 0x7f00_0020_1000;
const PFN = 0x12345;
const SLOT = 0x77;
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Expected = Readonly<Record<Protocol, string>>;

interface Setup {
  readonly notifiers: Protocol;
  readonly entry: bigint;
  readonly cpus?: readonly number[];
  readonly vmFlags?: number;
  readonly swapCache?: boolean;
  readonly also?: readonly TraceExtra[];
}

function anonPage(setup: Setup) {
  const scene = new Scene({ memory: "320MiB", notifiers: setup.notifiers });
  const mm = scene.mm("mm", setup.cpus);
  const vma = scene.vma(mm, { at: a, length: 0x1000, flags: setup.vmFlags ?? 0 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, a, page, setup.entry);
  if (setup.swapCache ?? true) scene.putInSwapCache(page, SLOT);
  scene.listen(mm, "K", { clear_flush_young: () => false });
  const trace = new Trace({ names: { a }, also: setup.also ?? [] });
  scene.kernel.attach(trace.observer);
  return { scene, kernel: scene.kernel, mem_map: scene.kernel.mem_map, mm, trace, page };
}

describe("T5: a dirty anonymous page goes to swap with its flush deferred", () => {
  const SWAP = "L+ NY[a,+4K) FC X(0x8000000012345847) D(writable) SPD SD S(0x00000000001dc080) RM PP";
  const expected: Expected = {
    a0: `${SWAP} L- NP(a)`,
    c: `${SWAP} NP(a) L-`,
    b: `${SWAP} L- NR[a,+1)`,
    d: `NS[a,+4K) ${SWAP} NR[a,+4K) L- NE[a,+4K)`,
    // From 4.15 on the call is part of the branch: it comes before the page loses its mapping and reference.
    e1: `NS[a,+4K) ${SWAP.replace(" RM PP", " NR[a,+4K) RM PP")} L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { kernel, mem_map, mm, trace, page, scene } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5847n,
    });
    expect(mem_map._refcount[page]).toBe(3);
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(true);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x1d_c080n);
    expect([mm.rss_stat[MM_ANONPAGES], mm.rss_stat[MM_SWAPENTS], mm.hiwater_rss]).toEqual([0, 1, 1]);
    expect([mem_map._refcount[page], mem_map._mapcount[page]]).toEqual([2, -1]);
    expect([mm.tlb_flush_batched, mm.onMmlist]).toEqual([true, true]);
    expect(kernel.current.tlb_ubc).toEqual({ cpumask: [0b11], flush_required: true, writable: true });
    expect(kernel.swap.swap_map[SLOT]).toBe(0x41);
    expect(mem_map.PageDirty(page)).toBe(true);
  });

  test("an entry that was never soft-dirty gives a swap entry that is not", () => {
    const { scene, kernel, mm, trace, page } = anonPage({ notifiers: "c", entry: 0x8000_0000_1234_5047n });
    kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH));
    expect(trace.toString()).toContain("D(writable) SPD SD S(0x00000000001dc000) RM");
    expect(scene.pte(mm, a)).toBe(0x1d_c000n);
  });

  test.each(PROTOCOLS)(
    "protocol %s: with only the local CPU in the mask the flush is done at once",
    (notifiers) => {
      const { kernel, mm, trace, page } = anonPage({ notifiers, entry: 0x8000_0000_1234_5847n, cpus: [0] });
      kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH));
      expect(trace.toString()).toBe(expected[notifiers].replace("D(writable)", "F[a,+4K)"));
      expect([mm.tlb_flush_batched, kernel.current.tlb_ubc.flush_required]).toEqual([false, false]);
    },
  );

  test("a clean entry leaves the batch not writable and the page's dirty flag alone", () => {
    const { kernel, trace, page } = anonPage({ notifiers: "c", entry: 0x8000_0000_1234_5007n });
    kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH));
    expect(trace.toString()).toBe(
      "L+ NY[a,+4K) FC X(0x8000000012345007) D SD S(0x00000000001dc000) RM PP NP(a) L-",
    );
    expect(kernel.current.tlb_ubc.writable).toBe(false);
  });
});

describe("T6: a young entry stops the unmapping", () => {
  const expected: Expected = {
    a0: "L+ NY[a,+4K) L-",
    c: "L+ NY[a,+4K) L-",
    b: "L+ NY[a,+4K) L-",
    d: "NS[a,+4K) L+ NY[a,+4K) L- NE[a,+4K)",
    e1: "NS[a,+4K) L+ NY[a,+4K) L- NE[a,+4K)",
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5867n,
    });
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(false);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5847n);
    expect([mem_map._mapcount[page], mem_map._refcount[page], mm.rss_stat[MM_ANONPAGES]]).toEqual([0, 3, 1]);
  });

  test("a listener that answers young has the same effect, although the CPU's entry is old", () => {
    const { scene, kernel, mm, trace, page } = anonPage({ notifiers: "c", entry: 0x8000_0000_1234_5847n });
    scene.listen(mm, "guest", { clear_flush_young: () => true });
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(false);
    expect(trace.toString()).toBe("L+ NY[a,+4K) L-");
  });
});

describe("T7: a locked vma keeps its page", () => {
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5847n,
      vmFlags: VM_LOCKED,
    });
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(false);
    const brackets = notifiers === "d" || notifiers === "e1";
    expect(trace.toString()).toBe(
      brackets ? "NS[a,+4K) L+ mlock_vma_page L- NE[a,+4K)" : "L+ mlock_vma_page L-",
    );
    expect([mem_map.PageMlocked(page), scene.pte(mm, a)]).toEqual([true, 0x8000_0000_1234_5847n]);
  });
});

describe("T8: a clean lazily freed page is discarded", () => {
  const DROP = "L+ NY[a,+4K) FC X(0x8000000012345007) D rss(1-1) RM PP";
  const expected: Expected = {
    a0: `${DROP} L- NP(a)`,
    c: `${DROP} NP(a) L-`,
    b: `${DROP} L- NR[a,+1)`,
    d: `NS[a,+4K) ${DROP} NR[a,+4K) L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${DROP.replace(" rss", " NR[a,+4K) rss")} L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5007n,
      swapCache: false,
      also: ["rss"],
    });
    mem_map.clearFlag(page, PG.swapbacked);
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(true);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0n);
    expect([mm.rss_stat[MM_ANONPAGES], mm.rss_stat[MM_SWAPENTS], mem_map._refcount[page]]).toEqual([0, 0, 1]);
  });

  test("without another CPU in the mask, F stands where D stood", () => {
    const { kernel, mem_map, trace, page } = anonPage({
      notifiers: "c",
      entry: 0x8000_0000_1234_5007n,
      swapCache: false,
      cpus: [0],
    });
    mem_map.clearFlag(page, PG.swapbacked);
    kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH));
    expect(trace.toString()).toBe("L+ NY[a,+4K) FC X(0x8000000012345007) F[a,+4K) RM PP NP(a) L-");
  });
});

describe("T9: a lazily freed page that was written again is kept", () => {
  const KEEP = "L+ NY[a,+4K) FC X(0x8000000012345047) D(writable) SPD S(0x8000000012345047) SetSwapBacked L-";
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5047n,
      swapCache: false,
    });
    mem_map.clearFlag(page, PG.swapbacked);
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(false);
    const brackets = notifiers === "d" || notifiers === "e1";
    expect(trace.toString()).toBe(brackets ? `NS[a,+4K) ${KEEP} NE[a,+4K)` : KEEP);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5047n);
    expect([mem_map.PageSwapBacked(page), mem_map._mapcount[page], mm.rss_stat[MM_ANONPAGES]]).toEqual([
      true,
      0,
      1,
    ]);
  });
});

describe("T10: swap_duplicate fails and the value read is put back", () => {
  const RESTORE = "L+ NY[a,+4K) FC X(0x8000000012345847) D(writable) SPD SD(fails) S(0x8000000012345847) L-";
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page } = anonPage({
      notifiers,
      entry: 0x8000_0000_1234_5847n,
    });
    kernel.swap.failDuplicates = 1;
    expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH))).toBe(false);
    const brackets = notifiers === "d" || notifiers === "e1";
    expect(trace.toString()).toBe(brackets ? `NS[a,+4K) ${RESTORE} NE[a,+4K)` : RESTORE);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5847n);
    expect([mem_map._mapcount[page], mm.rss_stat[MM_ANONPAGES], mm.rss_stat[MM_SWAPENTS]]).toEqual([0, 1, 0]);
    expect([mm.onMmlist, kernel.swap.swap_map[SLOT]]).toEqual([false, 0x40]);
  });
});

describe("T12: a poisoned file page leaves a poison entry", () => {
  const POISON = "L+ FC X(0x8000000012345027) F[a,+4K) rss(0-1) S(0x0000000048d17a00) RM PP";
  const expected: Expected = {
    a0: `${POISON} L- NP(a)`,
    c: `${POISON} NP(a) L-`,
    b: `${POISON} L- NR[a,+1)`,
    d: `NS[a,+4K) ${POISON} NR[a,+4K) L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${POISON} L- NE[a,+4K)`,
  };
  function poisonedFilePage(notifiers: Protocol, entry: bigint) {
    const scene = new Scene({ memory: "320MiB", notifiers });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: a, length: 0x1000, file: scene.file(), shared: true });
    const page = scene.page(PFN);
    scene.mapFile(vma, a, page, entry);
    scene.kernel.mem_map.SetPageHWPoison(page);
    scene.listen(mm, "K", {});
    const trace = new Trace({ names: { a }, also: ["rss"] });
    scene.kernel.attach(trace.observer);
    return { scene, kernel: scene.kernel, mm, trace, page };
  }
  const FLAGS = TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS;

  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mm, trace, page } = poisonedFilePage(notifiers, 0x8000_0000_1234_5027n);
    expect(kernel.run(try_to_unmap(kernel, page, FLAGS))).toBe(true);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x48d1_7a00n);
    expect(mm.rss_stat[MM_FILEPAGES]).toBe(0);
  });

  test("the old entry's soft-dirty flag is not carried over (W16)", () => {
    const { scene, kernel, mm, page } = poisonedFilePage("c", 0x8000_0000_1234_5867n);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    expect(scene.pte(mm, a)).toBe(0x48d1_7a00n);
  });
});
