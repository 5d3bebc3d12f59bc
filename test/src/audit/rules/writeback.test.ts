import { describe, expect, test } from "vitest";
import { Pfn } from "../../../../arch/x86/cpu/address.ts";
import { pte_mkclean, pte_mkwrite, pte_wrprotect } from "../../../../arch/x86/mm/pgtable.ts";
import { PAGE_NONE } from "../../../../arch/x86/mm/pgtable_types.ts";
import { ptep_clear_flush, ptep_get_and_clear, set_pte_at } from "../../../../arch/x86/mm/ptep.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import { pteSlot } from "../../../../src/mm/page-table.ts";
import { pageout } from "../../../../src/mm/page-writeback.ts";
import { AT, AuditScene, ENTRY, PFN, rulesOf, tell } from "../../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, records are
 * made by hand: the auditor believes what it is told. Rules 35 and 36 in reclaim: deferred-flush.test.ts.
 */

/** A page of a shared file, mapped once in an mm that these CPUs have loaded, by default both. */
function filePage(entry: bigint, cpus?: readonly number[]) {
  const scene = new AuditScene();
  const mm = scene.mm(cpus === undefined ? "mm" : "idle", cpus);
  const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
  const page = scene.page(PFN);
  scene.mapFile(vma, AT, page, entry);
  const auditor = scene.audit();
  const { kernel } = scene;
  return {
    scene,
    kernel,
    mm,
    vma,
    page,
    auditor,
    slot: pteSlot(mm, AT),
    /** page_mkclean says that it is done. */
    cleaned: () => tell(kernel, "call-left", { function: "page_mkclean", pfn: page, result: 1 }),
    /** CPU 1 stores to the page. */
    store: () => {
      scene.machine.cpu(1).cpl = 3;
      expect(scene.machine.cpu(1).touch(AT, true)).toBeNull();
    },
  };
}

describe("11: page_mkclean", () => {
  test("leaves nobody who can write", () => {
    const { scene, page, auditor } = filePage(ENTRY);
    scene.run(page_mkclean(scene.kernel, page));
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("without its flush: a CPU's stale dirty translation", () => {
    const { mm, slot, auditor, cleaned } = filePage(ENTRY);
    const old = ptep_get_and_clear(mm, AT, slot);
    set_pte_at(mm, AT, slot, pte_mkclean(pte_wrprotect(old)));
    cleaned();
    expect(rulesOf(auditor)).toEqual([11]);
    expect(auditor.findings[0]).toMatchObject({ agents: ["CPU 0", "CPU 1"], stale: { writable: true } });
  });

  test("without write protection: the next store would not fault", () => {
    const { scene, mm, vma, slot, auditor, cleaned } = filePage(ENTRY);
    const old = scene.run(ptep_clear_flush(vma, AT, slot));
    set_pte_at(mm, AT, slot, pte_mkclean(pte_mkwrite(old)));
    cleaned();
    expect(rulesOf(auditor)).toEqual([11]);
  });

  test("in an mm that no CPU has loaded: the entry is reported, and the mm named", () => {
    const { auditor, cleaned } = filePage(ENTRY, []);
    cleaned();
    expect(rulesOf(auditor)).toEqual([11]);
    expect(auditor.findings[0]).toMatchObject({ agents: ["idle"], linear: AT, stale: { writable: true } });
  });

  test("of another page says nothing of this one", () => {
    const { kernel, auditor } = filePage(ENTRY);
    tell(kernel, "call-left", { function: "page_mkclean", pfn: Pfn.of(PFN + 1), result: 0 });
    expect(rulesOf(auditor)).toEqual([]);
  });
});

describe("36: a page written out while an entry for it is still dirty and writable", () => {
  test.each([
    ["and loaded", undefined, ENTRY, [36]],
    ["but clean", undefined, ENTRY & ~0x40n, []],
    ["but write-protected", undefined, ENTRY & ~2n, []],
    // No CPU uses the entry, and whoever loads the mm would be too late for this write-out: rule 11 is about that.
    ["but loaded nowhere", [], ENTRY, []],
  ] as const)("%s", (_name, cpus, entry, rules) => {
    const { kernel, page, auditor } = filePage(entry, cpus);
    tell(kernel, "write-out", { pfn: page });
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

describe("35, at rest", () => {
  test.each([
    ["with D still in the entry", true, []],
    ["with the entry cleaned and nothing noted", false, [35]],
  ])("a store to a file page, %s", (_name, dirty, rules) => {
    const { scene, page, store } = filePage(ENTRY & ~0x60n);
    store();
    // The count that page_mkclean returns is thrown away.
    if (!dirty) scene.run(page_mkclean(scene.kernel, page));
    expect(scene.brokenRules()).toEqual(rules);
  });

  test("and with D kept in an entry that was made PROT_NONE and flushed", () => {
    for (const kept of [true, false]) {
      const { scene, kernel, mm, vma, slot, store } = filePage(ENTRY & ~0x60n);
      store();
      const old = scene.run(ptep_clear_flush(vma, AT, slot));
      const none = kernel.format.pte_modify(old, PAGE_NONE);
      set_pte_at(mm, AT, slot, kept ? none : pte_mkclean(none));
      expect(scene.brokenRules()).toEqual(kept ? [] : [35]);
    }
  });

  test("a write-out makes disk and memory equal", () => {
    const { scene, kernel, page, store } = filePage(ENTRY & ~0x60n);
    store();
    scene.run(pageout(kernel, page));
    expect(scene.brokenRules()).toEqual([]);
  });
});
