import { describe, expect, test } from "vitest";
import { Linear, NO_PFN } from "../../../../arch/x86/cpu/address.ts";
import { flush_cache_page } from "../../../../arch/x86/mm/cacheflush.ts";
import { ptep_clear_flush, ptep_get_and_clear, ptep_set_wrprotect } from "../../../../arch/x86/mm/ptep.ts";
import { switch_mm } from "../../../../arch/x86/mm/tlb.ts";
import { enter, leave } from "../../../../src/mm/calls.ts";
import { free_page, put_page } from "../../../../src/mm/page_alloc.ts";
import { add_to_swap } from "../../../../src/mm/swapfile.ts";
import { try_to_unmap_flush } from "../../../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS } from "../../../../src/mm/ttu-flags.ts";
import { VM_LOCKED } from "../../../../src/mm/vma.ts";
import { AT, anonymous, rulesOf, setCpumask, tell, UNMAP } from "../../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, records are
 * made by hand: the auditor believes what it is told.
 */

const NEXT = Linear.of(AT + 0x1000);

describe("50: mm_cpumask", () => {
  test("is set by switch_mm, which is right", () => {
    const { scene, kernel, auditor } = anonymous();
    const other = kernel.createMm("other");
    switch_mm(kernel, 1, other);
    switch_mm(kernel, 1, scene.kernel.init_mm);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("is forgotten by whoever loads CR3 by hand", () => {
    const { scene, kernel, auditor } = anonymous();
    const other = kernel.createMm("other");
    scene.machine.cpu(1).loadCr3(other.pgd);
    expect(rulesOf(auditor)).toEqual([50]);
    expect(auditor.findings[0]).toMatchObject({ rule: { id: 50 }, agent: "CPU 1", mm: "other" });
  });

  test("is read by a flush that then misses a CPU", () => {
    const { scene, mm, vma, page, slot, auditor } = anonymous();
    setCpumask(mm, [0b01]);
    scene.run(ptep_clear_flush(vma, AT, slot));
    expect(rulesOf(auditor)).toEqual([50]);
    expect(auditor.findings[0]).toMatchObject({ moment: "flush begun", agent: "CPU 1" });
    free_page(scene.kernel, page);
    expect(rulesOf(auditor)).toEqual([1, 50]);
  });

  test("lacks a CPU that fills its TLB; for a kernel address it would not matter", () => {
    const { scene, mm, auditor } = anonymous();
    const cpu = scene.machine.cpu(1);
    setCpumask(mm, [0b01]);
    expect(rulesOf(auditor)).toEqual([]);
    expect(cpu.touch(AT, false)).toBeNull();
    expect(rulesOf(auditor)).toEqual([50]);
    expect(auditor.findings[0]).toMatchObject({ moment: "translation filled", agent: "CPU 1", mm: "mm" });
  });
});

describe("52: the caller's reference", () => {
  test.each([
    [true, []],
    [false, [52]],
  ])("held: %s", (held, rules) => {
    const { scene, kernel, page, vma, slot, auditor } = anonymous();
    const task = enter(kernel.current, "try_to_unmap", page, null);
    scene.run(ptep_clear_flush(vma, AT, slot));
    put_page(kernel, page);
    if (!held) put_page(kernel, page);
    leave(task, true);
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

describe("61: locks of page_vma_mapped_walk", () => {
  test.each([
    [true, 1, []],
    [false, 0, []],
    [true, 0, [61]],
    [true, 2, [61]],
    [false, 1, [61]],
  ])("found %s, %i locks", (found, locks, rules) => {
    const { kernel, auditor } = anonymous();
    tell(kernel, "walk-returned", { found, locks });
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

describe("62: try_to_unmap said that nothing maps the page", () => {
  test("and it is so", () => {
    const { scene, kernel, page, auditor } = anonymous();
    add_to_swap(kernel, page);
    expect(scene.run(try_to_unmap(kernel, page, UNMAP))).toBe(true);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("but it did not say so: the vma is locked, and the entry stays", () => {
    const { scene, kernel, vma, page, auditor } = anonymous();
    vma.vm_flags |= VM_LOCKED;
    expect(scene.run(try_to_unmap(kernel, page, TTU_IGNORE_ACCESS))).toBe(false);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("but an entry that rmap cannot see does", () => {
    const { scene, kernel, page, slot, auditor } = anonymous();
    scene.machine.storeEntry(slot + 8, 0x0123_4867, 0x8000_0000, 0);
    add_to_swap(kernel, page);
    expect(scene.run(try_to_unmap(kernel, page, UNMAP))).toBe(true);
    expect(auditor.findings.map(({ rule, linear, pfn }) => [rule.id, linear, pfn])).toEqual([
      [62, NEXT, page],
    ]);
  });

  test("but one of PROT_NONE does, which is present to Linux; nor may the page be freed", () => {
    const { scene, kernel, page, slot, auditor } = anonymous();
    scene.machine.storeEntry(slot + 8, 0x0123_4960, 0x8000_0000, 0);
    add_to_swap(kernel, page);
    expect(scene.run(try_to_unmap(kernel, page, UNMAP))).toBe(true);
    expect(auditor.findings[0]).toMatchObject({
      rule: { id: 62 },
      agent: "mm",
      linear: NEXT,
      stale: { to: "frame 0x1234 by a PROT_NONE entry that is still present", rights: "none" },
    });
    scene.run(try_to_unmap_flush(kernel));
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual([1, 62]);
    expect(auditor.findings[1]).toMatchObject({ agents: ["mm"], linear: NEXT });
  });
});

describe("69: cache hooks", () => {
  test.each([
    ["before the change", true, AT, []],
    ["of another page", true, NEXT, [69]],
    ["missing", false, AT, [69]],
  ])("%s", (_name, hooked, address, rules) => {
    const { kernel, mm, vma, page, slot, auditor } = anonymous();
    enter(kernel.current, "try_to_unmap_one", page, mm);
    if (hooked) flush_cache_page(vma, address, page);
    ptep_get_and_clear(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("none is due of what the same task does after the function has returned", () => {
    const { scene, kernel, mm, page, slot, auditor } = anonymous();
    add_to_swap(kernel, page);
    scene.run(try_to_unmap(kernel, page, UNMAP));
    scene.machine.storeEntry(slot, 0x0123_4867, 0x8000_0000, 0);
    expect(kernel.current.depth).toBe(0);
    ptep_set_wrprotect(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("elsewhere none is due", () => {
    const { kernel, mm, slot, auditor } = anonymous();
    enter(kernel.current, "remove_migration_pte", NO_PFN, mm);
    ptep_get_and_clear(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual([]);
  });
});
