import { describe, expect, it } from "vitest";
import {
  ACCESS_READ,
  combineMemoryTypes,
  cpuModel,
  INSPECT,
  type MemoryType,
  MODE_SUPERVISOR,
  MSR_PAT,
  Mtrrs,
  type MtrrType,
  memoryTypesOf,
  PAT_RESET,
  parsePat,
  patIndex,
  WalkResult,
  walk,
  wrmsr,
} from "../../../../src/package/cpu.ts";
import { Fixture, PAGE_A, PDE, PDPTE, PTE, ROOT, T } from "./fixture.ts";

const COLUMNS = ["UC", "UC-", "WC", "WT", "WB", "WP"] as const;
const ROWS: readonly [MtrrType, string][] = [
  ["UC", "UC UC WC UC UC UC"],
  ["WC", "UC WC WC UC WC UC"],
  ["WT", "UC UC WC WT WT WP"],
  ["WB", "UC UC WC WT WB WP"],
  ["WP", "UC WC WC WT WP WP"],
];

/** The types of a read at T: of the page, and of the tables read on the way. */
function typesAt(f: Fixture, mtrrs = new Mtrrs()): { page: MemoryType; tables: readonly MemoryType[] } {
  const result = new WalkResult();
  walk(f.machine.memory, f.cpu.control, T | 0, 0x80, ACCESS_READ, MODE_SUPERVISOR, INSPECT, result);
  return memoryTypesOf(result, f.cpu.control, mtrrs);
}

describe("memory types", () => {
  it.each(ROWS)("MTRR %s with every PAT type", (mtrr, row) => {
    expect(COLUMNS.map((pat) => combineMemoryTypes(mtrr, pat)).join(" ")).toBe(row);
  });

  it("Bochs differs in two cells", () => {
    const differing = ROWS.flatMap(([mtrr]) =>
      COLUMNS.filter((pat) => combineMemoryTypes(mtrr, pat) !== combineMemoryTypes(mtrr, pat, "bochs")).map(
        (pat) => [mtrr, pat, combineMemoryTypes(mtrr, pat, "bochs")],
      ),
    );
    expect(differing).toEqual([
      ["WT", "WP", "WT"],
      ["WP", "UC-", "UC"],
    ]);
    expect(cpuModel("bochs-2.7").memoryTypeMerge).toBe("bochs");
  });

  it("the PAT's index is PAT, PCD, PWT; its bit is 7 in a PTE and 12 in a large leaf", () => {
    expect([0x11_0007, 0x11_000f, 0x11_0017, 0x11_0087, 0x11_009f].map((lo) => patIndex(1, lo))).toEqual([
      0, 1, 2, 4, 7,
    ]);
    expect([0x20_0087, 0x20_1087, 0x20_109f].map((lo) => patIndex(2, lo))).toEqual([0, 4, 7]);
    expect(patIndex(3, 0x1087)).toBe(4);
  });

  it("after reset the PAT has WB, WT, UC-, UC twice; a reserved type is #GP", () => {
    const f = new Fixture();
    expect(parsePat(PAT_RESET)).toEqual(["WB", "WT", "UC-", "UC", "WB", "WT", "UC-", "UC"]);
    for (const type of [2n, 3n, 8n, 0xffn]) {
      expect(wrmsr(f.cpu, MSR_PAT, PAT_RESET | (type << 56n))).toMatchObject({
        ok: type === 0n,
        fault: "#GP",
      });
    }
    expect(wrmsr(f.cpu, MSR_PAT, 0x0105_0406_0007_0406n)).toEqual({ ok: true });
    expect(typesAt(f.set(PTE, 0x11_0087n)).page).toBe("WB");
    expect(typesAt(f.set(PTE, 0x11_0097n)).page).toBe("WP");
    expect(typesAt(f.set(PTE, 0x11_009fn)).page).toBe("WC");
  });

  it("a table's type stands in what points to it; the root's in CR3, unless that holds a PCID", () => {
    const f = new Fixture().set(PDPTE, 0x10_100fn).set(PDE, 0x10_2017n);
    f.cpu.movCr3(BigInt(ROOT) | 0x18n);
    expect(typesAt(f)).toEqual({ page: "WB", tables: ["UC", "WB", "WT", "UC"] });
    f.cpu.movCr3(BigInt(ROOT));
    f.cpu.setControl({ pcide: true });
    f.cpu.movCr3(BigInt(ROOT) | 0x18n);
    expect(typesAt(f).tables[0]).toBe("WB");
  });

  it("MTRRs count too, and CR0.CD makes all of it UC", () => {
    const f = new Fixture();
    const mtrrs = new Mtrrs("WB", [{ base: PAGE_A, length: 0x1_0000, type: "WT" }]);
    expect(typesAt(f, mtrrs)).toEqual({ page: "WT", tables: ["WB", "WB", "WB", "WB"] });
    f.cpu.setControl({ cd: true });
    expect(typesAt(f, mtrrs)).toEqual({ page: "UC", tables: ["UC", "UC", "UC", "UC"] });
  });

  it("where MTRRs overlap UC wins, WT beats WB, and other mixtures are UC", () => {
    const both = (a: MtrrType, b: MtrrType): MtrrType =>
      new Mtrrs("WB", [
        { base: 0, length: 0x2000, type: a },
        { base: 0x1000, length: 0x1000, type: b },
      ]).typeAt(0x1800);
    expect([
      both("UC", "WB"),
      both("WT", "WB"),
      both("WB", "WT"),
      both("WP", "WC"),
      both("WC", "WC"),
    ]).toEqual(["UC", "WT", "WT", "UC", "WC"]);
  });

  it("a large page over several types has none of its own", () => {
    const mtrrs = new Mtrrs("WB", [{ base: 0x20_0000, length: 0x1000, type: "UC" }]);
    expect([mtrrs.typeOfPage(0x20_0000, 0x20_0000), mtrrs.typeOfPage(0, 0x20_0000)]).toEqual([null, "WB"]);
    expect(mtrrs.typeOfPage(0x20_0000, 0x1000)).toBe("UC");
    expect(() => new Mtrrs("WB", [{ base: 0x1000, length: 0x2000, type: "UC" }])).toThrow(
      "MTRR of 8192 bytes",
    );
    expect(() => new Mtrrs("WB", [{ base: 0, length: 0x3000, type: "UC" }])).toThrow("power of two");
  });
});
