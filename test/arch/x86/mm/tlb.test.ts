import { describe, expect, test } from "vitest";
import { Linear, NONE } from "../../../../arch/x86/cpu/address.ts";
import { linearHi, linearLo } from "../../../../arch/x86/cpu/linear-address.ts";
import type { HardwareRecordOf } from "../../../../arch/x86/cpu/records.ts";
import { CPU_MASK_NONE, cpumask_test_cpu } from "../../../../arch/x86/mm/cpumask.ts";
import { TLBSTATE_LAZY, TLBSTATE_OK } from "../../../../arch/x86/mm/kernel-context.ts";
import { VM_HUGETLB } from "../../../../arch/x86/mm/pgtable_types.ts";
import {
  enter_lazy_tlb,
  flush_tlb_mm,
  flush_tlb_mm_range,
  flush_tlb_page,
  flush_tlb_range,
  leave_mm,
  mm_cpumask,
  switch_mm,
  tlb_single_page_flush_ceiling,
} from "../../../../arch/x86/mm/tlb.ts";
import { arch_tlbbatch_add_mm, arch_tlbbatch_flush } from "../../../../arch/x86/mm/tlbbatch.ts";
import type { MmRecord } from "../../../../src/mm/records.ts";
import { Scene } from "../../../support/scene.ts";

/* The flush functions on real TLBs that keep every translation until an instruction drops it. */
const at = Linear.of(0x7f00_0020_0000);
const PAGES = 40;

function scene(cpus = 3) {
  const built = new Scene({ cpus });
  const { kernel, machine } = built;
  const mm = built.mm("mm");
  const vma = built.vma(mm, { at, length: 0x40_0000 });
  for (let i = 0; i < PAGES; i++)
    built.plantPte(mm, at + i * 4096, 0x8000_0000_0040_0067n + BigInt(i) * 4096n);
  const fill = () => {
    for (const cpu of machine.cpus) for (let i = 0; i < PAGES; i++) cpu.load(at + i * 4096);
  };
  fill();
  const records: MmRecord[] = [];
  kernel.attach((record) => records.push(record));
  const count = (kind: MmRecord["kind"]) => records.filter((record) => record.kind === kind).length;
  const invlpgs = () =>
    records.filter(
      (record): record is HardwareRecordOf<"invalidated"> =>
        record.kind === "invalidated" && record.cause === "INVLPG",
    );
  const cached = () => machine.cpus.map((cpu) => cpu.tlb.entries().length);
  return { built, kernel, machine, mm, vma, fill, records, count, invlpgs, cached };
}

describe("how much is flushed", () => {
  test.each([
    [1, "invlpg"],
    [tlb_single_page_flush_ceiling, "invlpg"],
    [tlb_single_page_flush_ceiling + 1, "cr3"],
    [512, "cr3"],
  ])("a range of %i pages: %s", (pages, how) => {
    const { kernel, vma, count, invlpgs, cached } = scene();
    kernel.run(flush_tlb_range(vma, at, (at + pages * 4096) as Linear));
    if (how === "invlpg") {
      expect([invlpgs().length, count("cr3-loaded")]).toEqual([3 * pages, 0]);
      expect(new Set(invlpgs().map(({ flush }) => flush))).toEqual(new Set([1]));
      expect(cached()).toEqual([PAGES - pages, PAGES - pages, PAGES - pages]);
    } else {
      expect([invlpgs().length, count("cr3-loaded")]).toEqual([0, 3]);
      expect(cached()).toEqual([0, 0, 0]);
    }
  });

  test("the ceiling counts whole pages: 33 pages and a bit are still single invalidations", () => {
    const { kernel, mm, count, invlpgs } = scene(1);
    kernel.run(flush_tlb_mm_range(mm, at, (at + 33 * 4096 + 8) as Linear, 0));
    expect([invlpgs().length, count("cr3-loaded")]).toEqual([34, 0]);
  });

  test("a hugetlb vma is flushed whole, whatever the range", () => {
    const { kernel, vma, records, cached } = scene();
    vma.vm_flags |= VM_HUGETLB;
    kernel.run(flush_tlb_range(vma, at, (at + 4096) as Linear));
    expect(cached()).toEqual([0, 0, 0]);
    expect(records.find((record) => record.kind === "flush-begun")).toMatchObject({
      linearLo: 0,
      linearHi: 0,
      bytes: 0,
      all: true,
    });
  });

  test("flush_tlb_page of a huge mapping is one INVLPG, and that drops the 2M translation", () => {
    const { built, kernel, machine, mm } = scene(1);
    const vma = built.vma(mm, { at: at + 0x40_0000, length: 0x20_0000, flags: VM_HUGETLB });
    const head = built.compoundPage(0x800, 9, true);
    built.mapHugetlb(vma, vma.vm_start, head, 0x8000_0000_0080_00e7n);
    machine.cpu(0).load(vma.vm_start + 0x12_3000);
    expect(machine.cpu(0).tlb.entries()).toHaveLength(PAGES + 1);
    kernel.run(flush_tlb_page(vma, vma.vm_start));
    expect(machine.cpu(0).tlb.entries()).toHaveLength(PAGES);
  });

  test("flush_tlb_mm reloads CR3 on every CPU of the mask", () => {
    const { kernel, mm, count, cached } = scene();
    kernel.run(flush_tlb_mm(mm));
    expect([count("cr3-loaded"), cached()]).toEqual([3, [0, 0, 0]]);
  });
});

describe("who is flushed", () => {
  test("every CPU of the mask but the sender gets an interrupt, and the sender waits for all", () => {
    const { kernel, mm, vma, records } = scene();
    kernel.run(flush_tlb_page(vma, at));
    const ipis = records
      .filter((record) => record.kind === "ipi-sent" || record.kind === "ipi-handled")
      .map(({ seq: _seq, agent: _agent, ...record }) => record);
    expect(ipis).toEqual([
      { kind: "ipi-sent", cpu: 0, space: NONE, to: 1, flush: 1 },
      { kind: "ipi-sent", cpu: 0, space: NONE, to: 2, flush: 1 },
      { kind: "ipi-handled", cpu: 1, space: NONE, from: 0, flush: 1 },
      { kind: "ipi-handled", cpu: 2, space: NONE, from: 0, flush: 1 },
    ]);
    const range = { linearLo: linearLo(at), linearHi: linearHi(at), bytes: 4096, all: false };
    expect(records.slice(0, 2)).toMatchObject([
      { kind: "primitive", name: "flush_tlb_page" },
      { kind: "flush-begun", cpu: 0, space: mm.id, flush: 1, ...range, cpus: [0b111] },
    ]);
    expect(records.at(-1)).toMatchObject({ kind: "flush-ended", cpu: 0, flush: 1 });
  });

  test("a CPU that runs another mm is left alone", () => {
    const { built, kernel, vma, count, invlpgs } = scene();
    const other = built.mm("other", [2]);
    expect([mm_cpumask(vma.vm_mm), mm_cpumask(other)]).toEqual([[0b011], [0b100]]);
    kernel.run(flush_tlb_page(vma, at));
    expect([count("ipi-sent"), invlpgs().length]).toEqual([1, 2]);
  });

  test("a flusher that does not run the mm itself only interrupts", () => {
    const { built, kernel, vma, invlpgs } = scene();
    built.mm("other", [0]);
    kernel.run(flush_tlb_page(vma, at));
    expect(invlpgs().map(({ cpu }) => cpu)).toEqual([1, 2]);
  });

  test("an mm that nobody has loaded needs nothing at all", () => {
    const { built, kernel, count } = scene();
    const idle = built.mm("idle", []);
    kernel.run(flush_tlb_mm(idle));
    expect([count("ipi-sent"), count("cr3-loaded"), count("flush-begun")]).toEqual([0, 0, 1]);
  });
});

describe("switch_mm", () => {
  test("the mask bit is set before CR3 is loaded and the old mm's is cleared after", () => {
    const { built, kernel, mm, records } = scene(1);
    const next = kernel.createMm("next");
    const masks: unknown[] = [];
    kernel.attach((record) => {
      if (record.kind === "cr3-loaded") masks.push([mm.cpu_bitmap, next.cpu_bitmap]);
    });
    const before = records.length;
    switch_mm(kernel, 0, next);
    expect(masks).toEqual([[[1], [1]]]);
    expect(records.slice(before)).toMatchObject([
      { kind: "cpumask-changed", cpu: 0, space: next.id, cpus: [1] },
      { kind: "cr3-loaded", cpu: 0, oldRoot: mm.pgd, root: next.pgd },
      { kind: "invalidated", cpu: 0, cause: "MOV CR3" },
      { kind: "cpumask-changed", cpu: 0, space: mm.id, cpus: [0] },
    ]);
    expect([mm.cpu_bitmap, next.cpu_bitmap]).toEqual([[0], [1]]);
    expect(built.machine.cpu(0).root).toBe(next.pgd);
    expect(built.machine.cpu(0).tlb.entries()).toEqual([]);
  });

  test("to the mm that is loaded: no CR3 load, nothing dropped", () => {
    const { kernel, mm, count, cached } = scene(1);
    switch_mm(kernel, 0, mm);
    expect([count("cr3-loaded"), cached()]).toEqual([0, [PAGES]]);
  });

  test.each([
    ["is loaded and has lost its bit", "mm", [0], /CPU 0 to mm, which is loaded there but does not have/],
    ["is not loaded and has the bit", "next", [1], /CPU 0 to next, which is not loaded there but has/],
  ])("asserts the mask: an mm that %s", (_what, name, mask, message) => {
    const { kernel, mm, count } = scene(1);
    const to = name === "mm" ? mm : kernel.createMm("next");
    to.cpu_bitmap = mask;
    expect(() => switch_mm(kernel, 0, to)).toThrow(message);
    expect([kernel.cpu_tlbstate[0]?.loaded_mm, count("cr3-loaded")]).toEqual([mm, 0]);
  });

  test("50: a CPU whose TLB holds user entries of an mm is in its mask, through any switches", () => {
    const { kernel, machine, mm, fill } = scene(2);
    const other = kernel.createMm("other");
    const holds = (cpu: number) => (machine.cpu(cpu).tlb.entries().length > 0 ? 1 : 0);
    for (const [cpu, next] of [
      [0, other],
      [1, other],
      [0, mm],
      [1, kernel.init_mm],
      [1, mm],
    ] as const) {
      switch_mm(kernel, cpu, next);
      for (const each of [0, 1]) if (holds(each)) expect(cpumask_test_cpu(each, mm_cpumask(mm))).toBe(true);
      fill();
    }
  });
});

describe("lazy TLB", () => {
  test("a kernel thread borrows the mm: the bit stays, and a flush makes the CPU leave instead", () => {
    const { kernel, machine, mm, vma, count, invlpgs } = scene(2);
    enter_lazy_tlb(kernel, 1);
    expect([kernel.cpu_tlbstate[1]?.state, mm_cpumask(mm)]).toEqual([TLBSTATE_LAZY, [0b11]]);
    kernel.run(flush_tlb_page(vma, at));
    // CPU 0 invalidated one page; CPU 1 gave the mm up and so lost everything.
    expect([invlpgs().length, count("cr3-loaded")]).toEqual([1, 1]);
    expect([count("lazy-entered"), count("lazy-left")]).toEqual([1, 1]);
    expect([kernel.cpu_tlbstate[1]?.loaded_mm, mm_cpumask(mm)]).toEqual([kernel.init_mm, [0b01]]);
    expect(machine.cpu(1).tlb.entries()).toEqual([]);
    // From here on it is not interrupted any more.
    kernel.run(flush_tlb_page(vma, (at + 4096) as Linear));
    expect(count("ipi-sent")).toBe(1);
  });

  test("entering it twice, or coming back to the same mm, loads nothing", () => {
    const { kernel, mm, count, cached } = scene(1);
    enter_lazy_tlb(kernel, 0);
    enter_lazy_tlb(kernel, 0);
    expect(count("lazy-entered")).toBe(1);
    switch_mm(kernel, 0, mm);
    expect(count("lazy-left")).toBe(1);
    expect([kernel.cpu_tlbstate[0]?.state, count("cr3-loaded"), cached()]).toEqual([TLBSTATE_OK, 0, [PAGES]]);
  });

  test("the local CPU leaves, too, when it is lazy", () => {
    const { kernel, mm, vma } = scene(1);
    enter_lazy_tlb(kernel, 0);
    kernel.run(flush_tlb_page(vma, at));
    expect([kernel.cpu_tlbstate[0]?.loaded_mm, mm_cpumask(mm)]).toEqual([kernel.init_mm, [0]]);
  });

  test("leave_mm of an mm in use is a bug; of init_mm it is nothing", () => {
    const { kernel, count } = scene(1);
    expect(() => leave_mm(kernel, 0)).toThrow(/CPU 0.*still uses mm/);
    switch_mm(kernel, 0, kernel.init_mm);
    const loads = count("cr3-loaded");
    leave_mm(kernel, 0);
    expect(count("cr3-loaded")).toBe(loads);
  });
});

describe("interrupts take their time", () => {
  test("a late interrupt after a switch is ignored: the CR3 load has flushed", () => {
    const { kernel, machine, mm, vma, records } = scene(2);
    kernel.contended = true;
    const flush = flush_tlb_page(vma, at);
    expect([{ ...flush.next().value }, { ...flush.next().value }]).toEqual([
      { kind: "flush", object: mm.id },
      { kind: "ipi-wait", object: 1 },
    ]);
    expect(machine.cpu(1).pendingIpis).toBe(1);
    switch_mm(kernel, 1, kernel.createMm("next"));
    const before = records.length;
    machine.cpu(1).handleIpis();
    expect(records.slice(before).map(({ kind }) => kind)).toEqual(["interrupt-taken", "ipi-handled"]);
    expect(flush.next()).toEqual({ done: true, value: undefined });
  });

  test("until the target handles it, the sender does not go on", () => {
    const { kernel, machine, vma, cached } = scene(2);
    kernel.contended = true;
    const flush = flush_tlb_page(vma, at);
    flush.next();
    for (let i = 0; i < 3; i++) expect(flush.next().value).toEqual({ kind: "ipi-wait", object: 1 });
    expect(cached()).toEqual([PAGES - 1, PAGES]);
    machine.cpu(1).handleIpis();
    expect(flush.next().done).toBe(true);
    expect(cached()).toEqual([PAGES - 1, PAGES - 1]);
  });
});

describe("batched flush", () => {
  test("one full flush on each CPU of the batch, whatever mm it runs by then; the mask is empty afterwards", () => {
    const { built, kernel, mm, count, cached } = scene();
    const batch = { cpumask: CPU_MASK_NONE };
    arch_tlbbatch_add_mm(batch, mm);
    built.mm("other", [2]);
    const loads = count("cr3-loaded");
    kernel.run(arch_tlbbatch_flush(kernel, batch));
    expect([count("cr3-loaded") - loads, count("ipi-sent"), batch.cpumask]).toEqual([3, 2, [0]]);
    expect(cached()).toEqual([0, 0, 0]);
  });

  test("CPUs outside the batch are not touched; the local one only if it is inside", () => {
    const { built, kernel, records, cached } = scene();
    const other = built.mm("other", [2]);
    const batch = { cpumask: CPU_MASK_NONE };
    arch_tlbbatch_add_mm(batch, other);
    const before = records.length;
    kernel.run(arch_tlbbatch_flush(kernel, batch));
    const flushed = records.slice(before);
    expect(flushed.filter(({ kind }) => kind === "cr3-loaded").map(({ cpu }) => cpu)).toEqual([2]);
    const everything = { linearLo: 0, linearHi: 0, bytes: 0, all: true };
    expect(flushed.slice(0, 2)).toMatchObject([
      { kind: "primitive", name: "arch_tlbbatch_flush" },
      { kind: "flush-begun", cpu: 0, space: NONE, flush: 1, ...everything, cpus: [0b100] },
    ]);
    expect(flushed.at(-1)).toMatchObject({ kind: "flush-ended", cpu: 0, flush: 1 });
    expect(cached()).toEqual([PAGES, PAGES, 0]);
  });

  test("a lazy CPU leaves its mm", () => {
    const { kernel, mm } = scene(2);
    enter_lazy_tlb(kernel, 1);
    const batch = { cpumask: CPU_MASK_NONE };
    arch_tlbbatch_add_mm(batch, mm);
    kernel.run(arch_tlbbatch_flush(kernel, batch));
    expect([kernel.cpu_tlbstate[1]?.loaded_mm, mm_cpumask(mm)]).toEqual([kernel.init_mm, [0b01]]);
  });
});
