import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pteLayout } from "../../../arch/x86/mm/pte-format.ts";
import type { ElfCore } from "../../../src/formats/elf-core.ts";
import { guestLayouts, parseGuestManifest } from "../../../src/formats/guest-manifest.ts";
import {
  type GuestSnapshot,
  imageFile,
  loadGuest,
  readGuestDirectory,
} from "../../../src/formats/guest-snapshot.ts";
import { KPF } from "../../../src/formats/proc-pagemap.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { GUEST_DIRECTORIES } from "../../support/guests.ts";
import { buildMiniGuest, GuestDirectory, text } from "./mini-guest.ts";

const SAMPLE = GUEST_DIRECTORIES["guest-a1"];
const PAGEMAP_PRESENT = 1n << 63n;
const PAGEMAP_PFN = (1n << 55n) - 1n;

/** How often each frame stands in the pagemaps of all processes. */
function mappedFrames(guest: GuestSnapshot): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { pagemap } of guest.processes) {
    for (const { words } of pagemap) {
      for (const word of words) {
        if ((word & PAGEMAP_PRESENT) === 0n) continue;
        const pfn = Number(word & PAGEMAP_PFN);
        counts.set(pfn, (counts.get(pfn) ?? 0) + 1);
      }
    }
  }
  return counts;
}

describe.each([
  { guest: "guest-a1" as const, vmas: 2299, words: 75_853, pages: 846, memory: 256, pti: false },
  { guest: "guest-a2" as const, vmas: 2295, words: 75_854, pages: 897, memory: 320, pti: true },
])("$guest, a real guest", ({ guest, vmas, words, pages, memory, pti }) => {
  let snapshot: GuestSnapshot;
  beforeAll(() => {
    snapshot = readGuestDirectory(GUEST_DIRECTORIES[guest]);
  });

  test("has every process, mapping and pagemap word that was captured", () => {
    expect(snapshot.processes).toHaveLength(46);
    expect(snapshot.processes.flatMap((process) => process.vmas)).toHaveLength(vmas);
    const runs = snapshot.processes.flatMap((process) => process.pagemap);
    expect(runs.reduce((sum, run) => sum + run.words.length, 0)).toBe(words);
  });

  test("is a 6.1 kernel on four levels", () => {
    expect(snapshot).toMatchObject({
      kernelRelease: "6.1.0-56-amd64",
      layout: "linux-6.1",
      levels: 4,
      pti,
      memoryBytes: memory * 2 ** 20,
      cr0: 0x80050033,
      efer: 0xd01,
      swapTypes: { hwpoison: 26, migration: [27, 29], pteMarker: 30, swapinError: 31 },
    });
  });

  test("has all the table pages in it, and no others", () => {
    const budget = new ReadBudget();
    loadGuest(snapshot, budget);
    expect(snapshot.core.segments.reduce((sum, { size }) => sum + size / 4096, 0)).toBe(pages);
    expect(budget.tableVisits).toBe(pages);
  });

  test("under page-table isolation the user half has the next page as its root", () => {
    for (const { name, root, userRoot } of snapshot.processes) {
      expect(userRoot, name).toBe(pti ? root + 0x1000 : null);
    }
  });

  test("counts mappings as its kernel does, zero pages aside", () => {
    const mapped = mappedFrames(snapshot);
    let compared = 0;
    for (const [pfn, count] of mapped) {
      if ((snapshot.kpageflags[pfn]! & KPF.KPF_ZERO_PAGE) !== 0) continue;
      expect(snapshot.kpagecount[pfn], `frame 0x${pfn.toString(16)}`).toBe(count);
      compared++;
    }
    expect(compared).toBe(12_578);
  });
});

describe("imageFile", () => {
  const directory = new GuestDirectory();
  afterAll(() => directory.remove());

  test("takes a directory, a gzip core and a plain core", () => {
    const packed = join(SAMPLE, "pt.elf.gz");
    const plain = directory.write("pt.elf", gunzipSync(readFileSync(packed)));
    const [first, second, third] = [SAMPLE, packed, plain].map((path) => imageFile(path));
    expect(first?.note?.cr3.get("cow-parent")).toBe(0x5af2000);
    expect(second?.file).toBe(packed);
    expect(third?.file).toBe(plain);
    expect(contentOf(second)).toBe(contentOf(first));
    expect(contentOf(third)).toBe(contentOf(first));
  });

  test("says what is missing", () => {
    const nowhere = join(directory.path, "nowhere");
    expect(() => imageFile(nowhere)).toThrow(`${nowhere}: expected a readable file (ENOENT)`);
    expect(() => imageFile(directory.path)).toThrow("pt.elf.gz: expected a readable file (ENOENT)");
  });
});

/** A digest of all segments: a comparison of megabytes that stays fast when it fails. */
function contentOf(core: ElfCore | undefined): string {
  const hash = createHash("sha256");
  for (const { physical, size, bytes, fileOffset } of core?.segments ?? []) {
    hash.update(`${physical} ${size} ${fileOffset} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

describe("three files that do not belong together", () => {
  const directory = new GuestDirectory();
  afterAll(() => directory.remove());

  /** The error of a mini guest whose manifest text or members were changed. */
  function failure(from: string | RegExp, to: string): string {
    const guest = buildMiniGuest();
    const manifest = Buffer.from(guest.manifest).toString().replace(from, to);
    directory.writeGuest({ ...guest, manifest: text(manifest) });
    try {
      readGuestDirectory(directory.path);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return "no error";
  }

  test.each([
    ["nothing changed", "no match", "", "no error"],
    [
      "CR3 of another process",
      '"0x10000"',
      '"0x20000"',
      "expected procs.one.cr3 to be 0x10000 as in the PTIMAGE note",
    ],
    [
      "CR3 outside memory",
      '"0x10000"',
      '"0x100000"',
      'inside the memory of 0x100000 bytes, found "0x100000"',
    ],
    ["CR3 not aligned", '"0x10000"', '"0x10001"', "expected procs.one.cr3 to be a page-aligned address"],
    [
      "CR3 with PWT and PCD",
      '"0x10000"',
      '"0x10018"',
      "expected procs.one.cr3 to be 0x10000 as in the PTIMAGE note",
    ],
    ["CR4", '"0x6e0"', '"0x6a0"', "expected cr4 to be 0x6e0 as in the PTIMAGE note of pt.elf.gz"],
    [
      "a process more",
      '"one": {',
      '"zero": {"pid": 1, "cr3": "0x10000"}, "one": {',
      "expected procs.zero of the manifest",
    ],
    ["a process less", /"one": \{[^}]*\},/, "", "expected procs.one.cr3 to be 0x10000"],
    ["a larger memory", "1048576", "1052672", "expected 257 to 32768 words of 8 bytes, found 2048 bytes"],
    [
      "page-table isolation",
      '"pti": false',
      '"pti": true',
      "expected procs.one.k beside procs.one (pti is true)",
    ],
    [
      "an unknown kernel",
      "6.1.0-56",
      "5.10.0-56",
      "expected kernel to be a release of a known kernel (4.13, 4.14,",
    ],
    ["types that collide", '"pte_marker": 30', '"pte_marker": 28', "expected swap_types to give each kind"],
    ["a range backwards", "27..29", "29..27", "expected swap_types.migration to be a range inside 1..31"],
  ])("%s", (_, from, to, message) => {
    expect(failure(from, to)).toContain(message);
  });

  test("a member that is missing", () => {
    const guest = buildMiniGuest();
    const members = new Map(guest.members);
    members.delete("pre/two.smaps");
    directory.writeGuest({ ...guest, members });
    expect(() => readGuestDirectory(directory.path)).toThrow("proc.tar.gz: expected a member pre/two.smaps");
  });
});

describe("manifest.json", () => {
  function parse(change: object): ReturnType<typeof parseGuestManifest> {
    const json: unknown = JSON.parse(Buffer.from(buildMiniGuest().manifest).toString());
    return parseGuestManifest("m", text(JSON.stringify(Object.assign({}, json, change))));
  }

  test.each([
    ["4.13.0", "linux-4.13"],
    ["4.14.0", "linux-4.14"],
    ["4.14.62-generic", "linux-4.14"],
    ["4.14.74", "l1tf"],
    ["4.17.0", "linux-4.14"],
    ["4.19.0-27-amd64", "l1tf"],
    ["6.1.0-56-amd64", "linux-6.1"],
    ["6.12", "linux-6.12"],
  ])("kernel %s has the layout %s", (kernel, layout) => {
    expect(parse({ kernel }).layout).toBe(layout);
  });

  test("every layout is one that the pteFormat knows", () => {
    for (const layout of guestLayouts()) expect(pteLayout(layout).name).toBe(layout);
  });

  test.each(["4.18.0", "6.10.1", "6.11.0", "60.1", "2.6.32"])("kernel %s is not known", (kernel) => {
    expect(parse({ kernel }).layout).toBeNull();
  });

  test("with PCIDs the low bits of CR3 are the PCID", () => {
    const procs = { one: { pid: 1, cr3: "0x10abc" } };
    expect(parse({ cr4: "0x206e0", procs }).processes[0]?.root).toBe(0x10000);
    expect(() => parse({ procs })).toThrow("page-aligned");
  });

  test("without a swap-in error type there is none", () => {
    const swap_types = { swapfile: "0..", hwpoison: 27, migration: "28..30", pte_marker: 31 };
    expect(parse({ swap_types }).swapTypes.swapinError).toBeNull();
  });

  test.each([
    ["a kernel root alone", { "a.k": ["0x10000", 1] }, "expected procs.a beside procs.a.k"],
    ["roots not paired", { a: ["0x13000", 1], "a.k": ["0x10000", 1] }, "with bit 12 set"],
    ["pids not paired", { a: ["0x11000", 1], "a.k": ["0x10000", 2] }, "expected the same pid in a and a.k"],
  ])("page-table isolation: %s", (_, roots, message) => {
    const procs = Object.fromEntries(Object.entries(roots).map(([name, [cr3, pid]]) => [name, { cr3, pid }]));
    expect(() => parse({ pti: true, procs })).toThrow(message);
  });

  test("a megabyte of open brackets is just bad JSON", () => {
    expect(() => parseGuestManifest("m", text("[".repeat(2 ** 20)))).toThrow(
      "m: expected JSON text in UTF-8",
    );
    expect(() => parseGuestManifest("m", Uint8Array.of(0xff))).toThrow("m: expected JSON text in UTF-8");
    expect(() => parseGuestManifest("m", text("[]"))).toThrow(
      "the JSON text to be an object, found an array",
    );
  });
});
