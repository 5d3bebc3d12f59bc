import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import {
  flush_tlb_batched_pending,
  set_tlb_ubc_flush_pending,
  should_defer_flush,
  try_to_unmap_flush,
  try_to_unmap_flush_dirty,
} from "../../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../../../src/mm/ttu-flags.ts";
import { Scene } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

/* Deferred unmap flushes, on CPUs whose TLBs keep what nobody makes them drop. */
const at = 0x7f00_0020_0000;

/** `pages` anonymous pages in the swap cache, in the TLBs of CPUs 0 and 1 of three. */
function scene(pages: number, write: boolean) {
  const built = new Scene({ cpus: 3 });
  const { kernel, machine } = built;
  const mm = built.mm("mm", [0, 1]);
  const vma = built.vma(mm, { at, length: 0x10_0000 });
  for (let i = 0; i < pages; i++) {
    built.mapAnon(vma, at + i * 4096, built.page(0x300 + i), 0x8000_0000_0030_0007n + BigInt(i) * 4096n);
    built.putInSwapCache(0x300 + i, 0x77 + i);
    for (const cpu of [0, 1]) {
      if (write) machine.cpu(cpu).store(at + i * 4096, 1);
      else machine.cpu(cpu).load(at + i * 4096);
    }
  }
  const trace = new Trace({ also: ["ipi"] });
  kernel.attach(trace.observer);
  const unmap = (i: number) =>
    kernel.run(try_to_unmap(kernel, Pfn.of(0x300 + i), TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS));
  return { built, kernel, machine, mm, trace, unmap, batch: kernel.current.tlb_ubc };
}

describe("should_defer_flush", () => {
  test.each([
    ["reclaim asks, another CPU has the mm", TTU_BATCH_FLUSH, [0, 1], true],
    ["reclaim asks, only another CPU has it", TTU_BATCH_FLUSH, [1], true],
    ["reclaim asks, only this CPU has it", TTU_BATCH_FLUSH, [0], false],
    ["reclaim asks, nobody has it", TTU_BATCH_FLUSH, [], false],
    ["nobody asks", 0, [0, 1], false],
  ])("%s", (_what, flags, cpus, defer) => {
    const built = new Scene();
    expect(should_defer_flush(built.kernel, built.mm("mm", cpus), flags)).toBe(defer);
  });
});

describe("set_tlb_ubc_flush_pending", () => {
  test("gathers the CPUs of every mm and remembers whether any entry was dirty", () => {
    const built = new Scene({ cpus: 3 });
    const { kernel } = built;
    const one = built.mm("one", [0, 1]);
    const two = built.mm("two", [2]);
    set_tlb_ubc_flush_pending(kernel, one, true);
    expect(kernel.current.tlb_ubc).toEqual({ cpumask: [0b011], flush_required: true, writable: true });
    set_tlb_ubc_flush_pending(kernel, two, false);
    expect(kernel.current.tlb_ubc).toEqual({ cpumask: [0b111], flush_required: true, writable: true });
    expect([one.tlb_flush_batched, two.tlb_flush_batched]).toEqual([true, true]);
  });

  test("each task has its own batch", () => {
    const built = new Scene();
    const { kernel } = built;
    set_tlb_ubc_flush_pending(kernel, built.mm(), false);
    kernel.current = kernel.createTask("kswapd", 1);
    expect(kernel.current.tlb_ubc.flush_required).toBe(false);
  });
});

describe("the promise of the hardware that a deferred flush rests on", () => {
  test("an entry that was clean: a store through the stale translation goes back to memory and faults", () => {
    const { machine, unmap, batch } = scene(1, false);
    unmap(0);
    expect(batch.writable).toBe(false);
    expect(machine.cpu(1).load(at)).toMatchObject({ ok: true });
    expect(machine.cpu(1).store(at, 0x2a)).toMatchObject({ ok: false });
  });

  test("an entry that was dirty: the store lands in the page; hence writable, and a flush before any write-out", () => {
    const { kernel, machine, unmap, batch } = scene(1, true);
    unmap(0);
    expect(batch.writable).toBe(true);
    expect(machine.cpu(1).store(at, 0x2a)).toMatchObject({ ok: true, physical: 0x30_0000 });
    kernel.run(try_to_unmap_flush_dirty(kernel));
    expect(machine.cpu(1).store(at, 0x2b)).toMatchObject({ ok: false });
  });
});

describe("the flush", () => {
  test("one for all pages: an interrupt to each other CPU of the batch, none to the third", () => {
    const { kernel, machine, unmap, trace, batch } = scene(40, true);
    for (let i = 0; i < 40; i++) unmap(i);
    expect(machine.cpu(1).tlb.entries()).toHaveLength(40);
    trace.take();
    kernel.run(try_to_unmap_flush(kernel));
    expect(trace.take()).toBe("F(batch) IPI(0->1) IPI-done(1)");
    expect([machine.cpu(0).tlb.entries(), machine.cpu(1).tlb.entries()]).toEqual([[], []]);
    expect(batch).toEqual({ cpumask: [0], flush_required: false, writable: false });
    // Nothing is owed: nothing happens.
    kernel.run(try_to_unmap_flush(kernel));
    expect(trace.take()).toBe("");
  });

  test("try_to_unmap_flush_dirty leaves a batch of clean entries for later", () => {
    const { kernel, unmap, trace, batch } = scene(2, false);
    unmap(0);
    unmap(1);
    trace.take();
    kernel.run(try_to_unmap_flush_dirty(kernel));
    expect([trace.take(), batch.flush_required]).toEqual(["", true]);
    kernel.run(try_to_unmap_flush(kernel));
    expect(trace.take()).toContain("F(batch)");
  });
});

describe("flush_tlb_batched_pending", () => {
  test("flushes the mm and clears the flag; the task's own batch stays", () => {
    const { kernel, machine, mm, unmap, trace, batch } = scene(1, true);
    unmap(0);
    trace.take();
    kernel.run(flush_tlb_batched_pending(mm));
    expect(trace.take()).toBe("F(full) IPI(0->1) IPI-done(1)");
    expect([mm.tlb_flush_batched, batch.flush_required]).toEqual([false, true]);
    expect(machine.cpu(1).store(at, 1)).toMatchObject({ ok: false });
    kernel.run(flush_tlb_batched_pending(mm));
    expect(trace.take()).toBe("");
  });
});
