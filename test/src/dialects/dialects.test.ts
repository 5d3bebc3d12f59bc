import { describe, expect, test } from "vitest";
import { ACCESS_READ, MODE_SUPERVISOR } from "../../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { bochsPage, bochsTab } from "../../../src/dialects/bochs.ts";
import { crashVtop } from "../../../src/dialects/crash.ts";
import { qemuMem } from "../../../src/dialects/qemu-mem.ts";
import { qemuTlb } from "../../../src/dialects/qemu-tlb.ts";
import { LeafCursor } from "../../../src/inspect/leaves.ts";
import { linuxPteFormat } from "../../../src/inspect/linux-reading.ts";
import { type WalkReport, walkReport } from "../../../src/inspect/walk-report.ts";
import { TableBuilder } from "../inspect/table-builder.ts";

const NX = 1n << 63n;
const ROOT = 0x1000;

/**
 * Five levels by hand. Frame 1 is the PML5.
 *
 *     PML5[0] -> 2: PML4[0] -> 3: PDPT[0] -> 4: PD[0] -> 5: PT   0x0, 0x1000 read-only, 0x2000 XD
 *                   |             |             PD[1]            0x200000, 2M
 *                   |             PDPT[1]                        0x40000000, 1G, global
 *                   PML4[1] -> 6 (R/W=0): PDPT[0]                0x8000000000, 1G
 *     PML5[1] -> 7: PML4[0] -> 8: PDPT[0]                        2^48, 1G: no address of four levels
 *     PML5[511] -> 9 .. 12, supervisor                           the last page of all, XD, global
 */
function fiveLevels(): TableBuilder {
  return new TableBuilder()
    .table(1, 0, 2)
    .table(2, 0, 3)
    .table(3, 0, 4)
    .table(4, 0, 5)
    .at(5, 0, 0x9067n)
    .at(5, 1, 0xa065n)
    .at(5, 2, NX | 0xb067n)
    .at(4, 1, 0x40_00e7n)
    .at(3, 1, 0x4000_01e7n)
    .table(2, 1, 6, 0x65n)
    .at(6, 0, 0x8000_00e7n)
    .table(1, 1, 7)
    .table(7, 0, 8)
    .at(8, 0, 0xc000_00e7n)
    .table(1, 511, 9, 0x63n)
    .table(9, 511, 10, 0x63n)
    .table(10, 511, 11, 0x63n)
    .table(11, 511, 12, 0x63n)
    .at(12, 511, NX | 0xd163n);
}

function control(levels: 4 | 5): ControlRegisters {
  const registers = new ControlRegisters(cpuModel("intel-sapphire-rapids"), levels);
  registers.setRoot(ROOT, 0);
  return registers;
}

function walkTo(tables: TableBuilder, levels: 4 | 5, address: bigint, layout = "linux-6.1"): WalkReport {
  const pteFormat = linuxPteFormat(layout, null);
  const source = { memory: tables.memory, control: control(levels), pteFormat, holds: () => true };
  return walkReport(source, address, { kind: ACCESS_READ, mode: MODE_SUPERVISOR });
}

describe("five levels", () => {
  const leaves = (): LeafCursor => new LeafCursor(fiveLevels().memory, ROOT, 5, { reserved: control(5) });

  test("info tlb", () => {
    expect([...qemuTlb(leaves())]).toEqual([
      "0000000000000000: 0000000000009000 ---DA--UW",
      "0000000000001000: 000000000000a000 ---DA--U-",
      "0000000000002000: 000000000000b000 X--DA--UW",
      "0000000000200000: 0000000000400000 --PDA--UW",
      "0000000040000000: 0000000040000000 -GPDA--UW",
      "0000008000000000: 0000000080000000 --PDA--UW",
      "0001000000000000: 00000000c0000000 --PDA--UW",
      "fffffffffffff000: 000000000000d000 XG-DA---W",
    ]);
  });

  test("info mem", () => {
    expect([...qemuMem(leaves())]).toEqual([
      "0000000000000000-0000000000001000 0000000000001000 urw",
      "0000000000001000-0000000000002000 0000000000001000 ur-",
      "0000000000002000-0000000000003000 0000000000001000 urw",
      "0000000000200000-0000000000400000 0000000000200000 urw",
      "0000000040000000-0000000080000000 0000000040000000 urw",
      "0000008000000000-0000008040000000 0000000040000000 ur-",
      "0001000000000000-0001000040000000 0000000040000000 urw",
      "fffffffffffff000-0200000000000000 0000000000001000 -rw",
    ]);
  });

  test("info tab joins whatever the rights are", () => {
    expect([...bochsTab(leaves(), null)]).toEqual([
      "0x0000000000000000-0x0000000000002fff -> 0x000000009000-0x00000000bfff",
      "0x0000000000200000-0x00000000003fffff -> 0x000000400000-0x0000005fffff",
      "0x0000000040000000-0x000000007fffffff -> 0x000040000000-0x00007fffffff",
      "0x0000008000000000-0x000000803fffffff -> 0x000080000000-0x0000bfffffff",
      "0x0001000000000000-0x000100003fffffff -> 0x0000c0000000-0x0000ffffffff",
      "0xfffffffffffff000-0xffffffffffffffff -> 0x00000000d000-0x00000000dfff",
    ]);
  });

  test("page of a 1G page and of the last page", () => {
    expect(bochsPage(walkTo(fiveLevels(), 5, 0x1_0000_1234_5678n))).toEqual([
      "PML5: 0x0000000000007067    ps         A pcd pwt U W P",
      "PML4: 0x0000000000008067    ps         A pcd pwt U W P",
      "PDPE: 0x00000000c00000e7    PS g pat D A pcd pwt U W P",
      "linear page 0x0001000000000000 maps to physical page 0x0000c0000000",
    ]);
    expect(bochsPage(walkTo(fiveLevels(), 5, 0xffff_ffff_ffff_ffffn))).toEqual([
      "PML5: 0x0000000000009063    ps         A pcd pwt S W P",
      "PML4: 0x000000000000a063    ps         A pcd pwt S W P",
      "PDPE: 0x000000000000b063    ps         A pcd pwt S W P",
      " PDE: 0x000000000000c063    ps         A pcd pwt S W P",
      " PTE: 0x800000000000d163 XD    G pat D A pcd pwt S W P",
      "linear page 0xfffffffffffff000 maps to physical page 0x00000000d000",
    ]);
  });

  test("vtop: the P4D is there", () => {
    const report = walkTo(fiveLevels(), 5, 0xffff_ffff_ffff_f123n);
    expect(crashVtop(report, ROOT, linuxPteFormat("linux-6.1", null))).toEqual([
      "VIRTUAL           PHYSICAL",
      "fffffffffffff123  d123",
      "",
      "PAGE DIRECTORY: 1000",
      "   PGD: 1ff8 => 9063",
      "   P4D: 9ff8 => a063",
      "   PUD: aff8 => b063",
      "   PMD: bff8 => c063",
      "   PTE: cff8 => 800000000000d163",
      "  PAGE: d000",
      "",
      "      PTE         PHYSICAL  FLAGS",
      "800000000000d163      d000  (PRESENT|RW|ACCESSED|DIRTY|GLOBAL|NX)",
    ]);
  });
});

describe("vtop of entries that are not plain pages", () => {
  const tables = (): TableBuilder => new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
  const vtop = (builder: TableBuilder, address: bigint, layout: string): string[] =>
    crashVtop(walkTo(builder, 4, address, layout), ROOT, linuxPteFormat(layout, null));

  test("a huge page", () => {
    expect(vtop(tables().at(3, 1, 0x4020_00e7n), 0x20_1234n, "linux-4.13").slice(1)).toEqual([
      "201234            40201234",
      "",
      "PAGE DIRECTORY: 1000",
      "   PGD: 1000 => 2067",
      "   PUD: 2000 => 3067",
      "   PMD: 3008 => 402000e7",
      "  PAGE: 40200000 (2MB)",
      "",
      "  PTE     PHYSICAL  FLAGS",
      "402000e7  40200000  (PRESENT|RW|USER|ACCESSED|DIRTY|PSE)",
    ]);
  });

  test("swapped out: area and slot", () => {
    expect(vtop(tables().at(4, 2, 0x48d_0200n), 0x2000n, "linux-4.13")).toEqual([
      "VIRTUAL           PHYSICAL",
      "2000              (not mapped)",
      "",
      "PAGE DIRECTORY: 1000",
      "   PGD: 1000 => 2067",
      "   PUD: 2000 => 3067",
      "   PMD: 3000 => 4067",
      "   PTE: 4010 => 48d0200",
      "",
      "  PTE     SWAP   OFFSET",
      "48d0200  swap:1    4660",
    ]);
  });

  test("PROT_NONE counts as present; its frame may be stored inverted", () => {
    const old = vtop(tables().at(4, 2, 0x1234_5960n), 0x2123n, "linux-4.13");
    expect([old[1], ...old.slice(-3)]).toEqual([
      "2123              12345123",
      "",
      "  PTE     PHYSICAL  FLAGS",
      "12345960  12345000  (ACCESSED|DIRTY|PROTNONE)",
    ]);
    const inverted = vtop(tables().at(4, 2, 0x000f_ffff_edcb_a120n), 0x2123n, "l1tf");
    expect(inverted[1]).toBe("2123              12345123");
  });

  test("nothing there, and nothing that could be walked", () => {
    expect(vtop(tables(), 0x40_0000n, "linux-4.13").slice(3)).toEqual([
      "PAGE DIRECTORY: 1000",
      "   PGD: 1000 => 2067",
      "   PUD: 2000 => 3067",
      "   PMD: 3010 => 0",
    ]);
    expect(vtop(tables(), 1n << 47n, "linux-4.13")).toEqual([
      "VIRTUAL           PHYSICAL",
      "800000000000      (not mapped)",
    ]);
  });
});
