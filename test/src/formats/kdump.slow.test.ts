import { deflateSync } from "node:zlib";
import { compress } from "snappyjs";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError } from "../../../src/formats/format-error.ts";
import { openImageFile } from "../../../src/formats/image-file.ts";
import { Lzo1xError, lzo1xDecompress } from "../../../src/formats/lzo1x.ts";
import type { MemoryImage } from "../../../src/formats/memory-image.ts";
import { buildKdump, flatten, type KdumpPage } from "../../support/kdump-file.ts";
import { mutations } from "../../support/mutate.ts";
import { GuestDirectory } from "./mini-guest.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

/** A table page: every fortieth entry. */
const PAGE = new Uint8Array(4096);
for (let index = 0; index < 512; index += 40) {
  new DataView(PAGE.buffer).setBigUint64(8 * index, BigInt(0x1234_5067 + index * 4096), true);
}
/** The same page by the zstd program, and by two compressors of liblzo2: lzo1x_1 and lzo1x_999. */
const ZSTD =
  "KLUv/QBoDQIA8GdQNBIAZ9A2UDnQO1A+0EBQQ9BFUEjQSlBN0E9QUg2oENqMA+D1HBD+//+f8QH6nZ0dOzs7d+zstAPsDC3OATs=";
const LZO_1 =
  "A2dQNBIAACAAGgAAAWfQNhIgABr0BAIAAGdQOSAAHv4E0DsgAB7+BFA+IAAe/gTQQCAAHv4EUEMgAB7+BNBFIAAe/gRQSCAAHv4E0EogAB7+" +
  "BFBNIAAe/gTQTyAAHv4EUFIgy/wEDgAAAAAAAAAAAAAAAAAAAAAAEQAA";
const LZO_999 =
  "FmdQNBIAIAAbAwBn0DYgAB7+BFA5IAAf/Qk7IAAf/Qk+IAAf/QlAIAAf/QlDIAAf/QlFIAAf/QlIIAAf/QlKIAAf/QlNIAAf/QlPIAAf/QlSINz8" +
  "BBEAAA==";
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));

const PAGES: readonly KdumpPage[] = [
  { physical: 0x1000, flag: 1, packed: Uint8Array.from(deflateSync(PAGE)) },
  { physical: 0x2000, flag: 0, packed: PAGE },
  { physical: 0x3000, flag: 2, packed: bytesOf(LZO_1) },
  { physical: 0x80_0000, flag: 2, packed: bytesOf(LZO_999) },
  { physical: 0x80_2000, flag: 4, packed: compress(PAGE) },
  { physical: 0x4_0000_0000, flag: 32, packed: bytesOf(ZSTD) },
];

function withImage<T>(bytes: Uint8Array, use: (image: MemoryImage) => T): T {
  const opened = openImageFile(directory.write("x.kdump", bytes));
  try {
    return use(opened.image);
  } finally {
    opened.close();
  }
}

describe("kdump", () => {
  test("pages packed by zlib, LZO, snappy, zstd or not at all", () => {
    withImage(buildKdump(PAGES), (image) => {
      expect([...image.ranges()]).toEqual([
        { physical: 0x1000, size: 0x3000 },
        { physical: 0x80_0000, size: 0x1000 },
        { physical: 0x80_2000, size: 0x1000 },
        { physical: 0x4_0000_0000, size: 0x1000 },
      ]);
      expect(image.memoryTop).toBe(0x4_0000_1000);
      for (const { physical } of PAGES) expect(image.readPage(physical), `${physical}`).toEqual(PAGE);
      for (const page of [0, 0x4000, 0x80_1000, 2 ** 51]) {
        expect([image.holds(page), image.readPage(page)]).toEqual([false, null]);
      }
    });
  });

  test("a flattened file: records out of order, later ones replace what earlier ones wrote", () => {
    const file = buildKdump(PAGES);
    const junk = new Uint8Array(300).fill(0xee);
    const cut = [0, 5000, 9000, file.length] as const;
    const part = (index: 0 | 1 | 2): [number, Uint8Array] => [
      cut[index],
      file.subarray(cut[index], cut[index + 1]),
    ];
    const records = [[100, junk], part(2), [8900, junk], part(0), part(1), part(2)] as const;
    withImage(flatten(records), (image) => {
      for (const { physical } of PAGES) expect(image.readPage(physical), `${physical}`).toEqual(PAGE);
    });
    const lost = flatten([part(0), part(1)]).slice(0, -10);
    expect(() => withImage(lost, () => 0)).toThrow("expected the header of a record");
  });

  test.each<[string, (view: DataView, file: Uint8Array) => void, RegExp]>([
    [
      "blocks",
      (view) => view.setUint32(428, 8192, true),
      /offset 0x1ac: expected blocks of 4096 bytes, found 8192/,
    ],
    [
      "machine",
      (_, file) => file.set(Buffer.from("ppc64"), 272),
      /expected the name of an x86 machine, found "ppc644"/,
    ],
    [
      "part",
      (view) => view.setUint32(4096 + 12, 1, true),
      /expected a whole dump, found one of several files/,
    ],
    ["bitmap", (view) => view.setUint32(436, 2 ** 30, true), /expected bitmaps of at most/],
    ["notes", (view) => view.setUint32(4096 + 56, 2 ** 30, true), /expected at most 16777216 bytes of notes/],
  ])("refuses %s", (_, change, message) => {
    const file = buildKdump(PAGES);
    change(new DataView(file.buffer), file);
    expect(() => withImage(file, () => 0)).toThrow(message);
  });

  test("a broken page is named when it is read, the others are not touched", () => {
    const pages = PAGES.map((page) =>
      page.flag === 0 ? page : { ...page, packed: page.packed.map((byte) => ~byte) },
    );
    withImage(buildKdump(pages), (image) => {
      expect(image.readPage(0x2000)).toEqual(PAGE);
      expect(() => image.readPage(0x1000)).toThrow(/expected 4096 bytes packed by zlib at 0x[0-9a-f]+$/);
    });
    withImage(buildKdump([{ ...PAGES[1]!, flag: 8 }]), (image) => {
      expect(() => image.readPage(0x2000)).toThrow(
        "packed by plain, zlib, LZO, snappy, zstd, found flags 0x8",
      );
    });
  });

  test("a damaged file is refused in one line or read", () => {
    for (const original of [buildKdump(PAGES), flatten([[0, buildKdump(PAGES)]])]) {
      for (const { label, bytes } of mutations(original.subarray(0, 9000), 41, 150)) {
        try {
          withImage(Buffer.concat([bytes, original.subarray(9000)]), (image) => {
            for (const { physical } of PAGES) image.readPage(physical);
          });
        } catch (error) {
          if (!(error instanceof FormatError)) throw new Error(label, { cause: error });
        }
      }
    }
  });
});

describe("LZO1X", () => {
  test("a cut or wrong stream throws, and never writes beyond the page", () => {
    for (const text of [LZO_1, LZO_999]) {
      const stream = bytesOf(text);
      for (let length = 0; length < stream.length; length++) {
        expect(() => lzo1xDecompress(stream.subarray(0, length), 4096)).toThrow(Lzo1xError);
      }
      expect(() => lzo1xDecompress(stream, 4095)).toThrow(Lzo1xError);
      for (const { bytes } of mutations(stream, 42, 300)) {
        try {
          expect(lzo1xDecompress(bytes, 4096)).toHaveLength(4096);
        } catch (error) {
          expect(error).toBeInstanceOf(Lzo1xError);
        }
      }
    }
  });
});
