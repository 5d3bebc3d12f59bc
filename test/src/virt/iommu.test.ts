import { describe, expect, test } from "vitest";
import { Linear } from "../../../arch/x86/cpu/address.ts";
import {
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range,
  mmu_notifier_register,
} from "../../../src/mm/mmu_notifier.ts";
import { pmdSlot, pteSlot } from "../../../src/mm/page-table.ts";
import { Iommu, type IommuOptions } from "../../../src/virt/iommu.ts";
import { Scene } from "../../support/scene.ts";

const a = Linear.of(0x7f00_0020_1000);

function devicePages(options: IommuOptions = {}) {
  const scene = new Scene({ memory: "64MiB" });
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: a, length: 0x3000 });
  for (let i = 0; i < 3; i++) {
    scene.mapAnon(vma, a + i * 0x1000, scene.page(0x2000 + i), 0x8000_0000_0200_0007n + BigInt(i) * 4096n);
  }
  const iommu = new Iommu(mm, options);
  mmu_notifier_register(iommu, mm);
  const records: unknown[] = [];
  scene.kernel.attach((record) => records.push(record));
  return { scene, kernel: scene.kernel, mm, iommu, records };
}

function cachedPages(iommu: Iommu): number[] {
  return iommu.tlb
    .entries()
    .map((entry) => entry.page)
    .sort((x, y) => x - y);
}

describe("a device on the CPU's page tables", () => {
  test("sets A on a read and D on a write, like a CPU", () => {
    const { scene, mm, iommu } = devicePages();
    expect(iommu.access(a, false)).toBe(true);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_0200_0027n);
    expect(iommu.access(a, true)).toBe(true);
    expect(scene.pte(mm, a)).toBe(0x8000_0000_0200_0067n);
    expect(iommu.fills).toBe(2);
  });

  test("keeps using what it cached after the entry is gone", () => {
    const { kernel, mm, iommu, records } = devicePages();
    iommu.access(a, true);
    kernel.machine.storeEntry(pteSlot(mm, a), 0, 0, 0);
    expect(iommu.access(a, true)).toBe(true);
    expect(records.at(-1)).toMatchObject({ kind: "device-access", space: mm.id, hit: true, pfn: 0x2000 });
    kernel.run(mmu_notifier_invalidate_page(mm, a));
    expect(iommu.access(a, true)).toBe(false);
    expect(iommu.faults).toBe(1);
  });

  test("a clean cached translation does not write once the entry is gone", () => {
    const { kernel, mm, iommu } = devicePages();
    iommu.access(a, false);
    kernel.machine.storeEntry(pteSlot(mm, a), 0, 0, 0);
    expect(iommu.access(a, false)).toBe(true);
    expect(iommu.access(a, true)).toBe(false);
    // A device's fault drops nothing: reads go on through the stale translation.
    expect(iommu.access(a, false)).toBe(true);
  });

  test("a write through a clean translation replaces it and no other", () => {
    const { kernel, mm, iommu } = devicePages();
    iommu.access(a, false);
    const pde = pmdSlot(mm, a);
    const { lo, hi } = kernel.machine.memory.read(pde);
    kernel.machine.storeEntry(pde, 0x40_0087, 0, 0);
    iommu.access(Linear.of(a + 0x1000), false);
    kernel.machine.storeEntry(pde, lo, hi, 0);
    expect(iommu.access(a, true)).toBe(true);
    const kept = iommu.tlb.entries().map(({ level, dirty }) => [level, dirty]);
    expect(kept.sort()).toEqual([
      [1, true],
      [2, false],
    ]);
  });
});

describe("the driver's arithmetic", () => {
  const fill = (iommu: Iommu) => {
    for (let i = 0; i < 3; i++) iommu.access(Linear.of(a + i * 0x1000), false);
  };

  test("a range inside one page, even of one byte, flushes that page", () => {
    const { mm, iommu } = devicePages();
    fill(iommu);
    mmu_notifier_invalidate_range(mm, Linear.of(a + 0x1000), Linear.of(a + 0x1001));
    expect(cachedPages(iommu)).toEqual([a, a + 0x2000]);
  });

  test("512 bytes are one page: what protocol b asks for a THP", () => {
    const { mm, iommu } = devicePages();
    fill(iommu);
    mmu_notifier_invalidate_range(mm, a, Linear.of(a + 512));
    expect(cachedPages(iommu)).toEqual([a + 0x1000, a + 0x2000]);
  });

  test("a range over two pages flushes everything", () => {
    const { mm, iommu } = devicePages();
    fill(iommu);
    mmu_notifier_invalidate_range(mm, a, Linear.of(a + 0x1001));
    expect(cachedPages(iommu)).toEqual([]);
  });

  test("the range-only kind does not hear invalidate_page", () => {
    const { kernel, mm, iommu } = devicePages({ onlyRange: true });
    fill(iommu);
    kernel.run(mmu_notifier_invalidate_page(mm, a));
    expect(cachedPages(iommu)).toHaveLength(3);
  });

  test("aging flushes page by page and reports nothing young", () => {
    const { mm, iommu } = devicePages();
    fill(iommu);
    expect(iommu.ops.clear_flush_young?.(mm, a, Linear.of(a + 0x2000))).toBe(false);
    expect(cachedPages(iommu)).toEqual([a + 0x2000]);
  });
});
