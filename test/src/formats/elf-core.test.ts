import { afterAll, describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { loadInto, readElfCore } from "../../../src/formats/elf-core.ts";
import { readPtImageNote } from "../../../src/formats/elf-note.ts";
import { FormatError } from "../../../src/formats/format-error.ts";
import { fileOffsetAt, segmentAt } from "../../../src/formats/memory-image.ts";
import { buildCore, buildNote, GuestDirectory, type SegmentSpec } from "./mini-guest.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

const NOTE = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4, cr3: { a: "0x2000" } };
const PAGE = new Uint8Array(4096).fill(0xaa);

function read(bytes: Uint8Array, maxBytes?: number): ReturnType<typeof readElfCore> {
  return readElfCore(directory.write("x.elf", bytes), maxBytes === undefined ? {} : { maxBytes });
}

function core(segments: readonly SegmentSpec[], note: object | null = NOTE): Uint8Array {
  return buildCore(segments, note);
}

/** The core of two pages with one field of the ELF header or of the second PT_LOAD overwritten. */
function damaged(at: number, bytes: 1 | 2 | 4 | 8, value: bigint): Uint8Array {
  const file = core([
    { physical: 0x2000, bytes: PAGE },
    { physical: 0x8000, bytes: PAGE },
  ]).slice();
  for (let index = 0; index < bytes; index++) file[at + index] = Number((value >> BigInt(8 * index)) & 0xffn);
  return file;
}
const SECOND_LOAD = 64 + 2 * 56;

describe("readElfCore", () => {
  test("segments come in order of physical address, with the note", () => {
    const image = read(
      core([
        { physical: 0x8000, bytes: PAGE },
        { physical: 0x2000, bytes: new Uint8Array(8192) },
      ]),
    );
    expect(image.segments.map(({ physical, size, fileOffset }) => [physical, size, fileOffset])).toEqual([
      [0x2000, 8192, 0x2000],
      [0x8000, 4096, 0x1000],
    ]);
    expect(image.memoryTop).toBe(0x9000);
    expect(image.note).toEqual({
      cr0: 0x80050033,
      cr4: 0x6e0,
      efer: 0xd01,
      levels: 4,
      cr3: new Map([["a", 0x2000]]),
    });
  });

  test("a full dump has no PTIMAGE note, zero tails and offsets that are not page-aligned", () => {
    const bytes = core(
      [{ physical: 0xfffff000, bytes: PAGE.subarray(0, 100), memorySize: 8192 }],
      null,
    ).slice();
    new DataView(bytes.buffer).setBigUint64(64 + 56 + 8, 0x1001n, true);
    const image = read(bytes);
    expect(image.note).toBeNull();
    expect(image.segments[0]).toMatchObject({ physical: 0xfffff000, size: 8192, fileOffset: 0x1001 });
    expect(image.segments[0]!.bytes).toHaveLength(100);
    expect(image.memoryTop).toBe(0x1_0000_1000);
  });

  test("an address is found in its segment and in the file", () => {
    const image = read(core([{ physical: 0x2000, bytes: PAGE.subarray(0, 8), memorySize: 4096 }], null));
    expect(segmentAt(image, 0x2fff)?.physical).toBe(0x2000);
    expect([segmentAt(image, 0x1fff), segmentAt(image, 0x3000)]).toEqual([undefined, undefined]);
    expect([0x1fff, 0x2000, 0x2007, 0x2008].map((at) => fileOffsetAt(image, at))).toEqual([
      null,
      0x1000,
      0x1007,
      null,
    ]);
  });

  test.each([
    ["magic", damaged(0, 1, 0n), "offset 0x0: expected the ELF magic"],
    ["32-bit", damaged(4, 1, 1n), "offset 0x4: expected ELFCLASS64 (2), found 0x1"],
    ["big-endian", damaged(5, 1, 2n), "offset 0x5: expected ELFDATA2LSB"],
    ["executable", damaged(16, 2, 2n), "offset 0x10: expected ET_CORE (4), found 0x2"],
    ["AArch64", damaged(18, 2, 183n), "offset 0x12: expected EM_X86_64 (62), found 0xb7"],
    ["no headers", damaged(56, 2, 0n), "offset 0x38: expected 1 to 65534 program headers, found 0"],
    ["PN_XNUM", damaged(56, 2, 0xffffn), "offset 0x38: expected 1 to 65534 program headers, found 65535"],
    ["too many", damaged(56, 2, 0xfffen), "offset 0x20: expected 65534 program headers inside the file"],
    [
      "table behind the end",
      damaged(32, 8, 2n ** 40n),
      "offset 0x20: expected 3 program headers inside the file",
    ],
    ["2^63", damaged(32, 8, 2n ** 63n), "offset 0x20: expected the offset of the program headers below 2^53"],
    ["p_type", damaged(SECOND_LOAD, 4, 2n), "offset 0xb0: expected PT_LOAD (1) or PT_NOTE (4), found 2"],
    ["p_offset", damaged(SECOND_LOAD + 8, 8, 0x3000n), "offset 0xb8: expected a segment inside the file"],
    ["p_offset odd", damaged(SECOND_LOAD + 8, 8, 0x1001n), "offset 0xb8: expected whole pages"],
    ["p_paddr odd", damaged(SECOND_LOAD + 24, 8, 0x8001n), "offset 0xc8: expected a page-aligned p_paddr"],
    ["p_paddr far", damaged(SECOND_LOAD + 24, 8, 2n ** 52n), "offset 0xc8: expected a page-aligned p_paddr"],
    ["overlap", damaged(SECOND_LOAD + 24, 8, 0x2000n), "offset 0xc8: expected segments that do not overlap"],
    ["p_filesz", damaged(SECOND_LOAD + 32, 8, 2n ** 50n), "offset 0xb8: expected a segment inside the file"],
    [
      "p_memsz less",
      damaged(SECOND_LOAD + 40, 8, 4095n),
      "offset 0xd0: expected p_filesz of at most p_memsz",
    ],
    ["p_memsz odd", damaged(SECOND_LOAD + 40, 8, 4097n), "offset 0xd8: expected p_memsz to be a multiple"],
    ["p_memsz more", damaged(SECOND_LOAD + 40, 8, 8192n), "offset 0xb8: expected whole pages"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(`x.elf: ${message}`);
  });

  test("refuses more memory than allowed, however little of it is in the file", () => {
    const huge = core([{ physical: 0, bytes: PAGE, memorySize: 2 ** 40 }], null);
    expect(() => read(huge)).toThrow("expected at most 4294967296 bytes of memory in all segments");
    expect(() => read(core([{ physical: 0, bytes: new Uint8Array(8192) }]), 4096)).toThrow(
      "at most 4096 bytes",
    );
  });

  test("refuses segments that share the bytes of one file range", () => {
    const physical = [1, 2, 3, 4, 5].map((page) => ({ physical: page * 4096, bytes: PAGE }));
    const bytes = core(physical, null).slice(0, 0x2000);
    const view = new DataView(bytes.buffer);
    for (let index = 1; index <= 5; index++) view.setBigUint64(64 + index * 56 + 8, 0x1000n, true);
    expect(() => read(bytes)).toThrow("expected segments that do not share bytes of the file");
  });

  test("refuses a file that ends anywhere before its last segment does", () => {
    const whole = core([{ physical: 0x2000, bytes: PAGE }]);
    for (let length = 0; length < whole.length; length += 37) {
      expect(() => read(whole.subarray(0, length)), `${length} bytes`).toThrow(FormatError);
    }
  });
});

describe("the PTIMAGE note", () => {
  const parse = (note: Uint8Array): ReturnType<typeof readPtImageNote> => readPtImageNote("n", note, 0x100);
  const note = (change: object): Uint8Array =>
    buildNote("PTIMAGE\0", 1, JSON.stringify({ ...NOTE, ...change }));

  test("is found behind other notes", () => {
    const notes = Buffer.concat([buildNote("CORE\0", 1, "status"), buildNote("QEMU\0", 0, "cpu"), note({})]);
    expect(parse(notes)?.cr3.get("a")).toBe(0x2000);
    expect(parse(buildNote("PTIMAGE\0", 2, "{}"))).toBeNull();
    expect(parse(new Uint8Array(0))).toBeNull();
  });

  test.each([
    ["text", note({ cr0: 5 }), "offset 0x114: expected cr0 to be hexadecimal digits with 0x"],
    ["digits", note({ efer: "d01" }), "expected efer to be hexadecimal digits"],
    ["levels", note({ levels: 3 }), "expected levels to be an integer from 4 to 5, found 3"],
    ["LA57", note({ levels: 5 }), "expected levels to be 4 as bit 12 (LA57) of cr4 says"],
    ["paging off", note({ cr0: "0x33" }), "expected cr0 with bit 31 (PG) set"],
    ["CR3 too wide", note({ cr3: { a: "0x10000000000000" } }), "expected cr3.a to be hexadecimal digits"],
    ["a path for a name", note({ cr3: { "../x": "0x1000" } }), "expected names of letters, digits"],
    ["no process", note({ cr3: {} }), "expected 1 to 4096 processes in cr3, found 0"],
    ["list", note({ cr3: [] }), "expected cr3 to be an object, found an array"],
    ["twice", Buffer.concat([note({}), note({})]), "expected one PTIMAGE note, found a second"],
    ["not JSON", buildNote("PTIMAGE\0", 1, "{"), "offset 0x114: expected JSON text in UTF-8"],
    ["cut", note({}).subarray(0, 60), "offset 0x114: expected the description of a note"],
    ["header cut", new Uint8Array(8), "offset 0x108: expected the type of a note (4 bytes)"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => parse(bytes)).toThrow(message);
  });
});

describe("loadInto", () => {
  test("copies each segment and clears its tail", () => {
    const image = read(core([{ physical: 0x2000, bytes: PAGE.subarray(0, 8), memorySize: 4096 }], null));
    const memory = new PhysicalMemory(0x3000);
    memory.bytesAt(0, memory.size).fill(0x55);
    loadInto(memory, image);
    expect([0x1fff, 0x2000, 0x2007, 0x2008, 0x2fff].map((at) => memory.readByte(at))).toEqual([
      0x55, 0xaa, 0xaa, 0, 0,
    ]);
  });

  test("refuses a segment beyond the end of memory", () => {
    const image = read(core([{ physical: 0x2000, bytes: new Uint8Array(8192) }]));
    expect(() => loadInto(new PhysicalMemory(0x3000), image)).toThrow(
      "offset 0x1000: expected segments inside the memory of 0x3000 bytes, found one at 0x2000..0x4000",
    );
  });
});
