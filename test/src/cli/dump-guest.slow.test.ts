import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const ISOLATED = "test/data/guest-a2";
const USER = ["--range", "0-800000000000"];

interface Range {
  start: string;
  length: number;
  physical: string | null;
  present: boolean;
  pages: number;
  directMap?: string;
  linux?: { kind: string; type?: number; offset?: number; pfn?: number };
  vma?: { start: string; end: string; permissions: string; offset: number; name: string };
}

interface Dump {
  ranges: Range[];
  absentEntries: Record<string, number>;
  unreadEntries: number;
  tables: number;
  directMap?: { start: string; bytes: number; whole: boolean };
}

async function json(...args: readonly string[]): Promise<Dump> {
  return JSON.parse((await runHere(["dump", ...args, "--json"])).output) as Dump;
}

async function rows(...args: readonly string[]): Promise<string[]> {
  const lines = (await runHere(["dump", ...args, "--no-aliases"])).output.split("\n").slice(4);
  return lines.slice(0, lines.indexOf(""));
}

const directory = new GuestDirectory();
afterAll(() => directory.remove());

describe("the names of mappings", () => {
  test("stand in every row of the user half, and rows are 120 columns wide, with long names a few more", async () => {
    const lines = await rows("sample", "--process", "bash-2", ...USER);
    const names = lines.map((line) => line.slice(86).split(",")[0]);
    expect(new Set(names)).toEqual(
      new Set([
        "/bin/bash",
        "anonymous",
        "[heap]",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libtinfo.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "[stack]",
        "[vvar]",
        "[vdso]",
      ]),
    );
    expect(lines.every((line) => line.length <= 121)).toBe(true);
  });

  test("a range ends where its mapping does: none crosses one, in no process is a page in none", async () => {
    for (const name of ["vmas", "file-a"]) {
      const { ranges } = await json("sample", "--process", name, ...USER, "--no-aliases");
      for (const { start, length, vma } of ranges) {
        expect(vma, `${name} ${start}`).toBeDefined();
        expect(BigInt(start)).toBeGreaterThanOrEqual(BigInt(vma!.start));
        expect(BigInt(start) + BigInt(length)).toBeLessThanOrEqual(BigInt(vma!.end));
      }
    }
  });

  test("the root alone tells the process; both roots of an isolated one do", async () => {
    const named = await rows("sample", "--process", "swap", ...USER);
    expect(await rows("sample", "--cr3", "649c000", ...USER)).toEqual(named);
    for (const name of ["swap", "swap.k"]) {
      expect((await rows(ISOLATED, "--process", name, ...USER))[0]).toMatch(/ {2}\/ptlab/);
    }
  });

  test("without a record there are none; a damaged one costs a line", async () => {
    const args = ["--process", "swap", ...USER];
    const alone = await runHere(["dump", "src/samples/guest-a1/pt.elf.gz", ...args]);
    expect(alone.output).not.toContain("/ptlab");
    const copy = join(directory.path, "copy");
    cpSync("src/samples/guest-a1", copy, { recursive: true });
    writeFileSync(join(copy, "proc.tar.gz"), "no archive");
    const damaged = await runHere(["dump", copy, ...args]);
    expect(damaged.status).toBe(0);
    expect(damaged.errors).toMatch(/^ptescope dump: no names of mappings: .*proc\.tar\.gz:.*\n$/);
    expect(damaged.output).not.toContain("/ptlab");
  });
});

describe("entries that are not present", () => {
  test("swap: area and slots of a run, and how many there are", async () => {
    const lines = await rows("sample", "--process", "swap", ...USER);
    expect(lines.filter((line) => line.includes("swapped out"))).toEqual([
      "0000140000060000-0000140000300000    2,688 KiB  -              4K    --- user    ---  anonymous, " +
        "swapped out: area 0, slots 0x260 to 0x4ff, soft-dirty",
    ]);
    const { ranges, absentEntries } = await json("sample", "--process", "swap", ...USER);
    expect(absentEntries).toEqual({ swap: 672 });
    expect(ranges.filter(({ present }) => !present)).toMatchObject([
      {
        start: "0x140000060000",
        physical: null,
        pages: 672,
        linux: { kind: "swap", type: 0, offset: 0x260 },
      },
    ]);
  });

  test("PROT_NONE keeps its frame, its A and D, and its size", async () => {
    const lines = (await rows("sample", "--process", "none", ...USER)).filter((line) =>
      line.includes("PROT_NONE"),
    );
    expect(lines).toEqual([
      "0000160000008000-000016000000d000       20 KiB  000000837b000  4K    --- user    AD-  anonymous, PROT_NONE",
      "000016000000d000-0000160000018000       44 KiB  0000004340000  4K    --- user    AD-  anonymous, PROT_NONE",
      "00007f3597000000-00007f3597200000        2 MiB  0000008000000  2M    --- user    AD-  anonymous, PROT_NONE",
    ]);
  });

  test.each([
    ["hwp", /anonymous, hwpoison: frames 0x8ce4 to 0x8ce5$/m],
    ["uffd", /uffdshm \(deleted\), marker: uffd-wp$/m],
  ])("%s has others", async (name, says) => {
    expect((await rows("sample", "--process", name, "--filter", "np")).join("\n")).toMatch(says);
  });

  test("as many as ps counts", async () => {
    const { output } = await runHere(["ps", "sample", "--json"]);
    const { processes } = JSON.parse(output) as {
      processes: { name: string; entries: Record<string, number> }[];
    };
    for (const name of ["swap", "none", "hwp"]) {
      const { entries } = processes.find((process) => process.name === name)!;
      const { absentEntries } = await json("sample", "--process", name, "--no-aliases");
      const of = (kind: string): number => absentEntries[kind] ?? 0;
      expect({ name, swap: of("swap"), none: of("prot-none"), hwpoison: of("hwpoison") }).toEqual({
        name,
        swap: entries.swap,
        none: entries.protNone4K! + entries.protNone2M!,
        hwpoison: entries.hwpoison,
      });
    }
  });

  test("of an unknown kernel they are counted, and --kernel reads them", async () => {
    const args = ["src/samples/guest-a1/pt.elf.gz", "--process", "swap", ...USER, "--no-aliases"];
    const unread = await runHere(["dump", ...args]);
    expect(unread.output).toContain(
      "\n672 entries not present: --kernel LAYOUT says how to read swap and PROT_NONE\n",
    );
    expect(await json(...args)).toMatchObject({ unreadEntries: 672, absentEntries: {} });
    expect(await json(...args, "--kernel", "linux-6.1")).toMatchObject({
      unreadEntries: 0,
      absentEntries: { swap: 672 },
    });
  });

  test("are neither w nor !w; filters that are given twice must both hold", async () => {
    const filtered = async (...filters: string[]): Promise<Range[]> =>
      (
        await json(
          "sample",
          "--process",
          "swap",
          ...USER,
          "--no-aliases",
          ...filters.flatMap((text) => ["--filter", text]),
        )
      ).ranges;
    expect((await filtered("w")).concat(await filtered("!w")).every(({ present }) => present)).toBe(true);
    expect(await filtered("!w", "np")).toEqual([]);
    expect(await filtered("np", "4k")).toHaveLength(1);
    expect(await filtered("np", "2m")).toEqual([]);
  });
});

describe("the direct map", () => {
  test("is one line, and no alias of a page; what is not in it says so", async () => {
    const { output } = await runHere(["dump", "sample", "--process", "secret"]);
    expect(output).toContain("\ndirect map: 261,964 KiB of memory at ffff888000000000 + physical address;");
    expect(output).not.toMatch(/also at .*ffff888/);
    const secret = output.split("\n").filter((line) => line.includes("/secretmem"));
    expect(secret.length).toBeGreaterThan(0);
    expect(secret.every((line) => line.endsWith("/secretmem (deleted), not in the direct map"))).toBe(true);
    expect(output).toMatch(/^0000000000401000-.* \/ptlab, also at ffffffff8330d000$/m);
  });

  test("--json has the same: self, all, part or none", async () => {
    const { directMap, ranges } = await json("sample", "--process", "secret");
    expect(directMap).toEqual({ start: "0xffff888000000000", bytes: 261_964 * 1024, whole: true });
    const told = (name: string): Set<string | undefined> =>
      new Set(ranges.filter(({ vma }) => vma?.name.startsWith(name)).map((range) => range.directMap));
    expect(told("/secretmem")).toEqual(new Set(["none"]));
    expect(told("/ptlab")).toEqual(new Set(["all"]));
    expect(ranges.some((range) => range.directMap === "self")).toBe(true);
  });

  test("the user's half of an isolated process has none", async () => {
    expect((await json(ISOLATED, "--process", "swap")).directMap).toBeUndefined();
  });
});

test("the last line sums up: ranges, pages by size, what is not present, tables", async () => {
  const { output } = await runHere(["dump", "sample", "--process", "none", ...USER]);
  expect(output).toMatch(/^\d+ ranges; present pages: [\d,]+ of 4K, 1 of 2M; 17 PROT_NONE; \d+ tables$/m);
});

test.each(["dump", "walk", "roots"])("%s takes the sample by its name", async (command) => {
  const args = {
    dump: ["--process", "big", "--lines", "1", "--no-aliases"],
    walk: ["--process", "big", "401000"],
    roots: ["--lines", "1"],
  }[command]!;
  const { status, output, errors } = await runHere([command, "sample", ...args]);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  expect(output).not.toBe("");
});
