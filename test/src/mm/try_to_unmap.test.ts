import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS } from "../../../src/mm/mm_struct.ts";
import { try_to_munlock, try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import {
  TTU_BATCH_FLUSH,
  TTU_IGNORE_ACCESS,
  TTU_IGNORE_HWPOISON,
  TTU_IGNORE_MLOCK,
  TTU_MIGRATION,
  TTU_RMAP_LOCKED,
  TTU_SPLIT_HUGE_PMD,
} from "../../../src/mm/ttu-flags.ts";
import { VM_GROWSDOWN, VM_LOCKED, VM_RAND_READ, VM_SEQ_READ } from "../../../src/mm/vma.ts";
import { Scene, type SceneOptions } from "../../support/scene.ts";
import { Trace, type TraceOptions } from "../../support/trace.ts";

/* The branches of try_to_unmap_one that the golden traces do not reach. */
const a = 0x7f00_0020_0000;
const PFN = Pfn.of(0x345);
const HEAD = Pfn.of(0x400);
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;
const OLD_DIRTY = 0x8000_0000_0034_5847n;

function anon(options: SceneOptions & { entry?: bigint; flags?: number; inSwapCache?: boolean } = {}) {
  const scene = new Scene(options);
  const { kernel } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: a, length: 0x4000, flags: options.flags ?? 0, name: "vma" });
  const page = scene.page(PFN);
  scene.mapAnon(vma, a, page, options.entry ?? OLD_DIRTY);
  if (options.inSwapCache ?? true) scene.putInSwapCache(page, 0x77);
  scene.listen(mm, "K", {});
  return { scene, kernel, mem_map: kernel.mem_map, mm, vma, page };
}

function attach(scene: Scene, options: TraceOptions = { names: { a } }): Trace {
  const trace = new Trace(options);
  scene.kernel.attach(trace.observer);
  return trace;
}

describe("several mappings", () => {
  function forked() {
    const built = anon();
    const child = built.scene.forkVma(built.vma, built.scene.mm("child"));
    built.scene.mapAnon(child, a, PFN, 0x8000_0000_0034_5045n);
    return { ...built, child };
  }

  test("62: true means that no vma maps the page any more; each swap entry is counted", () => {
    const { scene, kernel, mm, child, mem_map } = forked();
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_BATCH_FLUSH))).toBe(true);
    expect([scene.pte(mm, a), scene.pte(child.vm_mm, a)]).toEqual([0x1d_c080n, 0x1d_c000n]);
    expect([kernel.swap.swap_map[0x77], mem_map._mapcount[PFN], mem_map._refcount[PFN]]).toEqual([
      0x42, -1, 2,
    ]);
    expect([mm.rss_stat[MM_SWAPENTS], child.vm_mm.rss_stat[MM_SWAPENTS]]).toEqual([1, 1]);
  });

  test("the walk ends when the last mapping is gone: an unmapped third vma is not visited", () => {
    const { scene, kernel, child } = forked();
    scene.forkVma(child, scene.mm("grandchild"));
    const nameOf = new Map(kernel.mms.map(({ id, name }) => [id, name]));
    const entered: unknown[] = [];
    kernel.attach((record) => {
      if (record.kind === "call-entered" && record.space !== NONE) entered.push(nameOf.get(record.space));
    });
    kernel.run(try_to_unmap(kernel, PFN, TTU_BATCH_FLUSH));
    expect(entered).toEqual(["mm0", "child"]);
  });

  test("failure in the second vma leaves the first one's entry swapped", () => {
    const { scene, kernel, mm, child, mem_map } = forked();
    scene.plantPte(child.vm_mm, a, 0x8000_0000_0034_5065n);
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_BATCH_FLUSH))).toBe(false);
    expect([scene.pte(mm, a), scene.pte(child.vm_mm, a)]).toEqual([0x1d_c080n, 0x8000_0000_0034_5045n]);
    expect(mem_map._mapcount[PFN]).toBe(0);
  });
});

describe("PROT_NONE", () => {
  test("is unmapped like a present entry, without a flush: no CPU can have cached it", () => {
    const { scene, kernel, mm } = anon({ entry: 0x0000_0000_0034_5940n });
    const trace = attach(scene);
    expect(kernel.run(try_to_unmap(kernel, PFN, 0))).toBe(true);
    expect(trace.toString()).toBe(
      "L+ NY[a,+4K) FC X(0x0000000000345940) SPD SD S(0x00000000001dc080) RM PP NP(a) L-",
    );
    expect(scene.pte(mm, a)).toBe(0x1d_c080n);
  });
});

describe("file pages", () => {
  test.each([
    ["of a disk file", false, MM_FILEPAGES],
    ["of shared memory", true, MM_SHMEMPAGES],
  ])(
    "%s: the slot stays empty, a dirty entry marks the page before the mapping is gone",
    (_what, swapBacked, counter) => {
      const scene = new Scene();
      const { kernel } = scene;
      const mm = scene.mm();
      const vma = scene.vma(mm, {
        at: a,
        length: 0x1000,
        file: scene.file("f", { swapBacked }),
        shared: true,
      });
      scene.mapFile(vma, a, scene.page(PFN), 0x8000_0000_0034_5867n);
      expect(mm.rss_stat[counter]).toBe(1);
      const trace = attach(scene, { names: { a }, also: ["rss"] });
      expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(true);
      expect(trace.toString()).toBe(`L+ FC X(0x8000000000345867) F[a,+4K) SPD rss(${counter}-1) RM PP L-`);
      expect([scene.pte(mm, a), mm.rss_stat[counter], kernel.mem_map._refcount[PFN]]).toEqual([0n, 0, 2]);
    },
  );
});

describe("poison", () => {
  test("IGNORE_HWPOISON: a poisoned page in the swap cache gets an ordinary swap entry", () => {
    const { scene, kernel, mem_map, mm } = anon();
    mem_map.SetPageHWPoison(PFN);
    kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS | TTU_IGNORE_HWPOISON));
    expect(scene.pte(mm, a)).toBe(0x1d_c080n);
  });

  test("poison comes before every other branch, migration included", () => {
    const { scene, kernel, mem_map, mm } = anon();
    mem_map.SetPageHWPoison(PFN);
    kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS | TTU_MIGRATION));
    expect(scene.pte(mm, a)).toBe((0x345n << 14n) | (29n << 9n));
    expect([mm.rss_stat[MM_ANONPAGES], mm.rss_stat[MM_SWAPENTS]]).toEqual([0, 0]);
  });
});

describe("a swap-backed page outside the swap cache is a kernel bug: the mapping is lost, its counts are kept", () => {
  const LOST = "L+ FC X(0x8000000000345847) F[a,+4K) SPD";
  const expected = {
    a0: `${LOST} L-`,
    c: `${LOST} L-`,
    b: `${LOST} L-`,
    d: `NS[a,+4K) ${LOST} L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${LOST} NR[a,+4K) L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm } = anon({ notifiers, inSwapCache: false });
    const trace = attach(scene);
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(false);
    expect(trace.toString()).toBe(expected[notifiers]);
    expect([scene.pte(mm, a), mem_map._mapcount[PFN], mm.rss_stat[MM_ANONPAGES]]).toEqual([0n, 0, 1]);
  });
});

describe("what hardware does until the exchange counts", () => {
  test("a store between the look at the entry and the exchange marks the page dirty", () => {
    const { scene, kernel, mm, mem_map } = anon({ entry: 0x8000_0000_0034_5007n });
    mem_map.clearFlag(PFN, PG.dirty);
    kernel.contended = true;
    const thread = try_to_unmap(kernel, PFN, TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS);
    let entries = 0;
    for (const { kind } of thread) {
      // The second such step is the exchange; the entry was clean until here.
      if (kind === "entry" && ++entries === 2) kernel.machine.cpu(1).store(a, 0x2a);
    }
    expect([mem_map.PageDirty(PFN), kernel.current.tlb_ubc.writable]).toEqual([true, true]);
    expect(scene.pte(mm, a)).toBe(0x1d_c000n);
  });
});

describe("a THP mapped by ptes", () => {
  function split(notifiers: string, start = a, end = a + 0x20_0000) {
    const scene = new Scene({ notifiers });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: start, length: end - start });
    scene.compoundPage(HEAD);
    return { scene, kernel: scene.kernel, mem_map: scene.kernel.mem_map, mm, vma };
  }
  /** Notifier words only, and how often each came. */
  function notified(trace: Trace): string[] {
    return trace.words.filter((word) => /^N[SERP]/.test(word));
  }
  const FLAGS = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS;

  test("6.7 bug 2: b tells 512 bytes for 2 MiB", () => {
    const { scene, kernel, mm, vma } = split("b");
    scene.mapSubpages(vma, a, HEAD, 512, 0x40_0027n);
    scene.listen(mm, "I", {});
    const trace = attach(scene);
    kernel.run(try_to_unmap(kernel, HEAD, FLAGS));
    expect(notified(trace)).toEqual(["NR[a,+512)"]);
  });

  test.each([
    ["b", ["NR[0x7f0000280000,+512)"]],
    ["d", ["NS[0x7f0000280000,+2M)", ...Array(384).fill("NR"), "NE[0x7f0000280000,+2M)"]],
    ["e1", ["NS[0x7f0000280000,+2M)", "NE[0x7f0000280000,+2M)"]],
  ])("6.7 bug 3: with the head cut off by the vma, %s starts at vm_start", (notifiers, expected) => {
    const { scene, kernel, mm, vma } = split(notifiers, a + 0x8_0000, a + 0x40_0000);
    scene.mapSubpages(vma, a + 0x8_0000, HEAD + 128, 384, 0x48_0027n);
    scene.listen(mm, "I", {});
    const trace = attach(scene);
    kernel.run(try_to_unmap(kernel, HEAD, FLAGS));
    expect(notified(trace).map((word) => word.replace(/^NR.*,\+4K\)$/, "NR"))).toEqual(expected);
  });

  test("d clips its range at vm_end", () => {
    const { scene, kernel, mm, vma } = split("d", a, a + 0x3000);
    scene.mapSubpages(vma, a, HEAD, 3, 0x40_0027n);
    scene.listen(mm, "I", {});
    const trace = attach(scene);
    kernel.run(try_to_unmap(kernel, HEAD, FLAGS));
    expect(notified(trace)).toEqual([
      "NS[a,+12K)",
      "NR[a,+4K)",
      "NR[0x7f0000201000,+4K)",
      "NR[0x7f0000202000,+4K)",
      "NE[a,+12K)",
    ]);
  });

  test("a0 calls invalidate_page for each entry once the walk has dropped the lock", () => {
    const { scene, kernel, mm, vma } = split("a0");
    scene.mapSubpages(vma, a, HEAD, 3, 0x40_0027n);
    scene.listen(mm, "I", {});
    const trace = attach(scene);
    kernel.run(try_to_unmap(kernel, HEAD, FLAGS));
    expect(trace.words.slice(-4)).toEqual(["L-", "NP(a)", "NP(0x7f0000201000)", "NP(0x7f0000202000)"]);
  });

  test("each subpage's own frame goes into its entry", () => {
    const { scene, kernel, mm, vma } = split("c");
    scene.mapSubpages(vma, a, HEAD, 4, 0x40_0027n);
    kernel.run(try_to_unmap(kernel, HEAD, FLAGS));
    const entries = [0, 1, 2, 3].map((i) => scene.pte(mm, a + i * 4096));
    expect(entries).toEqual([0, 1, 2, 3].map((i) => (BigInt(HEAD + i) << 14n) | (31n << 9n)));
  });

  test("W7: the answer looks at the first subpage only, although others are still mapped", () => {
    const { scene, kernel, mem_map, vma } = split("c");
    scene.mapSubpages(vma, a, HEAD, 4, 0x40_0007n);
    scene.putInSwapCache(HEAD, 0x400);
    let duplicated = 0;
    kernel.attach((record) => {
      if (record.kind === "swap-duplicated" && ++duplicated === 2) kernel.swap.failDuplicates = 1;
    });
    expect(kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_ACCESS))).toBe(true);
    expect(mem_map.total_mapcount(HEAD)).toBe(2);
  });

  test("in a locked vma its page is not moved to the unevictable ones", () => {
    const { scene, kernel, mem_map, vma } = split("c");
    vma.vm_flags |= VM_LOCKED;
    scene.mapSubpages(vma, a, HEAD, 1, 0x40_0007n);
    expect(kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_ACCESS))).toBe(false);
    expect(mem_map.PageMlocked(HEAD)).toBe(false);
  });
});

describe("TTU_SPLIT_HUGE_PMD", () => {
  function huge(notifiers = "c") {
    const scene = new Scene({ notifiers });
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: a, length: 0x20_0000 });
    scene.mapHugeAnon(vma, a, scene.compoundPage(HEAD), 0x8000_0000_0040_08c7n);
    scene.listen(mm, "K", {});
    return { scene, kernel, mem_map: kernel.mem_map, mm, vma };
  }

  test("without it a pmd mapping is a bug", () => {
    const { kernel } = huge();
    expect(() => kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_ACCESS))).toThrow(
      /mapped by a pmd: split it first/,
    );
  });

  test("the pmd is split, then its 512 ptes go to swap", () => {
    const { scene, kernel, mem_map, mm } = huge();
    scene.putInSwapCache(HEAD, 0x400);
    expect(kernel.run(try_to_unmap(kernel, HEAD, TTU_SPLIT_HUGE_PMD | TTU_IGNORE_ACCESS))).toBe(true);
    expect([mem_map.total_mapcount(HEAD), mem_map._refcount[HEAD]]).toEqual([0, 1 + 512]);
    expect([mm.rss_stat[MM_ANONPAGES], mm.rss_stat[MM_SWAPENTS]]).toEqual([0, 512]);
    expect(scene.pte(mm, a + 511 * 4096)).toBe((BigInt(0x400 + 511) << 14n) | 0x80n);
    expect(new Set(kernel.swap.swap_map.subarray(0x400, 0x600))).toEqual(new Set([0x41]));
  });

  test("with MIGRATION the split itself freezes: the walk after it finds nothing", () => {
    const { scene, kernel, mem_map, mm } = huge("d");
    const trace = attach(scene);
    const flags = TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS | TTU_RMAP_LOCKED | TTU_SPLIT_HUGE_PMD | TTU_MIGRATION;
    expect(kernel.run(try_to_unmap(kernel, HEAD, flags))).toBe(true);
    expect([mem_map.total_mapcount(HEAD), mem_map._refcount[HEAD]]).toEqual([0, 1]);
    expect(scene.pte(mm, a + 0x3000)).toBe((BigInt(HEAD + 3) << 14n) | (31n << 9n) | 0x80n);
    // The split has its own brackets, inside which listeners are zapped; then come those of the walk.
    expect(trace.words.filter((word) => /^N/.test(word))).toEqual([
      "NS[a,+2M)",
      "NE[a,+2M)",
      "NS[a,+2M)",
      "NE[a,+2M)",
    ]);
  });
});

describe("hugetlb", () => {
  function hugetlb(entry = 0x8000_0000_0040_08e7n) {
    const scene = new Scene({ notifiers: "d" });
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: a, length: 0x20_0000 });
    scene.mapHugetlb(vma, a, scene.compoundPage(HEAD, 9, true), entry);
    return { scene, kernel, mem_map: kernel.mem_map, mm };
  }

  test("migration: one entry in the pmd slot, hugetlb_usage untouched; the call is told as 4 KiB", () => {
    const { scene, kernel, mem_map, mm } = hugetlb();
    scene.listen(mm, "I", {});
    const trace = attach(scene);
    const flags = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS;
    expect(kernel.run(try_to_unmap(kernel, HEAD, flags))).toBe(true);
    expect(scene.pmd(mm, a)).toBe((0x400n << 14n) | (31n << 9n) | 0x80n);
    expect([mm.hugetlb_usage, mem_map.compound_mapcount[HEAD], mem_map._refcount[HEAD]]).toEqual([
      512, -1, 1,
    ]);
    expect(trace.words.filter((word) => /^(N|F\[)/.test(word))).toEqual([
      "NS[a,+2M)",
      "F[a,+4K)",
      "NR[a,+4K)",
      "NE[a,+2M)",
    ]);
  });

  test("poison: hugetlb_usage goes down by 512, rss not at all", () => {
    const { scene, kernel, mem_map, mm } = hugetlb();
    mem_map.SetPageHWPoison(HEAD);
    expect(kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS))).toBe(true);
    expect([scene.pmd(mm, a), mm.hugetlb_usage]).toEqual([(0x400n << 14n) | (29n << 9n), 0]);
    expect(Array.from(mm.rss_stat)).toEqual([0, 0, 0, 0]);
  });
});

describe("a stack that exec is still building", () => {
  const SETUP = VM_GROWSDOWN | VM_RAND_READ | VM_SEQ_READ;
  test("is skipped by migration, which must not fail there, and only by migration", () => {
    const flags = TTU_MIGRATION | TTU_IGNORE_ACCESS;
    const building = anon({ flags: SETUP });
    expect(building.kernel.run(try_to_unmap(building.kernel, PFN, flags))).toBe(false);
    expect(building.scene.pte(building.mm, a)).toBe(OLD_DIRTY);
    expect(building.kernel.run(try_to_unmap(building.kernel, PFN, TTU_IGNORE_ACCESS))).toBe(true);
    const ready = anon({ flags: VM_GROWSDOWN });
    expect(ready.kernel.run(try_to_unmap(ready.kernel, PFN, flags))).toBe(true);
  });
});

describe("try_to_munlock", () => {
  test.each(PROTOCOLS)("63, protocol %s: marks the page and changes no entry, not even A", (notifiers) => {
    const { scene, kernel, mem_map, mm } = anon({
      notifiers,
      flags: VM_LOCKED,
      entry: 0x8000_0000_0034_5867n,
    });
    const trace = attach(scene, { names: { a }, also: ["rmw"] });
    kernel.run(try_to_munlock(kernel, PFN));
    const brackets = notifiers === "d" || notifiers === "e1";
    // W14: d and e1 make listeners zap although nothing changes.
    expect(trace.toString()).toBe(
      brackets ? "NS[a,+4K) L+ mlock_vma_page L- NE[a,+4K)" : "L+ mlock_vma_page L-",
    );
    expect([mem_map.PageMlocked(PFN), scene.pte(mm, a)]).toEqual([true, 0x8000_0000_0034_5867n]);
  });

  test("a vma that is not locked is left before anybody is told", () => {
    const { scene, kernel, mem_map } = anon({ notifiers: "d" });
    const trace = attach(scene);
    kernel.run(try_to_munlock(kernel, PFN));
    expect([trace.toString(), mem_map.PageMlocked(PFN)]).toEqual(["", false]);
  });
});

test("51: the page must be locked", () => {
  const { kernel, mem_map } = anon();
  mem_map.ClearPageLocked(PFN);
  expect(() => kernel.run(try_to_unmap(kernel, PFN, 0))).toThrow(
    /try_to_unmap of frame 837, which is not locked/,
  );
  expect(() => kernel.run(try_to_munlock(kernel, PFN))).toThrow(/try_to_munlock of frame 837/);
});
