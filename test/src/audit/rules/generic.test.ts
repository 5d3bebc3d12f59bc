import { describe, expect, test } from "vitest";
import { Pfn } from "../../../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../../../arch/x86/cpu/cpu.ts";
import { type InvlpgbRequest, invlpgb, invpcid, tlbsync } from "../../../../arch/x86/cpu/invalidation.ts";
import { Machine } from "../../../../arch/x86/cpu/machine.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import {
  BareSystem,
  briefly,
  cachedPage,
  done,
  GLOBAL,
  OTHER_PAGE,
  T,
  USER,
} from "../../../support/bare-system.ts";

/*
 * G1 on machines that no known system runs on. One page at T, touched under PCID 1; its entry is cleared by the machine's
 * own store, something is invalidated, and the frame is given to another use. PCIDs that are not loaded: generic-pcids.test.ts.
 */

const CONVICTED = ["G1"];
const NOTHING: string[] = [];

/** The rules broken when the frame is freed after an invalidation. */
function judged(invalidate: (cpu: Cpu, root: number, other: number) => void, flags = USER, model?: string) {
  const { cpu, root, other, auditor, freed } = cachedPage(model === undefined ? {} : { model }, flags);
  invalidate(cpu, root, other);
  freed();
  return auditor.findings.map(({ rule }) => rule.id);
}

describe("the ten-line program of an OS writer", () => {
  test.each([
    [false, [["G1", 0x20, ["CPU 0"]]]],
    [true, []],
  ])("with INVLPG: %s", (flushes, found) => {
    const machine = new Machine({ memory: "1MiB" });
    const cpu = machine.cpu(0);
    const auditor = new Auditor(machine);
    [0x2007, 0x3007, 0x4007, 0x2_0007].forEach((entry, i) => {
      machine.storeEntry(0x1000 * (i + 1), entry, 0, 0);
    });
    cpu.loadCr3(0x1000);
    cpu.touch(0x8, true);
    machine.storeEntry(0x4000, 0, 0, 0);
    if (flushes) cpu.invlpg(0);
    auditor.pageFreed(Pfn.of(0x20));
    expect(briefly(auditor)).toEqual(found);
    expect(auditor.finish()).toHaveLength(found.length);
  });

  test("what it is told: which page, by whom, and what was owed", () => {
    const { auditor, frame, freed } = cachedPage();
    freed();
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]).toMatchObject({
      moment: "page freed",
      agents: ["CPU 0"],
      linear: T,
      pfn: frame,
      stale: { writable: true, size: 4096 },
      owed: { fault: "missing", range: { start: T, length: 4096 } },
      count: 1,
    });
  });

  test("a page that is freed while its entry is still there", () => {
    const { system, root, auditor, frame, freed } = cachedPage();
    system.map(root, T, frame);
    system.cpu.invlpg(T);
    freed();
    expect(briefly(auditor)).toEqual([["G1", frame, ["CPU 0"]]]);
    expect(auditor.findings[0]!.stale!.to).toContain("an entry that is still present");
  });

  test("each CPU that has the root must flush", () => {
    for (const flushed of [[], [0], [1], [0, 1]]) {
      const system = new BareSystem({ cpus: 2 });
      const auditor = new Auditor(system.machine);
      const [root, frame] = [system.root(), system.frame()];
      system.map(root, T, frame);
      for (const cpu of system.machine.cpus) cpu.loadCr3(root);
      system.unmap(root, T);
      for (const cpu of flushed) system.machine.cpu(cpu).invlpg(T);
      auditor.pageFreed(frame);
      const left = [0, 1].filter((cpu) => !flushed.includes(cpu)).map((cpu) => `CPU ${cpu}`);
      expect(briefly(auditor)).toEqual(left.length > 0 ? [["G1", frame, left]] : []);
    }
  });
});

describe("G1: what pays for the page of PCID 1, which is loaded", () => {
  test.each<[string, string[], (cpu: Cpu, root: number, other: number) => void]>([
    ["nothing", CONVICTED, () => {}],
    ["INVPCID 0 of it", NOTHING, (cpu) => done(invpcid(cpu, 0, 1, T))],
    ["INVPCID 0 of another page", CONVICTED, (cpu) => done(invpcid(cpu, 0, 1, OTHER_PAGE))],
    ["INVPCID 0 of another PCID", CONVICTED, (cpu) => done(invpcid(cpu, 0, 2, T))],
    ["INVPCID 1 of the PCID", NOTHING, (cpu) => done(invpcid(cpu, 1, 1))],
    ["INVPCID 1 of another PCID", CONVICTED, (cpu) => done(invpcid(cpu, 1, 2))],
    ["INVPCID 2", NOTHING, (cpu) => done(invpcid(cpu, 2, 0))],
    ["INVPCID 3", NOTHING, (cpu) => done(invpcid(cpu, 3, 0))],
    ["INVLPG", NOTHING, (cpu) => cpu.invlpg(T)],
    ["INVLPG of another page", CONVICTED, (cpu) => cpu.invlpg(OTHER_PAGE)],
    ["a load of CR3", NOTHING, (cpu, root) => cpu.loadCr3(root, 1)],
    ["a load of CR3 that keeps", CONVICTED, (cpu, root) => cpu.loadCr3(root, 1, true)],
    ["CR4.PGE toggled", NOTHING, (cpu) => done(cpu.setControl({ pge: false }))],
    ["CR4.SMEP set", NOTHING, (cpu) => done(cpu.setControl({ smep: true }))],
    ["CR4.SMAP set, which drops nothing", CONVICTED, (cpu) => done(cpu.setControl({ smap: true }))],
    ["a page fault there", NOTHING, (cpu) => void expect(cpu.touch(T, false)?.kind).toBe("#PF")],
  ])("%s: %j", (_name, rules, invalidate) => {
    expect(
      judged((cpu, root, other) => {
        // The fault needs a TLB that has let the page go: this one keeps all that it may.
        if (_name.startsWith("a page fault")) cpu.tlb.flushAll();
        invalidate(cpu, root, other);
      }),
    ).toEqual(rules);
  });
});

describe("G1: INVLPGB on AMD", () => {
  test.each<[string, string[], InvlpgbRequest, boolean]>([
    ["of the page", NOTHING, { address: T, pcid: 1 }, true],
    ["of the page in every PCID", NOTHING, { address: T }, true],
    ["of everything", NOTHING, {}, true],
    ["of a range that ends with the page", NOTHING, { address: T - 0x1000, pcid: 1, extraPages: 1 }, true],
    ["of a range that ends before it", CONVICTED, { address: T - 0x1000, pcid: 1 }, true],
    ["of another PCID", CONVICTED, { address: T, pcid: 2 }, true],
    ["of another ASID", CONVICTED, { address: T, pcid: 1, asid: 1 }, true],
    ["without a TLBSYNC, so that nothing is certain to be gone", CONVICTED, { address: T, pcid: 1 }, false],
  ])("%s: %j", (_name, rules, request, synced) => {
    const invalidate = (cpu: Cpu) => {
      done(invlpgb(cpu, request));
      if (synced) done(tlbsync(cpu));
    };
    expect(judged(invalidate, USER, "amd-zen3")).toEqual(rules);
  });

  test("one CPU's broadcast pays for all", () => {
    const { machine, root, system, auditor, freed } = cachedPage({ model: "amd-zen3", cpus: 2 });
    const other = machine.cpu(1);
    other.setControl({ pcide: true });
    other.loadCr3(root, 1);
    system.map(root, T, Pfn.of(0x99));
    system.unmap(root, T);
    invlpgb(other, { address: T, pcid: 1 });
    tlbsync(other);
    freed();
    auditor.pageFreed(Pfn.of(0x99));
    expect(auditor.findings).toEqual([]);
  });
});

describe("G1: a global translation", () => {
  test.each<[string, string[], (cpu: Cpu, root: number, other: number) => void]>([
    ["INVPCID 0 of it", CONVICTED, (cpu) => done(invpcid(cpu, 0, 1, T))],
    ["INVPCID 1", CONVICTED, (cpu) => done(invpcid(cpu, 1, 1))],
    ["INVPCID 2", NOTHING, (cpu) => done(invpcid(cpu, 2, 0))],
    ["INVPCID 3", CONVICTED, (cpu) => done(invpcid(cpu, 3, 0))],
    ["INVLPG", NOTHING, (cpu) => cpu.invlpg(T)],
    [
      "INVLPG while another PCID is loaded",
      NOTHING,
      (cpu, _root, other) => {
        cpu.loadCr3(other, 2);
        cpu.invlpg(T);
      },
    ],
    ["a load of CR3", CONVICTED, (cpu, root) => cpu.loadCr3(root, 1)],
    [
      "a load of another PCID, which uses it as well",
      CONVICTED,
      (cpu, _root, other) => cpu.loadCr3(other, 2),
    ],
    ["CR4.PGE cleared", NOTHING, (cpu) => done(cpu.setControl({ pge: false }))],
    ["CR4.SMEP set under its PCID", NOTHING, (cpu) => done(cpu.setControl({ smep: true }))],
    [
      "CR4.SMEP set under another PCID",
      CONVICTED,
      (cpu, _root, other) => {
        cpu.loadCr3(other, 2);
        done(cpu.setControl({ smep: true }));
      },
    ],
  ])("%s: %j", (_name, rules, invalidate) => {
    expect(judged(invalidate, USER | GLOBAL)).toEqual(rules);
  });

  test("INVLPG on a CPU whose microcode lets it keep global ones", () => {
    const model = "intel-alder-lake-old-microcode";
    expect(judged((cpu) => cpu.invlpg(T), USER | GLOBAL, model)).toEqual(CONVICTED);
    expect(judged((cpu) => cpu.invlpg(T), USER, model)).toEqual(NOTHING);
  });

  /*
   * Which flushes drop a cached translation is a matter of its own G, not of what the entry says later: a change of G alone
   * leaves one behind of either kind.
   */
  test("stays global when G is taken from its entry", () => {
    for (const flush of [(cpu: Cpu) => done(invpcid(cpu, 3, 0)), (cpu: Cpu) => done(invpcid(cpu, 2, 0))]) {
      const { system, cpu, root, frame, auditor, freed } = cachedPage({}, USER | GLOBAL);
      cpu.invlpg(T);
      system.map(root, T, frame, USER | GLOBAL);
      expect(cpu.touch(T, true)).toBeNull();
      system.map(root, T, frame, USER);
      system.unmap(root, T);
      flush(cpu);
      freed();
      // The witness: whether the CPU reaches the page still.
      expect(auditor.findings.map(({ rule }) => rule.id)).toEqual(cpu.touch(T, false) === null ? ["G1"] : []);
    }
  });

  test("leaves one that is not global behind when G is given to its entry", () => {
    for (const flushesPcid of [false, true]) {
      const { system, cpu, root, other, frame, auditor, freed } = cachedPage();
      cpu.invlpg(T);
      system.map(root, T, frame, USER);
      expect(cpu.touch(T, true)).toBeNull();
      system.map(root, T, frame, USER | GLOBAL);
      system.unmap(root, T);
      cpu.loadCr3(other, 2);
      cpu.invlpg(T);
      if (flushesPcid) done(invpcid(cpu, 1, 1));
      cpu.loadCr3(root, 1, true);
      freed();
      expect(auditor.findings.map(({ rule }) => rule.id)).toEqual(flushesPcid ? [] : ["G1"]);
      expect(cpu.touch(T, false) === null).toBe(!flushesPcid);
    }
  });

  test("is none while CR4.PGE is clear", () => {
    const { system, cpu, root, auditor } = cachedPage();
    cpu.setControl({ pge: false });
    const frame = system.frame();
    system.map(root, T, frame, USER | GLOBAL);
    system.unmap(root, T);
    cpu.loadCr3(root, 1);
    auditor.pageFreed(frame);
    expect(auditor.findings).toEqual([]);
  });

  test.each([
    ["with the bit for global ones", true, NOTHING],
    ["without", false, CONVICTED],
  ])("INVLPGB %s", (_name, includeGlobals, rules) => {
    const invalidate = (cpu: Cpu) => {
      done(invlpgb(cpu, { address: T, includeGlobals }));
      done(tlbsync(cpu));
    };
    expect(judged(invalidate, USER | GLOBAL, "amd-zen3")).toEqual(rules);
  });
});
