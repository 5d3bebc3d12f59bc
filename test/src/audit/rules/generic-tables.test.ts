import { describe, expect, test } from "vitest";
import { ACCESS_READ } from "../../../../arch/x86/cpu/access-rights.ts";
import { PAGE_SIZE, type Pfn } from "../../../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../../../arch/x86/cpu/cpu.ts";
import { invlpgb, invpcid, tlbsync } from "../../../../arch/x86/cpu/invalidation.ts";
import type { MachineOptions } from "../../../../arch/x86/cpu/machine.ts";
import { OutcomeOracle, permits } from "../../../../arch/x86/oracle/outcome-oracle.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import { BareSystem, briefly, done, T, USER, words } from "../../../support/bare-system.ts";

/*
 * G2: a table leaves its place and its frame is given to another use, whose data a CPU may then take for entries. Each
 * history is also put to the oracle of legal outcomes, which knows nothing of the auditor: it must say of the same
 * histories that a CPU may go through the old table.
 */

const MIB2 = 0x20_0000;
/** In another 2 MiB, with a table of its own. */
const FAR = T + 4 * MIB2;

/** A page at T under PCID 1, touched; nothing is in the caches from before. */
function watched(options: Partial<MachineOptions> = {}) {
  const system = new BareSystem({ pagingStructureCaches: true, ...options });
  const { machine, cpu } = system;
  const oracle = new OutcomeOracle(machine);
  machine.records.listen(oracle.observe, oracle.isTable);
  const root = system.root();
  const page = system.frame();
  system.map(root, T, page);
  system.map(root, FAR, system.frame());
  cpu.setControl({ pcide: true });
  cpu.loadCr3(root, 1);
  const auditor = new Auditor(machine);
  expect(cpu.touch(FAR, true)).toBeNull();
  expect(cpu.touch(T, true)).toBeNull();
  const slot = system.slot(root, T);
  return {
    system,
    machine,
    cpu,
    root,
    page,
    slot,
    auditor,
    table: system.table(root, T),
    /** The frame's new owner writes data into it that looks like an entry. Whether a CPU may use it, by the oracle. */
    useTable: () => {
      const secret = system.frame();
      system.store(slot, secret, USER);
      const allowed = oracle.allowed(cpu.id, ACCESS_READ, ...words(T));
      return { secret, mayBeUsed: permits(allowed, { physical: secret * PAGE_SIZE }) };
    },
  };
}

describe("a freed page table (I8)", () => {
  test("without a flush: convicted, and the CPU goes where the table's new owner says", () => {
    const { system, cpu, root, auditor, table, useTable } = watched();
    system.unmap(root, T, 2);
    auditor.tableFreed(table);
    expect(briefly(auditor)).toEqual([["G2", table, ["CPU 0"]]]);
    expect(auditor.findings[0]).toMatchObject({
      moment: "table freed",
      stale: { size: MIB2, rights: "a walk" },
      owed: { call: "a flush that drops cached table entries", fault: "missing" },
    });
    const { secret, mayBeUsed } = useTable();
    expect(mayBeUsed).toBe(true);
    // The concrete TLB has the old page still; without it, the cached upper entry is used.
    cpu.tlb.flushAll();
    system.machine.memory.write(secret * PAGE_SIZE, 0x5ec2e7, 0);
    expect(cpu.touch(T, false)).toBeNull();
    expect(cpu.dataLo).toBe(0x5ec2e7);
  });

  test("with INVLPG: in order, and the CPU faults", () => {
    const { system, cpu, root, auditor, table, useTable } = watched();
    system.unmap(root, T, 2);
    cpu.invlpg(T);
    auditor.tableFreed(table);
    expect(auditor.findings).toEqual([]);
    expect(useTable().mayBeUsed).toBe(false);
    expect(cpu.touch(T, false)?.kind).toBe("#PF");
  });

  test.each<[string, boolean, (cpu: Cpu, root: number) => void]>([
    ["nothing", true, () => {}],
    ["INVLPG of the page", false, (cpu) => cpu.invlpg(T)],
    ["INVLPG of any other page, which drops every cached table entry", false, (cpu) => cpu.invlpg(FAR)],
    ["INVPCID 0 of the page", false, (cpu) => done(invpcid(cpu, 0, 1, T))],
    ["INVPCID 0 of a neighbour under the same entry", false, (cpu) => done(invpcid(cpu, 0, 1, T + 0x5000))],
    ["INVPCID 0 of a page under another entry", true, (cpu) => done(invpcid(cpu, 0, 1, FAR))],
    ["INVPCID 0 of another PCID", true, (cpu) => done(invpcid(cpu, 0, 2, T))],
    ["INVPCID 1", false, (cpu) => done(invpcid(cpu, 1, 1))],
    ["INVPCID 1 of another PCID", true, (cpu) => done(invpcid(cpu, 1, 2))],
    ["INVPCID 2", false, (cpu) => done(invpcid(cpu, 2, 0))],
    ["INVPCID 3", false, (cpu) => done(invpcid(cpu, 3, 0))],
    ["a load of CR3", false, (cpu, root) => cpu.loadCr3(root, 1)],
    ["a load of CR3 that keeps", true, (cpu, root) => cpu.loadCr3(root, 1, true)],
    ["CR4.PGE toggled", false, (cpu) => done(cpu.setControl({ pge: false }))],
    ["CR4.SMEP set", false, (cpu) => done(cpu.setControl({ smep: true }))],
  ])("after %s: convicted %s, as the oracle has it", (_name, convicted, invalidate) => {
    const { system, cpu, root, auditor, table, useTable } = watched();
    system.unmap(root, T, 2);
    invalidate(cpu, root);
    auditor.tableFreed(table);
    expect(briefly(auditor)).toEqual(convicted ? [["G2", table, ["CPU 0"]]] : []);
    expect(useTable().mayBeUsed).toBe(convicted);
  });

  test.each<[string, boolean, (cpu: Cpu) => void]>([
    ["INVLPGB of the page", false, (cpu) => done(invlpgb(cpu, { address: T }))],
    [
      "INVLPGB of the final translation only",
      true,
      (cpu) => done(invlpgb(cpu, { address: T, finalOnly: true })),
    ],
    ["INVLPGB of everything", false, (cpu) => done(invlpgb(cpu, {}))],
    ["INVLPGB of every final translation", true, (cpu) => done(invlpgb(cpu, { finalOnly: true }))],
    ["INVLPG of another page", false, (cpu) => cpu.invlpg(FAR)],
    [
      "INVLPG of another page with EFER.TCE",
      true,
      (cpu) => {
        done(cpu.setControl({ tce: true }));
        cpu.invlpg(FAR);
      },
    ],
    [
      "INVLPG of the page with EFER.TCE",
      false,
      (cpu) => {
        done(cpu.setControl({ tce: true }));
        cpu.invlpg(T);
      },
    ],
    [
      "INVPCID 0 of a page under another entry, which on AMD drops all",
      false,
      (cpu) => done(invpcid(cpu, 0, 1, FAR)),
    ],
  ])("on AMD after %s: convicted %s, as the oracle has it", (_name, convicted, invalidate) => {
    const { system, cpu, root, auditor, table, useTable } = watched({ model: "amd-zen3" });
    system.unmap(root, T, 2);
    invalidate(cpu);
    done(tlbsync(cpu));
    auditor.tableFreed(table);
    expect(briefly(auditor)).toEqual(convicted ? [["G2", table, ["CPU 0"]]] : []);
    expect(useTable().mayBeUsed).toBe(convicted);
  });
});

describe("how a table's frame is given to another use", () => {
  test.each<[string, boolean, (auditor: Auditor, system: BareSystem, table: Pfn) => void]>([
    ["tableFreed", true, (auditor, _system, table) => auditor.tableFreed(table)],
    ["pageFreed", true, (auditor, _system, table) => auditor.pageFreed(table)],
    ["nothing", false, () => {}],
  ])("%s: %s", (_name, convicted, give) => {
    for (const flushed of [false, true]) {
      const { system, cpu, root, auditor, table } = watched();
      system.unmap(root, T, 2);
      if (flushed) cpu.invlpg(T);
      give(auditor, system, table);
      const rules = auditor.findings.map(({ rule }) => rule.id);
      expect(rules).toEqual(convicted && !flushed ? ["G2"] : []);
    }
  });

  test.each([false, true])("it is mapped as somebody's page (flushed: %s)", (flushed) => {
    const { system, cpu, root, auditor, table } = watched();
    system.unmap(root, T, 2);
    if (flushed) cpu.invlpg(T);
    system.map(root, FAR + 0x1000, table);
    expect(briefly(auditor)).toEqual(flushed ? [] : [["G2", table, ["CPU 0"]]]);
  });

  test("while its entry is still in place, whatever was flushed", () => {
    const { cpu, auditor, table } = watched();
    cpu.invlpg(T);
    auditor.tableFreed(table);
    expect(briefly(auditor)).toEqual([["G2", table, ["CPU 0"]]]);
    expect(auditor.findings[0]!.stale!.to).toContain("an entry that is still present");
  });

  test("while it still hangs at a second place", () => {
    const { system, cpu, root, auditor, table } = watched();
    system.store(system.slot(root, T + MIB2, 2), table, USER);
    system.unmap(root, T, 2);
    cpu.invlpg(T);
    auditor.tableFreed(table);
    expect(auditor.findings.map(({ rule, linear }) => [rule.id, linear])).toEqual([["G2", 0x60_0000]]);
  });

  test.each([3, 4])("with an entry of level %i above it gone, all tables below are concerned", (level) => {
    for (const flushed of [false, true]) {
      const { system, cpu, root, auditor } = watched();
      const tables = [1, 2, 3].slice(0, level - 1).map((below) => system.table(root, T, below));
      system.unmap(root, T, level);
      if (flushed) cpu.invlpg(T);
      for (const table of tables) auditor.tableFreed(table);
      expect(auditor.findings.map(({ pfn }) => pfn)).toEqual(flushed ? [] : tables);
    }
  });
});

describe("whose caches", () => {
  test("each CPU's", () => {
    const { system, machine, cpu, root, auditor, table } = watched({ cpus: 2 });
    const second = machine.cpu(1);
    second.setControl({ pcide: true });
    second.loadCr3(root, 1);
    system.unmap(root, T, 2);
    cpu.invlpg(T);
    auditor.tableFreed(table);
    expect(briefly(auditor)).toEqual([["G2", table, ["CPU 1"]]]);
  });

  test("a PCID that is not loaded is in order if it is flushed before it is used again", () => {
    for (const keep of [true, false]) {
      const { system, cpu, root, auditor, table } = watched();
      cpu.loadCr3(system.root(), 2, true);
      system.unmap(root, T, 2);
      auditor.tableFreed(table);
      expect(auditor.findings).toEqual([]);
      cpu.loadCr3(root, 1, keep);
      expect(briefly(auditor)).toEqual(keep ? [["G2", table, ["CPU 0"]]] : []);
    }
  });
});

describe("pages that a cached table entry still leads to", () => {
  /** Frees the page after its table was unlinked and its final translation alone was invalidated. */
  const freedAfter = (flags: number) => {
    const { system, cpu, root, page, auditor } = watched({ model: "amd-zen3" });
    system.map(root, T, page, flags);
    system.unmap(root, T, 2);
    done(invlpgb(cpu, { address: T, finalOnly: true }));
    done(tlbsync(cpu));
    // A walk makes the translation anew by the cached entry.
    expect(cpu.touch(T, false)).toBeNull();
    auditor.pageFreed(page);
    return auditor.findings.map(({ rule, pfn }) => [rule.id, pfn === page]);
  };

  test("may not be freed", () => {
    expect(freedAfter(USER)).toEqual([["G1", true]]);
  });

  test("may not be freed either when an earlier change, here of D, is owed by the same CPU", () => {
    expect(freedAfter(USER & ~0x40)).toEqual([["G1", true]]);
  });
});
