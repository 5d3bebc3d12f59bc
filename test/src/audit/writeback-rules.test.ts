import { describe, expect, test } from "vitest";
import { pte_mkclean, pte_mkwrite, pte_wrprotect } from "../../../arch/x86/mm/pgtable.ts";
import { PAGE_NONE } from "../../../arch/x86/mm/pgtable_types.ts";
import { ptep_clear_flush, ptep_get_and_clear, set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import type { MmEvent } from "../../../src/mm/events.ts";
import { page_mkclean } from "../../../src/mm/page_mkclean.ts";
import { pteSlot } from "../../../src/mm/page-table.ts";
import { pageout } from "../../../src/mm/page-writeback.ts";
import { AT, AuditScene, ENTRY, PFN, rulesOf } from "../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, events are
 * made by hand: the auditor believes what it is told.
 */

describe("11: page_mkclean", () => {
  const file = () => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
    const page = scene.page(PFN);
    scene.mapFile(vma, AT, page, ENTRY);
    return { scene, mm, vma, page, auditor: scene.audit() };
  };
  const left = (page: number): MmEvent => ({
    type: "call-left",
    call: "page_mkclean",
    page,
    mm: null,
    result: 1,
    task: "main",
  });

  test("leaves nobody who can write", () => {
    const { scene, page, auditor } = file();
    scene.run(page_mkclean(scene.kernel, page));
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("without its flush: a CPU's stale dirty translation", () => {
    const { scene, mm, page, auditor } = file();
    const old = ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    set_pte_at(mm, AT, pteSlot(mm, AT), pte_mkclean(pte_wrprotect(old)));
    scene.kernel.emit?.(left(page));
    expect(rulesOf(auditor)).toEqual([11]);
    expect(auditor.findings[0]).toMatchObject({ agents: ["CPU 0", "CPU 1"], stale: { writable: true } });
  });

  test("without write protection: the next store would not fault", () => {
    const { scene, mm, vma, page, auditor } = file();
    const old = scene.run(ptep_clear_flush(vma, AT, pteSlot(mm, AT)));
    set_pte_at(mm, AT, pteSlot(mm, AT), pte_mkclean(pte_mkwrite(old)));
    scene.kernel.emit?.(left(page));
    expect(rulesOf(auditor)).toEqual([11]);
  });

  test("in an mm that no CPU has loaded: the entry is reported, and the mm named", () => {
    const scene = new AuditScene();
    const mm = scene.mm("idle", []);
    const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
    const page = scene.page(PFN);
    scene.mapFile(vma, AT, page, ENTRY);
    const auditor = scene.audit();
    scene.kernel.emit?.(left(page));
    expect(rulesOf(auditor)).toEqual([11]);
    expect(auditor.findings[0]).toMatchObject({ agents: ["idle"], address: AT, stale: { writable: true } });
  });
});

describe("35, at rest", () => {
  test.each([
    ["with D still in the entry", true, []],
    ["with the entry cleaned and nothing noted", false, [35]],
  ])("a store to a file page, %s", (_name, dirty, rules) => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
    scene.mapFile(vma, AT, scene.page(PFN), ENTRY & ~0x60n);
    scene.audit();
    scene.machine.cpu(1).cpl = 3;
    expect(scene.machine.cpu(1).touch(AT, true)).toBeNull();
    // The count that page_mkclean returns is thrown away.
    if (!dirty) scene.run(page_mkclean(scene.kernel, PFN));
    expect(scene.brokenRules()).toEqual(rules);
  });

  test("and with D kept in an entry that was made PROT_NONE and flushed", () => {
    for (const kept of [true, false]) {
      const scene = new AuditScene();
      const mm = scene.mm("mm");
      const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
      scene.mapFile(vma, AT, scene.page(PFN), ENTRY & ~0x60n);
      scene.audit();
      scene.machine.cpu(1).cpl = 3;
      scene.machine.cpu(1).touch(AT, true);
      const old = scene.run(ptep_clear_flush(vma, AT, pteSlot(mm, AT)));
      const none = scene.kernel.format.pte_modify(old, PAGE_NONE);
      set_pte_at(mm, AT, pteSlot(mm, AT), kept ? none : pte_mkclean(none));
      expect(scene.brokenRules()).toEqual(kept ? [] : [35]);
    }
  });

  test("a write-out makes disk and memory equal", () => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
    scene.mapFile(vma, AT, scene.page(PFN), ENTRY & ~0x60n);
    scene.audit();
    scene.machine.cpu(1).cpl = 3;
    scene.machine.cpu(1).touch(AT, true);
    scene.run(pageout(scene.kernel, PFN));
    expect(scene.brokenRules()).toEqual([]);
  });
});
