import { describe, expect, it } from "vitest";
import {
  ACCESS_READ,
  type CpuModel,
  cpuModel,
  invlpgb,
  invpcid,
  scopeOf,
  tlbsync,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PDE, PTE, ROOT, T } from "./fixture.ts";

const AMD: CpuModel = { ...cpuModel("amd-zen4"), name: "fixture-amd", maxPhyAddr: 40 };
/** In the same 2 MiB as T, in the next 2 MiB, and in another 512 GiB. */
const SAME_TABLE = T + 0x1000;
const NEXT_TABLE = T + 0x20_0000;
const NEXT_PML4E = T + 2 ** 39;

function read(f: Fixture, address: number, cpu = f.cpu): string {
  const physical = cpu.translate(ACCESS_READ, address | 0, (address / 2 ** 32) | 0);
  return physical < 0 ? `fault 0x${cpu.fault?.errorCode.toString(16)}` : `0x${physical.toString(16)}`;
}

/** T is cached under PCIDs 1 and 2, SAME_TABLE as a global page of PCID 1; PCID 1 is current. */
function cached(model: CpuModel = MODEL): Fixture {
  const f = new Fixture({ model, pagingStructureCaches: true });
  f.set(PTE + 8, 0x11_2107n);
  f.cpu.setControl({ pcide: true });
  f.cpu.loadCr3(ROOT, 2);
  read(f, T);
  f.cpu.loadCr3(ROOT, 1);
  read(f, T);
  read(f, SAME_TABLE);
  return f;
}

/** What is left: translations as page and PCID, table entries as level and PCID. */
function left(f: Fixture): { leaves: string[]; tables: string[] } {
  const leaves = f.cpu.tlb
    .entries()
    .map(({ page, pcid, global }) => `${page === T ? "T" : "next"}@${global ? "all" : pcid}`);
  const tables = f.cpu.tables?.entries().map(({ level, pcid }) => `${level}@${pcid}`) ?? [];
  return { leaves: leaves.sort(), tables: tables.sort() };
}

const ALL_LEAVES = ["T@1", "T@2", "next@all"];
const TABLES_OF = (...pcids: number[]) =>
  [2, 3, 4].flatMap((level) => pcids.map((pcid) => `${level}@${pcid}`));

describe("what an operation drops, and what it leaves", () => {
  it.each<[string, (f: Fixture) => void, string[], string[]]>([
    ["nothing", () => {}, ALL_LEAVES, TABLES_OF(1, 2)],
    ["INVLPG", (f) => f.cpu.invlpg(T), ["T@2", "next@all"], TABLES_OF(2)],
    ["INVLPG of a global page", (f) => f.cpu.invlpg(SAME_TABLE), ["T@1", "T@2"], TABLES_OF(2)],
    ["INVLPG elsewhere", (f) => f.cpu.invlpg(NEXT_PML4E), ALL_LEAVES, TABLES_OF(2)],
    ["INVPCID 0", (f) => invpcid(f.cpu, 0, 2, T), ["T@1", "next@all"], TABLES_OF(1)],
    ["INVPCID 0 of a global page", (f) => invpcid(f.cpu, 0, 1, SAME_TABLE), ALL_LEAVES, TABLES_OF(2)],
    ["INVPCID 0 in another 512 GiB", (f) => invpcid(f.cpu, 0, 1, NEXT_PML4E), ALL_LEAVES, TABLES_OF(1, 2)],
    [
      "INVPCID 0 in the next 2 MiB",
      (f) => invpcid(f.cpu, 0, 2, NEXT_TABLE),
      ALL_LEAVES,
      [...TABLES_OF(1), "2@2"],
    ],
    ["INVPCID 1", (f) => invpcid(f.cpu, 1, 1), ["T@2", "next@all"], TABLES_OF(2)],
    ["INVPCID 2", (f) => invpcid(f.cpu, 2, 0), [], []],
    ["INVPCID 3", (f) => invpcid(f.cpu, 3, 0), ["next@all"], []],
    ["MOV CR3 to PCID 2", (f) => f.cpu.loadCr3(ROOT, 2), ["T@1", "next@all"], TABLES_OF(1)],
    ["MOV CR3 with bit 63", (f) => f.cpu.loadCr3(ROOT, 2, true), ALL_LEAVES, TABLES_OF(1, 2)],
    ["PGE cleared", (f) => f.cpu.setControl({ pge: false }), [], []],
    ["PCIDE cleared", (f) => f.cpu.setControl({ pcide: false }), [], []],
    ["SMEP set", (f) => f.cpu.setControl({ smep: true }), ["T@2"], TABLES_OF(2)],
    [
      "WP, SMAP, keys, PSE",
      (f) => f.cpu.setControl({ wp: false, smap: true, pke: true, pse: true }),
      ALL_LEAVES,
      TABLES_OF(1, 2),
    ],
  ])("%s", (_name, operation, leaves, tables) => {
    const f = cached();
    operation(f);
    expect(left(f)).toEqual({ leaves, tables: tables.sort() });
  });

  it.each<[string, (f: Fixture) => void, string[], string[]]>([
    ["nothing", () => {}, ALL_LEAVES, TABLES_OF(1, 2)],
    ["INVLPG", (f) => f.cpu.invlpg(T), ["T@2", "next@all"], TABLES_OF(2)],
    ["INVLPG of a global page", (f) => f.cpu.invlpg(SAME_TABLE), ["T@1", "T@2"], TABLES_OF(2)],
    ["INVLPG elsewhere", (f) => f.cpu.invlpg(NEXT_PML4E), ALL_LEAVES, TABLES_OF(2)],
    ["INVPCID 0", (f) => invpcid(f.cpu, 0, 2, T), ["T@1", "next@all"], TABLES_OF(1)],
    ["INVPCID 0 of a global page", (f) => invpcid(f.cpu, 0, 1, SAME_TABLE), ALL_LEAVES, TABLES_OF(2)],
    ["INVPCID 0 in another 512 GiB", (f) => invpcid(f.cpu, 0, 1, NEXT_PML4E), ALL_LEAVES, TABLES_OF(2)],
    ["INVPCID 1", (f) => invpcid(f.cpu, 1, 1), ["T@2", "next@all"], TABLES_OF(2)],
    ["INVPCID 2", (f) => invpcid(f.cpu, 2, 0), [], []],
    ["INVPCID 3", (f) => invpcid(f.cpu, 3, 0), ["next@all"], []],
    ["MOV CR3 to PCID 2", (f) => f.cpu.loadCr3(ROOT, 2), ["T@1", "next@all"], TABLES_OF(1)],
    ["PGE cleared", (f) => f.cpu.setControl({ pge: false }), [], []],
    ["PCIDE cleared", (f) => f.cpu.setControl({ pcide: false }), [], []],
    ["PSE set", (f) => f.cpu.setControl({ pse: true }), [], []],
    ["PKE set", (f) => f.cpu.setControl({ pke: true }), [], []],
    ["PKE set with SMEP", (f) => f.cpu.setControl({ smep: true, pke: true }), [], []],
    ["SMEP set", (f) => f.cpu.setControl({ smep: true }), ALL_LEAVES, TABLES_OF(1, 2)],
    [
      "WP, SMAP, CET, NXE, TCE",
      (f) => f.cpu.setControl({ smap: true, cet: true, nxe: false, tce: true }),
      ALL_LEAVES,
      TABLES_OF(1, 2),
    ],
  ])("AMD: %s", (_name, operation, leaves, tables) => {
    const f = cached(AMD);
    operation(f);
    expect(left(f)).toEqual({ leaves, tables: tables.sort() });
  });

  it("AMD: PSE cleared drops everything, PKE cleared nothing", () => {
    for (const [bits, leaves] of [
      [{ pse: false }, []],
      [{ pke: false }, ["T@0"]],
    ] as const) {
      const f = new Fixture({ model: AMD });
      f.cpu.setControl({ pse: true, pke: true });
      read(f, T);
      f.cpu.setControl(bits);
      expect(left(f).leaves).toEqual(leaves);
    }
  });

  it.each([MODEL, AMD])(
    "a page fault on $name drops the page and the table entries that lead to it",
    (model) => {
      const f = cached(model);
      read(f, NEXT_TABLE);
      expect(left(f)).toEqual({ leaves: ALL_LEAVES, tables: [...TABLES_OF(2), "2@1"].sort() });
    },
  );

  it("an Alder Lake with old microcode leaves global translations at INVLPG while PCIDE=1", () => {
    const f = cached({ ...MODEL, invlpgKeepsGlobal: true });
    f.cpu.invlpg(SAME_TABLE);
    expect(left(f).leaves).toEqual(ALL_LEAVES);
    f.cpu.invalidate("INVPCID 2", scopeOf("INVPCID 2", f.cpu.control));
    f.cpu.setControl({ pcide: false });
    read(f, SAME_TABLE);
    f.cpu.invlpg(SAME_TABLE);
    expect(left(f).leaves).toEqual([]);
  });

  it("with EFER.TCE, INVLPG leaves the table entries that do not lead to its page", () => {
    for (const tce of [false, true]) {
      const f = cached(AMD);
      f.cpu.setControl({ tce });
      f.cpu.invlpg(NEXT_TABLE);
      expect(left(f)).toEqual({
        leaves: ALL_LEAVES,
        tables: (tce ? [...TABLES_OF(2), "2@1"] : TABLES_OF(2)).sort(),
      });
    }
  });
});

describe("INVPCID", () => {
  it("on AMD drops the PCID's table entries wherever they lead, but with EFER.TCE only the path's", () => {
    for (const tce of [false, true]) {
      const f = cached(AMD);
      f.cpu.setControl({ tce });
      invpcid(f.cpu, 0, 2, NEXT_TABLE);
      expect(left(f).tables).toEqual((tce ? [...TABLES_OF(1), "2@2"] : TABLES_OF(1)).sort());
    }
  });

  it("is refused as the manual says", () => {
    const f = new Fixture({ model: { ...MODEL, la57: false, linearWidth: 48 } });
    const fault = (...args: [number, number | bigint, (number | bigint)?]) => {
      const result = invpcid(f.cpu, ...args);
      return result.ok ? "ok" : result.fault;
    };
    expect([fault(0, 0, T), fault(1, 0), fault(2, 1), fault(3, 1)]).toEqual(["ok", "ok", "ok", "ok"]);
    expect([fault(0, 1, T), fault(1, 1), fault(4, 0), fault(2, 0x1000)]).toEqual([
      "#GP",
      "#GP",
      "#GP",
      "#GP",
    ]);
    expect([fault(0, 0, 0x8000_0000_0000n), fault(1, 0, 0x8000_0000_0000n)]).toEqual(["#GP", "ok"]);
    f.cpu.setControl({ pcide: true });
    expect([fault(0, 4095, T), fault(1, 4095), fault(3, 1n << 63n)]).toEqual(["ok", "ok", "#GP"]);
    f.cpu.cpl = 3;
    expect(fault(2, 0)).toBe("#GP");
    const old = new Fixture({ model: { ...MODEL, invpcid: false } });
    expect(invpcid(old.cpu, 2, 0)).toMatchObject({ ok: false, fault: "#UD" });
  });
});

describe("INVLPGB and TLBSYNC", () => {
  /** Two CPUs that have T and the page after it. */
  function two(): Fixture {
    const f = new Fixture({ model: AMD, cpus: 2, pagingStructureCaches: true });
    f.set(PTE + 8, 0x11_2007n);
    for (const cpu of f.machine.cpus) {
      cpu.loadCr3(ROOT);
      read(f, T, cpu);
      read(f, SAME_TABLE, cpu);
    }
    return f;
  }
  const counts = (f: Fixture) =>
    f.machine.cpus.map(({ tlb, tables }) => [tlb.entries().length, tables?.entries().length]);

  it("nothing need be gone before TLBSYNC on the same CPU, then it is on all", () => {
    const f = two();
    expect(invlpgb(f.cpu, { address: T })).toEqual({ ok: true });
    f.set(PTE, 0n);
    expect(tlbsync(f.machine.cpu(1))).toEqual({ ok: true });
    expect(f.machine.cpus.map((cpu) => read(f, T, cpu))).toEqual(["0x110000", "0x110000"]);
    tlbsync(f.cpu);
    expect(counts(f)).toEqual([
      [1, 0],
      [1, 0],
    ]);
    expect(f.machine.cpus.map((cpu) => read(f, T, cpu))).toEqual(["fault 0x0", "fault 0x0"]);
  });

  it("takes a range, and can leave table entries", () => {
    const f = two();
    invlpgb(f.cpu, { address: T, extraPages: 1, finalOnly: true });
    tlbsync(f.cpu);
    expect(counts(f)).toEqual([
      [0, 3],
      [0, 3],
    ]);
  });

  it("without an address drops the whole context: the safe, slow mistake of forgetting one bit", () => {
    const f = two();
    invlpgb(f.cpu, { pcid: 0, extraPages: 1 });
    tlbsync(f.cpu);
    expect(counts(f)).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it("keeps global translations unless asked, and other address spaces", () => {
    const f = two();
    f.set(PTE + 16, 0x11_3107n);
    read(f, T + 0x2000);
    invlpgb(f.cpu, { asid: 3 });
    tlbsync(f.cpu);
    expect(f.cpu.tlb.entries()).toHaveLength(3);
    invlpgb(f.cpu, {});
    tlbsync(f.cpu);
    expect(f.cpu.tlb.entries()).toMatchObject([{ global: true }]);
    invlpgb(f.cpu, { includeGlobals: true });
    tlbsync(f.cpu);
    expect(f.cpu.tlb.entries()).toEqual([]);
  });

  it("a stride of 2 MiB steps over large pages", () => {
    const f = two();
    f.set(PDE + 8, 0x60_0087n);
    expect(read(f, NEXT_TABLE)).toBe("0x640000");
    invlpgb(f.cpu, { address: T, extraPages: 1, stride: "2M" });
    tlbsync(f.cpu);
    expect(f.cpu.tlb.entries()).toMatchObject([{ page: SAME_TABLE }]);
  });

  it("are refused where the CPU has none, at other privileges, and beyond its count", () => {
    const intel = new Fixture();
    expect([invlpgb(intel.cpu, {}), tlbsync(intel.cpu)]).toMatchObject([{ fault: "#UD" }, { fault: "#UD" }]);
    const f = two();
    expect(invlpgb(f.cpu, { address: T, extraPages: 8 })).toMatchObject({ ok: false, fault: "#GP" });
    expect(invlpgb(f.cpu, { pcid: 1 })).toMatchObject({ ok: false, fault: "#GP" });
    f.cpu.cpl = 3;
    expect([invlpgb(f.cpu, {}), tlbsync(f.cpu)]).toMatchObject([{ fault: "#GP" }, { fault: "#GP" }]);
  });
});
