import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError } from "../../../src/formats/format-error.ts";
import { type ImageFormat, openImageFile } from "../../../src/formats/image-file.ts";
import { ImageMemory } from "../../../src/formats/image-memory.ts";
import {
  fileOffsetAt,
  type MemoryImage,
  type MemorySegment,
  PagedImage,
  segmentAt,
} from "../../../src/formats/memory-image.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { LeafCursor } from "../../../src/inspect/leaves.ts";
import { buildLime, limeHeader } from "../../support/lime-file.ts";
import { mutations } from "../../support/mutate.ts";
import { buildCore, buildTables, GuestDirectory } from "./mini-guest.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

const PAGE = new Uint8Array(4096).fill(0xaa);
/** Four table pages at 0x1000, for which there is one root. */
const ROOT = 0x1000;
const TABLES = buildTables(ROOT);
const MEMORY = 0x8000;

/** Opens a file, hands its image over, and closes it. */
function withImage<T>(
  bytes: Uint8Array,
  use: (image: MemoryImage) => T,
  format: ImageFormat = "auto",
  budget?: ReadBudget,
): T {
  const opened = openImageFile(directory.write("x.mem", bytes), format, budget);
  try {
    return use(opened.image);
  } finally {
    opened.close();
  }
}

function runs(image: MemoryImage): [number, number, number][] {
  return segmentsOf(image).map(({ physical, size, fileOffset }) => [physical, size, fileOffset]);
}

function segmentsOf(image: MemoryImage): readonly MemorySegment[] {
  if (!(image instanceof PagedImage)) throw new TypeError("an image in segments");
  return image.segments;
}

/** Goes through every table below the root, as a listing does. */
function readTables(image: MemoryImage): LeafCursor {
  const leaves = new LeafCursor(new ImageMemory(image), ROOT, 4, { most: 1000 });
  while (leaves.next());
  return leaves;
}

function raw(): Uint8Array {
  const memory = new Uint8Array(MEMORY);
  memory.set(TABLES, ROOT);
  return memory;
}

/** The first page, the tables, and a page far away. */
function lime(): Uint8Array {
  return buildLime([
    { first: 0, bytes: PAGE },
    { first: ROOT, bytes: TABLES },
    { first: 0x7000, bytes: PAGE },
  ]);
}

describe("what a file is", () => {
  test.each([
    {
      name: "an ELF core",
      bytes: buildCore([{ physical: 0x2000, bytes: PAGE }], null),
      segments: [[0x2000, 4096, 4096]],
    },
    { name: "LiME", bytes: buildLime([{ first: 0x2000, bytes: PAGE }]), segments: [[0x2000, 4096, 32]] },
    { name: "anything else: raw", bytes: raw(), segments: [[0, MEMORY, 0]] },
  ])("$name, plain and gzip", ({ bytes, segments }) => {
    expect(withImage(bytes, runs)).toEqual(segments);
    expect(withImage(gzipSync(bytes), runs)).toEqual(segments);
  });

  test("a format that is asked for is not guessed", () => {
    expect(withImage(buildCore([{ physical: 0, bytes: PAGE }], null), runs, "raw")).toHaveLength(1);
    expect(() => withImage(raw(), runs, "elf")).toThrow("x.mem: offset 0x0: expected the ELF magic");
    expect(() => withImage(raw(), runs, "lime")).toThrow(
      "x.mem: offset 0x0: expected the magic 0x4c694d45 of a LiME header, found 0x0",
    );
  });

  test.each([
    { at: 0, magic: "PAGEDU64", is: /a Windows crash dump, 64-bit/ },
    { at: 0, magic: "HIBR", is: /a Windows hibernation file/ },
    { at: 0, magic: "AVML", is: /a compressed AVML file; avml-convert/ },
    { at: 0, magic: "LiME", is: /a big-endian LiME file/ },
    { at: 0, magic: "QFI\xfb", is: /a qcow2 disk; a disk holds no memory/ },
    { at: 0, magic: "KDMV", is: /a VMDK disk/ },
    { at: 0, magic: "\xd2\xbe\xd2\xbe", is: /a suspended VMware machine .*\.vmem file/ },
    { at: 0, magic: "\x28\xb5\x2f\xfd", is: /a zstd file; unpack it first/ },
    { at: 0, magic: "\xfd7zXZ\0", is: /an xz file/ },
    { at: 0, magic: "PK\x03\x04", is: /a zip file/ },
    { at: 0, magic: "\xd4\xc3\xb2\xa1", is: /a pcap file/ },
    { at: 512, magic: "EFI PART", is: /a disk with a GPT/ },
    { at: 257, magic: "ustar", is: /a tar archive/ },
    { at: 4086, magic: "SWAPSPACE2", is: /a swap area/ },
    { at: 0x1_0040, magic: "_BHRfS_M", is: /a btrfs file system/ },
  ])("$magic at $at is no raw image, unless somebody says so", ({ at, magic, is }) => {
    const bytes = new Uint8Array(0x1_1000);
    bytes.set(Buffer.from(magic, "latin1"), at);
    expect(() => withImage(bytes, runs)).toThrow(/offset 0x0: expected an image of memory, found an? /);
    expect(() => withImage(bytes, runs)).toThrow(is);
    expect(withImage(bytes, runs, "raw")).toEqual([[0, 0x1_1000, 0]]);
  });

  test("what needs more than a magic: a program, an ext4 file system, a partition table", () => {
    const bytes = (change: (view: DataView) => void): Uint8Array => {
      const file = new Uint8Array(4096);
      change(new DataView(file.buffer));
      return file;
    };
    const program = bytes((view) => {
      view.setUint16(0, 0x5a4d, true);
      view.setUint32(0x3c, 0x80, true);
      view.setUint32(0x80, 0x4550, true);
    });
    expect(() => withImage(program, runs)).toThrow("a Windows program (PE)");
    const ext = bytes((view) => {
      view.setUint32(0x400, 16, true);
      view.setUint32(0x404, 64, true);
      view.setUint16(0x438, 0xef53, true);
    });
    expect(() => withImage(ext, runs)).toThrow("an ext2, ext3 or ext4 file system");
    const disk = bytes((view) => {
      view.setUint8(446, 0x80);
      view.setUint8(450, 0x83);
      view.setUint32(458, 2048, true);
      view.setUint16(510, 0xaa55, true);
    });
    expect(() => withImage(disk, runs)).toThrow("a disk with a partition table");
    // The mark of a boot sector alone stands in memory by chance.
    expect(
      withImage(
        bytes((view) => view.setUint16(510, 0xaa55, true)),
        runs,
      ),
    ).toEqual([[0, 4096, 0]]);
  });
});

describe("raw images", () => {
  test.each([
    { size: 0, offset: "0x0" },
    { size: 1, offset: "0x0" },
    { size: 4095, offset: "0x0" },
    { size: MEMORY - 1, offset: "0x7000" },
  ])("cut short to $size bytes", ({ size, offset }) => {
    expect(() => withImage(raw().subarray(0, size), runs)).toThrow(
      `x.mem: offset ${offset}: expected whole pages of 4096 bytes, as a raw image of memory has, found the end`,
    );
  });

  test("cut short at a page: the part of the space below the table that is missing is lost, not the rest", () => {
    const leaves = withImage(raw().subarray(0, 0x4000), readTables);
    expect(leaves.lost[0]).toEqual({ start: 0x40_0000, length: 2 ** 21, table: 0x4000 });
    expect(leaves.mapped).toBeGreaterThan(0);
  });

  test("pieces: a hole below 4 GiB", () => {
    const file = directory.write("x.mem", raw());
    const pieces = [
      { start: 0x1_0000_0000, end: 0x1_0000_4000, offset: 0x4000 },
      { start: 0, end: 0x4000, offset: 0 },
    ];
    const { image, close } = openImageFile(file, "auto", new ReadBudget(), pieces);
    expect(runs(image)).toEqual([
      [0, 0x4000, 0],
      [0x1_0000_0000, 0x4000, 0x4000],
    ]);
    expect([0x3000, 0x4000, 0x1_0000_3000].map((page) => image.holds(page))).toEqual([true, false, true]);
    close();
    const open = (start: number, end: number, offset: number) => () =>
      openImageFile(file, "raw", new ReadBudget(), [pieces[1]!, { start, end, offset }]);
    expect(open(0x3000, 0x5000, 0)).toThrow("ranges that do not overlap");
    expect(open(0x8000, 0xa000, 0x7000)).toThrow("0x2000 bytes of memory from here, found the end at 0x8000");
    expect(() => openImageFile(file, "lime", new ReadBudget(), pieces)).toThrow("found lime");
  });

  test("a terabyte costs as much as its page tables", () => {
    const file = directory.write("large.raw", new Uint8Array(0));
    const descriptor = openSync(file, "w");
    writeSync(descriptor, TABLES, 0, TABLES.length, ROOT);
    ftruncateSync(descriptor, 2 ** 40);
    closeSync(descriptor);
    const budget = new ReadBudget(2 ** 18);
    const { image, close } = openImageFile(file, "auto", budget);
    expect(image.memoryTop).toBe(2 ** 40);
    expect(readTables(image).mapped).toBeGreaterThan(0);
    expect(budget.bytes).toBeLessThanOrEqual(2 ** 17);
    close();
  });

  test("a page is read once, when it is asked for", () => {
    const budget = new ReadBudget();
    withImage(
      raw(),
      (image) => {
        const memory = new ImageMemory(image);
        const before = budget.bytes;
        expect(memory.readLo(ROOT)).toBe(0x2067);
        expect(memory.readHi(ROOT)).toBe(0);
        expect(budget.bytes - before).toBe(4096);
      },
      "auto",
      budget,
    );
  });
});

describe("LiME", () => {
  test("ranges become segments in order of address", () => {
    const bytes = buildLime([
      { first: 0x7000, bytes: PAGE },
      { first: 0x1000, bytes: new Uint8Array(8192) },
    ]);
    withImage(bytes, (image) => {
      expect(runs(image)).toEqual([
        [0x1000, 8192, 32 + 4096 + 32],
        [0x7000, 4096, 32],
      ]);
      expect(image.memoryTop).toBe(0x8000);
      expect(image.note).toBeNull();
      expect([0x1000, 0x2fff, 0x3000].map((at) => fileOffsetAt({ segments: segmentsOf(image) }, at))).toEqual(
        [4160, 4160 + 8191, null],
      );
    });
  });

  test("a piece of a page at either end is left out", () => {
    const bytes = buildLime([
      { first: 0x800, bytes: new Uint8Array(0x2800) },
      { first: 0x9000, bytes: new Uint8Array(0xc00) },
    ]);
    withImage(bytes, (image) => {
      expect(runs(image)).toEqual([[0x1000, 0x2000, 32 + 0x800]]);
      expect(segmentAt({ segments: segmentsOf(image) }, 0x9000)).toBeUndefined();
    });
  });

  /** The file with one field of its second header, which stands at 0x1020, overwritten. */
  const damaged = (at: number, value: bigint): Uint8Array => {
    const bytes = lime();
    new DataView(bytes.buffer).setBigUint64(0x1020 + at, value, true);
    return bytes;
  };
  test.each([
    ["magic", damaged(0, 1n), "offset 0x1020: expected the magic 0x4c694d45 of a LiME header, found 0x1"],
    ["version", damaged(0, 0x2_4c69_4d45n), "offset 0x1024: expected version 1 of LiME, found 2"],
    [
      "order",
      damaged(8, 0x5000n),
      "offset 0x1030: expected a last address from 0x5000 to below 2^52, found 0x4fff",
    ],
    ["far", damaged(16, 2n ** 52n), "offset 0x1030: expected a last address from 0x1000 to below 2^52"],
    ["2^63", damaged(16, 2n ** 63n), "offset 0x1030: expected the address of a range's last byte below 2^53"],
    [
      "too long",
      damaged(16, 0xffffn),
      "offset 0x1040: expected 0xf000 bytes of memory from here, found the end of the file at 0x6060",
    ],
    // A longer range shifts the next header: that is where it is noticed.
    [
      "an earlier start",
      damaged(8, 0n),
      "offset 0x6040: expected the magic 0x4c694d45 of a LiME header, found",
    ],
    [
      "cut in a header",
      lime().subarray(0, 0x1030),
      "offset 0x1020: expected the header of a range (32 bytes), found the end at 0x1030",
    ],
    [
      "cut in the memory",
      lime().subarray(0, 0x1041),
      "offset 0x1040: expected 0x4000 bytes of memory from here",
    ],
    [
      "no whole page",
      buildLime([{ first: 0x10, bytes: new Uint8Array(16) }]),
      "expected at least one whole page of memory",
    ],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => withImage(bytes, runs)).toThrow(`x.mem: ${message}`);
  });

  test("refuses ranges that overlap, with the second one's header", () => {
    const bytes = buildLime([
      { first: 0x1000, bytes: new Uint8Array(8192) },
      { first: 0x2000, bytes: PAGE },
    ]);
    expect(() => withImage(bytes, runs)).toThrow(
      "x.mem: offset 0x2028: expected ranges that do not overlap, found a second one that has physical 0x2000",
    );
  });

  test("a million headers end at a bound", () => {
    const header = buildLime([{ first: 0, bytes: PAGE.subarray(0, 1) }]);
    const bytes = new Uint8Array(header.length * 70_000);
    for (let at = 0; at < bytes.length; at += header.length) bytes.set(header, at);
    const budget = new ReadBudget();
    expect(() => withImage(bytes, runs, "auto", budget)).toThrow("expected at most 65536 ranges of memory");
    expect(limeHeader(0, 0)).toHaveLength(32);
  });
});

describe("a damaged image is refused in one line or read, and never costs more than its budget", () => {
  const COUNT = 250;
  test.each([
    { kind: "raw", seed: 31, original: raw(), packed: false, least: COUNT / 10 },
    { kind: "raw", seed: 32, original: raw(), packed: true, least: COUNT / 10 },
    { kind: "lime", seed: 33, original: lime(), packed: false, least: COUNT / 4 },
    { kind: "lime", seed: 34, original: lime(), packed: true, least: COUNT / 4 },
  ])("$kind, packed: $packed", ({ seed, original, packed, least }) => {
    let refused = 0;
    for (const { label, bytes } of mutations(original, seed, COUNT)) {
      if (attempt(label, packed ? gzipSync(bytes, { level: 1 }) : bytes)) refused++;
    }
    expect(refused).toBeGreaterThan(least);
    expect(refused).toBeLessThan(COUNT);
  });

  test("lime, headers only", () => {
    const original = lime();
    let refused = 0;
    for (const { label, bytes } of mutations(original.subarray(0, 32), 35, COUNT)) {
      if (attempt(label, Buffer.concat([bytes, original.subarray(32)]))) refused++;
    }
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test("the gzip stream itself", () => {
    let refused = 0;
    for (const { label, bytes } of mutations(gzipSync(lime()), 36, COUNT)) {
      if (attempt(label, bytes)) refused++;
    }
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  /** Opens, loads and checks; says whether the file was refused. */
  function attempt(label: string, bytes: Uint8Array): boolean {
    // Eight pages are all there can be, a few times doubled by a mutation, at four levels.
    const budget = new ReadBudget(2 ** 19);
    let failure: unknown = null;
    try {
      withImage(
        bytes,
        (image) => {
          if (image.holds(ROOT)) readTables(image);
        },
        "auto",
        budget,
      );
    } catch (error) {
      failure = error;
    }
    expect(budget.bytes, label).toBeLessThanOrEqual(budget.maxBytes);
    if (failure === null) return false;
    if (!(failure instanceof FormatError)) throw new Error(`${label}: not a FormatError`, { cause: failure });
    expect(failure.message, label).toMatch(/^[^\n\r]+x\.mem: [^\n\r]*expected [^\n\r]+$/);
    return true;
  }
});
