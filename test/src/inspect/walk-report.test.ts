import { describe, expect, test } from "vitest";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  MODE_SUPERVISOR,
  MODE_USER,
} from "../../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { WIDEST_LAYOUT } from "../../../arch/x86/cpu/entry-layout.ts";
import { PTE_LAYOUTS } from "../../../arch/x86/mm/pte-format.ts";
import { decodeEntry, decodeLines, decodeObject } from "../../../src/inspect/decode-report.ts";
import { errorCodeWords } from "../../../src/inspect/error-code.ts";
import { linuxPteFormat } from "../../../src/inspect/linux-reading.ts";
import { type WalkSource, walkReport } from "../../../src/inspect/walk-report.ts";
import { walkLines, walkObject } from "../../../src/inspect/walk-text.ts";
import { coloured, plain } from "../../../src/text/paint.ts";
import { TableBuilder } from "./table-builder.ts";

const NX = 1n << 63n;

/** Frame 1 is the root, 2 to 4 stand below it; 0x0 read-only code, 0x1000 swapped out, 0x40000000 a 1G page. */
function source(): WalkSource {
  const tables = new TableBuilder()
    .table(1, 0, 2)
    .table(1, 1, 9)
    .table(2, 0, 3, 0x65n)
    .at(2, 1, NX | 0x8000_00e7n)
    .at(2, 2, 0x8000_20e7n)
    .table(3, 0, 4)
    .at(4, 0, 0x5_4067n)
    .at(4, 1, 0x07ff_ffff_ffff_fc02n);
  const control = new ControlRegisters(cpuModel("intel-sapphire-rapids"));
  control.setRoot(0x1000, 0);
  const pteFormat = linuxPteFormat("linux-6.1", null);
  return { memory: tables.memory, control, pteFormat, holds: (page) => page < 0x8000 };
}

function lines(address: bigint, kind: 0 | 1 | 2, mode: 0 | 1): string[] {
  return walkLines(walkReport(source(), address, { kind, mode }), plain);
}

describe("a walk, told", () => {
  test("shows each level with the rights so far, and the physical address", () => {
    expect(lines(0x123n, ACCESS_READ, MODE_USER)).toEqual([
      "0x0000000000000123  user read",
      "  level  entry at         value               flags            rights so far",
      "  PML4E  0x0000000001000  0x0000000000002067  P R/W U/S A (D)  rwx user",
      "  PDPTE  0x0000000002000  0x0000000000003065  P U/S A (D)      r-x user",
      "  PDE    0x0000000003000  0x0000000000004067  P R/W U/S A (D)  r-x user",
      "  PTE    0x0000000004000  0x0000000000054067  P R/W U/S A D    r-x user",
      "  -> physical 0x54123, in a 4 KiB page, frame 0x54",
      "  memory type: WB (entry 0 of IA32_PAT)",
      "  Linux: present, frame 0x54 (PRESENT|RW|USER|ACCESSED|DIRTY)",
    ]);
  });

  test("names the entry that takes a right away, though the leaf gives it", () => {
    const told = lines(0x123n, ACCESS_WRITE, MODE_USER);
    expect(told).toContain("  error code 0x07: P (page present), W/R (write), U/S (user mode)");
    expect(told.join("\n")).toMatch(
      /#PF 0x07 at 0x123: user write, the page is read-only .*: R\/W=0 in PDPTE/,
    );
    expect(lines(0x4000_0000n, ACCESS_FETCH, MODE_USER).join("\n")).toMatch(
      /not executable .*: XD=1 in PDPTE/,
    );
  });

  test("says what Linux keeps in an entry that is not present", () => {
    const told = lines(0x1008n, ACCESS_READ, MODE_SUPERVISOR);
    expect(told.join("\n")).toMatch(/PTE .* not present/);
    expect(told.at(-1)).toBe("  Linux: swapped out: area 0, slot 1 (0x1); soft-dirty");
  });

  test("a reserved bit is a fault of its own", () => {
    const told = lines(0x8000_0000n, ACCESS_READ, MODE_SUPERVISOR).join("\n");
    expect(told).toContain("RESERVED[29:13]");
    expect(told).toContain("error code 0x09: P (page present), RSVD (reserved bit set)");
  });

  test("ends where the image ends, and says so, instead of making a fault up", () => {
    const report = walkReport(source(), 0x80_0000_0000n, { kind: ACCESS_READ, mode: MODE_USER });
    expect(report.end).toEqual({ kind: "missing-table", table: 0x9000 });
    expect(report.steps).toHaveLength(1);
    expect(walkLines(report, plain).at(-1)).toContain("the image does not hold the table at 0x9000");
  });

  test("makes no walk for an address that is not canonical", () => {
    expect(walkReport(source(), 1n << 47n, { kind: ACCESS_READ, mode: MODE_USER }).end.kind).toBe(
      "non-canonical",
    );
  });

  test("names the bit that is reserved, and where the same access ends otherwise", () => {
    const told = lines(0x8000_0000n, ACCESS_READ, MODE_USER);
    const fault = told.find((line) => line.includes("#PF"))!;
    expect(fault).toMatch(/PDPTE has bit 13 of 29:13 \(below the alignment of a 1-GiB page\) set$/);
    expect(told).toContain("  in QEMU 7.2 (TCG): #PF 0x0c, reserved bit, at the PDPTE");
    expect(told.filter((line) => /AMD|MAXPHYADDR|1-GiB pages:/.test(line))).toEqual([]);
  });

  test("neighbouring widths with the same end are one line", () => {
    const { memory, control, pteFormat } = source();
    memory.write(0x4010, 0x67, 0x80);
    const report = walkReport({ memory, control, pteFormat, holds: () => true }, 0x2123n, {
      kind: ACCESS_READ,
      mode: MODE_USER,
    });
    expect(report.end).toMatchObject({ kind: "page", physical: 2 ** 39 + 0x123 });
    expect(report.differences).toEqual([
      { where: "at MAXPHYADDR 36 to 39", outcome: "#PF 0x0d, reserved bit, at the PTE" },
    ]);
  });

  test("vendors differ in bit 8 of the PML4E, and CPUs in 1-GiB pages", () => {
    const { memory, control, pteFormat } = source();
    memory.write(0x1000, 0x2167, 0);
    const report = walkReport({ memory, control, pteFormat, holds: () => true }, 0x4000_0000n, {
      kind: ACCESS_WRITE,
      mode: MODE_SUPERVISOR,
    });
    expect(report.end.kind).toBe("page");
    expect(report.differences).toEqual([
      { where: "on AMD", outcome: "#PF 0x0b, reserved bit, at the PML4E" },
      { where: "on a CPU without 1-GiB pages", outcome: "#PF 0x0b, reserved bit, at the PDPTE" },
    ]);
  });

  test("the memory type is what the leaf's PAT, PCD and PWT choose", () => {
    const { memory, control, pteFormat } = source();
    const entries = [0n, 1n, 2n, 3n, 16n, 17n, 18n, 19n].map((bits, at) => {
      memory.write(0x4000 + 8 * at, Number(0x5067n | (bits << 3n)), 0);
      const address = BigInt(at) << 12n;
      const report = walkReport({ memory, control, pteFormat, holds: () => true }, address, {
        kind: ACCESS_READ,
        mode: MODE_USER,
      });
      return report.end.kind === "page" ? report.end.patEntry : -1;
    });
    expect(entries).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("as JSON: rights stop where a reserved bit stops the walk", () => {
    const report = walkReport(source(), 0x8000_0000n, { kind: ACCESS_READ, mode: MODE_USER });
    expect(walkObject(report)).toMatchObject({
      steps: [
        { level: "PML4E", reserved: false, rights: { write: true } },
        { level: "PDPTE", reserved: true, rights: { write: false, execute: false, user: false } },
      ],
      end: { kind: "fault", errorCode: 0x0d, reason: "reserved-bit" },
    });
  });

  test("error codes are spelled out", () => {
    expect(errorCodeWords(0)).toMatch(/none set/);
    expect(errorCodeWords(4)).toBe("U/S (user mode); P is clear (page not present)");
    expect(errorCodeWords(0xc)).toMatch(/; P is clear \(as QEMU reports it\)$/);
    expect(errorCodeWords(0x3f)).toBe(
      "P (page present), W/R (write), U/S (user mode), RSVD (reserved bit set), I/D (instruction fetch), PK (protection key)",
    );
  });
});

describe("one entry, decoded", () => {
  const pteFormat = linuxPteFormat("linux-6.1", null);
  const decoded = (value: bigint, level: "pte" | "pmd" = "pte"): ReturnType<typeof decodeEntry> =>
    decodeEntry(Entry.fromBigInt(value), level, 4, WIDEST_LAYOUT, [pteFormat]);

  test("a PTE: every field once, and Linux's flags", () => {
    const told = decodeLines(decoded(0x8000_0000_1234_5867n), "a CPU", plain);
    expect(told[0]).toBe("0x8000000012345867  pte");
    expect(told).toContain("  51:12  address    0x12345000       physical address of the 4-KiB page");
    expect(told.slice(-2)).toEqual([
      "linux-6.1  present, frame 0x12345",
      "           PRESENT|RW|USER|ACCESSED|DIRTY|SOFT_DIRTY|NX",
    ]);
  });

  test("a huge PMD with a reserved bit is called what it is", () => {
    const told = decodeLines(decoded(0x4000_28e7n, "pmd"), "a CPU", plain);
    expect(told[0]).toBe("0x00000000400028e7  pmd: a pde-2m");
    expect(told.join("\n")).toContain("reserved bits are set (reserved 20:13): every use is a page fault");
  });

  test("an entry with P=0 has no hardware fields", () => {
    const told = decodeLines(decoded(0x07ff_ffff_ffff_fc00n), "a CPU", plain).join("\n");
    expect(told).toContain("hardware  not present");
    expect(told).toContain("swapped out: area 0, slot 1");
  });

  test("as JSON: stable names, values as text where they are addresses", () => {
    expect(decodeObject(decoded(0x07ff_ffff_ffff_fc00n), "a CPU")).toMatchObject({
      format: "ptescope-decode",
      version: 1,
      value: "0x07fffffffffffc00",
      hardware: { present: false, reserved: [] },
      linux: { layout: "linux-6.1", kind: "swap", type: 0, offset: 1 },
    });
  });

  test("a ruler has every bit once, below its number and its field", () => {
    const told = decodeLines(decoded(0x8000_0000_1234_5867n), "a CPU", plain);
    expect(told.slice(2, 5)).toEqual([
      "63 62:59 58:52   51:12                                    11:9 8 7   6 5 4   3   2   1   0",
      "XD key   avl     address                                  avl  G PAT D A PCD PWT U/S R/W P",
      "1  0000  0000000 0000000000000000000000010010001101000101 100  0 0   1 1 0   0   1   1   1",
    ]);
    for (const name of Object.keys(PTE_LAYOUTS)) {
      for (const value of [0x07ff_ffff_ffff_fc00n, 0x1234_5960n, 0x1234_5867n, 0x100e7n]) {
        const entry = Entry.fromBigInt(value);
        const report = decodeEntry(entry, "pmd", 4, WIDEST_LAYOUT, [linuxPteFormat(name, null)]);
        const digits = decodeLines(report, "a CPU", plain)[4]!.replaceAll(" ", "");
        expect(BigInt(`0b${digits}`)).toBe(value);
        expect(digits).toHaveLength(64);
      }
    }
  });

  test("a swap entry is ruled as its kernel lays it out", () => {
    const told = (name: string): string =>
      decodeLines(
        decodeEntry(Entry.fromBigInt(0x4080n), "pte", 4, WIDEST_LAYOUT, [linuxPteFormat(name, null)]),
        "a CPU",
        plain,
      )[3]!.replace(/ +/g, " ");
    expect(told("linux-4.13")).toBe("offset type PROTNONE soft-dirty - P");
    expect(told("l1tf")).toBe("type offset, inverted PROTNONE - soft-dirty P");
    expect(told("linux-6.1")).toBe("type offset, inverted PROTNONE - exclusive uffd-wp soft-dirty P");
  });

  test("several kernels at once: one ruler for those that agree, one reading each", () => {
    const pteFormats = Object.keys(PTE_LAYOUTS).map((name) => linuxPteFormat(name, null));
    const report = decodeEntry(Entry.fromBigInt(0x07ff_ffff_ffff_fc00n), "pte", 4, WIDEST_LAYOUT, pteFormats);
    const told = decodeLines(report, "a CPU", plain);
    expect(told).toContain("linux-6.1, linux-6.12");
    expect(told.filter((line) => line.includes("area 0, slot 1 ("))).toHaveLength(3);
    expect(decodeObject(report, "a CPU")).toMatchObject({
      linux: { layout: "linux-4.7" },
      kernels: [
        { kind: "swap" },
        { kind: "migration" },
        { kind: "unknown-type" },
        { kind: "swap" },
        {},
        { offset: 1 },
      ],
    });
  });

  test("names of levels: with five the pgd is the PML5 and p4d the PML4", () => {
    const kinds = (["pte", "pmd", "pud", "p4d", "pgd"] as const).map((name) =>
      ([4, 5] as const).map(
        (levels) => decodeEntry(Entry.fromBigInt(0x67n), name, levels, WIDEST_LAYOUT, [pteFormat]).kind,
      ),
    );
    expect(kinds).toEqual([
      ["pte", "pte"],
      ["pde-table", "pde-table"],
      ["pdpte-table", "pdpte-table"],
      ["pml4e", "pml4e"],
      ["pml4e", "pml5e"],
    ]);
  });

  test("colour only adds codes around the same text", () => {
    const codes = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, "g");
    const report = decoded(0x4000_28e7n, "pmd");
    const [painted, bare] = [coloured, plain].map((paint) => decodeLines(report, "a CPU", paint).join("\n"));
    expect(painted).not.toBe(bare);
    expect(painted!.replace(codes, "")).toBe(bare);
  });
});

test("on another CPU the walk may leave the image: then no physical address is made up", () => {
  const tables = new TableBuilder().table(1, 0, 2).table(2, 0, 3).at(3, 0, 0x0008_0000_0000_4067n);
  const control = new ControlRegisters({ ...cpuModel("intel-sapphire-rapids"), maxPhyAddr: 46 });
  control.setRoot(0x1000, 0);
  const pteFormat = linuxPteFormat("linux-6.1", null);
  const source: WalkSource = { memory: tables.memory, control, pteFormat, holds: (page) => page < 0x8000 };
  const { end, differences } = walkReport(source, 0x123n, { kind: ACCESS_READ, mode: MODE_USER });
  expect(end).toMatchObject({ kind: "fault", errorCode: 0x0d });
  expect(differences).toContainEqual({
    where: "at MAXPHYADDR 52",
    outcome: "the image does not hold the table at 0x8000000004000",
  });
});
