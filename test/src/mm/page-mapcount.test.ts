import { describe, expect, test } from "vitest";
import { Linear, Pfn } from "../../../arch/x86/cpu/address.ts";
import { __split_huge_pmd } from "../../../src/mm/huge_memory.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import {
  hugepage_add_anon_rmap,
  hugepage_add_new_anon_rmap,
  page_add_anon_rmap,
  page_add_file_rmap,
  page_add_new_anon_rmap,
  page_dup_rmap,
  page_move_anon_rmap,
  page_remove_rmap,
} from "../../../src/mm/page-mapcount.ts";
import { pmdSlot } from "../../../src/mm/page-table.ts";
import { page_anon_vma } from "../../../src/mm/util.ts";
import { Scene } from "../../support/scene.ts";

/* How each kind of mapping is counted. */
const h = Linear.of(0x7f00_0020_0000);
const HEAD = Pfn.of(0x400);
const subpage = (i: number) => Pfn.of(HEAD + i);

function counts(scene: Scene, head = HEAD) {
  const { mem_map } = scene.kernel;
  const small = new Set(Array.from(mem_map._mapcount.subarray(head, head + 512)));
  return {
    compound: mem_map.compound_mapcount[head],
    /** The distinct _mapcount values of the subpages. */
    small: [...small].sort((one, other) => one - other),
    total: mem_map.total_mapcount(head),
    doubleMap: mem_map.PageDoubleMap(head),
  };
}

test("a small page: _mapcount goes from -1 up by one for each mapping", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const { mem_map } = kernel;
  const vma = scene.vma(scene.mm(), { at: h, length: 0x1000 });
  const page = scene.page(0x300);
  expect([mem_map.page_mapped(page), mem_map.page_mapcount(page)]).toEqual([false, 0]);
  scene.mapAnon(vma, h, page, 0x30_0027n);
  page_dup_rmap(kernel, page, false);
  expect([mem_map._mapcount[page], mem_map.page_mapcount(page), mem_map.total_mapcount(page)]).toEqual([
    1, 2, 2,
  ]);
  page_remove_rmap(kernel, page, false);
  page_remove_rmap(kernel, page, false);
  expect([mem_map._mapcount[page], mem_map.page_mapped(page)]).toEqual([-1, false]);
  // The owner stays known while somebody holds the page, and one mapping more than there was is a bug.
  expect(page_anon_vma(kernel, page)).toBe(vma.anon_vma);
  expect(() => page_remove_rmap(kernel, page, false)).toThrow(/frame 768, which had no mapping left/);
});

test("the first mapper decides: exclusively its own anon_vma, otherwise the root", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const parent = scene.vma(scene.mm(), { at: h, length: 0x4000 });
  scene.mapAnon(parent, h, scene.page(0x300), 0x30_0027n);
  const child = scene.forkVma(parent, scene.mm());
  page_add_new_anon_rmap(kernel, scene.page(0x301), child, Linear.of(h + 0x1000), false);
  page_add_anon_rmap(kernel, scene.page(0x302), child, Linear.of(h + 0x2000), false);
  const { mem_map } = kernel;
  expect(page_anon_vma(kernel, Pfn.of(0x301))).toBe(child.anon_vma);
  expect(page_anon_vma(kernel, Pfn.of(0x302))).toBe(parent.anon_vma);
  // 53: the index is the place in the vma, whoever maps it.
  expect(mem_map.page_to_pgoff(Pfn.of(0x301))).toBe((h + 0x1000) / 4096);
  // A later mapping changes neither owner nor index.
  page_add_anon_rmap(kernel, Pfn.of(0x301), parent, Linear.of(h + 0x1000), false, true);
  expect(page_anon_vma(kernel, Pfn.of(0x301))).toBe(child.anon_vma);
});

test("a vma without anon_vma cannot be the first mapper", () => {
  const scene = new Scene();
  const vma = scene.vma(scene.mm(), { at: h, length: 0x1000 });
  expect(() => page_add_anon_rmap(scene.kernel, scene.page(0x300), vma, h, false)).toThrow(TypeError);
});

describe("anonymous THP", () => {
  function thp(mappings: number) {
    const scene = new Scene();
    scene.compoundPage(HEAD);
    const vmas = [scene.vma(scene.mm(), { at: h, length: 0x20_0000 })];
    scene.mapHugeAnon(vmas[0]!, h, HEAD, 0x40_08e7n);
    for (let i = 1; i < mappings; i++) {
      const vma = scene.forkVma(vmas[0]!, scene.mm());
      scene.mapHugeAnon(vma, h, HEAD, 0x40_08e5n);
      vmas.push(vma);
    }
    const split = (which: number) => {
      const vma = vmas[which]!;
      const slot = pmdSlot(vma.vm_mm, h);
      scene.kernel.run(__split_huge_pmd(scene.kernel, vma, slot, h, false, HEAD));
    };
    return { scene, split, mem_map: scene.kernel.mem_map, kernel: scene.kernel };
  }

  test("a pmd mapping counts only in compound_mapcount, and yet every subpage is mapped", () => {
    const { scene, mem_map } = thp(1);
    expect(counts(scene)).toEqual({ compound: 0, small: [-1], total: 1, doubleMap: false });
    expect([mem_map.page_mapped(subpage(7)), mem_map.page_mapcount(subpage(7))]).toEqual([true, 1]);
  });

  test("split of the only pmd mapping: 512 mappings by ptes", () => {
    const { scene, split, mem_map } = thp(1);
    split(0);
    expect(counts(scene)).toEqual({ compound: -1, small: [0], total: 512, doubleMap: false });
    expect(mem_map.page_mapcount(subpage(7))).toBe(1);
    expect(mem_map._refcount[HEAD]).toBe(1 + 512);
  });

  test("split of one of two: DoubleMap, one more in every subpage, no more mappings in truth", () => {
    const { scene, split, mem_map } = thp(2);
    split(0);
    expect(counts(scene)).toEqual({ compound: 0, small: [1], total: 513, doubleMap: true });
    expect([mem_map.page_mapcount(HEAD), mem_map.page_mapcount(subpage(511))]).toEqual([2, 2]);
  });

  test("split of the second takes DoubleMap and its extra counts away", () => {
    const { scene, split } = thp(2);
    split(0);
    split(1);
    expect(counts(scene)).toEqual({ compound: -1, small: [1], total: 1024, doubleMap: false });
  });

  test("three pmd mappings, two splits: DoubleMap is set once", () => {
    const { scene, split } = thp(3);
    split(0);
    split(1);
    expect(counts(scene)).toEqual({ compound: 0, small: [2], total: 1025, doubleMap: true });
  });

  test("removing the last pmd mapping while ptes remain clears DoubleMap", () => {
    const { scene, split, kernel } = thp(2);
    split(0);
    page_remove_rmap(kernel, HEAD, true);
    expect(counts(scene)).toEqual({ compound: -1, small: [0], total: 512, doubleMap: false });
  });

  test("removing the pte mappings one by one", () => {
    const { scene, split, kernel, mem_map } = thp(1);
    split(0);
    for (let i = 0; i < 512; i++) page_remove_rmap(kernel, subpage(i), false);
    expect([counts(scene).total, mem_map.page_mapped(HEAD)]).toEqual([0, false]);
  });
});

describe("file THP", () => {
  function fileThp() {
    const scene = new Scene();
    scene.compoundPage(HEAD);
    const vma = scene.vma(scene.mm(), { at: h, length: 0x20_0000, file: scene.file(), shared: true });
    scene.mapHugeFile(vma, h, HEAD, 0x40_00e7n);
    return { scene, kernel: scene.kernel, mem_map: scene.kernel.mem_map };
  }

  test("a pmd mapping counts in compound_mapcount and in every subpage", () => {
    const { scene, mem_map } = fileThp();
    expect(counts(scene)).toEqual({ compound: 0, small: [0], total: 1, doubleMap: false });
    expect(mem_map.page_mapcount(subpage(3))).toBe(1);
  });

  test("a pte mapping beside it sets DoubleMap, takes mlock away and counts in its subpage only", () => {
    const { scene, kernel, mem_map } = fileThp();
    mem_map.setFlag(HEAD, PG.mlocked);
    page_add_file_rmap(kernel, subpage(3), false);
    expect(counts(scene)).toEqual({ compound: 0, small: [0, 1], total: 2, doubleMap: true });
    expect([mem_map.page_mapcount(subpage(3)), mem_map.page_mapcount(subpage(4))]).toEqual([2, 1]);
    expect(mem_map.PageMlocked(HEAD)).toBe(false);
  });

  test("removing the pmd mapping takes one from every subpage", () => {
    const { scene, kernel } = fileThp();
    page_add_file_rmap(kernel, HEAD, true);
    page_remove_rmap(kernel, HEAD, true);
    expect(counts(scene)).toMatchObject({ compound: 0, small: [0], total: 1 });
    page_remove_rmap(kernel, HEAD, true);
    expect(counts(scene)).toMatchObject({ compound: -1, small: [-1], total: 0 });
  });
});

test("hugetlb: only compound_mapcount; the index counts huge pages", () => {
  const scene = new Scene();
  const { mem_map } = scene.kernel;
  scene.compoundPage(HEAD, 9, true);
  const vma = scene.vma(scene.mm(), { at: h, length: 0x40_0000 });
  scene.mapHugetlb(vma, h + 0x20_0000, HEAD, 0x40_00e7n);
  page_dup_rmap(scene.kernel, HEAD, true);
  expect(counts(scene)).toEqual({ compound: 1, small: [-1], total: 2, doubleMap: false });
  expect([mem_map.page_mapcount(subpage(9)), mem_map.index[HEAD]! * 512]).toEqual([
    2,
    (h + 0x20_0000) / 4096,
  ]);
  page_remove_rmap(scene.kernel, HEAD, true);
  page_remove_rmap(scene.kernel, HEAD, true);
  expect([mem_map.page_mapped(HEAD), mem_map.total_mapcount(HEAD)]).toEqual([false, 0]);
});

test("the last mapping of a small page takes mlock away", () => {
  const scene = new Scene();
  const vma = scene.vma(scene.mm(), { at: h, length: 0x1000 });
  scene.mapAnon(vma, h, scene.page(0x300), 0x30_0027n);
  scene.kernel.mem_map.setFlag(Pfn.of(0x300), PG.mlocked);
  page_dup_rmap(scene.kernel, Pfn.of(0x300), false);
  page_remove_rmap(scene.kernel, Pfn.of(0x300), false);
  expect(scene.kernel.mem_map.PageMlocked(Pfn.of(0x300))).toBe(true);
  page_remove_rmap(scene.kernel, Pfn.of(0x300), false);
  expect(scene.kernel.mem_map.PageMlocked(Pfn.of(0x300))).toBe(false);
});

describe("mlock", () => {
  test("goes together with unevictable, which nothing else would clear; a page that is only unevictable stays so", () => {
    const scene = new Scene();
    const { mem_map } = scene.kernel;
    const vma = scene.vma(scene.mm(), { at: h, length: 0x2000 });
    for (const [i, flags] of [PG.mlocked | PG.unevictable, PG.unevictable].entries()) {
      const page = scene.page(0x300 + i);
      scene.mapAnon(vma, h + i * 4096, page, 0x30_0027n);
      mem_map.setFlag(page, flags);
      page_remove_rmap(scene.kernel, page, false);
    }
    const left = [0x300, 0x301].map((page) => mem_map.flags[page]! & (PG.mlocked | PG.unevictable));
    expect(left).toEqual([0, PG.unevictable]);
  });
});

describe("what page_add_anon_rmap and its hugetlb sister insist on", () => {
  function mapped() {
    const scene = new Scene();
    const vma = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    const page = scene.page(0x300);
    scene.mapAnon(vma, h, page, 0x30_0027n);
    return { scene, kernel: scene.kernel, vma, page };
  }

  test("the page is locked", () => {
    const { kernel, vma, page } = mapped();
    kernel.mem_map.ClearPageLocked(page);
    expect(() => page_add_anon_rmap(kernel, page, vma, h, false)).toThrow(
      /page_add_anon_rmap of frame 768, which is not locked/,
    );
    expect(kernel.mem_map._mapcount[page]).toBe(0);
  });

  test("a mapped page has its family and its place", () => {
    const { scene, kernel, vma, page } = mapped();
    const stranger = scene.vma(scene.mm(), { at: h, length: 0x4000 });
    scene.mapAnon(stranger, h, scene.page(0x301), 0x30_1027n);
    expect(() => page_add_anon_rmap(kernel, page, stranger, h, false)).toThrow(/of another family/);
    expect(() => page_add_anon_rmap(kernel, page, vma, Linear.of(h + 0x1000), false)).toThrow(
      /of offset 34091303424 mapped where the vma shows 34091303425/,
    );
    const child = scene.forkVma(vma, scene.mm());
    page_add_anon_rmap(kernel, page, child, h, false);
    expect(kernel.mem_map._mapcount[page]).toBe(1);
  });

  test("hugetlb: locked, with an anon_vma; the root's at first, the vma's own for a new page", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const { mem_map } = kernel;
    const parent = scene.vma(scene.mm(), { at: h, length: 0x40_0000 });
    scene.compoundPage(HEAD, 9, true);
    expect(() => hugepage_add_anon_rmap(kernel, HEAD, parent, h)).toThrow(/without anon_vma/);
    expect(mem_map.compound_mapcount[HEAD]).toBe(-1);
    scene.mapAnon(parent, h + 0x20_0000, scene.page(0x300), 0x30_0027n);
    const child = scene.forkVma(parent, scene.mm());
    hugepage_add_anon_rmap(kernel, HEAD, child, h);
    expect([mem_map.compound_mapcount[HEAD], page_anon_vma(kernel, HEAD) === parent.anon_vma]).toEqual([
      0,
      true,
    ]);
    mem_map.ClearPageLocked(HEAD);
    expect(() => hugepage_add_anon_rmap(kernel, HEAD, child, h)).toThrow(/hugepage_add_anon_rmap of frame/);

    const fresh = scene.compoundPage(HEAD + 512, 9, true);
    hugepage_add_new_anon_rmap(kernel, fresh, child, Linear.of(h + 0x20_0000));
    expect([mem_map.compound_mapcount[fresh], page_anon_vma(kernel, fresh) === child.anon_vma]).toEqual([
      0,
      true,
    ]);
    expect(mem_map.page_to_pgoff(fresh)).toBe((h + 0x20_0000) / 4096);
    expect(() => hugepage_add_new_anon_rmap(kernel, fresh, child, Linear.of(h + 0x40_0000))).toThrow(
      RangeError,
    );
  });

  test("page_move_anon_rmap: a page that only the child maps is looked for in the child alone; its index stays", () => {
    const { scene, kernel, vma, page } = mapped();
    const { mem_map } = kernel;
    const child = scene.forkVma(vma, scene.mm());
    const pgoff = mem_map.page_to_pgoff(page);
    page_move_anon_rmap(kernel, page, child);
    expect([page_anon_vma(kernel, page) === child.anon_vma, mem_map.page_to_pgoff(page)]).toEqual([
      true,
      pgoff,
    ]);
    mem_map.ClearPageLocked(page);
    expect(() => page_move_anon_rmap(kernel, page, child)).toThrow(/not locked/);
  });
});
