import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const GUEST = "src/samples/guest-a1";
const ISOLATED = "test/data/guest-a2";

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
    const { output } = await runHere(["dump", "sample", "--process", "thp"]);
    const [, , , header, ...rest] = output.split("\n");
    const rows = rest.slice(0, rest.indexOf(""));
    for (const column of ["physical", "page", "rights", "ADG", "notes"]) {
      const at = header!.indexOf(column);
      expect(rows.every((row) => row.length < at || (row[at - 1] === " " && row[at] !== " "))).toBe(true);
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
    expect((await runHere(args)).output).toMatch(/^0000000000401000-.* \/ptlab, also at ffffffff8/m);
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

  test("stops where nobody reads any more, and says so", async () => {
    const { status, output, errors } = await runHere(
      ["dump", GUEST, "--process", "big", "--as", "qemu-tlb"],
      1,
    );
    const closed = "standard output cannot be written: its reader has closed it (EPIPE)";
    expect({ status, errors }).toEqual({ status: 2, errors: `ptescope dump: ${closed}\n` });
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
    expect(output).toContain("Linux    hwpoison: broken frame 0x12345, touching it is SIGBUS (linux-4.13)");
  });
});
