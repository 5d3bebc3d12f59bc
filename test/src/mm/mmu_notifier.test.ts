import { describe, expect, test } from "vitest";
import { Linear, NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { type KernelThread, step } from "../../../arch/x86/mm/step.ts";
import {
  mm_has_notifiers,
  mmu_notifier_clear_flush_young,
  mmu_notifier_clear_young,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_release,
  mmu_notifier_test_young,
  mmu_notifier_unregister,
} from "../../../src/mm/mmu_notifier.ts";
import { notifierProtocol } from "../../../src/mm/notifier-protocol.ts";
import { ensurePmdSlot, pteSlot, pudSlot } from "../../../src/mm/page-table.ts";
import {
  pmdp_clear_young_notify,
  ptep_clear_flush_notify,
  ptep_clear_flush_young_notify,
  ptep_clear_young_notify,
  pudp_huge_clear_flush_notify,
  set_pte_at_notify,
} from "../../../src/mm/ptep_notify.ts";
import type { NotifierOp } from "../../../src/mm/records.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS } from "../../../src/mm/ttu-flags.ts";
import { Scene } from "../../support/scene.ts";
import { advance } from "../../support/steps.ts";
import { Trace } from "../../support/trace.ts";

const at = Linear.of(0x7f00_0020_0000);
const END = Linear.of(at + 4096);

/** A listener that writes down its calls and answers `young`. */
function ops(calls: string[], name: string, young = false) {
  const note = (what: string) => {
    calls.push(`${name} ${what}`);
    return young;
  };
  return {
    release: () => void note("release"),
    clear_flush_young: () => note("clear_flush_young"),
    clear_young: () => note("clear_young"),
    test_young: () => note("test_young"),
    invalidate_range_start: () => void note("start"),
    invalidate_range_end: () => void note("end"),
  };
}

describe("listeners", () => {
  test("the newest is called first; a method that is missing is skipped", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const calls: string[] = [];
    scene.listen(mm, "first", ops(calls, "first"));
    scene.listen(mm, "empty", {});
    scene.listen(mm, "last", ops(calls, "last"));
    scene.kernel.run(mmu_notifier_invalidate_range_start(mm, at, END));
    scene.kernel.run(mmu_notifier_invalidate_range_end(mm, at, END));
    expect(calls).toEqual(["last start", "first start", "last end", "first end"]);
  });

  test("aging asks everybody and ORs the answers; test_young stops at the first yes", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const calls: string[] = [];
    scene.listen(mm, "third", ops(calls, "third"));
    scene.listen(mm, "second", ops(calls, "second", true));
    scene.listen(mm, "first", ops(calls, "first"));
    expect(mmu_notifier_clear_flush_young(mm, at, END)).toBe(true);
    expect(mmu_notifier_clear_young(mm, at, END)).toBe(true);
    expect(mmu_notifier_test_young(mm, at)).toBe(true);
    expect(calls.map((call) => call.split(" ")[0])).toEqual([
      ...["first", "second", "third"],
      ...["first", "second", "third"],
      ...["first", "second"],
    ]);
  });

  test("a callback that sleeps is a thread: its steps are the caller's", () => {
    const scene = new Scene();
    const mm = scene.mm();
    scene.listen(mm, "sleeper", {
      *invalidate_range_start(): KernelThread<void> {
        yield step("lock", NONE);
      },
    });
    const thread = mmu_notifier_invalidate_range_start(mm, at, END);
    expect([advance(thread), advance(thread)]).toEqual(["lock", "end"]);
  });

  test("an mm without listeners reports no call at all", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const trace = new Trace();
    scene.kernel.attach(trace.observer);
    scene.kernel.run(mmu_notifier_invalidate_range_start(mm, at, END));
    expect([trace.toString(), mm_has_notifiers(mm)]).toEqual(["", false]);
  });
});

describe("the end", () => {
  test("unregister: release, then silence; the mm stays one that had listeners", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const calls: string[] = [];
    const listener = scene.listen(mm, "K", ops(calls, "K"));
    scene.kernel.run(mmu_notifier_unregister(listener, mm));
    mmu_notifier_test_young(mm, at);
    expect([calls, mm_has_notifiers(mm)]).toEqual([["K release"], true]);
  });

  test("71: the mm's own release reaches every listener before any is removed, and nothing comes after it", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const calls: string[] = [];
    scene.listen(mm, "other", ops(calls, "other"));
    // Its release looks at the mm once more: the other listener must still be there to be asked.
    const listener = scene.listen(mm, "K", {
      ...ops(calls, "K"),
      release: () => {
        calls.push("K release");
        mmu_notifier_test_young(mm, at);
      },
    });
    scene.kernel.run(mmu_notifier_release(mm));
    mmu_notifier_test_young(mm, at);
    // A driver that unregisters afterwards, as they do, is not told twice.
    scene.kernel.run(mmu_notifier_unregister(listener, mm));
    expect(calls).toEqual(["K release", "K test_young", "other test_young", "other release"]);
  });

  test("unregistering where nobody ever registered is a bug", () => {
    const scene = new Scene();
    const listener = scene.listen(scene.mm("one"), "K", {});
    const unregister = mmu_notifier_unregister(listener, scene.mm("two"));
    expect(() => scene.kernel.run(unregister)).toThrow(/K is not registered with two/);
  });
});

describe("wrappers", () => {
  function mapped() {
    const scene = new Scene();
    const mm = scene.mm();
    const vma = scene.vma(mm, { at, length: 0x1000, shared: true });
    scene.plantPte(mm, at, 0x34_5027n);
    scene.listen(mm, "K", {});
    const trace = new Trace({ names: { at }, also: ["rmw"] });
    scene.kernel.attach(trace.observer);
    return { scene, kernel: scene.kernel, mm, vma, slot: pteSlot(mm, at), trace };
  }

  test("ptep_clear_flush_notify: exchange, CPU flush, then the listeners (70)", () => {
    const { kernel, vma, slot, trace } = mapped();
    kernel.run(ptep_clear_flush_notify(vma, at, slot));
    expect(trace.toString()).toBe("X(0x0000000000345027) F[at,+4K) NR[at,+4K)");
  });

  test("set_pte_at_notify: the listeners learn the new entry before the CPUs can (18)", () => {
    const { mm, slot, trace, scene } = mapped();
    scene.kernel.plantEntry(slot, new Entry(0, 0));
    set_pte_at_notify(mm, at, slot, Entry.fromBigInt(0x8000_0000_0067_8867n));
    expect(trace.toString()).toBe("NC(at) S(0x8000000000678867)");
  });

  test("ptep_clear_flush_young_notify asks the listeners even if the CPU's entry was young", () => {
    const { vma, slot, trace } = mapped();
    expect([
      ptep_clear_flush_young_notify(vma, at, slot),
      ptep_clear_flush_young_notify(vma, at, slot),
    ]).toEqual([true, false]);
    expect(trace.toString()).toBe("A- NY[at,+4K) NY[at,+4K)");
  });
});

describe("aging without a flush: clear_young", () => {
  const h = Linear.of(0x7f00_0020_0000);
  const a = Linear.of(h + 0x20_0000);
  test.each([
    ["young for the CPU only", 0x40_08e7n, false, [true, false], "A- NYC"],
    ["young for the listener only", 0x40_08c7n, true, [true, true], "NYC"],
    ["old", 0x40_08c7n, false, [false, false], "NYC"],
  ])("%s: the listeners are asked whatever the CPU's entry said", (_what, entry, answer, young, words) => {
    const scene = new Scene();
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: h, length: 0x40_0000 });
    const pmdp = ensurePmdSlot(mm, h);
    kernel.plantEntry(pmdp, Entry.fromBigInt(entry));
    scene.plantPte(mm, a, entry & ~0x80n);
    const ptep = pteSlot(mm, a);
    scene.listen(mm, "K", { clear_young: () => answer });
    const trace = new Trace({ names: { h, a }, also: ["rmw"] });
    kernel.attach(trace.observer);
    expect([pmdp_clear_young_notify(vma, h, pmdp), pmdp_clear_young_notify(vma, h, pmdp)]).toEqual(young);
    expect(trace.take()).toBe(`${words}[h,+2M) NYC[h,+2M)`);
    expect(ptep_clear_young_notify(vma, a, ptep)).toBe(young[0]);
    expect(trace.take()).toBe(`${words}[a,+4K)`);
  });
});

describe("12: which callbacks find a page-table lock held", () => {
  test.each([
    ["a0", { invalidate_page: 0 }],
    ["c", { invalidate_page: 1 }],
    ["b", { invalidate_range: 0 }],
    ["d", { invalidate_range_start: 0, invalidate_range: 1, invalidate_range_end: 0 }],
    ["e1", { invalidate_range_start: 0, invalidate_range: 1, invalidate_range_end: 0 }],
  ])("protocol %s", (notifiers, expected) => {
    const scene = new Scene({ notifiers });
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at, length: 0x1000 });
    scene.mapAnon(vma, at, scene.page(0x345), 0x8000_0000_0034_5067n);
    scene.putInSwapCache(0x345, 0x77);
    scene.listen(mm, "all", {
      invalidate_page() {},
      invalidate_range_start() {},
      invalidate_range_end() {},
      invalidate_range() {},
    });
    const held: Partial<Record<NotifierOp, number>> = {};
    kernel.attach((record) => {
      if (record.kind === "listener-called") held[record.op] = Math.max(held[record.op] ?? 0, record.locks);
    });
    kernel.run(try_to_unmap(kernel, Pfn.of(0x345), TTU_IGNORE_ACCESS));
    expect(held).toEqual(expected);
  });
});

describe("protocols by name", () => {
  test("a1 is the same code as c; an unknown name lists the known ones", () => {
    expect(notifierProtocol("a1")).toBe(notifierProtocol("c"));
    expect(() => notifierProtocol("z")).toThrow(/"z".*a0, a1 \(= c\), c, b, d, e1/);
  });
});

describe("listeners that come and go while a callback sleeps", () => {
  function sleeping() {
    const scene = new Scene();
    const mm = scene.mm();
    const calls: string[] = [];
    const last = scene.listen(mm, "last", ops(calls, "last"));
    scene.listen(mm, "sleeper", {
      *invalidate_range_end(): KernelThread<void> {
        calls.push("sleeper end");
        yield step("lock", NONE);
      },
    });
    return { scene, mm, calls, last };
  }

  test("one that was released meanwhile hears no more; one that came is not called for what began before", () => {
    const { scene, mm, calls, last } = sleeping();
    const end = mmu_notifier_invalidate_range_end(mm, at, END);
    expect(advance(end)).toBe("lock");
    scene.listen(mm, "new", ops(calls, "new"));
    scene.kernel.run(mmu_notifier_unregister(last, mm));
    expect(end.next().done).toBe(true);
    expect(calls).toEqual(["sleeper end", "last release"]);
  });

  test("removing the one that is being called skips nobody", () => {
    const { scene, mm, calls } = sleeping();
    const sleeper = mm.mmu_notifier_mm!.list[0]!.mn;
    const end = mmu_notifier_invalidate_range_end(mm, at, END);
    end.next();
    scene.kernel.run(mmu_notifier_unregister(sleeper, mm));
    end.next();
    expect(calls).toEqual(["sleeper end", "last end"]);
  });

  test("none can register between a range_start and its range_end, even as the first", () => {
    const scene = new Scene();
    const mm = scene.mm();
    scene.kernel.run(mmu_notifier_invalidate_range_start(mm, at, END));
    expect(() => scene.listen(mm, "K", {})).toThrow(
      /K registers with mm0 between a range_start and its range_end/,
    );
    scene.kernel.run(mmu_notifier_invalidate_range_end(mm, at, END));
    scene.listen(mm, "K", {});
    expect(mm.mmu_notifier_mm?.list).toHaveLength(1);
  });

  test("release may sleep: its steps are those of whoever unregisters, or ends the mm", () => {
    const scene = new Scene();
    const mm = scene.mm();
    const release = function* (): KernelThread<void> {
      yield step("lock", NONE);
    };
    const first = scene.listen(mm, "first", { release });
    scene.listen(mm, "second", { release });
    const unregister = mmu_notifier_unregister(first, mm);
    expect([advance(unregister), advance(unregister)]).toEqual(["lock", "end"]);
    const end = mmu_notifier_release(mm);
    expect([advance(end), advance(end), mm.mmu_notifier_mm?.list.length]).toEqual(["lock", "end", 0]);
  });
});

test("pudp_huge_clear_flush_notify: exchange, a flush and a call of 1 GiB", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const mm = scene.mm();
  const g = Linear.of(0x7f00_4000_0000);
  const vma = scene.vma(mm, { at: g, length: 0x4000_0000 });
  ensurePmdSlot(mm, g);
  const pudp = pudSlot(mm, g);
  kernel.plantEntry(pudp, Entry.fromBigInt(0x8000_0000_4000_00e7n));
  scene.listen(mm, "K", {});
  const trace = new Trace({ names: { g } });
  kernel.attach(trace.observer);
  expect(kernel.run(pudp_huge_clear_flush_notify(vma, g, pudp)).toBigInt()).toBe(0x8000_0000_4000_00e7n);
  expect(trace.toString()).toBe("X(0x80000000400000e7) F(full) NR[g,+1024M)");
  const again = (address: Linear) => kernel.run(pudp_huge_clear_flush_notify(vma, address, pudp));
  expect(() => again(g)).toThrow(/give the slot of a huge pud/);
  expect(() => again(Linear.of(g + 0x20_0000))).toThrow(/give a multiple of 1 GiB/);
});
