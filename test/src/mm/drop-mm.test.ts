import { expect, test } from "vitest";
import { Linear, PAGE_SIZE, type Pfn } from "../../../arch/x86/cpu/address.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import { switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { Auditor } from "../../../src/audit/auditor.ts";
import { dropMm } from "../../../src/mm/drop-mm.ts";
import { Kernel } from "../../../src/mm/kernel.ts";
import { mmu_notifier_register } from "../../../src/mm/mmu_notifier.ts";
import { mapAnonymous, mmap } from "../../../src/mm/populate.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";
import { Iommu } from "../../../src/virt/iommu.ts";

const AT = Linear.of(0x7f00_0000_0000);

function newKernel(): Kernel {
  return new Kernel(new Machine({ memory: "16MiB", cpus: 2 }));
}

test("a dropped mm frees its root, says so, and its frame serves the next one, cleared", () => {
  const kernel = newKernel();
  const mm = kernel.createMm("gone");
  const root = (mm.pgd / PAGE_SIZE) as Pfn;
  const heard: TraceRecord[] = [];
  kernel.attach((record) => heard.push(record));
  const auditor = new Auditor(kernel);
  switch_mm(kernel, 1, mm);
  switch_mm(kernel, 1, kernel.init_mm);
  dropMm(mm);
  expect(kernel.mms).toEqual([]);
  expect(kernel.frames.isFree(root)).toBe(true);
  expect(heard.slice(-4)).toMatchObject([
    { kind: "table-freed", pfn: root, level: 4 },
    { kind: "page-put", pfn: root, refcount: 0 },
    { kind: "page-freed", pfn: root, order: 0 },
    { kind: "address-space-ended", space: mm.id },
  ]);
  kernel.machine.memory.write(mm.pgd, -1, -1);
  const next = kernel.createMm("next");
  expect(next.pgd).toBe(mm.pgd);
  expect(kernel.machine.memory.read(next.pgd).toBigInt()).toBe(0n);
  expect(auditor.finish()).toEqual([]);
});

test("what is left of an mm keeps it from being dropped, and is named", () => {
  const kernel = newKernel();
  const mm = kernel.createMm("m");
  const iommu = new Iommu(mm);
  expect(() => dropMm(kernel.init_mm)).toThrow("init_mm cannot be dropped: it is the kernel's own");
  switch_mm(kernel, 1, mm);
  expect(() => dropMm(mm)).toThrow("m cannot be dropped: CPU 1 has it loaded");
  switch_mm(kernel, 1, kernel.init_mm);
  const vma = mmap(mm, { at: AT, length: PAGE_SIZE, prot: "rw" });
  mapAnonymous(kernel, vma, AT);
  expect(() => dropMm(mm)).toThrow("1 of its vmas are left");
  mm.mmap.length = 0;
  mmu_notifier_register(iommu, mm);
  expect(() => dropMm(mm)).toThrow("it has listeners");
  mm.mmu_notifier_mm = null;
  expect(() => dropMm(mm)).toThrow("entry 254 of its root is not none");
  kernel.machine.memory.write(mm.pgd + 254 * 8, 0, 0);
  dropMm(mm);
  expect(() => dropMm(mm)).toThrow("it was dropped before");
});
