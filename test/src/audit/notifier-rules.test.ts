import { describe, expect, test } from "vitest";
import { ptep_clear_flush, ptep_get_and_clear } from "../../../arch/x86/mm/ptep.ts";
import type { MmEvent, NotifierOp } from "../../../src/mm/events.ts";
import type { mm_struct } from "../../../src/mm/mm_struct.ts";
import {
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_unregister,
} from "../../../src/mm/mmu_notifier.ts";
import { free_page } from "../../../src/mm/page_alloc.ts";
import { pteSlot } from "../../../src/mm/page-table.ts";
import { AT, AuditScene, anonymous, callback, ENTRY, PFN, rulesOf } from "../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, events are
 * made by hand: the auditor believes what it is told.
 */

/** range_start or range_end of so many bytes, as an event. */
function bracket(op: NotifierOp, mm: mm_struct, length: number): MmEvent {
  return { type: "notifier-called", op, mm, start: AT, length };
}

describe("5: brackets", () => {
  test("that nest are right", () => {
    const { scene, mm, auditor } = anonymous("kvm");
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x4000));
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x4000));
    expect(scene.brokenRules()).toEqual([]);
    expect(auditor.findings).toEqual([]);
  });

  test.each([
    ["other bounds at the end", [AT, AT + 0x1000], [AT, AT + 0x2000]],
    ["no start", null, [AT, AT + 0x2000]],
    ["no end", [AT, AT + 0x1000], null],
  ] as const)("with %s are not", (_name, start, end) => {
    const { scene, mm } = anonymous("sleeper");
    if (start !== null) scene.run(mmu_notifier_invalidate_range_start(mm, start[0], start[1]));
    if (end !== null) scene.run(mmu_notifier_invalidate_range_end(mm, end[0], end[1]));
    expect(scene.brokenRules()).toEqual([5]);
  });

  test("one stray end is one finding, and takes no other bracket with it", () => {
    for (const elsewhere of [true, false]) {
      const { scene, kernel, mm, auditor } = anonymous("sleeper");
      const stray = elsewhere ? kernel.createMm("other") : mm;
      auditor.observe(bracket("invalidate_range_start", mm, 0x4000));
      auditor.observe(bracket("invalidate_range_end", stray, 0x1000));
      auditor.observe(bracket("invalidate_range_end", mm, 0x4000));
      expect(scene.brokenRules()).toEqual([5]);
      expect(auditor.findings).toHaveLength(1);
      expect(auditor.findings[0]).toMatchObject({ mm: stray.name, moment: "range_end", count: 1 });
    }
  });

  test("with wrong bounds at the end are one finding, too", () => {
    const { scene, mm, auditor } = anonymous("sleeper");
    auditor.observe(bracket("invalidate_range_start", mm, 0x1000));
    auditor.observe(bracket("invalidate_range_end", mm, 0x2000));
    expect(scene.brokenRules()).toEqual([5]);
    expect(auditor.findings).toHaveLength(1);
  });

  test("that are open when the run ends are judged then", () => {
    const { scene, mm, auditor } = anonymous("sleeper");
    auditor.observe(bracket("invalidate_range_start", mm, 0x1000));
    expect(scene.brokenRules()).toEqual([5]);
    expect(auditor.findings[0]).toMatchObject({
      moment: "run ended",
      owed: "a range_end with the same bounds: [0x7f0000201000, 0x7f0000202000)",
    });
  });

  test("closed in the wrong order are not", () => {
    const { scene, mm } = anonymous("sleeper");
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x4000));
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x4000));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    expect(scene.brokenRules()).toEqual([5]);
  });
});

describe("12 and 13: callbacks that may sleep", () => {
  test.each([
    ["invalidate_page", 0, []],
    ["invalidate_page", 1, [12]],
    ["invalidate_range_start", 0, []],
    ["invalidate_range_start", 1, [12]],
    ["invalidate_range", 0, [13]],
    ["change_pte", 1, [12, 13]],
    ["clear_flush_young", 0, [13]],
  ] as const)("%s with %i locks held", (op, locks, rules) => {
    const { mm, auditor } = anonymous();
    auditor.observe(callback(mm, op, "sleeper", true, locks));
    auditor.observe(callback(mm, op, "calm", false, locks));
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

describe("15 and 16: bounds", () => {
  test.each([
    ["aligned and wide enough", AT, 0x1000, []],
    ["an unaligned end", AT, 0x1010, [15]],
    ["an unaligned start", AT - 0x10, 0x1010, [15]],
    ["nothing", AT, 0, [15, 16]],
    ["another page", AT + 0x1000, 0x1000, [15, 16]],
  ])("of a bracket: %s", (_name, start, length, rules) => {
    const { scene, kernel, mm, slot, auditor } = anonymous("sleeper");
    kernel.run(mmu_notifier_invalidate_range_start(mm, start, start + length));
    ptep_get_and_clear(mm, AT, slot);
    kernel.run(mmu_notifier_invalidate_range_end(mm, start, start + length));
    expect(scene.brokenRules()).toEqual(rules);
    const stale = auditor.findings.flatMap(({ staleRanges }) => staleRanges);
    expect(stale.every((range) => range.start === AT && range.length === 0x1000)).toBe(true);
    expect(stale.length > 0).toBe(rules.includes(16));
  });

  test("the whole mm has no bounds to judge", () => {
    const { scene, mm } = anonymous("sleeper");
    const whole = Number.POSITIVE_INFINITY;
    scene.run(mmu_notifier_invalidate_range_start(mm, 0, whole));
    scene.run(mmu_notifier_invalidate_range_end(mm, 0, whole));
    expect(scene.brokenRules()).toEqual([]);
  });
});

describe("70: invalidate_range comes after the change", () => {
  test.each([
    ["after", true, ENTRY, []],
    ["before", false, ENTRY, [70]],
    // Not present to the hardware, but there was something to clear.
    ["after, for a PROT_NONE entry", true, 0x0000_0000_0123_4960n, []],
  ])("%s", (_name, cleared, entry, rules) => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    scene.mapAnon(scene.vma(mm, { at: AT, length: 0x1000 }), AT, scene.page(PFN), entry);
    scene.addListener(mm, "sleeper", AT, 0x1000);
    const auditor = scene.audit();
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    if (cleared) ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    mmu_notifier_invalidate_range(mm, AT, AT + 0x1000);
    ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

describe("70: the calls of a walk over several pages", () => {
  const pages = 200;
  const walk = (cleared: (page: number) => boolean) => {
    const scene = new AuditScene();
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: pages * 0x1000 });
    for (let i = 0; i < pages; i++) {
      scene.mapAnon(vma, AT + i * 0x1000, scene.page(PFN + i), ENTRY + BigInt(i) * 0x1000n);
    }
    scene.addListener(mm, "sleeper", AT, pages * 0x1000);
    const auditor = scene.audit();
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + pages * 0x1000));
    for (let i = 0; i < pages; i++) {
      const at = AT + i * 0x1000;
      if (cleared(i)) ptep_get_and_clear(mm, at, pteSlot(mm, at));
    }
    return { scene, mm, auditor };
  };

  test("one for the page between two that were cleared is early", () => {
    const { mm, auditor } = walk((page) => page === 0 || page === 2);
    mmu_notifier_invalidate_range(mm, AT, AT + 0x1000);
    mmu_notifier_invalidate_range(mm, AT + 0x2000, AT + 0x3000);
    expect(rulesOf(auditor)).toEqual([]);
    mmu_notifier_invalidate_range(mm, AT + 0x1000, AT + 0x2000);
    ptep_get_and_clear(mm, AT + 0x1000, pteSlot(mm, AT + 0x1000));
    expect(rulesOf(auditor)).toEqual([70]);
    expect(auditor.findings[0]).toMatchObject({ address: AT + 0x1000 });
  });

  test("however many places were changed", () => {
    const { mm, auditor } = walk((page) => page % 2 === 0);
    for (let i = 0; i < pages; i += 2) {
      mmu_notifier_invalidate_range(mm, AT + i * 0x1000, AT + (i + 1) * 0x1000);
    }
    expect(rulesOf(auditor)).toEqual([]);
    mmu_notifier_invalidate_range(mm, AT + 7 * 0x1000, AT + 8 * 0x1000);
    expect(rulesOf(auditor)).toEqual([70]);
  });
});

test("a device whose mm was released is no longer one that may hold its translations", () => {
  for (const released of [true, false]) {
    const { scene, kernel, mm, vma, page, auditor, slot } = anonymous("iommu");
    if (released) scene.run(mmu_notifier_unregister(scene.iommu!, mm));
    scene.run(ptep_clear_flush(vma, AT, slot));
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual(released ? [] : [3]);
  }
});
