import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { page_mkclean } from "../../../src/mm/page_mkclean.ts";
import { Scene } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

/*
 * Golden traces T1 to T4 of page_mkclean for every notifier protocol. a = 0x7F0000201000, page 0x12345, both CPUs have
 * the mm loaded, one listener is registered.
 */
const a = 0x7f00_0020_1000;
const PFN = Pfn.of(0x12345);
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;
type Expected = Readonly<Record<(typeof PROTOCOLS)[number], string>>;

function sharedFilePage(notifiers: string, entry: bigint, shared = true) {
  const scene = new Scene({ memory: "320MiB", notifiers });
  const mm = scene.mm();
  const file = scene.file();
  const vma = scene.vma(mm, { at: a, length: 0x1000, file, shared });
  const page = scene.page(PFN);
  scene.mapFile(vma, a, page, entry);
  scene.listen(mm, "K", {});
  const trace = new Trace({ names: { a } });
  scene.kernel.attach(trace.observer);
  return { scene, mm, trace, page };
}

describe("T1: a dirty writable entry is cleaned", () => {
  const CLEAN = "L+ FC X(0x8000000012345867) F[a,+4K) S(0x8000000012345825)";
  const expected: Expected = {
    a0: `${CLEAN} L- NP(a)`,
    c: `${CLEAN} NP(a) L-`,
    b: `${CLEAN} L- NR[a,+1)`,
    d: `NS[a,+4K) ${CLEAN} NR[a,+4K) L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${CLEAN} L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, mm, trace, page } = sharedFilePage(notifiers, 0x8000_0000_1234_5867n);
    const before = [
      ...mm.rss_stat,
      scene.kernel.mem_map._refcount[page],
      scene.kernel.mem_map._mapcount[page],
    ];
    expect(scene.kernel.run(page_mkclean(scene.kernel, page))).toBe(1);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5825n);
    // Nothing but the entry changes: dirtiness is returned as a count, the caller tells the page.
    expect([
      ...mm.rss_stat,
      scene.kernel.mem_map._refcount[page],
      scene.kernel.mem_map._mapcount[page],
    ]).toEqual(before);
    expect(scene.kernel.mem_map.PageDirty(page)).toBe(false);
  });

  test("d: inside range_end each listener hears invalidate_range, then range_end; the newest listener first", () => {
    const scene = new Scene({ memory: "320MiB", notifiers: "d" });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: a, length: 0x1000, file: scene.file(), shared: true });
    scene.mapFile(vma, a, scene.page(PFN), 0x8000_0000_1234_5867n);
    scene.listen(mm, "I", { invalidate_range() {} });
    scene.listen(mm, "both", {
      invalidate_range() {},
      invalidate_range_start() {},
      invalidate_range_end() {},
    });
    scene.listen(mm, "K", { invalidate_range_start() {}, invalidate_range_end() {} });
    const trace = new Trace({ names: { a }, also: ["listeners"], listenersOf: mm });
    scene.kernel.attach(trace.observer);
    scene.kernel.run(page_mkclean(scene.kernel, PFN));
    expect(trace.words.filter((word) => /^(NS|NR|NE|I|K|both)/.test(word))).toEqual([
      "NS[a,+4K)",
      "K.invalidate_range_start[a,+4K)",
      "both.invalidate_range_start[a,+4K)",
      "NR[a,+4K)",
      "both.invalidate_range[a,+4K)",
      "I.invalidate_range[a,+4K)",
      "NE[a,+4K)",
      "K.invalidate_range_end[a,+4K)",
      "both.invalidate_range[a,+4K)",
      "both.invalidate_range_end[a,+4K)",
      "I.invalidate_range[a,+4K)",
    ]);
  });
});

describe("T2: a clean read-only entry is left alone", () => {
  const expected: Expected = {
    a0: "L+ L-",
    c: "L+ L-",
    b: "L+ L-",
    d: "NS[a,+4K) L+ L- NE[a,+4K)",
    e1: "NS[a,+4K) L+ L- NE[a,+4K)",
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, mm, trace, page } = sharedFilePage(notifiers, 0x8000_0000_1234_5025n);
    expect(scene.kernel.run(page_mkclean(scene.kernel, page))).toBe(0);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5025n);
  });

  test.each([
    ["clean but writable", 0x8000_0000_1234_5027n, 0x8000_0000_1234_5025n],
    ["dirty but read-only", 0x8000_0000_1234_5065n, 0x8000_0000_1234_5025n],
  ])("an entry that is %s counts", (_what, entry, cleaned) => {
    const { scene, mm, page } = sharedFilePage("c", entry);
    expect(scene.kernel.run(page_mkclean(scene.kernel, page))).toBe(1);
    expect(scene.pte(mm, a)).toBe(cleaned);
  });
});

describe("T3: a private mapping is skipped", () => {
  test.each(PROTOCOLS)("protocol %s: nothing at all", (notifiers) => {
    const { scene, trace, page } = sharedFilePage(notifiers, 0x8000_0000_1234_5867n, false);
    expect(scene.kernel.run(page_mkclean(scene.kernel, page))).toBe(0);
    expect(trace.toString()).toBe("");
  });
});

describe("T4: a shared-memory THP mapped by a pmd", () => {
  const h = 0x7f00_0020_0000;
  const HEAD = Pfn.of(0x40000);
  const CLEAN = "L+(pmd) FC X(0x80000000400008e7) F(full) S(0x80000000400008a5)";
  const expected: Expected = {
    a0: `${CLEAN} L-(pmd) NP(h)`,
    c: `${CLEAN} NP(h) L-(pmd)`,
    b: `${CLEAN} L-(pmd) NR[h,+512)`,
    d: `NS[h,+2M) ${CLEAN} NR[h,+2M) L-(pmd) NE[h,+2M)`,
    e1: `NS[h,+2M) ${CLEAN} L-(pmd) NE[h,+2M)`,
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const scene = new Scene({ memory: "1056MiB", notifiers });
    const mm = scene.mm();
    const file = scene.file("shmem", { swapBacked: true });
    const vma = scene.vma(mm, { at: h, length: 0x20_0000, file, shared: true });
    scene.compoundPage(HEAD);
    scene.mapHugeFile(vma, h, HEAD, 0x8000_0000_4000_08e7n);
    scene.listen(mm, "K", {});
    const trace = new Trace({ names: { h } });
    const hooks: number[] = [];
    scene.kernel.attach((record) => {
      if (record.kind === "cache-flushed") hooks.push(record.bytes);
    });
    scene.kernel.attach(trace.observer);
    expect(scene.kernel.run(page_mkclean(scene.kernel, HEAD))).toBe(1);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect(scene.pmd(mm, h)).toBe(0x8000_0000_4000_08a5n);
    // The hook covers one 4K page of the 2 MiB (W17).
    expect(hooks).toEqual([0x1000]);
  });
});

test("the mapped page must be locked", () => {
  const { scene, page } = sharedFilePage("c", 0x8000_0000_1234_5867n);
  scene.kernel.mem_map.ClearPageLocked(page);
  expect(() => scene.kernel.run(page_mkclean(scene.kernel, page))).toThrow(TypeError);
});
