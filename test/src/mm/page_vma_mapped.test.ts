import { describe, expect, test } from "vitest";
import { Linear, NO_SLOT, Pfn, type Slot } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { lockTable, tableLockId, tryLockTable, unlockTable } from "../../../src/mm/locks.ts";
import type { vm_area_struct } from "../../../src/mm/mm_types.ts";
import {
  PageVmaMappedWalk,
  PVMW_MIGRATION,
  PVMW_SYNC,
  page_mapped_in_vma,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "../../../src/mm/page_vma_mapped.ts";
import { pmdSlot, pteSlot, tableOf } from "../../../src/mm/page-table.ts";
import { vma_address } from "../../../src/mm/vma.ts";
import { Scene } from "../../support/scene.ts";
import { advance, advanceTo } from "../../support/steps.ts";

const h = Linear.of(0x7f00_0020_0000);
const PFN = Pfn.of(0x345);
const HEAD = Pfn.of(0x400);
const CLEAN = 0x8000_0000_0000_0025n;

/** Every hit of a walk from where rmap would start it, as level and address; the locks are checked at each return. */
function walkAll(scene: Scene, page: number, vma: vm_area_struct, flags = 0, from?: number): string[] {
  const { kernel } = scene;
  const pfn = Pfn.of(page);
  const start = from === undefined ? vma_address(kernel.mem_map, pfn, vma) : Linear.of(from);
  const v = new PageVmaMappedWalk(kernel, pfn, vma, start, flags);
  const hits: string[] = [];
  for (;;) {
    const found = kernel.run(page_vma_mapped_walk(v));
    // 61: exactly one page-table lock is held at a hit and none at the end.
    expect(kernel.current.locksHeld).toBe(found ? 1 : 0);
    if (!found) return hits;
    hits.push(`${v.pte === NO_SLOT ? "pmd" : "pte"} 0x${v.address.toString(16)}`);
  }
}

const HIT = { done: true, value: true };
const MISS = { done: true, value: false };

describe("a small page", () => {
  function small(entry: bigint) {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h + 0x1000, scene.page(PFN), entry);
    return { scene, vma };
  }
  const pte = (flags: bigint, pfn = BigInt(PFN)) => (pfn << 12n) | flags;

  test.each([
    ["present", pte(0x27n), true],
    ["PROT_NONE: still mapped", pte(0x120n), true],
    ["nothing", 0n, false],
    ["stray A and D", 0x60n, false],
    ["another page", pte(0x27n, 0x346n), false],
    ["a swap entry, even if its number is the page's", 0x345n << 14n, false],
    ["a migration entry for the page", 0xd1_7c00n, false],
  ])("%s", (_what, entry, found) => {
    const { scene, vma } = small(entry);
    const hits = found ? [`pte 0x${(h + 0x1000).toString(16)}`] : [];
    expect(walkAll(scene, PFN, vma)).toEqual(hits);
    expect(walkAll(scene, PFN, vma, PVMW_SYNC)).toEqual(hits);
  });

  test("without tables there is nothing to find", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.page(PFN);
    for (const flags of [0, PVMW_SYNC, PVMW_MIGRATION])
      expect(walkAll(scene, PFN, vma, flags, h)).toEqual([]);
  });

  test.each([
    ["none", 0n],
    ["not present", 0x1_0000_3c00n],
    ["of device memory", 0x0400_0010_0000_00e7n],
  ])("a pmd that is %s ends the walk", (_what, pmd) => {
    const { scene, vma } = small(pte(0x27n));
    scene.kernel.plantEntry(pmdSlot(vma.vm_mm, h), Entry.fromBigInt(pmd));
    expect(walkAll(scene, PFN, vma, PVMW_SYNC)).toEqual([]);
  });

  test("a pmd that names a table outside memory is named, and nobody waits for its lock", () => {
    const { scene, vma } = small(pte(0x27n));
    scene.kernel.plantEntry(pmdSlot(vma.vm_mm, h), Entry.fromBigInt(0x1_0000_0067n));
    expect(() => walkAll(scene, PFN, vma, PVMW_SYNC)).toThrow(
      /lock of the page table in frame 0x100000: memory has/,
    );
  });

  test("stopping early lets go of the lock", () => {
    const { scene, vma } = small(pte(0x27n));
    const v = new PageVmaMappedWalk(scene.kernel, PFN, vma, Linear.of(h + 0x1000));
    expect(page_vma_mapped_walk(v).next()).toEqual(HIT);
    expect(v.ptl).toBe(tableOf(pteSlot(vma.vm_mm, h)));
    page_vma_mapped_walk_done(v);
    expect([v.ptl, scene.kernel.current.locksHeld]).toEqual([-1, 0]);
  });
});

describe("PVMW_MIGRATION", () => {
  const migration = (pfn: number) => (BigInt(pfn) << 14n) | (31n << 9n);
  function migrating(entry: bigint) {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h, scene.page(PFN), entry);
    return { scene, vma };
  }

  test.each([
    ["the page's migration entry", migration(PFN), ["pte 0x7f0000200000"]],
    ["a present entry", 0x34_5027n, []],
    ["PROT_NONE", 0x34_5120n, []],
    ["a swap entry", 0x345n << 14n, []],
    ["a poison entry of the page", (0x345n << 14n) | (29n << 9n), []],
    ["nothing", 0n, []],
  ])("%s", (_what, entry, hits) => {
    const { scene, vma } = migrating(entry);
    expect(walkAll(scene, PFN, vma, PVMW_MIGRATION)).toEqual(hits);
    expect(walkAll(scene, PFN, vma, PVMW_MIGRATION | PVMW_SYNC)).toEqual(hits);
  });

  test("another page's migration entry is not it; that page, too, must be locked", () => {
    const { scene, vma } = migrating(migration(0x346));
    scene.page(0x346);
    expect(walkAll(scene, PFN, vma, PVMW_MIGRATION)).toEqual([]);
    scene.kernel.mem_map.ClearPageLocked(Pfn.of(0x346));
    expect(() => walkAll(scene, PFN, vma, PVMW_MIGRATION)).toThrow(/frame 838, which is not locked/);
  });

  test("a huge pmd ends the walk: 4.13 has no huge migration entries", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
    scene.mapHugeAnon(vma, h, scene.compoundPage(HEAD), 0x40_00e7n);
    expect(walkAll(scene, HEAD, vma, PVMW_MIGRATION)).toEqual([]);
  });
});

describe("lockless look and SYNC", () => {
  /** Another rmap user has exchanged the entry with zero and is about to store the new one. */
  function exchanging() {
    const scene = new Scene();
    const { kernel } = scene;
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h, scene.page(PFN), 0n);
    const table = tableOf(pteSlot(vma.vm_mm, h));
    const walker = kernel.current;
    const other = kernel.createTask("other", 1);
    kernel.current = other;
    kernel.run(lockTable(kernel, table, "pte"));
    kernel.current = walker;
    const finish = () => {
      kernel.current = other;
      scene.plantPte(vma.vm_mm, h, CLEAN | (BigInt(PFN) << 12n));
      unlockTable(kernel, table, "pte");
      kernel.current = walker;
    };
    return { kernel, vma, table, finish };
  }

  test("without SYNC the walk sees none and reports the page as not mapped", () => {
    const { kernel, vma } = exchanging();
    expect(page_vma_mapped_walk(new PageVmaMappedWalk(kernel, PFN, vma, h)).next()).toEqual(MISS);
  });

  test("with SYNC it waits for the lock, is blocked until it is free, and finds the entry", () => {
    const { kernel, vma, table, finish } = exchanging();
    const v = new PageVmaMappedWalk(kernel, PFN, vma, h, PVMW_SYNC);
    const walk = page_vma_mapped_walk(v);
    const blocked = { kind: "blocked", object: tableLockId(table) };
    expect([advanceTo(walk), advanceTo(walk)]).toEqual([blocked, blocked]);
    finish();
    expect([walk.next(), kernel.current.locksHeld]).toEqual([HIT, 1]);
    expect(page_vma_mapped_walk(v).next()).toEqual(MISS);
  });

  test("page_mapped_in_vma waits, too: an entry that is being exchanged still maps the page", () => {
    const { kernel, vma, finish } = exchanging();
    const asked = page_mapped_in_vma(kernel, PFN, vma);
    expect([advance(asked), advance(asked)]).toEqual(["blocked", "blocked"]);
    finish();
    expect([asked.next(), kernel.current.locksHeld]).toEqual([{ done: true, value: true }, 0]);
  });

  test("while others can run, the walk offers to stop once in front of each lock", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h, scene.page(PFN), 0x34_5027n);
    scene.kernel.contended = true;
    const v = new PageVmaMappedWalk(scene.kernel, PFN, vma, h);
    const walk = page_vma_mapped_walk(v);
    const table = tableOf(pteSlot(vma.vm_mm, h));
    expect([advanceTo(walk), walk.next()]).toEqual([{ kind: "lock", object: tableLockId(table) }, HIT]);
  });

  test("the entry may go away between the lockless look and the lock", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h, scene.page(PFN), 0x34_5027n);
    scene.kernel.contended = true;
    const v = new PageVmaMappedWalk(scene.kernel, PFN, vma, h);
    const walk = page_vma_mapped_walk(v);
    expect(advance(walk)).toBe("lock");
    scene.plantPte(vma.vm_mm, h, 0n);
    expect([walk.next(), scene.kernel.current.locksHeld]).toEqual([MISS, 0]);
  });
});

describe("a THP mapped by its pmd", () => {
  function huge(entry = 0x40_00e7n) {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
    scene.mapHugeAnon(vma, h, scene.compoundPage(HEAD), entry);
    return { scene, vma };
  }

  test("is found once", () => {
    const { scene, vma } = huge();
    expect(walkAll(scene, HEAD, vma)).toEqual([`pmd 0x${h.toString(16)}`]);
  });

  test.each([
    ["PROT_NONE", 0x40_09e0n, 1],
    ["being invalidated: PSE without P", 0x40_00e6n, 1],
    ["of another page", 0x80_00e7n, 0],
  ])("%s", (_what, entry, hits) => {
    const { scene, vma } = huge(entry);
    expect(walkAll(scene, HEAD, vma)).toHaveLength(hits);
  });

  test("split while the walk waited for the pmd lock: it goes on with the ptes", () => {
    const { scene, vma } = huge();
    const { kernel } = scene;
    kernel.contended = true;
    const v = new PageVmaMappedWalk(kernel, HEAD, vma, h);
    const walk = page_vma_mapped_walk(v);
    const lockOf = (slot: Slot) => ({ kind: "lock", object: tableLockId(tableOf(slot)) });
    expect(advanceTo(walk)).toEqual(lockOf(pmdSlot(vma.vm_mm, h)));
    scene.kernel.plantEntry(pmdSlot(vma.vm_mm, h), new Entry(0, 0));
    scene.plantPte(vma.vm_mm, h, 0x40_0027n);
    expect(advanceTo(walk)).toEqual(lockOf(pteSlot(vma.vm_mm, h)));
    expect([walk.next(), v.pte]).toEqual([HIT, pteSlot(vma.vm_mm, h)]);
  });

  test("zapped while the walk waited: nothing is found and nothing held", () => {
    const { scene, vma } = huge();
    scene.kernel.contended = true;
    const v = new PageVmaMappedWalk(scene.kernel, HEAD, vma, h);
    const walk = page_vma_mapped_walk(v);
    expect(advance(walk)).toBe("lock");
    scene.kernel.plantEntry(pmdSlot(vma.vm_mm, h), new Entry(0, 0));
    expect([walk.next(), scene.kernel.current.locksHeld]).toEqual([MISS, 0]);
  });
});

describe("a THP mapped by ptes", () => {
  function split(options: { start?: number; at?: number; pgoff?: number; end?: number } = {}) {
    const scene = new Scene();
    const at = options.at ?? h;
    const start = options.start ?? at;
    const vma = scene.vma(scene.mm(), {
      at: start,
      length: (options.end ?? at + 0x20_0000) - start,
      pgoff: options.pgoff ?? start / 4096,
    });
    scene.compoundPage(HEAD);
    return { scene, vma, at, mm: vma.vm_mm };
  }

  test("every subpage is found, in address order, under one lock", () => {
    const { scene, vma } = split();
    scene.mapSubpages(vma, h, HEAD, 512, 0x40_0027n);
    const hits = walkAll(scene, HEAD, vma);
    expect(hits).toHaveLength(512);
    expect(hits[511]).toBe(`pte 0x${(h + 511 * 4096).toString(16)}`);
  });

  test("empty and foreign slots between are stepped over", () => {
    const { scene, vma, mm } = split();
    scene.mapSubpages(vma, h, HEAD, 6, 0x40_0027n);
    scene.plantPte(mm, h, 0n);
    scene.plantPte(mm, h + 0x2000, 0x99_9027n);
    scene.plantPte(mm, h + 0x3000, 0x4000n);
    const expected = [1, 4, 5].map((i) => `pte 0x${(h + i * 4096).toString(16)}`);
    expect(walkAll(scene, HEAD, vma)).toEqual(expected);
    expect(walkAll(scene, HEAD, vma, PVMW_SYNC)).toEqual(expected);
  });

  test("the head is cut off: the walk starts at vm_start and ends with the page", () => {
    // The vma shows the upper 384 subpages and more behind them.
    const { scene, vma } = split({ start: h + 0x8_0000, end: h + 0x40_0000 });
    scene.mapSubpages(vma, h + 0x8_0000, HEAD + 128, 384, 0x48_0027n);
    scene.plantPte(vma.vm_mm, h + 0x20_0000, 0x40_0027n);
    const hits = walkAll(scene, HEAD, vma);
    expect([hits.length, hits[0], hits.at(-1)]).toEqual([384, "pte 0x7f0000280000", "pte 0x7f00003ff000"]);
  });

  test("the tail is cut off: the walk ends at vm_end, whatever the next vma maps there", () => {
    const { scene, vma, mm } = split({ end: h + 0x3000 });
    scene.mapSubpages(vma, h, HEAD, 3, 0x40_0027n);
    scene.plantPte(mm, h + 0x3000, 0x40_3027n);
    expect(walkAll(scene, HEAD, vma)).toHaveLength(3);
  });

  describe("at an address that is not aligned, after mremap: 0x7F0000234000 to 0x7F0000434000", () => {
    const at = Linear.of(0x7f00_0023_4000);
    const across = () => split({ at, pgoff: h / 4096 });

    test("crosses into the next pmd", () => {
      const { scene, vma } = across();
      scene.mapSubpages(vma, at, HEAD, 512, 0x40_0027n);
      const hits = walkAll(scene, HEAD, vma);
      expect([hits.length, hits[0], hits.at(-1)]).toEqual([512, "pte 0x7f0000234000", "pte 0x7f0000433000"]);
    });

    test("the next table's lock is taken, the first one's let go", () => {
      const { scene, vma } = across();
      const [last, first] = [Linear.of(0x7f00_003f_f000), Linear.of(0x7f00_0040_0000)];
      scene.mapAnon(vma, last, HEAD + 0x1cb, 0x5c_b027n);
      scene.mapAnon(vma, first, HEAD + 0x1cc, 0x5c_c027n);
      const v = new PageVmaMappedWalk(scene.kernel, HEAD, vma, at);
      const tables = [last, first].map((address) => tableOf(pteSlot(vma.vm_mm, address)));
      for (const table of tables) {
        expect(page_vma_mapped_walk(v).next()).toEqual(HIT);
        expect([v.ptl, scene.kernel.current.locksHeld]).toEqual([table, 1]);
      }
      expect(tables[0]).not.toBe(tables[1]);
      expect(page_vma_mapped_walk(v).next()).toEqual(MISS);
    });

    test("W4: if the first pmd is none, 4.13 ends there and misses the rest", () => {
      const { scene, vma } = across();
      scene.mapAnon(vma, 0x7f00_0040_0000, HEAD + 0x1cc, 0x5c_c027n);
      expect(walkAll(scene, HEAD, vma, PVMW_SYNC)).toEqual([]);
    });

    test("W4: the same if the second pmd is none, when nothing was missed", () => {
      const { scene, vma } = across();
      scene.mapAnon(vma, at, HEAD, 0x40_0027n);
      expect(walkAll(scene, HEAD, vma)).toEqual(["pte 0x7f0000234000"]);
    });
  });
});

describe("hugetlb", () => {
  test.each([
    ["2 MiB", "64MiB", 0x400, 9, 0x7f00_0020_0000],
    ["1 GiB", "2GiB", 0x40000, 18, 0x7f00_4000_0000],
  ])("%s: the slot of its own level, once", (_size, memory, head, order, at) => {
    const scene = new Scene({ memory });
    const vma = scene.vma(scene.mm(), { at, length: 2 ** order * 4096 });
    scene.mapHugetlb(vma, at, scene.compoundPage(head, order, true), (BigInt(head) << 12n) | 0xe7n);
    expect(walkAll(scene, head, vma)).toEqual([`pte 0x${at.toString(16)}`]);
  });

  test("an empty slot, or no table, is nothing", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
    scene.compoundPage(HEAD, 9, true);
    expect(walkAll(scene, HEAD, vma, 0, h)).toEqual([]);
    scene.mapHugetlb(vma, h, HEAD, 0n);
    expect(walkAll(scene, HEAD, vma)).toEqual([]);
  });

  test("a migration entry is found with MIGRATION; soft-dirty, it looks like a THP to generic code (W9) but not here", () => {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
    scene.mapHugetlb(vma, h, scene.compoundPage(HEAD, 9, true), (0x400n << 14n) | 0x3c80n);
    expect(walkAll(scene, HEAD, vma, PVMW_MIGRATION)).toEqual([`pte 0x${h.toString(16)}`]);
    expect(walkAll(scene, HEAD, vma)).toEqual([]);
  });
});

describe("page_mapped_in_vma", () => {
  test("by a pte, by nothing, and in a vma that does not show the page", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(vma, h + 0x1000, scene.page(PFN), 0x34_5027n);
    const mapped = () => kernel.run(page_mapped_in_vma(kernel, PFN, vma));
    expect([mapped(), kernel.current.locksHeld]).toEqual([true, 0]);
    scene.plantPte(vma.vm_mm, h + 0x1000, 0x4000n);
    expect([mapped(), kernel.current.locksHeld]).toEqual([false, 0]);
    const elsewhere = scene.vma(scene.mm(), { at: h + 0x10000, length: 0x4000 });
    expect(kernel.run(page_mapped_in_vma(kernel, PFN, elsewhere))).toBe(false);
  });

  test("a THP counts by any part of it: the vma shows its last two pages only", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const vma = scene.vma(scene.mm(), { at: h + 510 * 4096, length: 0x2000 });
    const head = scene.compoundPage(HEAD);
    scene.mapSubpages(vma, vma.vm_start, head + 510, 2, 0x5f_e027n);
    expect(kernel.run(page_mapped_in_vma(kernel, head, vma))).toBe(true);
    const before = scene.vma(scene.mm(), { at: h - 0x2000, length: 0x2000 });
    expect(kernel.run(page_mapped_in_vma(kernel, head, before))).toBe(false);
  });
});

test("a table that memory does not have cannot be locked: what leads there is damaged", () => {
  const { kernel } = new Scene();
  const frames = kernel.mem_map.ptl.length;
  expect(() => tryLockTable(kernel, frames as Pfn, "pte")).toThrow(
    new RangeError(
      `lock of the page table in frame 0x${frames.toString(16)}: memory has 0x${frames.toString(16)} frames`,
    ),
  );
});
