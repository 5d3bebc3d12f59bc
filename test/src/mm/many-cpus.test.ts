import { describe, expect, test } from "vitest";
import { Auditor } from "../../../src/package/audit.ts";
import { Machine } from "../../../src/package/cpu.ts";
import {
  add_to_swap,
  CPU_MASK_NONE,
  cpumask_empty,
  cpumask_test_cpu,
  flush_tlb_mm,
  free_page,
  hasOtherCpu,
  Kernel,
  lock_page,
  mapAnonymous,
  mm_cpumask,
  mmap,
  switch_mm,
  TTU_BATCH_FLUSH,
  TTU_IGNORE_ACCESS,
  try_to_unmap,
  try_to_unmap_flush,
  unionOf,
  withCpu,
  withoutCpu,
} from "../../../src/package/linux.ts";

const CPUS = [1, 31, 32, 63, 64, 127];

function scene() {
  const machine = new Machine({ memory: "16MiB", cpus: 128 });
  const kernel = new Kernel(machine, { notifiers: "c" });
  const mm = kernel.createMm("lab");
  const vma = mmap(mm, { at: 0x7f00_0020_0000, length: 0x1000, prot: "rw" });
  const page = mapAnonymous(kernel, vma, vma.vm_start);
  const auditor = new Auditor(kernel);
  for (const cpu of CPUS) {
    switch_mm(kernel, cpu, mm);
    expect(machine.cpu(cpu).store(vma.vm_start, 1).ok).toBe(true);
  }
  const holders = () => machine.cpus.filter(({ tlb }) => tlb.entries().length > 0).map(({ id }) => id);
  return { machine, kernel, mm, page, auditor, holders };
}

describe("a kernel on 128 CPUs", () => {
  test("flushes those that the mm has run on, and no other", () => {
    const { kernel, mm, holders } = scene();
    const sent: number[] = [];
    kernel.attach((record) => void (record.kind === "ipi-sent" && sent.push(record.to)));
    expect(holders()).toEqual(CPUS);
    kernel.run(flush_tlb_mm(mm));
    expect([holders(), sent]).toEqual([[], CPUS]);
    switch_mm(kernel, 64, kernel.init_mm);
    expect(mm_cpumask(mm)).toEqual([0x8000_0002 | 0, 0x8000_0001 | 0, 0, 0x8000_0000 | 0]);
  });

  test("puts a flush off and pays for it on each of them; the auditor finds the one that is forgotten", () => {
    for (const pays of [true, false]) {
      const { kernel, page, auditor, holders } = scene();
      kernel.run(lock_page(kernel, page));
      add_to_swap(kernel, page);
      kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS));
      expect(holders()).toEqual(CPUS);
      const batch = kernel.current.tlb_ubc;
      if (!pays) batch.cpumask = withoutCpu(batch.cpumask, 127);
      kernel.run(try_to_unmap_flush(kernel));
      free_page(kernel, page);
      expect(holders()).toEqual(pays ? [] : [127]);
      const agents = new Set(auditor.findings.map(({ agent }) => agent));
      expect(agents.has("CPU 127")).toBe(!pays);
      if (pays) expect(auditor.findings).toEqual([]);
    }
  });
});

describe("a set of CPUs", () => {
  test("is a value", () => {
    const some = withCpu(withCpu(CPU_MASK_NONE, 40), 3);
    expect([CPU_MASK_NONE, some]).toEqual([[0], [8, 0x100]]);
    expect([cpumask_test_cpu(40, some), cpumask_test_cpu(8, some), cpumask_test_cpu(200, some)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(withoutCpu(some, 40)).toEqual([8, 0]);
    expect([hasOtherCpu(some, 3), hasOtherCpu(withoutCpu(some, 40), 3)]).toEqual([true, false]);
    expect([cpumask_empty([0, 0]), cpumask_empty(some)]).toEqual([true, false]);
    expect(unionOf([1], some)).toEqual([9, 0x100]);
  });
});
