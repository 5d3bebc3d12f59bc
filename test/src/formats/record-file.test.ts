import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRecordFile, recordFileChunks } from "../../../src/formats/record-file.ts";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "ptescope-records-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("bytes that are written piece by piece are read piece by piece", () => {
  const path = join(directory, "a");
  const file = createRecordFile(path);
  const bytes = Uint8Array.from({ length: 700_000 }, (_, i) => i * 7);
  file.write(bytes.subarray(0, 5));
  file.write(bytes.subarray(5));
  file.close();
  expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
  const chunks = [...recordFileChunks(path)];
  expect(chunks.map(({ length }) => length)).toEqual([2 ** 18, 2 ** 18, 700_000 - 2 ** 19]);
  expect(Buffer.compare(Buffer.concat(chunks), bytes)).toBe(0);
});

test("reading may stop in between, and an empty file has no pieces", () => {
  const path = join(directory, "b");
  writeFileSync(path, new Uint8Array(2 ** 19));
  for (const chunk of recordFileChunks(path)) {
    expect(chunk.length).toBe(2 ** 18);
    break;
  }
  writeFileSync(path, "");
  expect([...recordFileChunks(path)]).toEqual([]);
});

test("what cannot be read or written is an error of its name", () => {
  const missing = join(directory, "no", "file");
  expect(() => [...recordFileChunks(missing)]).toThrow(`${missing}: expected a readable file (ENOENT)`);
  expect(() => [...recordFileChunks(directory)]).toThrow("expected a regular file");
  expect(() => createRecordFile(missing)).toThrow(`${missing}: expected a file that can be written (ENOENT)`);
});
