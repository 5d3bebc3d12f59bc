import { describe, expect, test } from "vitest";
import { Linear, NO_PFN } from "../../../../arch/x86/cpu/address.ts";
import { ptep_clear_flush, ptep_get_and_clear } from "../../../../arch/x86/mm/ptep.ts";
import { owedText } from "../../../../src/audit/findings.ts";
import { enter, leave } from "../../../../src/mm/calls.ts";
import type { mm_struct } from "../../../../src/mm/mm_types.ts";
import {
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_unregister,
} from "../../../../src/mm/mmu_notifier.ts";
import { free_page } from "../../../../src/mm/page_alloc.ts";
import { pteSlot } from "../../../../src/mm/page-table.ts";
import type { NotifierOp } from "../../../../src/mm/records.ts";
import {
  AT,
  AuditScene,
  anonymous,
  callback,
  ENTRY,
  listenerOf,
  PFN,
  rangeFields,
  rulesOf,
  sleeper,
  tell,
} from "../../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, records are
 * made by hand: the auditor believes what it is told.
 */

/** range_start or range_end of so many bytes, as a record. */
function bracket(op: NotifierOp, mm: mm_struct, bytes: number): void {
  tell(mm.kernel as AuditScene["kernel"], "notifier-called", { op, ...rangeFields(AT, bytes) }, mm);
}

/** The address so many bytes behind the page. */
function plus(bytes: number): Linear {
  return Linear.of(AT + bytes);
}

describe("5: brackets", () => {
  test("that nest are right", () => {
    const { scene, mm, auditor } = anonymous("kvm");
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(0x4000)));
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(0x1000)));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, plus(0x1000)));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, plus(0x4000)));
    expect(scene.brokenRules()).toEqual([]);
    expect(auditor.findings).toEqual([]);
  });

  test.each([
    ["other bounds at the end", [0, 0x1000], [0, 0x2000]],
    ["no start", null, [0, 0x2000]],
    ["no end", [0, 0x1000], null],
  ] as const)("with %s are not", (_name, start, end) => {
    const { scene, mm } = anonymous("sleeper");
    if (start !== null) {
      scene.run(mmu_notifier_invalidate_range_start(mm, plus(start[0]), plus(start[1])));
    }
    if (end !== null) scene.run(mmu_notifier_invalidate_range_end(mm, plus(end[0]), plus(end[1])));
    expect(scene.brokenRules()).toEqual([5]);
  });

  test("one stray end is one finding, and takes no other bracket with it", () => {
    for (const elsewhere of [true, false]) {
      const { scene, kernel, mm, auditor } = anonymous("sleeper");
      const stray = elsewhere ? kernel.createMm("other") : mm;
      bracket("invalidate_range_start", mm, 0x4000);
      bracket("invalidate_range_end", stray, 0x1000);
      bracket("invalidate_range_end", mm, 0x4000);
      expect(scene.brokenRules()).toEqual([5]);
      expect(auditor.findings).toHaveLength(1);
      expect(auditor.findings[0]).toMatchObject({ mm: stray.name, moment: "range_end", count: 1 });
    }
  });

  test("with wrong bounds at the end are one finding, too", () => {
    const { scene, mm, auditor } = anonymous("sleeper");
    bracket("invalidate_range_start", mm, 0x1000);
    bracket("invalidate_range_end", mm, 0x2000);
    expect(scene.brokenRules()).toEqual([5]);
    expect(auditor.findings).toHaveLength(1);
  });

  test("that are open when the run ends are judged then", () => {
    const { scene, mm, auditor } = anonymous("sleeper");
    bracket("invalidate_range_start", mm, 0x1000);
    expect(scene.brokenRules()).toEqual([5]);
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]).toMatchObject({ moment: "run ended", owed: { fault: "unpaired" } });
    expect(owedText(auditor.findings[0]!.owed)).toBe(
      "a range_end with the same bounds: [0x7f0000201000, +4 KiB)",
    );
  });

  test("closed in the wrong order are not", () => {
    const { scene, mm } = anonymous("sleeper");
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(0x4000)));
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(0x1000)));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, plus(0x4000)));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, plus(0x1000)));
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
    const { scene, mm, auditor } = anonymous();
    scene.listen(mm, "sleeper", sleeper().ops);
    const [sleepy, calm] = [listenerOf(mm), 0];
    callback(mm, op, sleepy, true, locks);
    callback(mm, op, calm, false, locks);
    expect(rulesOf(auditor)).toEqual(rules);
    expect(auditor.findings.every(({ agent }) => agent === "sleeper")).toBe(true);
  });
});

describe("15 and 16: bounds", () => {
  test.each([
    ["aligned and wide enough", 0, 0x1000, []],
    ["an unaligned end", 0, 0x1010, [15]],
    ["an unaligned start", -0x10, 0x1010, [15]],
    ["nothing", 0, 0, [15, 16]],
    ["another page", 0x1000, 0x1000, [15, 16]],
  ])("of a bracket: %s", (_name, offset, length, rules) => {
    const { scene, kernel, mm, slot, auditor } = anonymous("sleeper");
    kernel.run(mmu_notifier_invalidate_range_start(mm, plus(offset), plus(offset + length)));
    ptep_get_and_clear(mm, AT, slot);
    kernel.run(mmu_notifier_invalidate_range_end(mm, plus(offset), plus(offset + length)));
    expect(scene.brokenRules()).toEqual(rules);
    const stale = auditor.findings.flatMap(({ staleRanges }) => staleRanges);
    expect(stale.every((range) => range.start === AT && range.length === 0x1000)).toBe(true);
    expect(stale.length > 0).toBe(rules.includes(16));
  });

  test("the whole mm has no bounds to judge", () => {
    const { scene, mm } = anonymous("sleeper");
    const whole = Linear.unchecked(Number.POSITIVE_INFINITY);
    scene.run(mmu_notifier_invalidate_range_start(mm, Linear.of(0), whole));
    scene.run(mmu_notifier_invalidate_range_end(mm, Linear.of(0), whole));
    expect(scene.brokenRules()).toEqual([]);
  });

  test("the whole mm, as a record says it, covers every change", () => {
    const { scene, kernel, mm, slot } = anonymous("sleeper");
    const whole = { linearLo: 0, linearHi: 0, bytes: 0, all: true };
    tell(kernel, "notifier-called", { op: "invalidate_range_start", ...whole }, mm);
    ptep_get_and_clear(mm, AT, slot);
    tell(kernel, "notifier-called", { op: "invalidate_range_end", ...whole }, mm);
    expect(scene.brokenRules()).toEqual([]);
  });
});

describe("a call by itself, as protocol b makes it, must cover what the walk has changed so far", () => {
  test.each([
    ["the page", AT, 0x1000, []],
    ["the page and more", AT - 0x1000, 0x3000, []],
    // It misses what was changed: a wrong range, not an early one.
    ["another page", AT + 0x1000, 0x1000, [15, 16]],
    ["nothing", AT, 0, [15, 16]],
  ])("%s", (_name, start, bytes, rules) => {
    const { kernel, mm, slot, auditor } = anonymous("sleeper");
    const task = enter(kernel.current, "remove_migration_pte", NO_PFN, mm);
    ptep_get_and_clear(mm, AT, slot);
    mmu_notifier_invalidate_range(mm, Linear.of(start), Linear.of(start + bytes));
    leave(task, true);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("before anything has changed it is early", () => {
    const { kernel, mm, slot, auditor } = anonymous("sleeper");
    const task = enter(kernel.current, "remove_migration_pte", NO_PFN, mm);
    mmu_notifier_invalidate_range(mm, AT, plus(0x1000));
    ptep_get_and_clear(mm, AT, slot);
    leave(task, true);
    expect(rulesOf(auditor)).toEqual([70]);
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
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(0x1000)));
    if (cleared) ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    mmu_notifier_invalidate_range(mm, AT, plus(0x1000));
    ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    scene.run(mmu_notifier_invalidate_range_end(mm, AT, plus(0x1000)));
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
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, plus(pages * 0x1000)));
    for (let i = 0; i < pages; i++) {
      const at = plus(i * 0x1000);
      if (cleared(i)) ptep_get_and_clear(mm, at, pteSlot(mm, at));
    }
    return { mm, auditor, tellPage: (i: number) => mmu_notifier_invalidate_range(mm, page(i), page(i + 1)) };
  };
  const page = (i: number) => plus(i * 0x1000);

  test("one for the page between two that were cleared is early", () => {
    const { mm, auditor, tellPage } = walk((i) => i === 0 || i === 2);
    tellPage(0);
    tellPage(2);
    expect(rulesOf(auditor)).toEqual([]);
    tellPage(1);
    ptep_get_and_clear(mm, page(1), pteSlot(mm, page(1)));
    expect(rulesOf(auditor)).toEqual([70]);
    expect(auditor.findings[0]).toMatchObject({ linear: AT + 0x1000 });
  });

  test("however many places were changed", () => {
    const { auditor, tellPage } = walk((i) => i % 2 === 0);
    for (let i = 0; i < pages; i += 2) tellPage(i);
    expect(rulesOf(auditor)).toEqual([]);
    tellPage(7);
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
