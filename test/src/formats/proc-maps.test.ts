import { describe, expect, test } from "vitest";
import { type GuestVma, readProcMaps } from "../../../src/formats/proc-maps.ts";
import { buildSmaps, MINI_MAPS, text } from "./mini-guest.ts";

const VSYSCALL = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

function read(maps: readonly string[], smaps = buildSmaps(maps), levels: 4 | 5 = 4): GuestVma[] {
  return readProcMaps("maps", text(maps.join("")), "smaps", text(smaps), levels);
}

describe("what a line says", () => {
  test("a private file mapping", () => {
    expect(read(MINI_MAPS)[0]).toEqual({
      start: 0x400000,
      end: 0x402000,
      read: true,
      write: false,
      exec: true,
      shared: false,
      offset: 0,
      device: "00:02",
      inode: 35,
      name: "/bin/mini",
      vmFlags: ["rd", "ex", "mr", "??", "sd"],
    });
  });

  test("a shared one, with a name of two words", () => {
    expect(read(MINI_MAPS)[1]).toMatchObject({
      shared: true,
      write: true,
      offset: 0x2000,
      device: "00:05",
      inode: 7,
      name: "/dev/zero (deleted)",
    });
  });

  test("anonymous memory has no name; names may hold any byte but a newline", () => {
    const vmas = read([
      "00400000-00401000 ---p 00000000 00:00 0 \n",
      "00401000-00402000 ---p 00000000 00:00 0\n",
      "00402000-00403000 ---p 00000000 fd:1a3 18014398509481 /a\rb \xc3\xa9\n",
    ]);
    expect(vmas.map(({ name }) => name)).toEqual(["", "", "/a\rb é"]);
    expect(vmas[2]!.inode).toBe(18014398509481);
  });

  test("an offset beyond 2^53 is exact, being page-aligned", () => {
    const [vma] = read(["00400000-00401000 rw-s fffffffffffff000 00:05 7 /dev/mem\n"]);
    expect(BigInt(vma!.offset)).toBe(0xffff_ffff_ffff_f000n);
  });

  test("[vsyscall] is not a mapping of the process", () => {
    expect(read([...MINI_MAPS, VSYSCALL])).toHaveLength(3);
  });

  test("57-bit addresses need five levels", () => {
    const line = ["ff000000000000-ff000000001000 rw-p 00000000 00:00 0\n"];
    expect(read(line, buildSmaps(line), 5)[0]!.start).toBe(0xff000000000000);
    expect(() => read(line)).toThrow("maps: offset 0x0: expected line 1: an end of at most 0x800000000000");
  });

  test("an empty process has no mappings", () => {
    expect(read([])).toEqual([]);
  });
});

describe("a bad line is named", () => {
  const first = MINI_MAPS[0]!;
  test.each([
    ["words", "hello\n", 'line 2: "start-end rwxp offset major:minor inode name", found "hello"'],
    ["permissions", "00600000-00601000 rwx- 00000000 00:00 0\n", "line 2: "],
    ["upper case", "00A00000-00A01000 rw-p 00000000 00:00 0\n", "line 2: "],
    ["17 digits", "10000000000000000-10000000000001000 rw-p 00000000 00:00 0\n", "line 2: "],
    [
      "alignment",
      "00600001-00601000 rw-p 00000000 00:00 0\n",
      "line 2: a page-aligned start, end and offset",
    ],
    ["backwards", "00601000-00600000 rw-p 00000000 00:00 0\n", "line 2: a start below the end"],
    ["empty range", "00600000-00600000 rw-p 00000000 00:00 0\n", "line 2: a start below the end"],
    ["overlap", "00401000-00403000 rw-p 00000000 00:00 0\n", "line 2: mappings in address order"],
    [
      "kernel address",
      "ffff800000000000-ffff800000001000 rw-p 00000000 00:00 0\n",
      "line 2: an end of at most",
    ],
    [
      "inode",
      "00600000-00601000 rw-p 00000000 00:00 99999999999999999999\n",
      "line 2: an inode number below 2^53",
    ],
  ])("%s", (_, line, message) => {
    expect(() => read([first, line])).toThrow(
      `maps: offset 0x${first.length.toString(16)}: expected ${message}`,
    );
  });

  test("a last line without its newline was cut", () => {
    expect(() => read([first.slice(0, -1)])).toThrow("line 1: a newline at the end of the last line");
  });
});

describe("smaps must describe the same mappings", () => {
  const [one, two, three] = MINI_MAPS as [string, string, string];
  test.each([
    ["one missing at the end", buildSmaps([one, two]), "the 3 mappings of maps with VmFlags, found 2"],
    ["one missing before", buildSmaps([one, three]), 'line 5: "00600000-'],
    ["one too many", buildSmaps([one, two, three, VSYSCALL]), "line 13: no mapping behind the last of maps"],
    ["another range", buildSmaps([one, two.replace("603", "604"), three]), "line 5: "],
    ["another permission", buildSmaps([one.replace("r-x", "rwx"), two, three]), "line 1: "],
    [
      "no VmFlags",
      buildSmaps(MINI_MAPS).replace(/VmFlags.*\n/, ""),
      "line 4: VmFlags before the next mapping",
    ],
    ["VmFlags twice", `${buildSmaps([one])}VmFlags: rd\n`, "line 5: VmFlags once in a mapping"],
    ["a long flag", buildSmaps(MINI_MAPS).replace("ex", "exe"), 'line 4: two-letter VmFlags, found "exe"'],
    ["fields first", "Rss: 1 kB\n", "line 1: a mapping before its fields"],
    ["nothing", "", "the 3 mappings of maps with VmFlags, found 0"],
  ])("%s", (_, smaps, message) => {
    expect(() => read(MINI_MAPS, smaps)).toThrow(message);
  });
});
