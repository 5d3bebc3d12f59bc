import { afterAll, describe, expect, test } from "vitest";
import { readGuestDirectory } from "../../../src/formats/guest-snapshot.ts";
import { KPF } from "../../../src/formats/proc-pagemap.ts";
import { importGuest } from "../../../src/guest/import-kernel.ts";
import { checkTruth } from "../../../src/guest/truth.ts";
import { PhysicalPages } from "../../support/physical-pages.ts";
import { runHere } from "../cli/test-terminal.ts";
import { buildCore, GuestDirectory, text } from "../formats/mini-guest.ts";

/**
 * A guest of 6.12: process one maps a small page and a huge one, process two one page of the huge one by an entry of its
 * own. Bit 56 of pagemap is each page's own map count, and KPF_KSM stands on every anonymous page.
 */
const MEMORY = 0x80_0000;
const ROOTS = { one: 0x1_0000, two: 0x2_0000 };
const SMALL = 0x180;
const HUGE = 0x200;
const SHARED = HUGE + 1;
const SMALL_AT = 0x40_0000;
const HUGE_AT = 0x60_0000;
const PM_PRESENT = 1n << 63n;
const PM_EXCLUSIVE = 1n << 56n;

const directory = new GuestDirectory();
afterAll(() => directory.remove());

function tables(): PhysicalPages {
  const memory = new PhysicalPages();
  for (const root of Object.values(ROOTS)) {
    const at = (index: number): bigint => BigInt(root + index * 4096) | 0x67n;
    memory.path(root, BigInt(SMALL_AT), [at(1), at(2), at(3)]);
    memory.page(root + 0x3000);
  }
  memory.entry(ROOTS.one + 0x3000, (BigInt(SMALL) << 12n) | 0x8000_0000_0000_0067n);
  memory.entry(ROOTS.one + 0x2000 + 8 * 3, (BigInt(HUGE) << 12n) | 0x8000_0000_0000_00e7n);
  memory.entry(ROOTS.two + 0x2000 + 8 * 3, BigInt(ROOTS.two + 0x4000) | 0x67n);
  memory.entry(ROOTS.two + 0x4000 + 8, (BigInt(SHARED) << 12n) | 0x8000_0000_0000_0065n);
  return memory;
}

function frames(word: (pfn: number) => number): Uint8Array {
  const words = BigUint64Array.from({ length: MEMORY / 4096 }, (_, pfn) => BigInt(word(pfn) >>> 0));
  return new Uint8Array(words.buffer);
}

function kpageflags(pfn: number): number {
  const anon = KPF.KPF_ANON | KPF.KPF_KSM | KPF.KPF_LRU | KPF.KPF_SWAPBACKED | KPF.KPF_UPTODATE;
  if (pfn === SMALL) return anon;
  if (pfn === HUGE) return anon | KPF.KPF_THP | KPF.KPF_COMPOUND_HEAD;
  if (pfn > HUGE && pfn < HUGE + 512) return anon | KPF.KPF_THP | KPF.KPF_COMPOUND_TAIL;
  return pfn > 0x400 ? KPF.KPF_BUDDY : 0;
}

function kpagecount(pfn: number): number {
  if (pfn === SHARED) return 2;
  return pfn === SMALL || (pfn >= HUGE && pfn < HUGE + 512) ? 1 : 0;
}

function words(start: number, pages: number, word: (page: number) => bigint): bigint[] {
  return [BigInt(start), BigInt(pages), ...Array.from({ length: pages }, (_, page) => word(page))];
}

function writeGuest(kernel: string, core = buildCore(tables().pages, note())): void {
  const lines = ["00400000-00401000 rw-p 00000000 00:00 0 \n", "00600000-00800000 rw-p 00000000 00:00 0 \n"];
  const smaps = lines.map((line) => `${line}Rss:  8 kB\nVmFlags: rd wr mr mw me ac \n`).join("");
  const one = [
    ...words(SMALL_AT, 1, () => PM_PRESENT | PM_EXCLUSIVE | BigInt(SMALL)),
    ...words(HUGE_AT, 512, (page) => {
      return PM_PRESENT | (page === 1 ? 0n : PM_EXCLUSIVE) | BigInt(HUGE + page);
    }),
  ];
  const two = [
    ...words(SMALL_AT, 1, () => 0n),
    ...words(HUGE_AT, 512, (page) => (page === 1 ? PM_PRESENT | BigInt(SHARED) : 0n)),
  ];
  const members = new Map<string, Uint8Array>([
    ["pre/SYS.kpagecount", frames(kpagecount)],
    ["pre/SYS.kpageflags", frames(kpageflags)],
  ]);
  for (const [name, pagemap] of [
    ["one", one],
    ["two", two],
  ] as const) {
    members.set(`pre/${name}.maps`, text(lines.join("")));
    members.set(`pre/${name}.smaps`, text(smaps));
    members.set(`pre/${name}.pagemap`, new Uint8Array(BigUint64Array.from(pagemap).buffer));
  }
  const manifest = {
    name: "six-twelve",
    ...REGISTERS,
    guest_ram: MEMORY,
    pti: false,
    kernel,
    swap_types: { swapfile: "0..", hwpoison: 27, migration: "28..30", pte_marker: 31 },
    procs: { one: { pid: 11, cr3: "0x10000" }, two: { pid: 12, cr3: "0x20000" } },
  };
  directory.writeGuest({ core, manifest: text(JSON.stringify(manifest)), members });
}

const REGISTERS = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4 };

function note(): object {
  return { ...REGISTERS, cr3: { one: "0x10000", two: "0x20000" } };
}

describe("a guest of 6.12", () => {
  test("its kernel's records are confirmed: each page's own map count, and no KSM", () => {
    writeGuest("6.12.9-amd64");
    const truth = checkTruth(importGuest(readGuestDirectory(directory.path), { observe: true }));
    expect(truth).toEqual({
      kpagecount: { frames: 513, equal: 513 },
      pagemap: { words: 1026, equal: 1026 },
      rmap: { pages: 2, equal: 2 },
      mismatches: [],
    });
  });

  test("audit says so and runs nothing; a run that is asked for is refused with the layouts that work", async () => {
    writeGuest("6.12.9-amd64");
    const { status, output } = await runHere(["audit", directory.path]);
    expect(status).toBe(0);
    expect(output.replace(/\s+/g, " ")).toContain(
      "nothing is run on entries of the layout linux-6.12: 4.13's code runs on linux-4.13,",
    );
    expect(output).toContain("1,026 of 1,026");
    const refused = await runHere(["audit", directory.path, "--protocol", "c"]);
    expect(refused).toMatchObject({ status: 2, output: "" });
    expect(refused.errors).toMatch(/layout linux-6\.12, only on linux-4\.13, .*: leave --protocol/);
    expect(() => importGuest(readGuestDirectory(directory.path))).toThrow("can be decoded only");
  });
});

test("an unknown release stops what needs a layout, not walk and dump", async () => {
  writeGuest("7.3.1-own");
  const walked = await runHere(["walk", directory.path, "--process", "one", "600000"]);
  expect(walked.output).toContain("-> physical 0x200000, in a 2 MiB page");
  expect((await runHere(["dump", directory.path, "--process", "one"])).output).toContain("of 2M");
  for (const command of ["ps", "audit"]) {
    const { status, errors } = await runHere([command, directory.path]);
    expect(status).toBe(2);
    expect(errors).toMatch(/a release of a known kernel \(4\.13, .*found "7\.3\.1-own"/);
  }
});

test("F13 in a guest: ps and audit list the rest, and one line says which table is missing", async () => {
  const memory = tables().entry(ROOTS.one + 0x1000 + 8 * 7, 0x7f_0067n);
  writeGuest("6.1.0-56-amd64", buildCore(memory.pages, note()));
  const ps = await runHere(["ps", directory.path]);
  expect(ps.status).toBe(0);
  expect(ps.output).toMatch(/^one +11 /m);
  expect(ps.errors).toBe(
    "ptescope ps: one: 0x1c0000000-0x200000000: table at 0x7f0000 is not in the image\n",
  );
  const { output } = await runHere([
    "audit",
    directory.path,
    "--json",
    "--protocol",
    "c",
    "--listeners",
    "none",
  ]);
  const { remarks } = JSON.parse(output) as { remarks: string[] };
  expect(remarks.at(-1)).toMatch(/^the table at 0x7f0000 is not in the image: the level 3 entry at 0x11038/);
});

test.each([
  { level: 2, slot: ROOTS.two + 0x2000 + 8 * 3, frame: "outside memory", entry: 0x4000_0160n },
  { level: 2, slot: ROOTS.two + 0x2000 + 8 * 3, frame: "in memory", entry: 0x000f_ffff_ffc0_0160n },
  { level: 3, slot: ROOTS.two + 0x1000, frame: "outside memory", entry: 0x4000_0120n },
])("PROT_NONE without PSE at level $level, frame $frame: one line that names it", async (row) => {
  const core = buildCore(tables().entry(row.slot, row.entry).pages, note());
  writeGuest("6.1.0-56-amd64", core);
  const { status, output, errors } = await runHere(["audit", directory.path]);
  expect({ status, output }).toEqual({ status: 2, output: "" });
  expect(errors.trimEnd().split("\n")).toHaveLength(1);
  const place = `the level ${row.level} entry at physical 0x${row.slot.toString(16)}`;
  expect(errors).toMatch(
    new RegExp(`pt\\.elf\\.gz: offset 0x.*: expected ${place} .*found PROT_NONE alone: 0x`),
  );
});
