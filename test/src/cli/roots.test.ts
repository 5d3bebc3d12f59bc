import { closeSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { PhysicalPages } from "../../support/physical-pages.ts";
import { buildCore, GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

interface Found {
  readonly roots: { readonly root: string; readonly levels: number; readonly alike: number }[];
  readonly named: { readonly name: string; readonly cr3: string }[];
}

async function rootsOf(path: string): Promise<Found> {
  return JSON.parse((await runHere(["roots", path, "--json"])).output) as Found;
}

describe("roots", () => {
  test("of a guest: its processes' roots, all of them and nothing else", async () => {
    const { procs } = JSON.parse(readFileSync("src/samples/guest-a1/manifest.json", "utf8")) as {
      procs: Record<string, { cr3: string }>;
    };
    const { roots, named } = await rootsOf("src/samples/guest-a1/pt.elf.gz");
    const expected = Object.values(procs).map(({ cr3 }) => cr3);
    expect(roots.map(({ root }) => root).sort()).toEqual([...expected].sort());
    expect(roots.every(({ levels, alike }) => levels === 4 && alike === 45)).toBe(true);
    expect(named).toHaveLength(46);
  });

  test("in memory full of other things: five levels, a table that maps itself, and why", async () => {
    const memory = new PhysicalPages();
    // Pages of text and of pointers, which are no tables.
    for (let page = 0; page < 64; page++) {
      const bytes = memory.page(0x20_0000 + page * 4096);
      for (let at = 0; at < 4096; at++) bytes[at] = Math.imul(at * 64 + page + 1, 0x9e37_79b1) >>> 21;
    }
    const at = (index: number): bigint => BigInt(0x10_0000 + index * 4096) | 0x63n;
    memory.path(0x10_0000, 0xff00_0000_0000_1000n, [at(1), at(2), at(3), at(4), 0x20_1063n], 5);
    memory.path(0x11_0000, 0xffff_8000_0000_0000n, [0x11_1063n, 0x11_2063n, 0x11_3063n, 0x20_2063n]);
    memory.entry(0x11_0000 + 8 * 510, 0x11_0063n);
    const file = directory.write("unknown.elf", buildCore(memory.pages, null));
    const { roots } = await rootsOf(file);
    expect(roots.map(({ root, levels }) => [root, levels])).toEqual([
      ["0x110000", 4],
      ["0x100000", 5],
    ]);
    const { output } = await runHere(["roots", file, "--lines", "1"]);
    expect(output).toMatch(
      /^0x110000 +4 levels: 0 user and 2 kernel entries; \d+ leaf entries below, none of them impossible$/m,
    );
    expect(output).toContain("and 1 more: --lines all");
  });

  test("in a sparse file: far behind a hole, at the end of it, in pieces that are read into one buffer", async () => {
    const memory = new PhysicalPages();
    for (const [number, root] of [0x70_1000, 0x7f_b000].entries()) {
      const at = (index: number): bigint => BigInt(root + index * 4096) | 0x63n;
      memory.path(root, 0xffff_8000_0000_0000n, [at(1), at(2), at(3), 0x2063n]);
      memory.entry(root + 8 * (300 + number), at(1));
    }
    const file = directory.write("sparse.raw", new Uint8Array(0));
    truncateSync(file, 0x80_0000);
    const descriptor = openSync(file, "r+");
    for (const { physical, bytes } of memory.pages) writeSync(descriptor, bytes, 0, bytes.length, physical);
    closeSync(descriptor);
    const { roots } = await rootsOf(file);
    expect(roots.map(({ root }) => root)).toEqual(["0x701000", "0x7fb000"]);
  });

  test("nothing that looks like one is status 1", async () => {
    const file = directory.write("empty.raw", new Uint8Array(0x4000));
    expect(await runHere(["roots", file])).toMatchObject({
      status: 1,
      output: "nothing here looks like a root of four or five levels\n",
    });
  });
});
