import { describe, expect, test } from "vitest";
import { Linear, NO_SLOT, Pfn } from "../../../arch/x86/cpu/address.ts";
import { lockTable, tableLockId, unlockTable } from "../../../src/mm/locks.ts";
import { PageVmaMappedWalk, PVMW_MIGRATION, page_vma_mapped_walk } from "../../../src/mm/page_vma_mapped.ts";
import { ensurePmdSlot, huge_pte_offset, pmdSlot, pudSlot, tableOf } from "../../../src/mm/page-table.ts";
import { Scene } from "../../support/scene.ts";
import { advanceTo } from "../../support/steps.ts";
import { Trace } from "../../support/trace.ts";

const h = Linear.of(0x7f00_0020_0000);

describe("hugetlb: what decides between pud and pmd is the pud", () => {
  const g = Linear.of(0x7f00_4000_0000);
  function gigantic(entry: bigint) {
    const scene = new Scene({ memory: "2GiB" });
    const vma = scene.vma(scene.mm(), { at: g, length: 0x4000_0000 });
    scene.mapHugetlb(vma, g, scene.compoundPage(0x40000, 18, true), entry);
    const trace = new Trace();
    scene.kernel.attach(trace.observer);
    return { scene, vma, trace, mm: vma.vm_mm };
  }

  test("1 GiB: found under the lock of the mm", () => {
    const { scene, vma, trace, mm } = gigantic(0x4000_00e7n);
    const v = new PageVmaMappedWalk(scene.kernel, Pfn.of(0x40000), vma, g);
    const walk = () => scene.kernel.run(page_vma_mapped_walk(v));
    expect([walk(), v.ptl]).toEqual([true, mm.pgd / 4096]);
    expect(walk()).toBe(false);
    expect(trace.toString()).toBe("L+(mm) L-(mm)");
  });

  test.each([
    ["an empty pud", 0n],
    ["a migration entry, as in 4.13", (0x40000n << 14n) | (31n << 9n)],
  ])("%s is no slot, and nothing is locked", (_what, entry) => {
    const { scene, vma, trace, mm } = gigantic(entry);
    const v = new PageVmaMappedWalk(scene.kernel, Pfn.of(0x40000), vma, g, PVMW_MIGRATION);
    expect(scene.kernel.run(page_vma_mapped_walk(v))).toBe(false);
    expect([trace.toString(), huge_pte_offset(mm, g, 0x4000_0000)]).toEqual(["", NO_SLOT]);
  });

  test("a huge pud is the slot for whatever size is asked, a table of pmds is gone through", () => {
    const { mm } = gigantic(0x4000_00e7n);
    expect(huge_pte_offset(mm, Linear.of(g + 0x20_0000), 0x20_0000)).toBe(pudSlot(mm, g));
    const next = Linear.of(0x7f00_8000_0000);
    const pmdp = ensurePmdSlot(mm, next);
    expect(huge_pte_offset(mm, next, 0x4000_0000)).toBe(pmdp);
  });
});

test("the walk waits for the lock like others", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
  scene.mapHugetlb(vma, h, scene.compoundPage(0x400, 9, true), 0x40_00e7n);
  const table = tableOf(pmdSlot(vma.vm_mm, h));
  const walker = kernel.current;
  kernel.current = kernel.createTask("other", 1);
  kernel.run(lockTable(kernel, table, "pmd"));
  const other = kernel.current;
  kernel.current = walker;
  const v = new PageVmaMappedWalk(kernel, Pfn.of(0x400), vma, h);
  const walk = page_vma_mapped_walk(v);
  expect(advanceTo(walk)).toEqual({ kind: "blocked", object: tableLockId(table) });
  kernel.current = other;
  unlockTable(kernel, table, "pmd");
  kernel.current = walker;
  expect([walk.next(), v.ptl]).toEqual([{ done: true, value: true }, table]);
});
