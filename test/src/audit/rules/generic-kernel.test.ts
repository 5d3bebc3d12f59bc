import { describe, expect, test } from "vitest";
import type { Pfn } from "../../../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../../../arch/x86/cpu/cpu.ts";
import { invpcid } from "../../../../arch/x86/cpu/invalidation.ts";
import type { MachineOptions } from "../../../../arch/x86/cpu/machine.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import { BareSystem, done, GLOBAL, KERNEL, KERNEL_BASE } from "../../../support/bare-system.ts";

/*
 * G1 at kernel addresses. Their frames are mapped at other places all the time, so that a freed one says nothing; what is
 * judged is the address: it must not get another page while a CPU may use the old one.
 */

const K = KERNEL_BASE + 0x40_2000;
const LARGE = KERNEL_BASE + 0x8000_0000;

/** A page at K, touched by CPU 0, in a kernel half that two roots share; both CPUs have the first one loaded. */
function kernelPage(flags = KERNEL, options: Partial<MachineOptions> = {}) {
  const system = new BareSystem(options);
  const { machine, cpu } = system;
  const [root, other] = [system.root(), system.root()];
  const [old, next] = [system.frame(), system.frame()];
  system.map(root, K, old, flags);
  system.store(system.slot(other, K, 4), system.table(root, K, 3), 0x67);
  for (const each of machine.cpus) {
    each.setControl({ pcide: true });
    each.loadCr3(root, 1);
  }
  const auditor = new Auditor(machine);
  expect(cpu.load(BigInt(K)).ok).toBe(true);
  return {
    system,
    machine,
    cpu,
    root,
    other,
    old,
    next,
    auditor,
    unmap: () => system.unmap(root, K),
    map: (pfn: Pfn) => system.map(root, K, pfn, flags),
    /** What was found: the rule, the address, the old frame, on which CPUs. */
    found: () => auditor.findings.map(({ rule, linear, pfn, agents }) => [rule.id, linear, pfn, agents]),
  };
}

describe("a kernel address that gets another page", () => {
  test("without a flush between", () => {
    const { unmap, map, old, next, found, auditor } = kernelPage();
    unmap();
    map(next);
    expect(found()).toEqual([["G1", K, old, ["CPU 0"]]]);
    expect(auditor.findings[0]!.moment).toBe("address reused");
  });

  test("in one store, so that no flush can come between", () => {
    const { map, old, next, found } = kernelPage();
    map(next);
    expect(found()).toEqual([["G1", K, old, ["CPU 0"]]]);
  });

  test("gets the same one again: no CPU can tell", () => {
    const { unmap, map, old, found } = kernelPage();
    unmap();
    map(old);
    expect(found()).toEqual([]);
  });

  test("may be without a page for as long as it likes, and its old frame freed meanwhile", () => {
    const { unmap, old, found, auditor } = kernelPage();
    unmap();
    auditor.pageFreed(old);
    auditor.finish();
    expect(found()).toEqual([]);
  });

  type Flush = (cpu: Cpu, root: number, other: number) => void;
  test.each<[string, number, boolean, Flush]>([
    ["INVLPG", KERNEL, false, (cpu) => cpu.invlpg(K)],
    ["INVLPG of another page", KERNEL, true, (cpu) => cpu.invlpg(K + 0x1000)],
    ["a load of CR3", KERNEL, false, (cpu, root) => cpu.loadCr3(root, 1)],
    ["INVPCID 1", KERNEL, false, (cpu) => done(invpcid(cpu, 1, 1))],
    ["INVPCID 1 of another PCID", KERNEL, true, (cpu) => done(invpcid(cpu, 1, 2))],
    ["INVLPG, if global", KERNEL | GLOBAL, false, (cpu) => cpu.invlpg(K)],
    ["a load of CR3, if global", KERNEL | GLOBAL, true, (cpu, root) => cpu.loadCr3(root, 1)],
    [
      "a load of another root, if global",
      KERNEL | GLOBAL,
      true,
      (cpu, _root, other) => cpu.loadCr3(other, 2),
    ],
    ["INVPCID 3, if global", KERNEL | GLOBAL, true, (cpu) => done(invpcid(cpu, 3, 0))],
    ["INVPCID 2, if global", KERNEL | GLOBAL, false, (cpu) => done(invpcid(cpu, 2, 0))],
    [
      "CR4.PGE toggled, if global",
      KERNEL | GLOBAL,
      false,
      (cpu) => {
        done(cpu.setControl({ pge: false }));
        done(cpu.setControl({ pge: true }));
      },
    ],
  ])("after %s (flags %i): convicted %s", (_name, flags, convicted, flush) => {
    const { cpu, root, other, unmap, map, old, next, found } = kernelPage(flags);
    unmap();
    flush(cpu, root, other);
    map(next);
    expect(found()).toEqual(convicted ? [["G1", K, old, ["CPU 0"]]] : []);
  });

  test("concerns every CPU, whichever root that shares the kernel half it has loaded", () => {
    for (const flushed of [[], [0], [1], [0, 1]]) {
      const { machine, other, unmap, map, old, next, found } = kernelPage(KERNEL, { cpus: 2 });
      machine.cpu(1).loadCr3(other, 3);
      unmap();
      for (const cpu of flushed) machine.cpu(cpu).invlpg(K);
      map(next);
      const left = [0, 1].filter((cpu) => !flushed.includes(cpu)).map((cpu) => `CPU ${cpu}`);
      expect(found()).toEqual(left.length > 0 ? [["G1", K, old, left]] : []);
    }
  });

  test("waits for a PCID that is not loaded: found when it comes back unflushed", () => {
    for (const keep of [true, false]) {
      const { cpu, system, root, unmap, map, old, next, found } = kernelPage();
      // A root without the kernel half, as page-table isolation has one.
      cpu.loadCr3(system.root(), 2, true);
      unmap();
      map(next);
      expect(found()).toEqual([]);
      cpu.loadCr3(root, 1, keep);
      expect(found()).toEqual(keep ? [["G1", K, old, ["CPU 0"]]] : []);
    }
  });

  test("one 4K page in place of a part of a 2M page", () => {
    for (const flushed of [false, true]) {
      const { system, cpu, root, auditor } = kernelPage();
      system.map(root, LARGE, 0x400 as Pfn, KERNEL | 0x80, 2);
      expect(cpu.load(BigInt(LARGE) + 0x5000n).ok).toBe(true);
      system.unmap(root, LARGE, 2);
      if (flushed) cpu.invlpg(LARGE);
      system.map(root, LARGE + 0x5000, system.frame(), KERNEL);
      const places = auditor.findings.map(({ linear, pfn }) => [linear, pfn]);
      expect(places).toEqual(flushed ? [] : [[LARGE, 0x400]]);
    }
  });

  test("one root loses the kernel half: what it had is stale there, though others have it still", () => {
    for (const flushed of [false, true]) {
      const { system, cpu, other, found, next } = kernelPage();
      cpu.loadCr3(other, 1);
      expect(cpu.load(BigInt(K)).ok).toBe(true);
      system.unmap(other, K, 4);
      if (flushed) cpu.invlpg(K);
      system.map(other, K, next, KERNEL);
      expect(found().map(([rule, linear]) => [rule, linear])).toEqual(flushed ? [] : [["G1", K]]);
    }
  });
});

test("a lazy CPU uses kernel addresses as any other", () => {
  for (const flushed of [false, true]) {
    const { machine, cpu, unmap, map, old, next, auditor, found } = kernelPage();
    auditor.observe({ kind: "lazy-entered", seq: 0, agent: 0, cpu: 0, space: -1 });
    unmap();
    if (flushed) cpu.invlpg(K);
    map(next);
    expect(found()).toEqual(flushed ? [] : [["G1", K, old, [`CPU ${machine.cpu(0).id}`]]]);
  }
});
