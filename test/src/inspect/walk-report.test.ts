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
import { decodeEntry, decodeLines, decodeObject } from "../../../src/inspect/decode-report.ts";
import { linuxCodec } from "../../../src/inspect/linux-reading.ts";
import { coloured, plain } from "../../../src/inspect/paint.ts";
import { errorCodeWords, type WalkSource, walkLines, walkReport } from "../../../src/inspect/walk-report.ts";
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
  const codec = linuxCodec("linux-6.1", null);
  return { memory: tables.memory, control, codec, holds: (page) => page < 0x8000 };
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

  test("error codes are spelled out", () => {
    expect(errorCodeWords(0)).toMatch(/none set/);
    expect(errorCodeWords(0x3f)).toBe(
      "P (page present), W/R (write), U/S (user mode), RSVD (reserved bit set), I/D (instruction fetch), PK (protection key)",
    );
  });
});

describe("one entry, decoded", () => {
  const codec = linuxCodec("linux-6.1", null);
  const decoded = (value: bigint, level: "pte" | "pmd" = "pte"): ReturnType<typeof decodeEntry> =>
    decodeEntry(Entry.fromBigInt(value), level, WIDEST_LAYOUT, codec);

  test("a PTE: every field once, and Linux's flags", () => {
    const told = decodeLines(decoded(0x8000_0000_1234_5867n), "linux-6.1", "a CPU", plain);
    expect(told[0]).toBe("0x8000000012345867  pte");
    expect(told).toContain("  51:12  address    0x12345000       physical address of the 4-KiB page");
    expect(told.slice(-2)).toEqual([
      "linux-6.1  present, frame 0x12345",
      "           PRESENT|RW|USER|ACCESSED|DIRTY|SOFT_DIRTY|NX",
    ]);
  });

  test("a huge PMD with a reserved bit is called what it is", () => {
    const told = decodeLines(decoded(0x4000_28e7n, "pmd"), "linux-6.1", "a CPU", plain);
    expect(told[0]).toBe("0x00000000400028e7  pmd: a pde-2m");
    expect(told.join("\n")).toContain("reserved bits are set (reserved 20:13): every use is a page fault");
  });

  test("an entry with P=0 has no hardware fields", () => {
    const told = decodeLines(decoded(0x07ff_ffff_ffff_fc00n), "linux-6.1", "a CPU", plain).join("\n");
    expect(told).toContain("hardware  not present");
    expect(told).toContain("swapped out: area 0, slot 1");
  });

  test("as JSON: stable names, values as text where they are addresses", () => {
    expect(decodeObject(decoded(0x07ff_ffff_ffff_fc00n), "linux-6.1", "a CPU")).toMatchObject({
      format: "ptescope-decode",
      version: 1,
      value: "0x07fffffffffffc00",
      hardware: { present: false, reserved: [] },
      linux: { layout: "linux-6.1", kind: "swap", type: 0, offset: 1 },
    });
  });

  test("colour only adds codes around the same text", () => {
    const codes = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, "g");
    const report = decoded(0x4000_28e7n, "pmd");
    const [painted, bare] = [coloured, plain].map((paint) =>
      decodeLines(report, "linux-6.1", "a CPU", paint).join("\n"),
    );
    expect(painted).not.toBe(bare);
    expect(painted!.replace(codes, "")).toBe(bare);
  });
});
