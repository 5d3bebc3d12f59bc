import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WholeFile } from "../../../src/formats/whole-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ptescope-whole-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);

function writeAll(name: string, text: string): void {
  const file = new WholeFile(name);
  file.write(text);
  file.commit();
  file.discard();
}

test("until it is put into its place, what was there stays", () => {
  writeFileSync(path("a"), "old", { mode: 0o640 });
  const file = new WholeFile(path("a"));
  file.write("new".repeat(100_000));
  expect(readFileSync(path("a"), "utf8")).toBe("old");
  file.commit();
  expect(readFileSync(path("a"), "utf8")).toBe("new".repeat(100_000));
  expect(statSync(path("a")).mode & 0o777).toBe(0o640);
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("given up, nothing is left, and nobody listens for the end of the process any more", () => {
  const listeners = process.listenerCount("exit") + process.listenerCount("SIGINT");
  const file = new WholeFile(path("a"));
  file.write("text");
  file.discard();
  expect(readdirSync(folder)).toEqual([]);
  expect(process.listenerCount("exit") + process.listenerCount("SIGINT")).toBe(listeners);
});

test("a link stays a link, and the file that it names is written", () => {
  writeFileSync(path("target"), "old");
  symlinkSync("target", path("link"));
  writeAll(path("link"), "new");
  expect(lstatSync(path("link")).isSymbolicLink()).toBe(true);
  expect(readFileSync(path("target"), "utf8")).toBe("new");
});

test("a device is written to and stays a device", () => {
  writeAll(devNull, "text");
  expect(statSync(devNull).isFile()).toBe(false);
});

test("where nothing can be written, nothing is tried", () => {
  expect(() => new WholeFile(folder)).toThrow(/expected a place to write to \(EISDIR\)/);
  expect(() => new WholeFile(path("no/where"))).toThrow(/expected a place to write to \(ENOENT\)/);
});
