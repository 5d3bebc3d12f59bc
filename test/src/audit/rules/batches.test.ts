import { describe, expect, test } from "vitest";
import { NO_PFN } from "../../../../arch/x86/cpu/address.ts";
import { ptep_get_and_clear } from "../../../../arch/x86/mm/ptep.ts";
import { PG } from "../../../../src/mm/mem_map.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import { set_tlb_ubc_flush_pending, try_to_unmap_flush } from "../../../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../../../src/mm/try_to_unmap.ts";
import { AT, AuditScene, anonymous, ENTRY, PFN, rulesOf, tell, UNMAP } from "../../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, records are
 * made by hand: the auditor believes what it is told.
 */

describe("46 and 47: putting a flush off", () => {
  test.each([
    ["all CPUs, writable", 0b11, true, []],
    ["one CPU forgotten", 0b01, true, [46]],
    ["dirtiness forgotten", 0b11, false, [47]],
  ])("%s", (_name, mask, dirty, rules) => {
    const { kernel, mm, slot, auditor } = anonymous();
    ptep_get_and_clear(mm, AT, slot);
    tell(kernel, "batch-added", { cpus: [mask], dirty }, mm);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("47 is about the entry at hand, not one that the task changed before", () => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x2000, shared: true, file: scene.file() });
    const [dirty, idle] = [scene.page(PFN), scene.page(PFN + 1)];
    scene.mapFile(vma, AT, dirty, ENTRY);
    // PROT_NONE and clean: clearing it weakens nothing that a CPU could have.
    scene.mapFile(vma, AT + 0x1000, idle, 0x8000_0000_0123_5920n);
    scene.audit();
    scene.kernel.mem_map.setFlag(dirty, PG.dirty);
    expect(scene.run(page_mkclean(scene.kernel, dirty))).toBe(1);
    expect(scene.run(try_to_unmap(scene.kernel, idle, UNMAP))).toBe(true);
    expect(scene.kernel.current.tlb_ubc).toMatchObject({ flush_required: true, writable: false });
    expect(scene.brokenRules()).toEqual([]);
  });

  test("46: the flush goes to fewer CPUs than were added, and leaves their debts", () => {
    const { scene, kernel, mm, slot, auditor } = anonymous();
    ptep_get_and_clear(mm, AT, slot);
    set_tlb_ubc_flush_pending(kernel, mm, true);
    kernel.current.tlb_ubc.cpumask = [0b01];
    scene.run(try_to_unmap_flush(kernel));
    expect(auditor.findings.map(({ moment, agent }) => [moment, agent])).toEqual([
      ["deferred flush begun", "CPU 1"],
      ["deferred flush done", "CPU 1"],
    ]);
    expect(rulesOf(auditor)).toEqual([46]);
  });
});

describe("48: no flush is due", () => {
  test.each([
    ["flushed", true, []],
    ["not flushed", false, [48]],
  ])("when reclaim returns: %s", (_name, flushed, rules) => {
    const { scene, kernel, mm, slot, auditor } = anonymous();
    ptep_get_and_clear(mm, AT, slot);
    set_tlb_ubc_flush_pending(kernel, mm, true);
    if (flushed) scene.run(try_to_unmap_flush(kernel));
    tell(kernel, "call-left", { function: "shrink_page_list", pfn: NO_PFN, result: 0 });
    expect(rulesOf(auditor)).toEqual(rules);
  });
});
