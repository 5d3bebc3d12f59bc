import { describe, expect, test } from "vitest";
import { Linear, NO_PFN } from "../../../../arch/x86/cpu/address.ts";
import { ptep_get_and_clear } from "../../../../arch/x86/mm/ptep.ts";
import type { Change } from "../../../../src/audit/ledger/debt.ts";
import { covers, hullOf, leftOut, roundedOut } from "../../../../src/audit/ledger/ranges.ts";
import { enter, leave } from "../../../../src/mm/calls.ts";
import {
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../../../src/mm/mmu_notifier.ts";
import { AT, anonymous, rulesOf } from "../../../support/audit-scene.ts";

/** Where entries of this level, or of 4 KiB, were changed. */
function changes(pages: readonly number[], level = 1): Change[] {
  return pages.map((page) => ({ leaf: { page, level } }) as unknown as Change);
}

describe("a range", () => {
  test.each([
    [0x1000, 0x1000, 0x1000, 0x2000],
    [0x1000, 1, 0x1000, 0x2000],
    [0x1010, 0xff0, 0x1000, 0x2000],
    [0x1fff, 1, 0x1000, 0x2000],
    [0x1fff, 2, 0x1000, 0x3000],
    [0x1000, 0, 0x1000, 0x1000],
  ])("from %i of %i bytes is the pages from %i to %i", (start, length, from, to) => {
    expect(roundedOut({ start, length })).toEqual({ from, to });
  });

  test("covers what it touches, and a large page only as a whole", () => {
    const [small] = changes([0x20_1000]);
    const [large] = changes([0x20_0000], 2);
    expect(covers({ start: 0x20_1ff0, length: 1 }, small!)).toBe(true);
    expect(covers({ start: 0x20_2000, length: 0x1000 }, small!)).toBe(false);
    expect(covers({ start: 0x20_0000, length: 0x1f_f001 }, large!)).toBe(true);
    expect(covers({ start: 0x20_0000, length: 0x1f_f000 }, large!)).toBe(false);
  });

  test("leaves out what lies before and behind it, neighbours joined", () => {
    const four = changes([0x1000, 0x2000, 0x3000, 0x4000]);
    expect(hullOf(four)).toEqual({ start: 0x1000, length: 0x4000 });
    expect(leftOut(four, { start: 0x2800, length: 0x10 })).toEqual([
      { start: 0x1000, length: 0x1000 },
      { start: 0x3000, length: 0x2000 },
    ]);
    expect(leftOut(four, { start: 0x1000, length: 0x4000 })).toEqual([]);
    expect(leftOut(changes([0x20_0000], 2), { start: 0x20_1000, length: 0x1000 })).toEqual([
      { start: 0x20_0000, length: 0x1000 },
      { start: 0x20_2000, length: 0x1f_e000 },
    ]);
  });
});

/* A listener rounds bounds out to pages: a range with an unaligned start is a finding, but it leaves no page out. */
describe("a call with an unaligned start", () => {
  const middle = Linear.of(AT + 0x10);
  const end = Linear.of(AT + 0x1000);

  test("by itself, after the walk: covers the page that it begins in", () => {
    const { kernel, mm, slot, auditor } = anonymous("iommu");
    const task = enter(kernel.current, "remove_migration_pte", NO_PFN, mm);
    ptep_get_and_clear(mm, AT, slot);
    mmu_notifier_invalidate_range(mm, middle, end);
    leave(task, true);
    // Rule 16 would say that the entry was left out.
    expect(rulesOf(auditor)).toEqual([15]);
    expect(auditor.findings[0]).toMatchObject({ owed: { fault: "unaligned start" }, staleRanges: [] });
  });

  test("inside a bracket, after the change: is not early", () => {
    const { kernel, mm, slot, auditor } = anonymous("iommu");
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, end));
    ptep_get_and_clear(mm, AT, slot);
    mmu_notifier_invalidate_range(mm, middle, end);
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, end));
    expect(rulesOf(auditor)).toEqual([15]);
  });

  test("inside a bracket, before the change: is early all the same", () => {
    const { kernel, mm, slot, auditor } = anonymous("iommu");
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, end));
    mmu_notifier_invalidate_range(mm, middle, end);
    ptep_get_and_clear(mm, AT, slot);
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, end));
    expect(rulesOf(auditor)).toEqual([15, 70]);
  });
});
