import { closeSync, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { directBuffer } from "../../../src/formats/direct-buffer.ts";
import {
  gunzipBounded,
  isDirectory,
  isGzip,
  openRegularFile,
  readBounded,
} from "../../../src/formats/gzip.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { GuestDirectory } from "./mini-guest.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());
const CONTENT = Uint8Array.from({ length: 1000 }, (_, index) => index & 7);
const LIMITS = { input: 1000, output: 1000 };

describe("a sparse file that is read into one buffer", () => {
  test("gives what it holds and zeros for its holes, at any offset and of any length", () => {
    const path = directory.write("sparse", new Uint8Array(0));
    const size = 3 * 2 ** 20 + 100;
    truncateSync(path, size);
    const descriptor = openSync(path, "r+");
    for (const at of [0, 5000, 2 ** 20 + 3, size - 100]) writeSync(descriptor, CONTENT, 0, 100, at);
    closeSync(descriptor);
    const plain = readFileSync(path);
    const file = openRegularFile(path);
    const buffer = directBuffer(2 ** 16);
    for (let at = 0; at < size; at += 2 ** 16) {
      const length = Math.min(2 ** 16, size - at);
      expect(
        Buffer.compare(file.read(at, length, new ReadBudget(), buffer), plain.subarray(at, at + length)),
      ).toBe(0);
    }
    for (const [at, length] of [
      [4999, 200],
      [2 ** 20, 4096],
      [0, 1],
    ] as const) {
      expect(
        Buffer.compare(file.read(at, length, new ReadBudget(), buffer), plain.subarray(at, at + length)),
      ).toBe(0);
    }
    file.close();
  });
});

describe("readBounded", () => {
  test("a plain and a gzip file give the same bytes, whatever they are called", () => {
    const budget = new ReadBudget();
    const plain = directory.write("plain.gz", CONTENT);
    const packed = directory.write("packed.bin", gzipSync(CONTENT));
    expect(Buffer.compare(readBounded(plain, LIMITS, budget), CONTENT)).toBe(0);
    expect(budget.bytes).toBe(1000);
    expect(Buffer.compare(readBounded(packed, LIMITS, budget), CONTENT)).toBe(0);
    expect(budget.bytes).toBe(2000 + gzipSync(CONTENT).length);
  });

  test("one byte over the limit is refused before it is read", () => {
    const budget = new ReadBudget();
    const file = directory.write("large", new Uint8Array(1001));
    expect(() => readBounded(file, LIMITS, budget)).toThrow("large: expected at most 1000 bytes, found 1001");
    expect(budget.bytes).toBe(0);
  });

  test("a plain file answers to the output limit too", () => {
    const file = directory.write("plain", new Uint8Array(11));
    expect(() => readBounded(file, { input: 100, output: 10 }, new ReadBudget())).toThrow("at most 10 bytes");
  });

  test("no file, a directory: FormatError with the reason", () => {
    const budget = new ReadBudget();
    const missing = join(directory.path, "missing");
    expect(() => readBounded(missing, LIMITS, budget)).toThrow("missing: expected a readable file (ENOENT)");
    mkdirSync(join(directory.path, "sub"));
    expect(() => readBounded(join(directory.path, "sub"), LIMITS, budget)).toThrow("expected a regular file");
    expect(() => readBounded("/dev/zero", LIMITS, budget)).toThrow("/dev/zero: expected a regular file");
    expect(() => readBounded("a\0b", LIMITS, budget)).toThrow("a\\x00b: expected a readable file");
  });

  test("an empty file is empty", () => {
    expect(readBounded(directory.write("empty", new Uint8Array(0)), LIMITS, new ReadBudget())).toHaveLength(
      0,
    );
  });
});

describe("gunzipBounded", () => {
  test("a stream cut anywhere is refused", () => {
    const packed = gzipSync(CONTENT);
    for (let length = 2; length < packed.length; length++) {
      const cut = (): Uint8Array => gunzipBounded("cut", packed.subarray(0, length), 1000, new ReadBudget());
      expect(cut, `${length} bytes`).toThrow("cut: expected a complete gzip stream (unexpected end of file)");
    }
  });

  test("output over the maximum is refused, and charged", () => {
    const budget = new ReadBudget();
    expect(() => gunzipBounded("bomb", gzipSync(CONTENT), 999, budget)).toThrow(
      "bomb: expected at most 999 bytes when decompressed",
    );
    expect(budget.bytes).toBe(999);
  });

  test("a spent budget is refused by name", () => {
    const budget = new ReadBudget(10);
    budget.takeBytes("first", 10);
    expect(() => gunzipBounded("second", gzipSync(CONTENT), 1000, budget)).toThrow(
      "second: expected at most 10 bytes of input in all",
    );
  });
});

test("isGzip looks at two bytes and needs both", () => {
  expect(isGzip(Uint8Array.of(0x1f, 0x8b))).toBe(true);
  expect(isGzip(Uint8Array.of(0x1f))).toBe(false);
  expect(isGzip(Uint8Array.of(0x7f, 0x45))).toBe(false);
});

test("an open file gives ranges and refuses what lies behind its end", () => {
  const file = openRegularFile(directory.write("ranges", CONTENT));
  const budget = new ReadBudget();
  expect([...file.read(9, 3, budget)]).toEqual([1, 2, 3]);
  expect(() => file.read(999, 2, budget)).toThrow("offset 0x3e7: expected 2 bytes, found the end at 0x3e8");
  expect(budget.bytes).toBe(3);
  file.close();
});

test("isDirectory", () => {
  expect(isDirectory(directory.path)).toBe(true);
  expect(isDirectory(join(directory.path, "nothing here"))).toBe(false);
});
