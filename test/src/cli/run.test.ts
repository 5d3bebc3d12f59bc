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
    for (const name of ["ps", "dump", "walk", "decode"]) {
      expect(output).toMatch(new RegExp(`^  ${name} `, "m"));
      const help = await runHere([name, "--help"]);
      expect(help).toMatchObject({ status: 0, errors: "" });
      expect(help.output).toContain("--json");
      expect(help.output).toEqual((await runHere(["help", name])).output);
    }
  });

  test("no line of it is wider than a wide terminal", async () => {
    for (const args of [["--help"], ["dump", "--help"], ["walk", "-h"], ["ps", "-h"], ["decode", "-h"]]) {
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
    {
      args: ["dump", GUEST, "--cr3", "0x5af3000"],
      says: /expected the root table at 0x5af3000 in the image$/,
    },
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
    { args: ["dump", file("short.raw"), "--cr3", "5000"], says: /the root table at 0x5000 in the image/ },
    { args: ["dump", file("short.raw")], says: /does not name processes, use --cr3/ },
    { args: ["dump", file("short.gz"), "--cr3", "0"], says: /complete gzip stream/ },
    {
      args: ["dump", file("short.elf"), "--cr3", "0"],
      says: /offset 0x[0-9a-f]+: expected a segment inside/,
    },
    { args: ["dump", file("beyond.elf"), "--process", "x"], says: /does not name processes, use --cr3/ },
    { args: ["dump", file("far.elf"), "--cr3", "1000"], says: /the root table at 0x1000 in the image/ },
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
});

describe("dump", () => {
  test("a core file alone knows its processes", async () => {
    const args = ["--process", "huge", "--as", "qemu-mem"];
    const whole = await runHere(["dump", GUEST, ...args]);
    expect(await runHere(["dump", join(GUEST, "pt.elf.gz"), ...args])).toEqual(whole);
  });

  test("--cr3 takes the register as it is, flags and PCID included", async () => {
    const args = ["dump", GUEST, "--as", "qemu-tlb", "--lines", "5"];
    const named = await runHere([...args, "--process", "cow-parent"]);
    expect((await runHere([...args, "--cr3", "0x8000000005af2123"])).output).toBe(named.output);
  });

  test("page-table isolation: NAME is the user's root, NAME.k the kernel's", async () => {
    const pages = async (name: string): Promise<number> => {
      const { output } = await runHere(["dump", ISOLATED, "--process", name, "--json"]);
      return (JSON.parse(output) as { pages: { "4K": number } }).pages["4K"];
    };
    expect(await pages("big.k")).toBeGreaterThan((await pages("big")) + 1000);
  });

  test("stops at the line limit with a last word; --as keeps it off standard output", async () => {
    const table = await runHere(["dump", GUEST, "--process", "big", "--lines", "2"]);
    expect(table.output).toContain("stopped after 2 lines, there are more: --lines all");
    const lines = await runHere(["dump", GUEST, "--process", "big", "--lines", "2", "--as", "qemu-tlb"]);
    expect(lines.output.split("\n")).toHaveLength(3);
    expect(lines.errors).toMatch(/^ptescope dump: stopped after 2 lines, .*\n$/);
  });

  test("columns are aligned", async () => {
    const { output } = await runHere(["dump", GUEST, "--process", "thp"]);
    const [, , , header, ...rest] = output.split("\n");
    const rows = rest.slice(0, rest.indexOf(""));
    for (const column of ["physical", "page", "rights", "mode", "A D G"]) {
      const at = header!.indexOf(column);
      expect(rows.every((row) => row[at - 1] === " " && row[at] !== " ")).toBe(true);
    }
  });

  test("--json is one object, also when it is cut short", async () => {
    const args = ["dump", GUEST, "--process", "pkey", "--json", "--range", "180000004000-180000018000"];
    const { output } = await runHere(args);
    const whole = JSON.parse(output) as { ranges: object[] };
    expect(whole).toMatchObject({
      format: "ptescope-dump",
      version: 1,
      root: "0x699c000",
      levels: 4,
      complete: true,
      pages: { "4K": 20, "2M": 0, "1G": 0 },
    });
    expect(whole.ranges[0]).toMatchObject({
      start: "0x180000004000",
      length: 0x8000,
      page: "4K",
      key: 1,
      write: true,
    });
    const cut = JSON.parse((await runHere([...args, "--lines", "1"])).output) as { ranges: object[] };
    expect(cut).toMatchObject({ complete: false, pages: { "4K": 8 } });
    expect(cut.ranges).toHaveLength(1);
    const none = await runHere([...args.slice(0, -1), "0-1000"]);
    expect(JSON.parse(none.output)).toMatchObject({ ranges: [], complete: true });
  });

  test("--sort physical is the same ranges in another order", async () => {
    const ranges = async (...args: string[]): Promise<{ physical: string }[]> => {
      const { output } = await runHere(["dump", GUEST, "--process", "thp", "--json", ...args]);
      return (JSON.parse(output) as { ranges: { physical: string }[] }).ranges;
    };
    const sorted = await ranges("--sort", "physical");
    const addresses = sorted.map(({ physical }) => Number(physical));
    expect(addresses).toEqual([...addresses].sort((a, b) => a - b));
    const text = (list: readonly object[]): string[] => list.map((range) => JSON.stringify(range)).sort();
    expect(text(sorted)).toEqual(text(await ranges()));
  });

  test("--filter lists what has all of its rights, and nothing else", async () => {
    interface Range {
      write: boolean;
      execute: boolean;
      user: boolean;
      dirtyPages: number;
      pages: number;
    }
    const read = async (...args: string[]): Promise<Range[]> => {
      const { output } = await runHere(["dump", GUEST, "--process", "thp", "--json", ...args]);
      return (JSON.parse(output) as { ranges: Range[] }).ranges;
    };
    const pages = (list: readonly Range[]): number => list.reduce((sum, { pages: some }) => sum + some, 0);
    const all = await read();
    const writable = await read("--filter", "w,!u");
    expect(writable.every(({ write, user }) => write && !user)).toBe(true);
    expect(pages(writable)).toBe(pages(all.filter(({ write, user }) => write && !user)));
    const dirty = await read("--filter", "d");
    expect(dirty.every((range) => range.dirtyPages === range.pages)).toBe(true);
    expect(pages(dirty)).toBe(all.reduce((sum, { dirtyPages }) => sum + dirtyPages, 0));
  });

  test("aliases are looked for in the whole space, whatever is listed, unless not wanted", async () => {
    const args = ["dump", GUEST, "--process", "thp", "--range", "401000-402000"];
    expect((await runHere(args)).output).toMatch(/^0x0000000000401000-.* also at 0xffff8880/m);
    expect((await runHere([...args, "--no-aliases"])).output).not.toContain("also at");
  });

  test("tables that make 2^36 pages end where the limit is, with the reason", async () => {
    const root = new BigUint64Array(512).fill(0x1067n);
    const directory = new GuestDirectory();
    const memory = new Uint8Array(0x2000);
    memory.set(new Uint8Array(root.buffer), 0x1000);
    const path = directory.write("loop.raw", memory);
    const args = ["dump", path, "--cr3", "1000", "--lines", "3"];
    const table = await runHere([...args, "--no-aliases"]);
    expect(table.output).toContain("stopped after 16,777,216 pages, there are more: --lines all");
    const mem = await runHere([...args, "--as", "qemu-mem"]);
    expect(mem.errors).toContain("stopped after 16,777,216 pages");
    directory.remove();
  });

  test("stops quietly when nobody reads any more", async () => {
    const { status, output, errors } = await runHere(
      ["dump", GUEST, "--process", "big", "--as", "qemu-tlb"],
      1,
    );
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output.length).toBeLessThan(100_000);
  });
});

describe("ps, walk and decode", () => {
  test("ps counts what the capture counted", async () => {
    const { output } = await runHere(["ps", GUEST, "--json"]);
    const { processes } = JSON.parse(output) as { processes: { name: string; entries: object }[] };
    expect(processes).toHaveLength(46);
    expect(processes[0]).toMatchObject({
      name: "cow-parent",
      pid: 112,
      root: "0x5af2000",
      userRoot: null,
      vmas: 15,
    });
    const table = await runHere(["ps", ISOLATED]);
    expect(table.output).toMatch(/^NAME +PID +KERNEL ROOT +USER ROOT +VMAS/m);
    expect(table.output).toMatch(/^total .* 1,257 +215 +23$/m);
  });

  test("walk reads the last entry as the guest's own kernel does", async () => {
    const { status, output } = await runHere(["walk", GUEST, "--process", "swap", "401123", "--write"]);
    expect(status).toBe(0);
    expect(output).toContain("0x0000000000401123  user write");
    expect(output).toMatch(/error code 0x07: P \(page present\), W\/R \(write\), U\/S \(user mode\)/);
    const json = await runHere(["walk", GUEST, "--process", "swap", "401123", "--json"]);
    expect(JSON.parse(json.output)).toMatchObject({
      format: "ptescope-walk",
      version: 1,
      walks: [{ address: "0x401123", access: "user read", end: { kind: "page", physical: "0x330d123" } }],
    });
  });

  test("walk follows a root that the image does not hold no further", async () => {
    const { output } = await runHere(["walk", GUEST, "--cr3", "0x5af3000", "0"]);
    expect(output).toContain("the image does not hold the table at 0x5af3000");
  });

  test("decode takes a kernel's layout", async () => {
    const { output } = await runHere(["decode", "0x0000000048d17a00", "--kernel", "linux-4.13"]);
    expect(output).toContain("linux-4.13  hwpoison: broken frame 0x12345");
  });
});
