import { describe, expect, test } from "vitest";
import { readTar } from "../../../src/formats/tar.ts";
import { buildTar, buildTarHeader, text } from "./mini-guest.ts";

const END = new Uint8Array(1024);

function archive(...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat([...parts, END]);
}

describe("a good archive", () => {
  test("gives each member's bytes by name", () => {
    const members = new Map([
      ["pre/empty", text("")],
      ["pre/a", text("hello")],
      ["pre/block", new Uint8Array(512).fill(7)],
    ]);
    const read = readTar("x.tar", buildTar(members));
    expect([...read.keys()]).toEqual([...members.keys()]);
    for (const [name, bytes] of members) expect(Buffer.compare(read.get(name)!, bytes), name).toBe(0);
  });

  test("may hold nothing, directories, and zeros behind the end", () => {
    expect(readTar("x.tar", archive(buildTarHeader("dir/", 0, "5"), new Uint8Array(10_240))).size).toBe(0);
  });

  test("joins the prefix of a long name", () => {
    const header = Buffer.from(buildTarHeader("name", 0));
    header.write("deep/er", 345);
    expect([...readTar("x.tar", archive(withSum(header))).keys()]).toEqual(["deep/er/name"]);
  });

  test("may be GNU tar's own format", () => {
    const header = Buffer.from(buildTarHeader("name", 0));
    header.write("ustar  \0", 257);
    header.write("not a prefix", 345);
    expect([...readTar("x.tar", archive(withSum(header))).keys()]).toEqual(["name"]);
  });
});

describe("a bad archive names the offset and what should be there", () => {
  test.each([
    ["empty file", new Uint8Array(0), "offset 0x0: expected a tar header or the two zero blocks of the end"],
    [
      "no end",
      buildTar(new Map([["a", text("x")]]), new Uint8Array(0)),
      "offset 0x400: expected a tar header",
    ],
    [
      "half an end",
      new Uint8Array(512),
      "offset 0x200: expected the second zero block of the end (512 bytes)",
    ],
    ["one zero block", Buffer.concat([new Uint8Array(512), buildTarHeader("a", 0)]), "offset 0x200"],
    ["content cut", buildTarHeader("a", 5), 'offset 0x200: expected the content of "a" (5 bytes)'],
    ["huge size", archive(buildTarHeader("a", 0o77777777777)), "offset 0x200: expected the content of"],
    [
      "a link",
      archive(buildTarHeader("a", 0, "2")),
      "offset 0x9c: expected a regular file (0) or a directory",
    ],
    ["pax header", archive(buildTarHeader("a", 0, "x")), "offset 0x9c: expected a regular file (0)"],
    ["no name", archive(buildTarHeader("", 0)), "offset 0x0: expected the name of a member"],
    [
      "name twice",
      archive(buildTarHeader("a", 0), buildTarHeader("a", 0)),
      "offset 0x200: expected each name once",
    ],
  ])("%s", (_, bytes, message) => {
    expect(() => readTar("x.tar", bytes)).toThrow(`x.tar: ${message}`);
  });

  test("a wrong checksum, size or magic", () => {
    const damaged = (at: number, value: string): Uint8Array => {
      const header = Buffer.from(buildTarHeader("a", 0));
      header.write(value, at);
      return archive(at === 148 ? header : withSum(header));
    };
    expect(() => readTar("x.tar", damaged(148, "000000\0"))).toThrow(
      "offset 0x94: expected the tar checksum",
    );
    expect(() => readTar("x.tar", damaged(148, "00x"))).toThrow(
      "offset 0x94: expected an octal tar checksum",
    );
    expect(() => readTar("x.tar", damaged(124, "9"))).toThrow("offset 0x7c: expected the octal size");
    expect(() => readTar("x.tar", damaged(257, "USTAR"))).toThrow('offset 0x101: expected the magic "ustar"');
  });

  test("every other bit of the header is under the checksum", () => {
    const good = buildTar(new Map([["a", text("x")]]));
    for (let bit = 0; bit < 512 * 8; bit++) {
      const bad = good.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      // The checksum field itself may be padded in more than one way.
      if (bit >> 3 >= 148 && bit >> 3 < 156) continue;
      expect(() => readTar("x.tar", bad), `bit ${bit}`).toThrow("x.tar: offset");
    }
  });
});

function withSum(header: Uint8Array): Uint8Array {
  const copy = Buffer.from(header);
  copy.write("        ", 148);
  const sum = copy.reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return copy;
}
