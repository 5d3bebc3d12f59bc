import { describe, expect, test } from "vitest";
import { readProcMaps } from "../../../src/formats/proc-maps.ts";
import {
  KPF,
  KPF_FLAGS,
  readKpagecount,
  readKpageflags,
  readPagemap,
} from "../../../src/formats/proc-pagemap.ts";
import { buildMiniGuest, buildSmaps, MINI_MAPS, text } from "./mini-guest.ts";

const VMAS = readProcMaps("maps", text(MINI_MAPS.join("")), "smaps", text(buildSmaps(MINI_MAPS)), 4);
const PAGEMAP = buildMiniGuest().members.get("pre/one.pagemap")!;

function words(...values: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

describe("pagemap", () => {
  test("one run per mapping, words unchanged", () => {
    const runs = readPagemap("p", PAGEMAP, VMAS);
    expect(runs.map(({ start, words }) => [start, words.length])).toEqual([
      [0x400000, 2],
      [0x600000, 3],
      [0x7ffff0000000, 1],
    ]);
    expect(runs[1]!.words[2]).toBe(0x8000_0000_0000_0002n);
  });

  test("bytes that are not 8-aligned in their buffer are read all the same", () => {
    const shifted = new Uint8Array(PAGEMAP.length + 3);
    shifted.set(PAGEMAP, 3);
    expect(readPagemap("p", shifted.subarray(3), VMAS)).toEqual(readPagemap("p", PAGEMAP, VMAS));
  });

  test.each([
    ["cut", PAGEMAP.subarray(0, PAGEMAP.length - 1), "offset 0x58: expected the words of 1 pages (8 bytes)"],
    ["empty", PAGEMAP.subarray(0, 0), "offset 0x0: expected the start of a mapping (8 bytes)"],
    [
      "longer",
      Buffer.concat([PAGEMAP, words(0n)]),
      "offset 0x60: expected the end: maps has no more mappings",
    ],
    [
      "another start",
      words(0x401000n, 2n, 0n, 0n),
      "offset 0x0: expected 2 pages from 0x400000 as maps says",
    ],
    ["another count", words(0x400000n, 3n, 0n, 0n, 0n), "found 3 from 0x400000"],
    [
      "an absurd count",
      words(0x400000n, 2n ** 63n),
      "offset 0x8: expected the page count of a mapping below 2^53",
    ],
    ["a byte address", words(0x400001n, 2n), "expected the start of a mapping, page-aligned, found 0x400001"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => readPagemap("p", bytes, VMAS)).toThrow(message);
  });

  test("a mapping of 2^47 bytes costs nothing when the words are not there", () => {
    const vma = { ...VMAS[0]!, start: 0, end: 2 ** 47 };
    expect(() => readPagemap("p", words(0n, 2n ** 35n), [vma])).toThrow("the words of 34359738368 pages");
  });
});

describe("kpagecount and kpageflags", () => {
  test("one number per frame; flags are the low words", () => {
    expect([...readKpagecount("c", words(0n, 48n, 0xffff_ffffn), 3)]).toEqual([0, 48, 0xffff_ffff]);
    expect([...readKpageflags("f", words(0x1_0000_0800n, 1n << 24n), 2)]).toEqual([0x800, 1 << 24]);
  });

  test("the file may go on to the end of the 128 MiB section, and no further", () => {
    expect(readKpagecount("c", new Uint8Array(8 * 32_768), 3)).toHaveLength(3);
    expect(() => readKpagecount("c", new Uint8Array(8 * 32_769), 3)).toThrow("expected 3 to 32768 words");
  });

  test("too short, or not whole words", () => {
    expect(() => readKpagecount("c", words(0n), 2)).toThrow(
      "c: offset 0x8: expected 2 to 32768 words of 8 bytes",
    );
    expect(() => readKpageflags("f", new Uint8Array(23), 2)).toThrow("found 23 bytes");
  });

  test("a count that does not fit is refused, not cut", () => {
    expect(() => readKpagecount("c", words(0n, 2n ** 32n), 2)).toThrow(
      "offset 0x8: expected a count of frame 1 below 2^32",
    );
  });
});

test("every KPF bit stands once in the table, in order, and has its mask", () => {
  expect(KPF_FLAGS.map(({ bit }) => bit)).toEqual(Array.from({ length: 27 }, (_, bit) => bit));
  expect(KPF.KPF_LOCKED).toBe(1);
  expect(KPF.KPF_ANON).toBe(1 << 12);
  expect(KPF.KPF_PGTABLE).toBe(1 << 26);
  expect(Object.keys(KPF)).toHaveLength(27);
});
