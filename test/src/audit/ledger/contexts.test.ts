import { describe, expect, test } from "vitest";
import { AT, ENTRY, PFN, setCpumask } from "../../../support/audit-scene.ts";
import { stalePage } from "../../../support/stale-page.ts";

const GLOBAL_ENTRY = ENTRY | 0x100n;

test("with PCIDs, a load of CR3 that keeps translations pays nothing, and debts stay with their PCID", () => {
  const { machine, kernel, mm, store, staleAtFree } = stalePage();
  const other = kernel.createMm("other");
  const cpu = machine.cpu(1);
  cpu.setControl({ pcide: true });
  cpu.loadCr3(mm.pgd, 1);
  cpu.loadCr3(other.pgd, 2);
  store(0n);
  machine.cpu(0).invlpg(AT);
  cpu.invlpg(AT);
  cpu.loadCr3(mm.pgd, 1, true);
  expect(staleAtFree()).toEqual(["CPU 1"]);
});

describe("PCIDs that are not loaded", () => {
  /** CPU 0 has PCID 1 for the mm, then PCID 2 for another, and the page's entry is cleared. */
  const leftBehind = (entry = ENTRY) => {
    const { machine, kernel, mm, store, staleAtFree, auditor } = stalePage(entry);
    const cpu = machine.cpu(0);
    setCpumask(kernel.init_mm, [0b11]);
    machine.cpu(1).loadCr3(kernel.init_mm.pgd);
    // Drops the global ones, too.
    machine.cpu(1).setControl({ pge: false });
    const other = kernel.createMm("other");
    setCpumask(other, [0b01]);
    cpu.setControl({ pcide: true });
    cpu.loadCr3(mm.pgd, 1);
    cpu.loadCr3(other.pgd, 2, true);
    store(0n);
    return { cpu, mm, other, auditor, staleAtFree };
  };

  test("may keep what they have of a freed page, if it goes before they are used again", () => {
    const { cpu, mm, other, staleAtFree, auditor } = leftBehind();
    expect(staleAtFree()).toEqual([]);
    cpu.loadCr3(mm.pgd, 1);
    cpu.loadCr3(other.pgd, 2, true);
    cpu.loadCr3(mm.pgd, 1, true);
    expect(auditor.findings).toEqual([]);
  });

  test("must not be loaded with it", () => {
    const { cpu, mm, staleAtFree, auditor } = leftBehind();
    expect(staleAtFree()).toEqual([]);
    cpu.loadCr3(mm.pgd, 1, true);
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]).toMatchObject({
      rule: { id: 1 },
      moment: "PCID loaded, not flushed since: page freed",
      agents: ["CPU 0"],
      pfn: PFN,
    });
  });

  test("cannot hold back a global translation: every PCID uses it, and INVLPG under any drops it", () => {
    for (const invalidated of [false, true]) {
      const { cpu, staleAtFree } = leftBehind(GLOBAL_ENTRY);
      if (invalidated) cpu.invlpg(AT);
      expect(staleAtFree()).toEqual(invalidated ? [] : ["CPU 0"]);
    }
  });
});

describe("a global user leaf, which should not be", () => {
  test("stays on a CPU that has gone to another root, until something drops global ones", () => {
    for (const dropped of [false, true]) {
      const { machine, kernel, store, staleAtFree } = stalePage(GLOBAL_ENTRY);
      setCpumask(kernel.init_mm, [0b11]);
      const cpu = machine.cpu(1);
      cpu.loadCr3(kernel.init_mm.pgd);
      if (dropped) cpu.setControl({ pge: false });
      store(0n);
      expect(staleAtFree()).toEqual(dropped ? ["CPU 0"] : ["CPU 0", "CPU 1"]);
    }
  });

  test.each([
    ["a load of CR3 keeps it", true, false, ["CPU 0", "CPU 1"]],
    ["but not without CR4.PGE", false, false, ["CPU 1"]],
    ["INVLPG drops it", true, true, ["CPU 1"]],
  ])("%s", (_name, pge, invlpg, stale) => {
    const { machine, store, staleAtFree } = stalePage(GLOBAL_ENTRY);
    const cpu = machine.cpu(0);
    cpu.setControl({ pge });
    store(0n);
    cpu.loadCr3(cpu.root);
    if (invlpg) cpu.invlpg(AT);
    expect(staleAtFree()).toEqual(stale);
  });

  test("and of two translations of one address the load drops the other one", () => {
    const { machine, store, staleAtFree } = stalePage(ENTRY);
    const cpu = machine.cpu(0);
    store(0x8000_0000_0999_9967n);
    store(0n);
    cpu.loadCr3(cpu.root);
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });
});
