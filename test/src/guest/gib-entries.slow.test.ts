import { afterAll, describe, expect, test } from "vitest";
import { readGuestDirectory } from "../../../src/formats/guest-snapshot.ts";
import { KPF } from "../../../src/formats/proc-pagemap.ts";
import { importGuest } from "../../../src/guest/import-kernel.ts";
import { scanGuest } from "../../../src/guest/scan-guest.ts";
import { checkTruth, isTrue } from "../../../src/guest/truth.ts";
import { buildGibGuest, GIB, GIB_ENTRIES, type GibGuestOptions } from "../../support/gib-guest.ts";
import { runHere } from "../cli/test-terminal.ts";
import { GuestDirectory } from "../formats/mini-guest.ts";

const SMALL = 2 ** 22;
const PRIVATE = "rw-p 00000000 00:00 0 ";
const ALL_PAGES = 2 ** 26;

const directory = new GuestDirectory();
afterAll(() => directory.remove());

function guest(options: GibGuestOptions) {
  directory.writeGuest(buildGibGuest(options));
  return readGuestDirectory(directory.path);
}

describe("256 entries of 1 GiB", () => {
  test("of other frames each, outside memory: all are counted, more than a Set has room for", () => {
    const { frames } = scanGuest(guest({ memory: SMALL, entry: (gib) => (BigInt(gib + 1) << 30n) | 0xe7n }));
    expect(frames).toMatchObject({ mapped: ALL_PAGES, counted: 0, kept: 0 });
    expect([...frames.leftOut]).toEqual([["no vma", { frames: ALL_PAGES, mappings: GIB_ENTRIES }]]);
  });

  test("of the same frames: they are counted once", () => {
    const { frames } = scanGuest(guest({ memory: SMALL, entry: () => (1n << 40n) | 0xe7n }));
    expect(frames.mapped).toBe(GIB / 4096);
    expect(frames.leftOut.get("no vma")).toEqual({ frames: GIB / 4096, mappings: GIB_ENTRIES });
  });

  test("of one hugetlb page of 1 GiB: its frames are mapped 256 times each, as the kernel has it", () => {
    const hugetlb = guest({
      memory: GIB + 2 ** 14,
      entry: () => 0xe7n,
      vma: {
        line: "rw-s 00000000 00:0f 7 /huge",
        flags: "rd wr sh mr mw me ms ht",
        word: (1n << 63n) | (1n << 61n),
      },
      kpageflags: (pfn) => {
        if (pfn * 4096 >= GIB) return KPF.KPF_BUDDY;
        return KPF.KPF_HUGE | (pfn === 0 ? KPF.KPF_COMPOUND_HEAD : KPF.KPF_COMPOUND_TAIL);
      },
      kpagecount: (pfn) => (pfn * 4096 < GIB ? GIB_ENTRIES : 0),
    });
    const imported = importGuest(hugetlb);
    const truth = checkTruth(imported);
    expect(truth).toEqual({
      kpagecount: { frames: GIB / 4096, equal: GIB / 4096 },
      pagemap: { words: GIB_ENTRIES, equal: GIB_ENTRIES },
      rmap: { pages: 1, equal: 1 },
      mismatches: [],
    });
    expect(isTrue(truth)).toBe(true);
    expect(imported.frames).toMatchObject({ mapped: GIB / 4096, kept: GIB / 4096 });
  });

  test("audit reports them, in columns that do not run together", async () => {
    const options = { memory: SMALL, entry: (gib: number) => (BigInt(gib + 1) << 30n) | 0xe7n };
    guest({ ...options, vma: { line: PRIVATE, flags: "rd wr", word: (1n << 63n) | (1n << 18n) } });
    const { status, output, errors } = await runHere(["audit", directory.path]);
    expect({ status, errors }).toEqual({ status: 1, errors: "" });
    expect(output).toMatch(/mapped frames considered( +67,108,864){5}\n/);
    expect(output).toContain("not eligible (a0): beyond memory 67,108,864");
  });
});
