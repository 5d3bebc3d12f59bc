import { describe, expect, test } from "vitest";
import { Linear, Pfn, type Slot } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import * as ptep from "../../../../arch/x86/mm/ptep.ts";
import type { KernelThread, Step } from "../../../../arch/x86/mm/step.ts";
import { ensurePmdSlot, pmdSlot, pteSlot } from "../../../../src/mm/page-table.ts";
import type { MmRecord } from "../../../../src/mm/records.ts";
import { Scene } from "../../../support/scene.ts";
import { Trace } from "../../../support/trace.ts";

/*
 * The steps of each primitive. Two CPUs run the mm and have the page in their TLBs, which keep
 * everything that no instruction makes them drop; so a flush that is missing or not called for shows.
 */
const a = Linear.of(0x7f00_0020_1000);
const h = Linear.of(0x7f00_0020_0000);
const PFN = 0x345;

function mapped(entry = 0x8000_0000_0034_5027n) {
  const scene = new Scene();
  const { kernel, machine } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: h, length: 0x40_0000, shared: true });
  scene.plantPte(mm, a, entry);
  const slot = pteSlot(mm, a);
  const trace = new Trace({ names: { a, h }, also: ["rmw"] });
  const fill = (write = false) => {
    for (const cpu of machine.cpus) expect(write ? cpu.store(a, 1) : cpu.load(a)).toMatchObject({ ok: true });
    kernel.attach(trace.observer);
  };
  const cached = () => machine.cpus.map((cpu) => cpu.tlb.entries().length);
  return { scene, kernel, machine, mm, vma, slot, trace, fill, cached, pte: () => scene.pte(mm, a) };
}

/** As `mapped`, by a huge pmd at h for frame 0x400. */
function hugeMapped(entry = 0x8000_0000_0040_08e7n) {
  const scene = new Scene();
  const { kernel, machine } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: h, length: 0x20_0000 });
  kernel.plantEntry(ensurePmdSlot(mm, h), Entry.fromBigInt(entry));
  for (const cpu of machine.cpus) cpu.load(h + 0x1238);
  const trace = new Trace({ names: { h }, also: ["rmw"] });
  kernel.attach(trace.observer);
  const cached = () => machine.cpus.map((cpu) => cpu.tlb.entries().length);
  return {
    scene,
    kernel,
    machine,
    mm,
    vma,
    slot: pmdSlot(mm, h),
    trace,
    cached,
    pmd: () => scene.pmd(mm, h),
  };
}

/** Drives a thread step by step, calling `at` before each step is taken. */
function drive<T>(thread: KernelThread<T>, at: (step: Step) => void): T {
  for (;;) {
    const next = thread.next();
    if (next.done) return next.value;
    at(next.value);
  }
}

describe("stores", () => {
  test("set_pte_at is one store; CPUs go on with what they cached", () => {
    const { mm, slot, trace, fill, cached, pte } = mapped();
    fill();
    ptep.set_pte_at(mm, a, slot, Entry.fromBigInt(0x8000_0000_0034_6027n));
    expect(trace.toString()).toBe("S(0x8000000000346027)");
    expect([pte(), cached()]).toEqual([0x8000_0000_0034_6027n, [1, 1]]);
  });

  test("pmd_populate stores the table's address with 0x67", () => {
    const { scene, mm, slot, trace, kernel } = hugeMapped(0n);
    ptep.pmd_populate(mm, slot, Pfn.of(0x777));
    expect(trace.toString()).toBe("S(0x0000000000777067)");
    ptep.pmd_populate(mm, slot, Pfn.of(0x3_f000_0777));
    expect(scene.pmd(mm, h)).toBe(0x3f_0000_7770_67n | (0x3_f000_0777n << 12n) | 0x67n);
    expect(kernel.machine.cpu(0).tlb.entries()).toEqual([]);
  });
});

test("pte_clear and pte_clear_not_present_full store zero and flush nothing", () => {
  const { mm, slot, trace, fill, cached, pte } = mapped();
  fill();
  ptep.pte_clear(mm, a, slot);
  expect(trace.take()).toBe("X(0x8000000000345027)");
  expect([pte(), cached()]).toEqual([0n, [1, 1]]);
  // A swap entry that goes away with its mm: there is nothing that a CPU could have cached.
  ptep.set_pte_at(mm, a, slot, Entry.fromBigInt(0x48d_0200n));
  trace.take();
  ptep.pte_clear_not_present_full(mm, a, slot, true);
  expect([pte(), trace.take()]).toEqual([0n, "X(0x00000000048d0200)"]);
});

describe("ptep_get_and_clear", () => {
  test("returns the old entry with the A and D that the walkers set until that instant", () => {
    const { mm, machine, slot, trace, fill, cached, pte } = mapped(0x8000_0000_0034_5007n);
    fill(true);
    const old = ptep.ptep_get_and_clear(mm, a, slot);
    expect(old.toBigInt()).toBe(0x8000_0000_0034_5067n);
    expect(trace.toString()).toBe("X(0x8000000000345067)");
    expect([pte(), cached()]).toEqual([0n, [1, 1]]);
    // D is cached: the store still lands although the entry is gone.
    expect(machine.cpu(1).store(a, 0x2a)).toMatchObject({ ok: true, physical: PFN * 4096 });
  });
});

test.each([false, true])("ptep_get_and_clear_full(%s) returns the old entry and leaves none", (full) => {
  const { mm, slot, trace, fill, pte } = mapped();
  fill();
  expect(ptep.ptep_get_and_clear_full(mm, a, slot, full).toBigInt()).toBe(0x8000_0000_0034_5027n);
  expect([pte(), trace.toString()]).toEqual([0n, "X(0x8000000000345027)"]);
});

test.each([false, true])("pmdp_huge_get_and_clear_full(%s) is an exchange without a flush", (full) => {
  const { mm, slot, trace, cached, pmd } = hugeMapped();
  expect(ptep.pmdp_huge_get_and_clear_full(mm, h, slot, full).toBigInt()).toBe(0x8000_0000_0040_08e7n);
  expect([pmd(), trace.toString(), cached()]).toEqual([0n, "X(0x80000000004008e7)", [1, 1]]);
});

describe("ptep_set_wrprotect", () => {
  test("clears RW by a read-modify-write and does not flush", () => {
    const { mm, machine, slot, trace, fill, pte } = mapped();
    fill(true);
    ptep.ptep_set_wrprotect(mm, a, slot);
    expect(trace.toString()).toBe("W-");
    expect(pte()).toBe(0x8000_0000_0034_5065n);
    expect(machine.cpu(0).store(a, 1)).toMatchObject({ ok: true });
  });
});

describe("aging", () => {
  test("ptep_clear_flush_young clears A and, on x86, does not flush", () => {
    const { vma, machine, slot, trace, fill, cached, pte } = mapped();
    fill();
    expect(ptep.ptep_clear_flush_young(vma, a, slot)).toBe(true);
    expect(trace.toString()).toBe("A-");
    expect([pte(), cached()]).toEqual([0x8000_0000_0034_5007n, [1, 1]]);
    // In use through the cached translation, and yet idle to the next look.
    machine.cpu(0).load(a);
    expect(ptep.ptep_clear_flush_young(vma, a, slot)).toBe(false);
  });

  test("ptep_test_and_clear_young of an old entry writes nothing", () => {
    const { vma, slot, trace, kernel } = mapped(0x8000_0000_0034_5007n);
    kernel.attach(trace.observer);
    expect(ptep.ptep_test_and_clear_young(vma, a, slot)).toBe(false);
    expect(trace.toString()).toBe("");
  });

  test("pmdp_test_and_clear_young clears A of a huge pmd and does not flush", () => {
    const { vma, slot, trace, cached, pmd } = hugeMapped();
    expect([
      ptep.pmdp_test_and_clear_young(vma, h, slot),
      ptep.pmdp_test_and_clear_young(vma, h, slot),
    ]).toEqual([true, false]);
    expect([pmd(), trace.toString(), cached()]).toEqual([0x8000_0000_0040_08c7n, "A-", [1, 1]]);
  });

  test("pmdp_clear_flush_young flushes 2M, that is everything, and only if the entry was young", () => {
    const { vma, kernel, slot, trace, cached, pmd } = hugeMapped();
    expect(kernel.run(ptep.pmdp_clear_flush_young(vma, h, slot))).toBe(true);
    expect(trace.take()).toBe("A- F(full)");
    expect([pmd(), cached()]).toEqual([0x8000_0000_0040_08c7n, [0, 0]]);
    expect(kernel.run(ptep.pmdp_clear_flush_young(vma, h, slot))).toBe(false);
    expect(trace.take()).toBe("");
    expect(() => kernel.run(ptep.pmdp_clear_flush_young(vma, a, slot))).toThrow(/0x7f0000201000.*2 MiB/);
  });
});

describe("ptep_clear_flush", () => {
  test("(1) exchange (2) one-page flush on every CPU", () => {
    const { vma, kernel, slot, trace, fill, cached, pte } = mapped();
    fill();
    expect(kernel.run(ptep.ptep_clear_flush(vma, a, slot)).toBigInt()).toBe(0x8000_0000_0034_5027n);
    expect(trace.toString()).toBe("X(0x8000000000345027) F[a,+4K)");
    expect([pte(), cached()]).toEqual([0n, [0, 0]]);
  });

  test.each([
    ["PROT_NONE, nobody changes protections", 0x0034_5120n, 0, ""],
    ["PROT_NONE while a batched change has not flushed", 0x0034_5120n, 1, " F[a,+4K)"],
    ["a swap entry", 0x048d_0200n, 1, ""],
    ["present", 0x0034_5025n, 0, " F[a,+4K)"],
  ])("%s: flush or not", (_what, entry, pending, flush) => {
    const { vma, mm, kernel, slot, trace } = mapped(entry);
    kernel.attach(trace.observer);
    mm.tlb_flush_pending = pending;
    kernel.run(ptep.ptep_clear_flush(vma, a, slot));
    expect(trace.words.slice(1).join("")).toBe(flush.trim());
  });

  test("the empty slot is visible before the flush; until the flush ends other CPUs may use the old entry", () => {
    const { vma, mm, kernel, machine, slot, fill, pte } = mapped();
    fill(true);
    kernel.contended = true;
    const seen: string[] = [];
    drive(ptep.ptep_clear_flush(vma, a, slot), ({ kind, object }) => {
      const cpu1 = machine.cpu(1).store(a, 1).ok ? "stores" : "faults";
      seen.push(`${kind} ${object}: entry ${pte()}, CPU 1 ${cpu1}`);
      if (kind === "ipi-wait") machine.cpu(1).handleIpis();
    });
    seen.push(`end: CPU 1 ${machine.cpu(1).store(a, 1).ok ? "stores" : "faults"}`);
    expect(seen).toEqual([
      `flush ${mm.id}: entry 0, CPU 1 stores`,
      "ipi-wait 1: entry 0, CPU 1 stores",
      "end: CPU 1 faults",
    ]);
  });
});

describe("ptep_set_access_flags", () => {
  const OLD = 0x8000_0000_0034_5025n;
  test.each([
    ["equal, dirty", OLD, true, false, OLD],
    ["different, dirty", OLD | 0x42n, true, true, OLD | 0x42n],
    ["different, not dirty: hardware sets A by itself", OLD | 0x42n, false, true, OLD],
  ])("%s", (_what, entry, dirty, changed, stored) => {
    const { vma, kernel, slot, trace, pte } = mapped(OLD);
    kernel.attach(trace.observer);
    expect(ptep.ptep_set_access_flags(vma, a, slot, Entry.fromBigInt(entry), dirty)).toBe(changed);
    expect(pte()).toBe(stored);
    expect(trace.words.some((word) => word.startsWith("F"))).toBe(false);
  });
});

test("pmdp_set_access_flags: as for a pte, at 2 MiB addresses only", () => {
  const { vma, slot, trace, pmd } = hugeMapped(0x8000_0000_0040_00a5n);
  const writable = Entry.fromBigInt(0x8000_0000_0040_00e7n);
  expect(ptep.pmdp_set_access_flags(vma, h, slot, writable, true)).toBe(true);
  expect(ptep.pmdp_set_access_flags(vma, h, slot, writable, true)).toBe(false);
  expect([pmd(), trace.toString()]).toEqual([0x8000_0000_0040_00e7n, "S(0x80000000004000e7)"]);
  expect(() => ptep.pmdp_set_access_flags(vma, a, slot, writable, true)).toThrow(/0x7f0000201000.*2 MiB/);
});

test("flush_tlb_fix_spurious_fault does nothing: the fault itself dropped the stale translation", () => {
  const { vma, mm, machine, slot, trace, fill } = mapped(0x8000_0000_0034_5025n);
  fill();
  ptep.set_pte_at(mm, a, slot, Entry.fromBigInt(0x8000_0000_0034_5067n));
  trace.take();
  // Read-only in the TLB, writable in memory.
  machine.cpu(0).store(a, 1);
  trace.take();
  ptep.flush_tlb_fix_spurious_fault(vma, a);
  expect(trace.take()).toBe("");
  expect(machine.cpu(0).store(a, 1)).toMatchObject({ ok: true });
});

test("ptep_modify_prot_start and _commit exchange and store, with no flush between", () => {
  const { mm, kernel, slot, trace } = mapped();
  kernel.attach(trace.observer);
  const old = ptep.ptep_modify_prot_start(mm, a, slot);
  ptep.ptep_modify_prot_commit(mm, a, slot, new Entry(old.lo & ~2, old.hi));
  expect(trace.toString()).toBe("X(0x8000000000345027) S(0x8000000000345025)");
});

describe("pmdp_huge_clear_flush", () => {
  test("exchange, then a flush of 2M whatever the entry was", () => {
    const { vma, kernel, slot, trace, cached } = hugeMapped();
    expect(kernel.run(ptep.pmdp_huge_clear_flush(vma, h, slot)).toBigInt()).toBe(0x8000_0000_0040_08e7n);
    expect(trace.toString()).toBe("X(0x80000000004008e7) F(full)");
    expect(cached()).toEqual([0, 0]);
  });

  test("asserts an aligned address and a huge entry", () => {
    const { vma, kernel, slot } = hugeMapped(0x77_7067n);
    expect(() => kernel.run(ptep.pmdp_huge_clear_flush(vma, h, slot))).toThrow(TypeError);
    expect(() => kernel.run(ptep.pmdp_huge_clear_flush(vma, (h + 0x1000) as Linear, slot))).toThrow(
      RangeError,
    );
  });
});

describe("pmdp_invalidate", () => {
  test("stores the entry without P, leaves PSE, flushes 2M", () => {
    const { vma, kernel, slot, trace, cached, machine } = hugeMapped();
    kernel.run(ptep.pmdp_invalidate(vma, h, slot));
    expect(trace.toString()).toBe("S(0x80000000004008e6) F(full)");
    expect(cached()).toEqual([0, 0]);
    expect(machine.cpu(1).load(h)).toMatchObject({ ok: false });
  });

  test("4.13 loads, then stores: what a walker sets between the two is lost (W2)", () => {
    const { vma, kernel, machine, slot, pmd } = hugeMapped(0x8000_0000_0040_00a7n);
    kernel.contended = true;
    const seen: string[] = [];
    drive(ptep.pmdp_invalidate(vma, h, slot), ({ kind, object }) => {
      if (kind === "entry") {
        expect(object).toBe(slot);
        expect(machine.cpu(1).store(h, 1).ok).toBe(true);
        seen.push(`D is set: ${((pmd() >> 6n) & 1n) === 1n}`);
      }
      if (kind === "ipi-wait") machine.cpu(1).handleIpis();
    });
    expect(seen).toEqual(["D is set: true"]);
    expect(pmd()).toBe(0x8000_0000_0040_00a6n);
  });
});

describe("pmdp_collapse_flush", () => {
  test("takes the table out, then flushes 2M: what the small entries gave is gone everywhere", () => {
    const { vma, kernel, machine, mm, trace, fill, cached, scene } = mapped();
    fill();
    const slot = pmdSlot(mm, h);
    const table = scene.pmd(mm, h);
    expect(kernel.run(ptep.pmdp_collapse_flush(vma, h, slot)).toBigInt()).toBe(table);
    expect(trace.words.map((word) => word.replace(/0x\w+/, "table"))).toEqual(["X(table)", "F(full)"]);
    expect([scene.pmd(mm, h), cached()]).toEqual([0n, [0, 0]]);
    expect(machine.cpu(1).load(a)).toMatchObject({ ok: false });
  });

  test("asserts an aligned address and a pmd that is not huge", () => {
    const { vma, kernel, slot } = hugeMapped();
    expect(() => kernel.run(ptep.pmdp_collapse_flush(vma, h, slot))).toThrow(TypeError);
    expect(() => kernel.run(ptep.pmdp_collapse_flush(vma, a, slot))).toThrow(RangeError);
  });
});

describe("pmd_none_or_trans_huge_or_clear_bad", () => {
  test.each([
    ["nothing", 0n, true, ""],
    ["stray A and D", 0x60n, true, ""],
    ["a THP", 0x8000_0000_0040_08e7n, true, ""],
    ["a THP being split", 0x8000_0000_0040_08e6n, true, ""],
    ["a table", 0x77_7067n, false, ""],
    ["a table that lost its A", 0x77_7047n, true, "bad 0x0000000000777047"],
    ["a hugetlb migration entry", 0x1_0000_3c00n, true, "bad 0x0000000100003c00"],
    ["the same, soft-dirty: looks like a THP (W9)", 0x1_0000_3c80n, true, ""],
  ])("%s", (_what, value, stop, report) => {
    const { kernel, mm, slot, pmd } = hugeMapped(0n);
    kernel.plantEntry(slot, Entry.fromBigInt(value));
    const reports: string[] = [];
    kernel.attach((record) => {
      if (record.kind !== "bad-pmd") return;
      reports.push(`bad ${new Entry(record.entryLo, record.entryHi)}`);
      expect([record.slot, record.space]).toEqual([slot, mm.id]);
    });
    expect(ptep.pmd_trans_unstable(mm, slot)).toBe(stop);
    expect(reports.join()).toBe(report);
    // What is bad is cleared, everything else is left alone.
    expect(pmd()).toBe(report === "" ? value : 0n);
  });
});

describe("the records of a primitive", () => {
  /** Names of primitives, and of what they do to entries and TLBs, in order. */
  function recorded(scene: { readonly kernel: Scene["kernel"] }, run: () => unknown): string[] {
    const words: string[] = [];
    const stop = scene.kernel.attach((record) => {
      if (record.kind === "primitive") words.push(record.name);
      else if (record.kind === "entry-written" || record.kind === "flush-begun") words.push(record.kind);
    });
    run();
    stop();
    return words;
  }
  const entry = Entry.fromBigInt(0x8000_0000_0034_6027n);

  test.each<[string, (f: ReturnType<typeof mapped>) => unknown]>([
    ["set_pte_at", ({ mm, slot }) => ptep.set_pte_at(mm, a, slot, entry)],
    ["set_pmd_at", ({ mm, slot }) => ptep.set_pmd_at(mm, h, slot, entry)],
    ["set_pud_at", ({ mm, slot }) => ptep.set_pud_at(mm, h, slot, entry)],
    ["set_huge_swap_pte_at", ({ mm, slot }) => ptep.set_huge_swap_pte_at(mm, a, slot, entry)],
    ["pte_clear", ({ mm, slot }) => ptep.pte_clear(mm, a, slot)],
    ["pmd_populate", ({ mm, slot }) => ptep.pmd_populate(mm, slot, Pfn.of(0x777))],
    ["ptep_get_and_clear", ({ mm, slot }) => ptep.ptep_get_and_clear(mm, a, slot)],
    ["pmdp_huge_get_and_clear", ({ mm, slot }) => ptep.pmdp_huge_get_and_clear(mm, h, slot)],
    ["pudp_huge_get_and_clear", ({ mm, slot }) => ptep.pudp_huge_get_and_clear(mm, h, slot)],
    ["ptep_set_wrprotect", ({ mm, slot }) => ptep.ptep_set_wrprotect(mm, a, slot)],
    ["pmdp_set_wrprotect", ({ mm, slot }) => ptep.pmdp_set_wrprotect(mm, h, slot)],
    ["ptep_test_and_clear_young", ({ vma, slot }) => ptep.ptep_test_and_clear_young(vma, a, slot)],
    ["pmdp_test_and_clear_young", ({ vma, slot }) => ptep.pmdp_test_and_clear_young(vma, h, slot)],
    ["ptep_clear_flush_young", ({ vma, slot }) => ptep.ptep_clear_flush_young(vma, a, slot)],
    ["ptep_modify_prot_start", ({ mm, slot }) => ptep.ptep_modify_prot_start(mm, a, slot)],
    ["ptep_modify_prot_commit", ({ mm, slot }) => ptep.ptep_modify_prot_commit(mm, a, slot, entry)],
  ])("%s: its own name, then its store", (name, run) => {
    const f = mapped();
    expect(recorded(f, () => run(f))).toEqual([name, "entry-written"]);
  });

  test("one that flushes names the flush, too", () => {
    const f = mapped();
    expect(recorded(f, () => f.kernel.run(ptep.ptep_clear_flush(f.vma, a, f.slot)))).toEqual([
      "ptep_get_and_clear",
      "entry-written",
      "flush_tlb_page",
      "flush-begun",
    ]);
    const huge = hugeMapped();
    expect(recorded(huge, () => huge.kernel.run(ptep.pmdp_huge_clear_flush(huge.vma, h, huge.slot)))).toEqual(
      ["pmdp_huge_get_and_clear", "entry-written", "flush_tlb_range", "flush-begun"],
    );
  });

  test("a table is recorded with what it holds before it is linked, and again when it is taken out", () => {
    const { scene, mm, vma, kernel, slot } = hugeMapped(0n);
    const table = kernel.frames.allocate();
    kernel.plantEntry((table * 4096 + 8) as Slot, Entry.fromBigInt(0x8000_0000_0034_5027n));
    const records: MmRecord[] = [];
    kernel.attach((record) => records.push(record));
    ptep.pmd_populate(mm, slot, table);
    const words = new Int32Array(1024);
    words.set([0x34_5027, 0x8000_0000 | 0], 2);
    const where = { space: mm.id, slot, level: 1, pfn: table };
    expect(records.map(({ kind }) => kind)).toEqual(["table-linked", "primitive", "entry-written"]);
    expect(records[0]).toMatchObject({ ...where, words });
    records.length = 0;
    expect(kernel.run(ptep.pmdp_collapse_flush(vma, h, slot)).toBigInt()).toBe(
      (BigInt(table) << 12n) | 0x67n,
    );
    expect(records.slice(0, 3).map(({ kind }) => kind)).toEqual([
      "primitive",
      "entry-written",
      "table-unlinked",
    ]);
    expect(records[2]).toMatchObject(where);
    expect(scene.pmd(mm, h)).toBe(0n);
  });
});

describe("pte_accessible", () => {
  test.each([
    ["present", 0x25n, 0, true],
    ["PROT_NONE", 0x120n, 0, false],
    ["PROT_NONE, flush pending", 0x120n, 1, true],
    ["swap", 0x4000n, 1, false],
    ["nothing", 0n, 1, false],
  ])("%s", (_what, value, pending, accessible) => {
    const { mm } = mapped();
    mm.tlb_flush_pending = pending;
    expect(ptep.pte_accessible(mm, Entry.fromBigInt(value))).toBe(accessible);
  });
});
