import { describe, expect, test } from "vitest";
import { PT_HABITS, ptTable, ptWalk } from "../../../src/dialects/pt.ts";
import { qemuMem } from "../../../src/dialects/qemu-mem.ts";
import { QEMU_HABITS, qemuTlb } from "../../../src/dialects/qemu-tlb.ts";
import { LeafCursor, type LinearRange, WHOLE_SPACE } from "../../../src/inspect/leaves.ts";
import { parseFilter } from "../../../src/inspect/page-filter.ts";
import { TableBuilder } from "../inspect/table-builder.ts";

const ROOT = 0x1000;
const NX = 1n << 63n;
const bit = (number: number): bigint => 1n << BigInt(number);

/** The lines of a recorded text, without the line break that begins it. */
function recorded(text: string): string[] {
  return text.slice(1).split("\n");
}

describe("QEMU 7.2's monitor, recorded of a stopped machine with these tables in its memory", () => {
  /** PS=1 in PML4Es, and addresses of tables and pages above bit 49. */
  const tables = new TableBuilder()
    .at(1, 0, 0x20e7n)
    .at(1, 1, 0x2065n | bit(50))
    .at(1, 256, 0x20e7n | bit(51))
    .at(2, 0, 0x3067n | bit(51))
    .at(3, 0, 0x4067n | bit(50) | bit(51))
    .at(3, 2, 0x20_00e7n | bit(13) | bit(51))
    .at(4, 0, 0x5067n)
    .at(4, 1, 0x6067n | bit(51) | bit(49));
  const leaves = (): LeafCursor => new LeafCursor(tables.memory, ROOT, 4, QEMU_HABITS);

  test("info tlb walks through PS=1 in a PML4E, and cuts every address to 50 bits", () => {
    expect([...qemuTlb(leaves())]).toEqual(
      recorded(`
0000000000000000: 0000000000005000 ---DA--UW
0000000000001000: 0002000000006000 ---DA--UW
0000000000400000: 0000000000200000 --PDA--UW
0000008000000000: 0000000000005000 ---DA--UW
0000008000001000: 0002000000006000 ---DA--UW
0000008000400000: 0000000000200000 --PDA--UW
ffff800000000000: 0000000000005000 ---DA--UW
ffff800000001000: 0002000000006000 ---DA--UW
ffff800000400000: 0000000000200000 --PDA--UW`),
    );
  });

  test("info mem does the same", () => {
    expect([...qemuMem(leaves())]).toEqual(
      recorded(`
0000000000000000-0000000000002000 0000000000002000 urw
0000000000400000-0000000000600000 0000000000200000 urw
0000008000000000-0000008000002000 0000000000002000 ur-
0000008000400000-0000008000600000 0000000000200000 ur-
ffff800000000000-ffff800000002000 0000000000002000 urw
ffff800000400000-ffff800000600000 0000000000200000 urw`),
    );
  });

  test("info tlb with five levels: PS=1 in a PML5E means nothing, either", () => {
    const five = new TableBuilder()
      .at(1, 0, 0x2067n)
      .at(1, 2, 0x20e7n | bit(51))
      .at(2, 0, 0x30e7n | bit(50))
      .at(2, 511, 0x3067n)
      .at(3, 0, 0x4067n)
      .at(4, 0, 0x5067n)
      .at(5, 3, 0x7067n);
    expect([...qemuTlb(new LeafCursor(five.memory, ROOT, 5, QEMU_HABITS))]).toEqual(
      recorded(`
0000000000003000: 0000000000007000 ---DA--UW
0000ff8000003000: 0000000000007000 ---DA--UW
0002000000003000: 0000000000007000 ---DA--UW
0002ff8000003000: 0000000000007000 ---DA--UW`),
    );
  });
});

describe("gdb-pt-dump, commit 9df79f3: pt", () => {
  /** PML4[0] -> 2 -> 3 -> 4, and PML4[256] -> 6, supervisor. */
  const tables = (): TableBuilder => new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
  function pt(
    builder: TableBuilder,
    levels: 4 | 5 = 4,
    physical = false,
    range: LinearRange = WHOLE_SPACE,
  ): string[] {
    const leaves = new LeafCursor(builder.memory, ROOT, levels, { ...PT_HABITS, range });
    return [...ptTable(leaves, null, physical)];
  }
  const HEADER = "\x1b[44m             Address :         Length | Permissions          \x1b[0m";
  const HEADER_PHYSICAL =
    "\x1b[44m             Address :         Length :         Phys | Permissions          \x1b[0m";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes are what is taken away.
  const bare = (lines: readonly string[]): string[] => lines.map((line) => line.replace(/\x1b\[\d+m/g, ""));

  test("the header and a row of each form, escapes removed, are those of the recording", () => {
    const user = pt(tables().at(4, 1, NX | 0x6067n));
    expect(bare(user)).toEqual(
      recorded(`
             Address :         Length | Permissions          
              0x1000 :         0x1000 | W:1 X:0 S:0 UC:0 WB:1`),
    );
    const supervisor = new TableBuilder()
      .table(1, 256, 2)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(4, 3, NX | 0x7063n);
    expect(bare(pt(supervisor, 4, true))).toEqual(
      recorded(`
             Address :         Length :         Phys | Permissions          
  0xffff800000003000 :         0x1000 :       0x7000 | W:1 X:0 S:1 UC:0 WB:1`),
    );
  });

  test("a mark, then the row in the colour of W and X", () => {
    const rows = tables()
      .at(4, 0, 0x9067n)
      .at(4, 2, NX | 0xa063n)
      .at(4, 4, 0xb065n)
      .at(4, 6, NX | 0xc07cn | 1n);
    expect(pt(rows)).toEqual([
      HEADER,
      "\x1b[106m \x1b[0m\x1b[44m                0x0 :         0x1000 | W:1 X:1 S:0 UC:0 WB:1\x1b[0m",
      "\x1b[45m \x1b[0m\x1b[42m             0x2000 :         0x1000 | W:1 X:0 S:1 UC:0 WB:1\x1b[0m",
      "\x1b[106m \x1b[0m\x1b[41m             0x4000 :         0x1000 | W:0 X:1 S:0 UC:0 WB:1\x1b[0m",
      "\x1b[106m \x1b[0m             0x6000 :         0x1000 | W:0 X:0 S:0 UC:1 WB:0",
    ]);
  });

  test("the header stands above an empty list, too", () => {
    expect(pt(tables())).toEqual([HEADER]);
    expect(pt(tables(), 4, true)).toEqual([HEADER_PHYSICAL]);
  });

  test("rights are the leaf's alone; neighbours join across sizes; with physical addresses only without a gap", () => {
    const builder = new TableBuilder()
      .table(1, 0, 2, 0x21n)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(4, 510, 0xa067n)
      .at(4, 511, 0xb067n)
      .at(3, 1, 0x40_00e7n);
    expect(bare(pt(builder)).slice(1)).toEqual([
      "            0x1fe000 :       0x202000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
    expect(bare(pt(builder, 4, true)).slice(1)).toEqual([
      "            0x1fe000 :         0x2000 :       0xa000 | W:1 X:1 S:0 UC:0 WB:1",
      "            0x200000 :       0x200000 :     0x400000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
  });

  test("a 2M base begins at bit 20, a 1G base at bit 30, whatever is reserved; PS=1 in a PML4E maps nothing", () => {
    const builder = tables()
      .at(3, 1, 0x1234_50e7n | (0xfn << 16n))
      .at(2, 1, 0x7fff_f0e7n)
      .at(4, 7, 0x9067n | bit(51))
      .at(1, 5, 0x20e7n);
    expect(bare(pt(builder, 4, true)).slice(1)).toEqual([
      "              0x7000 :         0x1000 : 0x8000000009000 | W:1 X:1 S:0 UC:0 WB:1",
      "            0x200000 :       0x200000 :   0x12300000 | W:1 X:1 S:0 UC:0 WB:1",
      "          0x40000000 :     0x40000000 :   0x40000000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
  });

  test("entries with one value in a table are visited once, but not in the lowest", () => {
    const builder = tables().table(1, 3, 2).table(3, 9, 4).at(4, 0, 0x9067n).at(4, 2, 0x9067n);
    expect(bare(pt(builder)).slice(1)).toEqual([
      "                 0x0 :         0x1000 | W:1 X:1 S:0 UC:0 WB:1",
      "              0x2000 :         0x1000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
  });

  test("five levels: below PML5[0] bit 47 is a sign", () => {
    const builder = new TableBuilder()
      .table(1, 0, 2)
      .table(2, 0, 3)
      .table(2, 256, 4)
      .table(3, 0, 5)
      .table(4, 0, 6)
      .table(5, 0, 7)
      .table(6, 0, 8)
      .at(7, 1, 0x9067n)
      .at(8, 1, 0xa067n)
      .table(1, 1, 9)
      .table(9, 0, 10)
      .at(10, 0, 0x4000_00e7n)
      .table(1, 511, 11)
      .table(11, 511, 12)
      .at(12, 0, 0x8000_00e7n);
    expect(bare(pt(builder, 5)).slice(1)).toEqual([
      "              0x1000 :         0x1000 | W:1 X:1 S:0 UC:0 WB:1",
      "     0x1000000000000 :     0x40000000 | W:1 X:1 S:0 UC:0 WB:1",
      "  0xffff800000001000 :         0x1000 | W:1 X:1 S:0 UC:0 WB:1",
      "  0xffffff8000000000 :     0x40000000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
  });

  test("a filter asks the leaf alone, too", () => {
    const builder = new TableBuilder().table(1, 0, 2, 0x65n).at(2, 0, 0xe7n).at(2, 2, 0xe5n);
    const leaves = new LeafCursor(builder.memory, ROOT, 4, PT_HABITS);
    expect(bare([...ptTable(leaves, parseFilter("w"), false)]).slice(1)).toEqual([
      "                 0x0 :     0x40000000 | W:1 X:1 S:0 UC:0 WB:1",
    ]);
  });
});

describe("gdb-pt-dump, commit 9df79f3: pt -walk", () => {
  const tables = (): TableBuilder => new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
  const walk = (builder: TableBuilder, address: bigint, levels: 4 | 5 = 4, cr3 = 0x1000n) =>
    ptWalk(builder.memory, cr3, ROOT, levels, address);

  test("of an address that is not mapped is the recording", () => {
    expect(walk(tables(), 0x5000n)).toEqual({
      failure: null,
      lines: recorded(`
Page table walk for VA = 0x5000
-------------------------------------------
CR3 = 0x1000
  PML4[0] = 0x2000                | Flags 0x067
    PDP[0] = 0x3000               | Flags 0x067
      PD[0] = 0x4000              | Flags 0x067
        PT[5] = 0x0               | Flags 0x000

!!! Last stage faulted !!!
`),
    });
  });

  test("ends in an empty line; CR3 has its PCID; XD, a key and bits 51:48 of the last entry are not seen", () => {
    const { lines, failure } = walk(tables().at(4, 1, NX | bit(60) | bit(51) | 0x9067n), 0x1123n, 4, 0x1005n);
    expect(failure).toBeNull();
    expect(lines.slice(2)).toEqual(
      recorded(`
CR3 = 0x1005
  PML4[0] = 0x2000                | Flags 0x067
    PDP[0] = 0x3000               | Flags 0x067
      PD[0] = 0x4000              | Flags 0x067
        PT[1] = 0x9000            | Flags 0x067
`),
    );
  });

  test.each([
    {
      builder: new TableBuilder().at(1, 0, 0x20e7n),
      line: "  PML4[0] = 0x2000                | Flags 0x0e7",
    },
    { builder: tables().at(2, 0, 0x4000_00e7n), line: "    PDP[0] = 0x40000000           | Flags 0x0e7" },
    { builder: tables().at(3, 0, 0x20_10e7n), line: "      PD[0] = 0x201000            | Flags 0x0e7" },
  ])("stops at bit 7 without a remark: $line", ({ builder, line }) => {
    expect(walk(builder, 0x5000n).lines.slice(-2)).toEqual([line, ""]);
  });

  test("five levels, and a base that leaves no space", () => {
    const builder = new TableBuilder()
      .table(1, 0, 2)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .table(4, 0, 5)
      .at(5, 511, 0xffff_ffff_f067n);
    expect(walk(builder, 0x1f_f123n, 5).lines.slice(3)).toEqual([
      "  PML5[0] = 0x2000                | Flags 0x067",
      "    PML4[0] = 0x3000              | Flags 0x067",
      "      PDP[0] = 0x4000             | Flags 0x067",
      "        PD[0] = 0x5000            | Flags 0x067",
      "          PT[511] = 0xfffffffff000| Flags 0x067",
      "",
    ]);
  });

  test("where the real one ends in a traceback this walks on, and says so", () => {
    const builder = tables()
      .at(4, 5, 0x9067n)
      .at(2, 0, NX | 0x3067n);
    const { lines, failure } = walk(builder, 0x5000n);
    expect(lines.at(-2)).toBe("        PT[5] = 0x9000            | Flags 0x067");
    expect(failure).toBe("bits 63:52 of PDP[0] are part of the next table's address to it");
    const lost = walk(tables().at(2, 0, 0x7_0000_0067n), 0x5000n);
    expect(lost.lines.at(-2)).toBe("    PDP[0] = 0x700000000          | Flags 0x067");
    expect(lost.failure).toBe("the table at 0x700000000 is not in the image");
  });
});
