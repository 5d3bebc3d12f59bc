import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ACCESS_READ, MODE_USER } from "../../../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../../arch/x86/cpu/cpu-model.ts";
import { PTE_D } from "../../../../arch/x86/cpu/entry-layout.ts";
import { INSPECT, WalkResult, walk } from "../../../../arch/x86/cpu/page-walk.ts";
import { PhysicalMemory } from "../../../../arch/x86/cpu/physical-memory.ts";
import { qemuMem } from "../../../../src/dialects/qemu-mem.ts";
import { QEMU_HABITS, qemuTlb } from "../../../../src/dialects/qemu-tlb.ts";
import { loadInto } from "../../../../src/formats/elf-core.ts";
import { imageFile, validateTables } from "../../../../src/formats/guest-snapshot.ts";
import { LeafCursor } from "../../../../src/inspect/leaves.ts";
import { TableBuilder } from "../../../src/inspect/table-builder.ts";
import { GUEST_DIRECTORIES } from "../../../support/guests.ts";

const CHUNK = 2 ** 16;
const FORMATS = { tlb: qemuTlb, mem: qemuMem } as const;
type Format = keyof typeof FORMATS;

/** What the capture's manifest says of one CR3: where its listings are, and the hash of the complete texts. */
type Recorded = { cr3: string } & Record<`${Format}_${"user" | "kernel" | "sha256"}`, string> &
  Record<`${Format}_lines`, number>;

function readRecords(guest: string): ReadonlyMap<string, Recorded> {
  const manifest = JSON.parse(readFileSync(join(guest, "manifest.json"), "utf8")) as {
    procs: Record<string, Recorded>;
  };
  return new Map(Object.entries(manifest.procs));
}

/** The listing as bytes, piece by piece, and its number of lines. */
class Comparison {
  lines = 0;
  mismatches = 0;
  readonly #expected: readonly Buffer[];

  constructor(...expected: readonly Buffer[]) {
    this.#expected = expected;
  }

  /** Compares a listing with the recorded halves; hashes it too. Whole pieces first, lines only when they differ. */
  check(listing: Iterable<string>): string {
    const hash = createHash("sha256");
    let rest = Buffer.concat(this.#expected);
    const compare = (text: string): void => {
      const piece = Buffer.from(text, "latin1");
      hash.update(piece);
      const wanted = rest.subarray(0, piece.length);
      if (!piece.equals(wanted)) this.#count(piece, wanted);
      rest = rest.subarray(piece.length);
    };
    let text = "";
    for (const line of listing) {
      text += `${line}\n`;
      this.lines++;
      if (text.length < CHUNK) continue;
      compare(text);
      text = "";
    }
    compare(text);
    this.#count(Buffer.alloc(0), rest);
    return hash.digest("hex");
  }

  #count(found: Buffer, wanted: Buffer): void {
    const [lines, others] = [found, wanted].map((text) => text.toString("latin1").split("\n"));
    const length = Math.max(lines!.length, others!.length);
    for (let at = 0; at < length; at++) if (lines![at] !== others![at]) this.mismatches++;
  }
}

describe.each([
  { guest: "guest-a1" as const, roots: 46, lines: { tlb: 3_477_373, mem: 3_028_434 } },
  { guest: "guest-a2" as const, roots: 92, lines: { tlb: 6_448_350, mem: 6_045_822 } },
])("$guest, every root, both halves", ({ guest, roots, lines }) => {
  const directory = join("test/data", guest);
  const core = imageFile(GUEST_DIRECTORIES[guest]);
  const memory = new PhysicalMemory(core.memoryTop);
  loadInto(memory, core);
  const records = readRecords(GUEST_DIRECTORIES[guest]);
  const files = new Map<string, Buffer>();
  const read = (name: string): Buffer => {
    const known = files.get(name) ?? gunzipSync(readFileSync(join(directory, name)));
    // The user half of a process is read once; the kernel halves serve them all.
    if (name.startsWith("kernel-")) files.set(name, known);
    return known;
  };

  test.each(["tlb", "mem"] as const)("info %s is QEMU's, byte for byte", (format) => {
    let checked = 0;
    let mismatches = 0;
    let wrongHashes = 0;
    for (const record of records.values()) {
      const root = Number(BigInt(record.cr3) & ~0xfffn);
      validateTables(core, memory, [root], 4);
      const comparison = new Comparison(read(record[`${format}_user`]), read(record[`${format}_kernel`]));
      const hash = comparison.check(FORMATS[format](new LeafCursor(memory, root, 4, QEMU_HABITS)));
      checked += comparison.lines;
      mismatches += comparison.mismatches;
      if (hash !== record[`${format}_sha256`]) wrongHashes++;
    }
    console.log(`${guest} info ${format}: ${records.size} roots, ${checked} lines, ${mismatches} mismatches`);
    expect({ roots: records.size, checked, mismatches, wrongHashes }).toEqual({
      roots,
      checked: lines[format],
      mismatches: 0,
      wrongHashes: 0,
    });
  });
});

test("the comparison can fail: one flipped dirty bit is one wrong line", () => {
  const directory = "test/data/guest-a1";
  const core = imageFile(GUEST_DIRECTORIES["guest-a1"]);
  const memory = new PhysicalMemory(core.memoryTop);
  loadInto(memory, core);
  const record = readRecords(GUEST_DIRECTORIES["guest-a1"]).get("cow-parent")!;
  const root = Number(BigInt(record.cr3));
  const result = new WalkResult();
  const control = new ControlRegisters(cpuModel("qemu-7.2"));
  control.setRoot(root, 0);
  walk(memory, control, 0x40_1000, 0, ACCESS_READ, MODE_USER, INSPECT, result);
  memory.write(result.entryAddress, result.lo ^ PTE_D, result.hi);
  const read = (name: string): Buffer => gunzipSync(readFileSync(join(directory, name)));
  const comparison = new Comparison(read(record.tlb_user), read(record.tlb_kernel));
  const hash = comparison.check(qemuTlb(new LeafCursor(memory, root, 4, QEMU_HABITS)));
  expect(comparison.mismatches).toBe(1);
  expect(hash).not.toBe(record.tlb_sha256);
});

describe("what the guests do not have", () => {
  const NX = 1n << 63n;

  test("2M and 1G pages show their PAT bit nowhere; physical addresses are cut to 50 bits", () => {
    const tables = new TableBuilder()
      .table(1, 0, 2)
      .at(2, 1, NX | 0x000f_ffff_c000_11ffn)
      .table(2, 0, 3)
      .at(3, 1, 0x4020_1087n)
      .table(3, 0, 4)
      .at(4, 1, 0x0008_0000_0200_0081n);
    expect([...qemuTlb(new LeafCursor(tables.memory, 4096, 4, QEMU_HABITS))]).toEqual([
      "0000000000001000: 0000000002000000 ---------",
      "0000000000200000: 0000000040200000 --P----UW",
      "0000000040000000: 0003ffffc0000000 XGPDACTUW",
    ]);
  });

  test("info mem joins pages of different sizes and splits where a table takes a right away", () => {
    const tables = new TableBuilder()
      .table(1, 0, 2)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(3, 1, 0x20_00e7n)
      .table(3, 2, 4, 0x65n)
      .at(4, 511, 0x9067n)
      .at(4, 0, 0x9067n);
    expect([...qemuMem(new LeafCursor(tables.memory, 4096, 4, QEMU_HABITS))]).toEqual([
      "0000000000000000-0000000000001000 0000000000001000 urw",
      "00000000001ff000-0000000000400000 0000000000201000 urw",
      "0000000000400000-0000000000401000 0000000000001000 ur-",
      "00000000005ff000-0000000000600000 0000000000001000 ur-",
    ]);
  });

  test("info mem joins across the non-canonical hole, as its 48-bit arithmetic does", () => {
    const tables = new TableBuilder().table(1, 255, 2).table(1, 256, 2).at(2, 511, 0xe7n).at(2, 0, 0xe7n);
    expect([...qemuMem(new LeafCursor(tables.memory, 4096, 4, QEMU_HABITS))]).toEqual([
      "00007f8000000000-00007f8040000000 0000000040000000 urw",
      "00007fffc0000000-ffff800040000000 0000000080000000 urw",
      "ffff807fc0000000-ffff808000000000 0000000040000000 urw",
    ]);
  });

  test("an empty root has no lines", () => {
    const { memory } = new TableBuilder();
    expect([...qemuTlb(new LeafCursor(memory, 0, 4)), ...qemuMem(new LeafCursor(memory, 0, 4))]).toEqual([]);
  });
});
