import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { FormatError } from "../../../src/formats/format-error.ts";
import { type ImageFormat, openImageFile } from "../../../src/formats/image-file.ts";
import { fileOffsetAt, type MemoryImage, segmentAt } from "../../../src/formats/memory-image.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { validateTables } from "../../../src/formats/table-pages.ts";
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
  return image.segments.map(({ physical, size, fileOffset }) => [physical, size, fileOffset]);
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

  test.each(["KDUMP   ", "makedumpfile", "PAGEDU64", "AVML", "LiME", "QFI\xfb"])(
    "%s is no raw image",
    (magic) => {
      const bytes = new Uint8Array(4096);
      bytes.set(Buffer.from(magic, "latin1"));
      expect(() => withImage(bytes, runs)).toThrow(
        /offset 0x0: expected an ELF core, a LiME file or a raw image, found a/,
      );
    },
  );
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

  test("cut short at a page: the entry that leads beyond is named with its place in the file", () => {
    const short = raw().subarray(0, 0x3000);
    expect(() =>
      withImage(short, (image) => validateTables(image, new PhysicalMemory(image.memoryTop), [ROOT], 4)),
    ).toThrow(
      /x\.mem: offset 0x2000: expected the level \d entry at physical 0x2000 to point inside the memory of 0x3000/,
    );
  });

  test("a terabyte costs as much as its page tables", () => {
    const file = directory.write("large.raw", new Uint8Array(0));
    const descriptor = openSync(file, "w");
    writeSync(descriptor, TABLES, 0, TABLES.length, ROOT);
    ftruncateSync(descriptor, 2 ** 40);
    closeSync(descriptor);
    const budget = new ReadBudget(2 ** 16);
    const { image, close } = openImageFile(file, "auto", budget);
    expect(image.memoryTop).toBe(2 ** 40);
    const memory = new PhysicalMemory(MEMORY);
    // Four levels of tables, and the self-map sees each of the four pages at each level below its own.
    expect(validateTables(image, memory, [ROOT], 4, budget)).toBeLessThanOrEqual(16);
    expect(budget.bytes).toBeLessThanOrEqual(4 * 4096 + 64);
    close();
  });

  test("a page is read once, when it is asked for", () => {
    const budget = new ReadBudget();
    withImage(
      raw(),
      (image) => {
        const memory = new PhysicalMemory(MEMORY);
        const before = budget.bytes;
        expect(memory.readLo(ROOT)).toBe(0);
        image.loadPage?.(memory, ROOT);
        image.loadPage?.(memory, ROOT);
        expect(memory.readLo(ROOT)).toBe(0x2067);
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
      expect([0x1000, 0x2fff, 0x3000].map((at) => fileOffsetAt(image, at))).toEqual([
        4160,
        4160 + 8191,
        null,
      ]);
    });
  });

  test("a piece of a page at either end is left out", () => {
    const bytes = buildLime([
      { first: 0x800, bytes: new Uint8Array(0x2800) },
      { first: 0x9000, bytes: new Uint8Array(0xc00) },
    ]);
    withImage(bytes, (image) => {
      expect(runs(image)).toEqual([[0x1000, 0x2000, 32 + 0x800]]);
      expect(segmentAt(image, 0x9000)).toBeUndefined();
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
    const budget = new ReadBudget(2 ** 18, 4 * 16);
    let failure: unknown = null;
    try {
      withImage(
        bytes,
        (image) => {
          if (image.memoryTop > 2 ** 33) return;
          const memory = new PhysicalMemory(Math.max(4096, image.memoryTop));
          validateTables(image, memory, [ROOT], 4, budget);
        },
        "auto",
        budget,
      );
    } catch (error) {
      failure = error;
    }
    expect(budget.bytes, label).toBeLessThanOrEqual(budget.maxBytes);
    expect(budget.tableVisits, label).toBeLessThanOrEqual(budget.maxTableVisits);
    if (failure === null) return false;
    if (!(failure instanceof FormatError)) throw new Error(`${label}: not a FormatError`, { cause: failure });
    expect(failure.message, label).toMatch(/^[^\n\r]+x\.mem: [^\n\r]*expected [^\n\r]+$/);
    return true;
  }
});
