import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { importScan } from "../../../src/guest/import-kernel.ts";
import { scanTables } from "../../../src/guest/scan-tables.ts";
import { checkTruth, isTrue, type Truth } from "../../../src/guest/truth.ts";
import { VM_SOFTDIRTY } from "../../../src/mm/vma.ts";
import { realGuest, realScan } from "../../support/guests.ts";

const A1 = {
  kpagecount: { frames: 12_578, equal: 12_578 },
  pagemap: { words: 75_853, equal: 75_853 },
  rmap: { pages: 6983, equal: 6983 },
  mismatches: [],
};

describe("a guest just imported is true", () => {
  test("guest-a1", () => {
    const truth = checkTruth(importScan(realScan("guest-a1")));
    expect(truth).toEqual(A1);
    expect(isTrue(truth)).toBe(true);
  });

  test("guest-a2, whose mappings are counted through the kernel's roots only", () => {
    const guest = realGuest("guest-a2");
    expect(guest.processes.every(({ userRoot }) => userRoot !== null)).toBe(true);
    expect(checkTruth(importScan(realScan("guest-a2")))).toEqual({
      ...A1,
      pagemap: { words: 75_854, equal: 75_854 },
    });
  });
});

describe("one changed entry is one finding", () => {
  const imported = importScan(realScan("guest-a1"));
  const { kernel, machine, keptPages } = imported;
  const { mem_map, frames } = kernel;
  const alone = keptPages.filter((page) => {
    const [mapping, ...more] = imported.mappingsOf(page);
    return mem_map.PageAnon(page) && more.length === 0 && mapping!.mm.name === "cow-parent";
  });
  const [page, neighbour] = alone as [Pfn, Pfn];
  const { slot, address } = imported.mappingsOf(page)[0]!;

  /** The truth while the entry has other bits. */
  function truthWith(at: number, change: (entry: bigint) => bigint): Truth {
    const old = machine.memory.read(at);
    const changed = Entry.fromBigInt(change(old.toBigInt()));
    machine.memory.write(at, changed.lo, changed.hi);
    const truth = checkTruth(imported);
    machine.memory.write(at, old.lo, old.hi);
    return truth;
  }

  const lacking = (truth: Truth) => ({
    kpagecount: truth.kpagecount.frames - truth.kpagecount.equal,
    pagemap: truth.pagemap.words - truth.pagemap.equal,
    rmap: truth.rmap.pages - truth.rmap.equal,
  });

  test("another frame: two map counts and the word", () => {
    const free = Array.from({ length: mem_map.nr_pages }, (_, pfn) => pfn).find((pfn) =>
      frames.isFree(Pfn.of(pfn)),
    )!;
    const truth = truthWith(slot, (entry) => entry ^ (BigInt(page ^ free) << 12n));
    expect(lacking(truth)).toEqual({ kpagecount: 2, pagemap: 1, rmap: 0 });
    expect(truth.kpagecount.frames).toBe(12_579);
    expect(truth.mismatches[0]).toContain(`frame 0x${free.toString(16)}: kpagecount says 0`);
    expect(truth.mismatches[2]).toContain(`cow-parent 0x${address.toString(16)}: pagemap says 0x8180`);
  });

  test("a frame that is mapped elsewhere: its owner's word is no longer exclusive, and rmap misses the entry", () => {
    const truth = truthWith(slot, (entry) => entry ^ (BigInt(page ^ neighbour) << 12n));
    expect(lacking(truth)).toEqual({ kpagecount: 2, pagemap: 2, rmap: 1 });
    expect(truth.mismatches[4]).toMatch(
      /^page 0x.*: rmap visits cow-parent .*; the tables have cow-parent .*,/,
    );
  });

  test("not present: no mapping, a word of a software entry", () => {
    expect(lacking(truthWith(slot, (entry) => entry ^ 1n))).toEqual({ kpagecount: 1, pagemap: 1, rmap: 0 });
  });

  test.each([
    ["dirty", 1n << 6n],
    ["accessed", 1n << 5n],
  ])("%s: the kernel's records do not have it, QEMU's list of translations does", (_, bit) => {
    expect(truthWith(slot, (entry) => entry ^ bit)).toEqual(A1);
  });

  test("soft-dirty, in a vma that is not soft-dirty as a whole", () => {
    const soft = keptPages
      .flatMap((each) => imported.mappingsOf(each))
      .find(({ vma, level }) => level === 1 && (vma.vm_flags & VM_SOFTDIRTY) === 0)!;
    const truth = truthWith(soft.slot, (entry) => entry ^ (1n << 11n));
    expect(lacking(truth)).toEqual({ kpagecount: 0, pagemap: 1, rmap: 0 });
  });

  test("userfaultfd's write protection", () => {
    const truth = truthWith(slot, (entry) => entry ^ (1n << 10n));
    expect(lacking(truth)).toEqual({ kpagecount: 0, pagemap: 1, rmap: 0 });
  });

  test("the offset of a swap entry", () => {
    let swapped = 0;
    const { pgd } = imported.mms.get("swap")!;
    scanTables(machine.memory, pgd, 4, new ReadBudget(), "swap", (_address, _level, at, lo, hi) => {
      if ((lo & 0x101) === 0 && hi >>> 27 === 0) swapped = at;
    });
    const truth = truthWith(swapped, (entry) => entry ^ (1n << 12n));
    expect(lacking(truth)).toEqual({ kpagecount: 0, pagemap: 1, rmap: 0 });
  });

  test("the frame of a huge pmd: 512 frames lose a mapping and 512 gain one", () => {
    const thp = keptPages.find((each) => {
      const mappings = imported.mappingsOf(each);
      return mappings.length === 1 && mappings[0]!.level === 2 && mem_map.PageAnon(each);
    })!;
    const other = keptPages.find((each) => mem_map.PageHuge(each))!;
    const truth = truthWith(imported.mappingsOf(thp)[0]!.slot, (entry) => {
      return entry ^ (BigInt(thp ^ other) << 12n);
    });
    expect(lacking(truth).kpagecount).toBe(1024);
    expect(truth.mismatches.length).toBe(20);
  });

  test("and nothing of it stays", () => {
    expect(checkTruth(imported)).toEqual(A1);
  });
});
