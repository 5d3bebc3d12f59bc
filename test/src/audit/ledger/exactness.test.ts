import { describe, expect, test } from "vitest";
import { ACCESS_READ } from "../../../../arch/x86/cpu/access-rights.ts";
import { PAGE_SIZE } from "../../../../arch/x86/cpu/address.ts";
import { invlpgb, invpcid, tlbsync } from "../../../../arch/x86/cpu/invalidation.ts";
import type { MachineOptions } from "../../../../arch/x86/cpu/machine.ts";
import { OutcomeOracle, permits } from "../../../../arch/x86/oracle/outcome-oracle.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import { BareSystem, done, GLOBAL, OTHER_PAGE, T, USER, words } from "../../../support/bare-system.ts";

/* What a context may hold, to the entry: no more than it can have read, and all of that. */

/** CPU 0 under PCID 1, with a table for T and a second root. */
function scene(options: Partial<MachineOptions> = {}) {
  const system = new BareSystem(options);
  const { machine, cpu } = system;
  const [root, other] = [system.root(), system.root()];
  const [page, next] = [system.frame(), system.frame()];
  const slot = system.slot(root, T);
  cpu.setControl({ pcide: true });
  cpu.loadCr3(root, 1);
  const oracle = new OutcomeOracle(machine);
  machine.records.listen(oracle.observe, oracle.isTable);
  const auditor = new Auditor(machine);
  const mayRead = (pfn: number) =>
    permits(oracle.allowed(0, ACCESS_READ, ...words(T)), { physical: pfn * PAGE_SIZE });
  const found = () => auditor.findings.map(({ rule, pfn }) => [rule.id, pfn]);
  return { system, machine, cpu, root, other, page, next, slot, auditor, mayRead, found };
}

describe("a PCID that is not loaded", () => {
  test("has nothing of what came and went meanwhile", () => {
    const { system, cpu, root, other, page, auditor, mayRead, found } = scene();
    cpu.loadCr3(other, 2, true);
    system.map(root, T, page);
    system.unmap(root, T);
    auditor.pageFreed(page);
    cpu.loadCr3(root, 1, true);
    expect(mayRead(page)).toBe(false);
    expect(found()).toEqual([]);
  });

  test("has what was there when it was left", () => {
    const { system, cpu, root, other, page, auditor, mayRead, found } = scene();
    system.map(root, T, page);
    cpu.loadCr3(other, 2, true);
    system.unmap(root, T);
    auditor.pageFreed(page);
    cpu.loadCr3(root, 1, true);
    expect(mayRead(page)).toBe(true);
    expect(found()).toEqual([["G1", page]]);
  });

  test("cannot have again what INVPCID took from it", () => {
    const { system, cpu, root, other, page, auditor, mayRead, found } = scene();
    system.map(root, T, page);
    cpu.loadCr3(other, 2, true);
    done(invpcid(cpu, 0, 1, T));
    system.unmap(root, T);
    auditor.pageFreed(page);
    cpu.loadCr3(root, 1, true);
    expect(mayRead(page)).toBe(false);
    expect(found()).toEqual([]);
  });

  test("keeps what it has of its root although it comes back with another", () => {
    const { system, cpu, root, other, page, next, slot, auditor, mayRead } = scene();
    system.map(root, T, page);
    cpu.loadCr3(other, 1, true);
    system.store(slot, next, USER);
    auditor.pageFreed(next);
    expect(mayRead(next)).toBe(true);
    expect(auditor.findings.filter(({ rule }) => rule.id === "G1")).toHaveLength(1);
  });
});

describe("a table that only a cached entry leads to", () => {
  test("is read as it is now", () => {
    const { system, cpu, root, page, slot, auditor, mayRead, found } = scene();
    system.map(root, OTHER_PAGE, system.frame());
    system.unmap(root, T, 2);
    system.store(slot, page, USER);
    auditor.pageFreed(page);
    expect(mayRead(page)).toBe(true);
    expect(found()).toEqual([["G1", page]]);
    cpu.invlpg(T);
    expect(mayRead(page)).toBe(false);
    auditor.pageFreed(page);
    expect(auditor.findings).toHaveLength(1);
  });

  test("is not read while the PCID is not loaded", () => {
    const { system, machine, cpu, root, other, page, slot, auditor, mayRead, found } = scene();
    cpu.loadCr3(other, 2, true);
    system.unmap(root, T, 2);
    system.store(slot, page, USER);
    machine.storeEntry(slot, 0, 0, null);
    auditor.pageFreed(page);
    cpu.loadCr3(root, 1, true);
    expect(mayRead(page)).toBe(false);
    expect(found()).toEqual([]);
  });

  test("is read as soon as the PCID is loaded", () => {
    const { system, cpu, root, other, page, slot, auditor, mayRead, found } = scene();
    cpu.loadCr3(other, 2, true);
    system.unmap(root, T, 2);
    system.store(slot, page, USER);
    auditor.pageFreed(page);
    expect(found()).toEqual([]);
    cpu.loadCr3(root, 1, true);
    expect(mayRead(page)).toBe(true);
    expect(found()).toEqual([["G1", page]]);
  });
});

test("a global leaf in place serves a CPU that has left its root", () => {
  const { system, cpu, root, other, page, auditor, mayRead, found } = scene();
  system.map(root, T, page, USER | GLOBAL);
  cpu.loadCr3(other, 1);
  auditor.pageFreed(page);
  expect(mayRead(page)).toBe(true);
  expect(found()).toEqual([["G1", page]]);
});

test("with CR4.PCIDE cleared, what is filled is PCID 0's", () => {
  const { system, cpu, root, page, auditor, found } = scene();
  done(cpu.setControl({ pcide: false }));
  system.map(root, T, page);
  system.unmap(root, T);
  cpu.invlpg(T);
  auditor.pageFreed(page);
  expect(found()).toEqual([]);
});

describe("the oracle", () => {
  test("lets a leaf come back by a cached table entry between two drops, and stay", () => {
    const { system, cpu, root, page, mayRead, auditor, found } = scene({ model: "amd-zen3" });
    system.map(root, T, page);
    system.unmap(root, T, 2);
    done(invlpgb(cpu, { finalOnly: true }));
    done(tlbsync(cpu));
    done(invlpgb(cpu, { address: OTHER_PAGE }));
    done(tlbsync(cpu));
    expect(mayRead(page)).toBe(true);
    auditor.pageFreed(page);
    expect(found()).toEqual([["G1", page]]);
  });

  test("lets a load that keeps nothing fill nothing by what it drops", () => {
    const { system, cpu, root, other, page, slot, mayRead } = scene();
    cpu.loadCr3(other, 2, true);
    system.unmap(root, T, 2);
    system.store(slot, page, USER | GLOBAL);
    cpu.loadCr3(root, 1);
    expect(mayRead(page)).toBe(false);
  });
});
