import { describe, expect, it } from "vitest";
import {
  type AccessPolicy,
  type ControlRegisters,
  controlFromRegisters,
  cpuModel,
  Entry,
  type HardwareRecord,
  linearHi,
  linearLo,
  Machine,
  NONE,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, outcome, PAGE_A, PAGE_B, PDE, PDPTE, PML4E, PTE, ROOT, T } from "./fixture.ts";

describe("accesses", () => {
  it("store and load any size, little-endian", () => {
    const { cpu } = new Fixture();
    expect(cpu.store(T + 8, 0x1122_3344_5566_7788n)).toEqual({
      ok: true,
      physical: PAGE_A + 8,
      value: 0x1122_3344_5566_7788n,
    });
    expect(cpu.load(T + 9, 2)).toMatchObject({ ok: true, value: 0x6677n });
    expect(cpu.load(T + 12, 4)).toMatchObject({ ok: true, value: 0x1122_3344n });
    expect(() => cpu.store(T, 256, 1)).toThrow("value 256: a 1-byte store takes");
    expect(() => cpu.load(1.5)).toThrow("linear address 1.5");
  });

  it("across two pages translate the lower one first; on a fault nothing is written", () => {
    const f = new Fixture();
    expect(outcome(f.cpu.store(T + 0xffc, 0xffff_ffff_ffff_ffffn))).toBe("#PF 0x02");
    expect(f.cpu.fault?.address).toBe(BigInt(T + 0x1000));
    expect(f.machine.memory.readLo(PAGE_A + 0xffc)).toBe(0);
    expect(f.get(PTE)).toBe(0x11_0067n);

    f.set(PTE + 8, 0x11_1007n);
    expect(f.cpu.store(T + 0xffc, 0x1122_3344_5566_7788n)).toMatchObject({
      ok: true,
      physical: PAGE_A + 0xffc,
    });
    expect(f.machine.memory.readLo(PAGE_A + 0xffc)).toBe(0x5566_7788);
    expect(f.machine.memory.readLo(PAGE_B)).toBe(0x1122_3344);
    expect(f.cpu.load(T + 0xffc)).toMatchObject({ value: 0x1122_3344_5566_7788n });

    f.set(PTE, 0n)
      .set(PTE + 8, 0x11_1007n)
      .cpu.tlb.flushAll();
    expect(outcome(f.cpu.store(T + 0xffc, 0))).toBe("#PF 0x02");
    expect(f.cpu.fault?.address).toBe(BigInt(T + 0xffc));
    expect(f.get(PTE + 8)).toBe(0x11_1007n);
  });

  it("to non-canonical addresses fault before any walk, #SS for the stack", () => {
    const f = new Fixture();
    expect(outcome(f.cpu.load(0x8000_0000_0000n))).toBe("#GP");
    expect(outcome(f.cpu.store(0x8000_0000_0010n, 0, 8, "stack"))).toBe("#SS");
    expect(outcome(f.cpu.readModifyWrite(0x8000_0000_0010n, (old) => old, 8, "stack"))).toBe("#SS");
    expect(outcome(f.cpu.readModifyWrite(0x8000_0000_0010n, (old) => old))).toBe("#GP");
    expect(outcome(f.cpu.load(0x7fff_ffff_fffcn))).toBe("#GP");
    expect(outcome(f.cpu.load(0x7fff_ffff_fff8n))).toBe("#PF 0x00");
    expect(f.cpu.touch(0x7fff_ffff_fff8, true)?.errorCode).toBe(2);
    expect(f.cpu.fault?.describe()).toContain("0x7ffffffffff8: supervisor write, not present");
    const qemu = new Fixture({ model: "qemu-7.2" });
    expect(outcome(qemu.cpu.load(0x8000_0000_0000n, 8, "stack"))).toBe("#GP");
    const wide = new Fixture({ levels: 5 });
    expect(outcome(wide.cpu.load(0x8000_0000_0000n))).toBe("#PF 0x00");
    expect(outcome(wide.cpu.load(0x0100_0000_0000_0000n))).toBe("#GP");
  });

  it("read-modify-write counts as a write, also when it stores what was there", () => {
    const f = new Fixture();
    expect(f.cpu.readModifyWrite(T, (old) => old)).toEqual({ ok: true, physical: PAGE_A, value: 0n });
    expect(f.get(PTE)).toBe(0x11_0067n);
    f.cpu.readModifyWrite(T, (old) => old - 1n, 4);
    expect(f.cpu.load(T)).toMatchObject({ value: 0xffff_ffffn });
    for (const [model, absent, readOnly, leaf] of [
      ["intel-skylake-sp", "#PF 0x02", "#PF 0x03", 0x11_0005n],
      ["qemu-7.2", "#PF 0x00", "#PF 0x03", 0x11_0025n],
    ] as const) {
      const g = new Fixture({ model }).set(PTE, 0x11_0006n);
      expect(outcome(g.cpu.readModifyWrite(T, (old) => old + 1n))).toBe(absent);
      g.set(PTE, 0x11_0005n);
      expect(outcome(g.cpu.readModifyWrite(T, (old) => old + 1n))).toBe(readOnly);
      expect(g.get(PTE)).toBe(leaf);
    }
  });

  it("touch moves eight bytes and counts its stores", () => {
    const f = new Fixture({ memory: "16MiB" });
    f.cpu.cpl = 3;
    expect(f.cpu.touch(T + 16, true)).toBeNull();
    expect(f.cpu.touch(T + 16, true)).toBeNull();
    expect(f.cpu.touch(T + 19, true)).toBeNull();
    expect(f.cpu.touch(T + 16, false)).toBeNull();
    expect([f.cpu.dataLo, f.cpu.dataHi]).toEqual([0x0300_0002, 0]);
    f.set(PTE, 0n).cpu.dropPage(T);
    expect(f.cpu.touch(T, false)).toMatchObject({ errorCode: 4, page: T });
  });
});

describe("addresses from 2^53 on", () => {
  /** The fixture's tables once more, in the high half. */
  const HIGH = 0xffff_8000_0004_0000n;
  const PAGE = 0xffff_8000_0004_0000;

  it("are reported by their page, exactly: the last bytes of a page do not round into the next", () => {
    const f = new Fixture().set(ROOT + 256 * 8, 0x10_0007n).set(PTE + 8, 0x11_1007n);
    const records: Omit<HardwareRecord, "seq">[] = [];
    f.machine.records.listen(({ seq: _seq, ...record }) => {
      if (record.kind !== "tlb-filled" && record.kind !== "accessed-dirty-set") records.push(record);
    });
    expect(Number(HIGH + 0xfffn)).toBe(PAGE + 0x1000);
    f.cpu.load(HIGH + 0xfffn, 1);
    f.cpu.store(HIGH + 0xffcn, 1n);
    f.cpu.invlpg(HIGH + 0xfffn);
    expect(outcome(f.cpu.load(HIGH + 0x2fffn, 1))).toBe("#PF 0x00");
    const header = { agent: 0, cpu: 0, space: NONE };
    const at = (address: bigint) => ({ linearLo: linearLo(address), linearHi: linearHi(address) });
    const read = { kind: "access", ...header, access: "read", hit: false };
    const write = { ...read, access: "write" };
    const dropped = { kind: "invalidated", ...header, pcid: 0, all: false, globals: "all", flush: 0 };
    expect(records).toEqual([
      { ...read, size: 1, ...at(HIGH + 0xfffn), physical: PAGE_A + 0xfff },
      { ...write, size: 4, ...at(HIGH + 0xffcn), physical: PAGE_A + 0xffc },
      { ...write, size: 4, ...at(HIGH + 0x1000n), physical: PAGE_B },
      { ...dropped, cause: "INVLPG", ...at(HIGH + 0xfffn), tables: "all" },
      { kind: "fault", ...header, fault: "#PF", code: 0, ...at(HIGH + 0x2fffn) },
      { ...dropped, cause: "#PF", ...at(HIGH + 0x2fffn), tables: "path" },
    ]);
    expect(f.cpu.fault).toMatchObject({ address: HIGH + 0x2fffn, page: PAGE + 0x2000 });
  });

  it("must be bigints, unless only their page counts", () => {
    const { cpu } = new Fixture();
    expect(() => cpu.load(PAGE)).toThrow(
      `linear address ${PAGE}: a Number from 2^53 on may be rounded, give a bigint`,
    );
    expect(() => cpu.store(2 ** 53, 0)).toThrow("give a bigint");
    expect(() => cpu.invlpg(PAGE + 2048)).toThrow("give a bigint");
    expect(() => cpu.invlpg(2 ** 64)).toThrow("from 0 to 2^64-1");
    expect(() => cpu.load(1n << 64n)).toThrow("from 0 to 2^64-1");
    expect(outcome(cpu.load(2 ** 53 - 1, 1))).toBe("#GP");
    cpu.invlpg(PAGE);
  });
});

describe("accesses the CPU makes itself", () => {
  it("are the supervisor's at any CPL, and SMAP stops them whatever AC says", () => {
    const f = new Fixture().set(PTE, 0x11_0003n).set(PTE + 8, 0x11_1007n);
    f.cpu.setControl({ smap: true });
    f.cpu.cpl = 3;
    expect(outcome(f.cpu.load(T))).toBe("#PF 0x05");
    expect(outcome(f.cpu.storeImplicit(T, 0x2an))).toBe("ok");
    expect(f.cpu.loadImplicit(T, 4)).toMatchObject({ ok: true, value: 0x2an });
    expect(outcome(f.cpu.load(T))).toBe("#PF 0x05");
    f.cpu.cpl = 0;
    f.cpu.ac = true;
    expect(outcome(f.cpu.load(T + 0x1000))).toBe("ok");
    expect(outcome(f.cpu.loadImplicit(T + 0x1000))).toBe("#PF 0x01");
    expect(outcome(f.cpu.storeImplicit(T + 0x1000, 0))).toBe("#PF 0x03");
    expect(() => f.cpu.loadImplicit(-1)).toThrow("linear address -1");
    expect(outcome(f.cpu.load(T + 0x1000))).toBe("ok");
  });
});

describe("control registers", () => {
  it("start in long mode with WP, NXE and PGE", () => {
    const { control } = new Machine({ memory: "1MiB" }).cpu(0);
    expect([control.cr0, control.cr4, control.efer, control.cr3]).toEqual([0x8001_0011, 0xa0, 0xd00, 0]);
  });

  it("refuse what the CPU lacks, and change nothing then", () => {
    const zen2 = new Machine({ memory: "1MiB", model: "amd-zen2" }).cpu(0);
    expect(zen2.setControl({ wp: false, pcide: true })).toMatchObject({ ok: false, fault: "#GP" });
    expect(zen2.control.wp).toBe(true);
    expect(zen2.setControl({ pke: true })).toMatchObject({ ok: false });
  });

  it("refuse roots and PCIDs that cannot be", () => {
    const { cpu } = new Fixture();
    expect(() => cpu.loadCr3(0x1234)).toThrow("CR3 root 4660");
    expect(() => cpu.loadCr3(2 ** 40)).toThrow("below 2^40");
    expect(() => cpu.loadCr3(ROOT, 1)).toThrow("PCID 1: give 0, or set CR4.PCIDE first");
    expect(() => cpu.loadCr3(ROOT, 0, true)).toThrow("PCIDE");
    cpu.setControl({ pcide: true });
    cpu.loadCr3(ROOT, 0xfff);
    expect([cpu.control.cr3, cpu.control.pcid]).toEqual([ROOT + 0xfff, 0xfff]);
  });

  it("keep CR3 when PCIDE is cleared, so that setting it again is #GP until CR3[11:0] is 0", () => {
    const { cpu } = new Fixture();
    cpu.setControl({ pcide: true });
    cpu.loadCr3(ROOT, 5);
    cpu.setControl({ pcide: false });
    expect([cpu.control.cr3, cpu.control.pcid]).toEqual([ROOT + 5, 0]);
    expect(cpu.setControl({ pcide: true })).toMatchObject({ ok: false, fault: "#GP" });
    expect(cpu.control.pcide).toBe(false);
    cpu.loadCr3(ROOT);
    expect(cpu.setControl({ pcide: true })).toEqual({ ok: true });
  });

  it("take key registers of 32 unsigned bits, and none but 0 without the feature", () => {
    const { cpu } = new Fixture();
    for (const value of [-1, 2 ** 32, 1.5, Number.NaN]) {
      expect(() => cpu.setControl({ pkru: value })).toThrow(`PKRU ${value}: give a whole number from 0`);
      expect(() => cpu.setControl({ pkrs: value })).toThrow(`PKRS ${value}: give a whole number from 0`);
    }
    cpu.setControl({ pkru: 0xffff_fffc, pkrs: 0x8000_0000 });
    expect([cpu.control.pkru, cpu.control.pkrs]).toEqual([0xffff_fffc, 0x8000_0000]);
    const zen2 = new Machine({ memory: "1MiB", model: "amd-zen2" }).cpu(0);
    expect(zen2.setControl({ wp: false, pkru: 4 })).toMatchObject({ ok: false, fault: "#UD" });
    expect(zen2.setControl({ wp: false, pkrs: 4 })).toMatchObject({ ok: false, fault: "#GP" });
    expect(zen2.setControl({ pkru: 0, pkrs: 0 })).toEqual({ ok: true });
    expect(zen2.control).toMatchObject({ wp: true, pkru: 0, pkrs: 0 });
  });

  it("apply key 15, whose bits are the sign of a 32-bit word", () => {
    const f = new Fixture().set(PTE, 0x7800_0000_0011_0007n);
    f.cpu.setControl({ pke: true, pkru: 0x8000_0000 });
    expect([f.access("read", "user"), f.access("write", "user")]).toEqual(["ok", "#PF 0x27"]);
    f.cpu.setControl({ pkru: 0 });
    expect(f.access("write", "user")).toBe("ok");
  });

  it("are read-only to callers, so that what is derived from them never lags behind", () => {
    type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
    type Fields = Pick<ControlRegisters, keyof AccessPolicy | "root" | "pcid" | "pcide" | "pge">;
    const readOnly: Same<Fields, Readonly<Fields>> = true;
    expect(readOnly).toBe(true);
  });

  it("can be taken from a dump", () => {
    const model = cpuModel("intel-skylake-sp");
    const values = { cr0: 0x8005_0033n, cr3: 0x1_0234_5005n, cr4: 0x3626f0n, efer: 0xd01n };
    const control = controlFromRegisters(model, values);
    expect(control).toMatchObject({
      levels: 4,
      root: 0x1_0234_5000,
      pcid: 5,
      smep: true,
      smap: true,
      wp: true,
    });
    expect(() => controlFromRegisters(model, { ...values, cr0: 0x11n })).toThrow("not long mode");
    expect(() => controlFromRegisters(model, { ...values, cr4: 0x3636f0n })).toThrow("no LA57");
  });

  it("refuse a physical-address width that no CPU has", () => {
    for (const maxPhyAddr of [35, 53, 40.5]) {
      expect(() => new Machine({ memory: "1MiB", model: { ...MODEL, maxPhyAddr } })).toThrow(
        `MAXPHYADDR ${maxPhyAddr} of CPU model "fixture": give 36 to 52`,
      );
    }
  });

  it("names known models", () => {
    expect(() => cpuModel("intel-486")).toThrow(/unknown CPU model "intel-486": known are .*amd-zen3/);
    expect(cpuModel("amd-zen5")).toMatchObject({ vendor: "amd", maxPhyAddr: 52, la57: true });
  });
});

describe("machine", () => {
  it("records entry writes, A/D updates, fills, flushes and accesses in order", () => {
    const f = new Fixture();
    const records: HardwareRecord[] = [];
    f.machine.records.listen((record) => records.push(record));
    f.machine.storeEntry(PTE, 0x11_0027, 0, 0);
    f.machine.memory.write(PTE - 0x40 * 8, 0, 0);
    f.cpu.load(T + 8);
    f.cpu.touch(T + 8, false);
    f.cpu.invlpg(T);
    f.cpu.loadCr3(ROOT);
    f.cpu.setControl({ pge: false });
    expect(records.map((record) => record.kind)).toEqual([
      "entry-written",
      "accessed-dirty-set",
      "accessed-dirty-set",
      "accessed-dirty-set",
      "tlb-filled",
      "access",
      "access",
      "invalidated",
      "cr3-loaded",
      "invalidated",
      "register-loaded",
      "invalidated",
    ]);
    const at = (address: number) => ({ linearLo: linearLo(address), linearHi: linearHi(address) });
    expect(records[0]).toMatchObject({
      slot: PTE,
      oldLo: 0x11_0007,
      oldHi: 0,
      entryLo: 0x11_0027,
      entryHi: 0,
    });
    expect(records.slice(1, 4)).toMatchObject([
      { slot: PML4E, oldLo: 0x10_0007, entryLo: 0x10_0027 },
      { slot: PDPTE, oldLo: 0x10_1007, entryLo: 0x10_1027 },
      { slot: PDE, oldLo: 0x10_2007, entryLo: 0x10_2027 },
    ]);
    const filled = { pcid: 0, ...at(T), level: 1, pfn: PAGE_A / 4096, dirty: false, global: false };
    expect(records[4]).toMatchObject(filled);
    const loaded = { access: "read", size: 8, ...at(T + 8), physical: PAGE_A + 8 };
    expect(records[5]).toMatchObject({ ...loaded, hit: false });
    expect(records[6]).toMatchObject({ ...loaded, hit: true });
    expect(records[7]).toMatchObject({ cause: "INVLPG", all: false, ...at(T) });
    expect(records[8]).toMatchObject({ oldRoot: ROOT, root: ROOT, pcid: 0, keep: false });
    expect(records[9]).toMatchObject({ cause: "MOV CR3", pcid: 0, all: true });
    expect(records[10]).toMatchObject({ register: "CR4", valueLo: 0x20, valueHi: 0 });
    expect(records[11]).toMatchObject({ cause: "CR4.PGE", all: true });
  });

  it("exchanges and compares entries as one step", () => {
    const f = new Fixture();
    const old = f.machine.exchangeEntry(PTE, 0x11_1007, 0, 0);
    expect(old.toBigInt()).toBe(0x11_0007n);
    expect(f.machine.compareExchangeEntry(PTE, old, old, 0)).toBe(false);
    const now = f.machine.memory.read(PTE);
    expect(f.machine.compareExchangeEntry(PTE, now, old, 0)).toBe(true);
    expect(f.get(PTE)).toBe(0x11_0007n);
    expect(() => f.machine.storeEntry(PTE + 4, 0, 0, null)).toThrow("multiple of 8");
  });

  it("records no entry written where there is no memory", () => {
    const { machine } = new Fixture();
    const records: HardwareRecord[] = [];
    machine.records.listen((record) => records.push(record));
    const beyond = machine.memory.size;
    machine.storeEntry(beyond, 0x11_0007, 0, null);
    const old = machine.exchangeEntry(beyond, 0x11_0007, 0, null);
    expect(old.toBigInt()).toBe(0xffff_ffff_ffff_ffffn);
    expect(machine.compareExchangeEntry(beyond, old, new Entry(0, 0), null)).toBe(true);
    expect(records).toEqual([]);
  });

  it("runs an IPI at the target's next interruptible point, in order of arrival", () => {
    const { machine } = new Fixture({ cpus: 3 });
    const log: string[] = [];
    const first = machine.sendIpi(0, 2, (cpu) => log.push(`first on ${cpu.id}`));
    machine.sendIpi(1, 2, () => log.push("second"));
    expect([machine.cpu(2).pendingIpis, first.done, log]).toEqual([2, false, []]);
    expect(machine.cpu(2).handleIpis()).toBe(2);
    expect([machine.cpu(2).pendingIpis, first.done, log]).toEqual([0, true, ["first on 2", "second"]]);
    expect(() => machine.sendIpi(0, 3, () => {})).toThrow("CPU 3");
  });

  it("refuses sizes, counts and levels it cannot have", () => {
    expect(() => new Machine({ memory: "64MB" })).toThrow("KiB, MiB or GiB");
    expect(() => new Machine({ memory: "1MiB", cpus: 1025 })).toThrow("1025 CPUs");
    expect(() => new Machine({ memory: "1MiB", levels: 5 })).toThrow("no LA57");
    expect(new Machine({ memory: "1MiB", model: MODEL }).model.name).toBe("fixture");
  });
});
