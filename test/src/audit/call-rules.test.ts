import { describe, expect, test } from "vitest";
import { flush_cache_page } from "../../../arch/x86/mm/cacheflush.ts";
import { ptep_clear_flush, ptep_get_and_clear, ptep_set_wrprotect } from "../../../arch/x86/mm/ptep.ts";
import { switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { free_page, put_page } from "../../../src/mm/page_alloc.ts";
import { pteSlot } from "../../../src/mm/page-table.ts";
import { add_to_swap } from "../../../src/mm/swapfile.ts";
import { try_to_unmap_flush } from "../../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { AT, anonymous, PFN, rulesOf, UNMAP } from "../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, events are
 * made by hand: the auditor believes what it is told.
 */

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
    expect(auditor.findings[0]).toMatchObject({ rule: { id: 50 }, agent: "CPU 1", mm: "other" });
  });

  test("is read by a flush that then misses a CPU", () => {
    const { scene, mm, vma, slot, auditor } = anonymous();
    mm.cpu_bitmap = 0b01;
    scene.run(ptep_clear_flush(vma, AT, slot));
    expect(rulesOf(auditor)).toEqual([50]);
    free_page(scene.kernel, PFN);
    expect(rulesOf(auditor)).toEqual([1, 50]);
  });
});

describe("52: the caller's reference", () => {
  test.each([
    [true, []],
    [false, [52]],
  ])("held: %s", (held, rules) => {
    const { scene, kernel, page, mm, auditor } = anonymous();
    kernel.emit?.({ type: "call-entered", call: "try_to_unmap", page, mm: null, task: "main" });
    scene.run(ptep_clear_flush(mm.vmaAt(AT)!, AT, pteSlot(mm, AT)));
    put_page(kernel, page);
    if (!held) put_page(kernel, page);
    kernel.emit?.({
      type: "call-left",
      call: "try_to_unmap",
      page,
      mm: null,
      result: true,
      task: "main",
    });
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
  ])("found %s, %i locks", (found, locksHeld, rules) => {
    const { kernel, auditor } = anonymous();
    kernel.emit?.({ type: "walk-returned", found, locksHeld });
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

  test("but an entry that rmap cannot see does", () => {
    const { scene, kernel, page, auditor } = anonymous();
    scene.machine.storeEntry(pteSlot(scene.kernel.mms[0]!, AT) + 8, 0x0123_4867, 0x8000_0000, 0);
    add_to_swap(kernel, page);
    expect(scene.run(try_to_unmap(kernel, page, UNMAP))).toBe(true);
    expect(auditor.findings.map(({ rule, address }) => [rule.id, address])).toEqual([[62, AT + 0x1000]]);
  });

  test("but one of PROT_NONE does, which is present to Linux; nor may the page be freed", () => {
    const { scene, kernel, page, auditor } = anonymous();
    scene.machine.storeEntry(pteSlot(kernel.mms[0]!, AT) + 8, 0x0123_4960, 0x8000_0000, 0);
    add_to_swap(kernel, page);
    expect(scene.run(try_to_unmap(kernel, page, UNMAP))).toBe(true);
    expect(auditor.findings[0]).toMatchObject({
      rule: { id: 62 },
      agent: "mm",
      address: AT + 0x1000,
      stale: { to: "frame 0x1234 by a PROT_NONE entry that is still present", rights: "none" },
    });
    scene.run(try_to_unmap_flush(kernel));
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual([1, 62]);
    expect(auditor.findings[1]).toMatchObject({ agents: ["mm"], address: AT + 0x1000 });
  });
});

describe("69: cache hooks", () => {
  test.each([
    ["before the change", true, AT, []],
    ["of another page", true, AT + 0x1000, [69]],
    ["missing", false, AT, [69]],
  ])("%s", (_name, hooked, address, rules) => {
    const { kernel, mm, vma, slot, auditor } = anonymous();
    kernel.current.caller = "try_to_unmap_one";
    kernel.emit?.({ type: "call-entered", call: "try_to_unmap_one", page: PFN, mm, task: "main" });
    if (hooked) flush_cache_page(vma, address, PFN);
    ptep_get_and_clear(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("none is due of what the same task does after the function has returned", () => {
    const { scene, kernel, mm, page, slot, auditor } = anonymous();
    add_to_swap(kernel, page);
    scene.run(try_to_unmap(kernel, page, UNMAP));
    scene.machine.storeEntry(slot, 0x0123_4867, 0x8000_0000, 0);
    expect(kernel.current.caller).toBe("try_to_unmap_one");
    ptep_set_wrprotect(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("elsewhere none is due", () => {
    const { kernel, mm, slot, auditor } = anonymous();
    kernel.current.caller = "zap_pte_range";
    ptep_get_and_clear(mm, AT, slot);
    expect(rulesOf(auditor)).toEqual([]);
  });
});
