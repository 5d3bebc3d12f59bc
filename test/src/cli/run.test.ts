import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildLime } from "../../support/lime-file.ts";
import { buildCore, GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const GUEST = "src/samples/guest-a1";
const ISOLATED = "test/data/guest-a2";

describe("help", () => {
  test("lists every command, and every option of each", async () => {
    const { status, output } = await runHere(["--help"]);
    expect(status).toBe(0);
    for (const name of ["ps", "dump", "walk", "decode", "explain"]) {
      expect(output).toMatch(new RegExp(`^  ${name} `, "m"));
      const help = await runHere([name, "--help"]);
      expect(help).toMatchObject({ status: 0, errors: "" });
      expect(help.output).toContain("--json");
      expect(help.output).toEqual((await runHere(["help", name])).output);
    }
  });

  test("no line of it is wider than a wide terminal", async () => {
    for (const args of [
      ["--help"],
      ["dump", "--help"],
      ["walk", "-h"],
      ["ps", "-h"],
      ["decode", "-h"],
      ["explain", "-h"],
    ]) {
      const { output } = await runHere(args);
      expect(Math.max(...output.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
    }
  });

  test("--version prints the version of package.json", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(await runHere(["--version"])).toEqual({ status: 0, output: `${version}\n`, errors: "" });
  });
});

describe("what a person got wrong is one line and exit status 2", () => {
  const directory = new GuestDirectory();
  const file = (name: string): string => join(directory.path, name);
  beforeAll(() => {
    const core = readFileSync(join(GUEST, "pt.elf.gz"));
    writeFileSync(file("short.gz"), core.subarray(0, 20_000));
    const plainCore = gunzipSync(core);
    writeFileSync(file("short.elf"), plainCore.subarray(0, 300_000));
    // The root's only entry points at a table page that the file does not hold.
    const root = new Uint8Array(4096);
    root.set([0x67, 0x50]);
    const registers = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4 };
    const note = { ...registers, cr3: { one: "0x1000" } };
    writeFileSync(file("missing.elf"), buildCore([{ physical: 0x1000, bytes: root }], note));
    writeFileSync(file("beyond.elf"), buildCore([{ physical: 0x1000, bytes: root }], null));
    writeFileSync(
      file("short.lime"),
      buildLime([{ first: 0, bytes: new Uint8Array(0x2000) }]).subarray(0, 0x1000),
    );
    const twice = { first: 0, bytes: new Uint8Array(0x1000) };
    writeFileSync(file("twice.lime"), buildLime([twice, twice]));
    const raw = new Uint8Array(0x3000);
    raw.set(root, 0x1000);
    writeFileSync(file("short.raw"), raw);
    writeFileSync(file("far.elf"), buildCore([{ physical: 2 ** 40, bytes: root }], null));
  });
  afterAll(() => directory.remove());

  test.each<{ args: readonly string[]; says: RegExp }>([
    { args: [], says: /^ptescope: give a command: .*ps, dump, walk, decode/ },
    { args: ["frobnicate"], says: /unknown command "frobnicate": commands are .*ps, dump, walk, decode/ },
    { args: ["--frob"], says: /unknown option "--frob"/ },
    { args: ["constructor"], says: /unknown command "constructor"/ },
    { args: ["help", "nothing"], says: /unknown command "nothing"/ },
    { args: ["dump"], says: /^ptescope dump: an argument is missing; usage: ptescope dump IMAGE/ },
    { args: ["dump", GUEST, "--frob"], says: /unknown option --frob: known are --cr3, --process, .*--help$/ },
    { args: ["dump", GUEST, "--cr3"], says: /--cr3 <value>' argument missing/ },
    {
      args: ["dump", GUEST],
      says: /give --cr3 X or --process NAME; there are cow-parent, cow-c1, .*controller$/,
    },
    { args: ["dump", GUEST, "--process", "nobody"], says: /no process "nobody": there are cow-parent,/ },
    {
      args: ["dump", ISOLATED, "--process", "x\ny"],
      says: /no process "x\\x0ay": .*NAME\.k, the kernel's root\)$/,
    },
    { args: ["dump", GUEST, "--process", "big", "--cr3", "1000"], says: /both choose the root/ },
    { args: ["dump", GUEST, "--process", "big", "--levels", "5"], says: /its tables have 4/ },
    {
      args: ["dump", GUEST, "--process", "big", "--as", "xml"],
      says: /one of table, qemu-tlb, qemu-mem, pt, bochs, crash/,
    },
    {
      args: ["dump", GUEST, "--process", "big", "--filter", "w,nx"],
      says: /filter "nx": there are w, x, u, s,/,
    },
    {
      args: ["dump", GUEST, "--process", "big", "--sort", "size"],
      says: /--sort "size": give one of linear, physical/,
    },
    {
      args: ["dump", GUEST, "--process", "big", "--sort", "physical", "--as", "pt"],
      says: /orders the table/,
    },
    { args: ["dump", GUEST, "--process", "big", "--phys"], says: /--phys is a form of pt/ },
    { args: ["dump", GUEST, "--process", "big", "--phys", "--as", "bochs"], says: /--phys is a form of pt/ },
    {
      args: ["dump", GUEST, "--process", "big", "--as", "qemu-tlb", "--filter", "w"],
      says: /knows no --filter/,
    },
    {
      args: ["dump", GUEST, "--process", "big", "--as", "pt", "--maxphyaddr", "40"],
      says: /is what gdb-pt-dump lists, which knows no --maxphyaddr/,
    },
    {
      args: ["dump", GUEST, "--process", "big", "--as", "qemu-mem", "--cpu", "amd-zen3"],
      says: /knows no --cpu/,
    },
    { args: ["dump", GUEST, "--process", "big", "--maxphyaddr", "53"], says: /number of bits from 36 to 52/ },
    { args: ["dump", GUEST, "--process", "big", "--format", "raw"], says: /is a guest directory/ },
    {
      args: ["dump", GUEST, "--process", "big", "--format", "core"],
      says: /one of auto, elf, kdump, lime, raw/,
    },
    {
      args: ["dump", file("beyond.elf"), "--cr3", "1000", "--format", "lime"],
      says: /magic 0x4c694d45 of a LiME/,
    },
    {
      args: ["walk", file("short.raw"), "--cr3", "1000000000", "0", "--maxphyaddr", "36"],
      says: /root 0x1000000000: it does not fit MAXPHYADDR 36/,
    },
    { args: ["dump", GUEST, "--process", "big", "--as", "qemu-mem", "--json"], says: /drop --as qemu-mem/ },
    {
      args: ["dump", GUEST, "--process", "big", "--range", "5000-4000"],
      says: /end must be above the start/,
    },
    { args: ["dump", GUEST, "--process", "big", "--range", "5000"], says: /give START-END/ },
    { args: ["dump", GUEST, "--process", "big", "--lines", "0"], says: /give a number from 1, or all/ },
    {
      args: ["dump", GUEST, "--cr3", "0xnothex"],
      says: /--cr3 "0xnothex": give up to 16 hexadecimal digits/,
    },
    { args: ["dump", GUEST, "--cr3", "7fffffffffffffff"], says: /at most 52 bits/ },
    { args: ["dump", GUEST, "--process", "big", "--cr3", "1", "--cr3", "2"], says: /--cr3 is given twice/ },
    {
      args: ["dump", GUEST, "--process", "big", "--map", "0-1000@0"],
      says: /--map: .* is a guest directory/,
    },
    { args: ["dump", file("short.raw"), "--cr3", "0", "--map", "0-1001@0"], says: /give whole pages/ },
    { args: ["dump", file("short.raw"), "--cr3", "0", "--map", "0-1000"], says: /give START-END@OFFSET/ },
    { args: ["dump", file("short.raw"), "--cr3", "0", "--map", "0-8000@0"], says: /0x8000 bytes of memory/ },
    { args: ["walk", file("short.raw"), "--vcpu", "1", "0"], says: /--vcpu "1": .* has no CPU's registers/ },
    { args: ["walk", GUEST, "--process", "big", "0", "--pat", "2"], says: /IA32_PAT 0x2: types are/ },
    { args: ["walk", GUEST, "--process", "big", "0", "--pkru", "100000000"], says: /it has 32 bits/ },
    { args: ["walk", GUEST, "--process", "big", "0", "--cr0", "33"], says: /not long mode with paging/ },
    { args: ["walk", GUEST, "--process", "big", "0", "--cbit", "9"], says: /number of a bit, 32 to 51/ },
    {
      args: ["walk", GUEST, "--process", "big", "0", "--cbit", "51", "--shared-bit", "51"],
      says: /--cbit and --shared-bit: give one of them/,
    },
    { args: ["walk", GUEST, "--process", "big", "0", "--efer", "d01", "--no-nx"], says: /give one of them/ },
    {
      args: ["walk", GUEST, "--process", "big", "0", "--levels", "4", "--cr4", "10a0"],
      says: /bit 12 \(LA57\) of --cr4 says 5/,
    },
    { args: ["dump", "no/such/file", "--cr3", "0"], says: /expected a readable file \(ENOENT\)/ },
    {
      args: ["dump", "package.json", "--cr3", "0"],
      says: /expected whole pages of 4096 bytes, as a raw image/,
    },
    {
      args: ["dump", "package.json", "--cr3", "0", "--format", "elf"],
      says: /offset 0x0: expected the ELF magic/,
    },
    {
      args: ["dump", file("short.lime"), "--cr3", "0"],
      says: /0x2000 bytes of memory from here, found the end/,
    },
    {
      args: ["dump", file("twice.lime"), "--cr3", "0"],
      says: /offset 0x1028: expected ranges that do not overlap/,
    },
    { args: ["dump", file("short.raw")], says: /does not name processes, use --cr3/ },
    { args: ["dump", file("short.gz"), "--cr3", "0"], says: /complete gzip stream/ },
    {
      args: ["dump", file("short.elf"), "--cr3", "0"],
      says: /offset 0x[0-9a-f]+: expected a segment inside/,
    },
    { args: ["dump", file("beyond.elf"), "--process", "x"], says: /does not name processes, use --cr3/ },
    { args: ["walk", GUEST, "--process", "big"], says: /an argument is missing; usage/ },
    {
      args: ["walk", GUEST, "--process", "big", "0x0x1"],
      says: /address "0x0x1": give up to 16 hexadecimal/,
    },
    { args: ["walk", GUEST, "--process", "big", "1", "--write", "--fetch"], says: /give one of them/ },
    {
      args: ["walk", GUEST, "--process", "big", "1", "--cpu", "z80"],
      says: /unknown CPU model "z80": known are/,
    },
    { args: ["decode"], says: /an argument is missing; usage/ },
    { args: ["decode", "1", "2"], says: /unexpected argument "2"; usage/ },
    { args: ["decode", "10000000000000000"], says: /give up to 16 hexadecimal digits/ },
    { args: ["decode", "1", "--level", "p5d"], says: /--level "p5d": give one of pte, pmd, pud, p4d, pgd/ },
    { args: ["decode", "1", "--kernel", "linux-2.4"], says: /unknown kernel layout "linux-2.4": known are/ },
    { args: ["decode", "1", "--maxphyaddr", "12"], says: /number of bits from 36 to 52/ },
    { args: ["walk", GUEST, "--process", "big", "1", "--as", "pt", "--json"], says: /drop --as pt/ },
    { args: ["ps", "package.json"], says: /package.json: expected a guest directory/ },
    { args: ["ps", "test"], says: /test\/manifest.json: expected a readable file/ },
  ])("ptescope $args", async ({ args, says }) => {
    const { status, output, errors } = await runHere(args);
    expect({ status, output }).toEqual({ status: 2, output: "" });
    expect(errors.trimEnd()).toMatch(says);
    expect(errors.split("\n")).toHaveLength(2);
    expect(errors).not.toMatch(/ {4}at |\.ts:\d/);
  });

  test.each([
    { args: ["dump", GUEST, "--cr3", "0x5af3000"], says: "0x5af3000 is not in src/samples/guest-a1" },
    { args: ["dump", "sample", "--cr3", "0x1000", "--as", "pt"], says: "0x1000 is not in sample" },
    { args: ["dump", file("short.raw"), "--cr3", "5000", "--json"], says: "0x5000 is not in " },
    { args: ["dump", file("far.elf"), "--cr3", "1000"], says: "0x1000 is not in " },
  ])("a root that is not there is status 1 and one line with a hint: $args", async ({ args, says }) => {
    const { status, output, errors } = await runHere(args);
    expect(status).toBe(1);
    // Whoever asked for JSON gets a document, in which all of the space is missing.
    if (!args.includes("--json")) expect(output).toBe("");
    else
      expect(JSON.parse(output)).toMatchObject({ ranges: [], missing: [{ start: "0x0", table: "0x5000" }] });
    expect(errors).toContain(`ptescope dump: the root table at ${says}`);
    expect(errors).toMatch(/: ptescope roots IMAGE looks for roots\n$/);
    expect(errors.split("\n")).toHaveLength(2);
  });

  test("a root below which no entry maps anything is status 1, too, whatever garbage it holds", async () => {
    const page = new BigUint64Array(512 * 3);
    page.fill(0x1234_5678n << 8n, 512, 1024);
    page.fill(0x83n, 1024);
    const path = directory.write("garbage.raw", new Uint8Array(page.buffer));
    for (const root of ["0", "1000", "2000"]) {
      const { status, errors } = await runHere(["dump", path, "--cr3", root]);
      expect({ root, status }).toEqual({ root, status: 1 });
      expect(errors).toMatch(
        /^ptescope dump: nothing is mapped here: .* ptescope roots IMAGE looks for roots\n$/,
      );
    }
  });
});
