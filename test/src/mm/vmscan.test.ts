import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { get_page } from "../../../src/mm/page_alloc.ts";
import {
  isolate_lru_page,
  type KeptReason,
  putback_lru_page,
  shrink_page_list,
} from "../../../src/mm/vmscan.ts";
import { Scene } from "../../support/scene.ts";

const a = 0x7f00_0020_1000;
const PFN = Pfn.of(0x2345);
const DIRTY = 0x8000_0000_0234_5847n;
const CLEAN = 0x8000_0000_0234_5805n;

/** Isolated pages on an LRU list, as reclaim gets them, and what happens from then on. */
function scene(build: (scene: Scene) => Pfn) {
  const made = new Scene({ memory: "64MiB", notifiers: "d" });
  const page = build(made);
  const { kernel } = made;
  // The builder's own reference and lock go; isolation takes its own.
  kernel.mem_map.ClearPageLocked(page);
  kernel.mem_map._refcount[page]!--;
  kernel.mem_map.setFlag(page, PG.lru);
  isolate_lru_page(kernel, page);
  const records: string[] = [];
  const batches = new Set<number>();
  kernel.attach((record) => {
    if (record.kind === "flush-begun" && record.space === NONE) batches.add(record.flush);
    const ofBatch = record.kind === "flush-ended" && batches.has(record.flush);
    records.push(ofBatch ? "flush-ended of a batch" : record.kind);
  });
  const shrink = () => kernel.run(shrink_page_list(kernel, [page]));
  return { scene: made, kernel, mem_map: kernel.mem_map, page, records, shrink };
}

function anonymous(entry: bigint, prepare: (scene: Scene) => void = () => {}) {
  return scene((made) => {
    const vma = made.vma(made.mm(), { at: a, length: 0x1000 });
    made.mapAnon(vma, a, made.page(PFN), entry);
    prepare(made);
    return PFN;
  });
}

function file(entry: bigint) {
  return scene((made) => {
    const vma = made.vma(made.mm(), { at: a, length: 0x1000, shared: true, file: made.file() });
    made.mapFile(vma, a, made.page(PFN), entry);
    return PFN;
  });
}

function order(records: readonly string[], ...wanted: string[]): number[] {
  return wanted.map((kind) => records.indexOf(kind));
}

describe("shrink_page_list", () => {
  test("flushes a dirty page's debt before it is written, and frees it last", () => {
    const { records, shrink } = anonymous(DIRTY);
    expect(shrink()).toEqual({ freed: [PFN], kept: new Map() });
    const at = order(records, "batch-added", "flush-ended of a batch", "write-out", "page-freed");
    expect(at).toEqual([...at].sort((x, y) => x - y));
    expect(at[0]).toBeGreaterThan(0);
  });

  test("flushes a clean page's debt at the end, before it is freed, and writes nothing", () => {
    const { records, shrink } = file(CLEAN);
    expect(shrink().freed).toEqual([PFN]);
    const at = order(records, "batch-added", "flush-ended of a batch", "page-freed");
    expect(at).toEqual([...at].sort((x, y) => x - y));
    expect(records).not.toContain("write-out");
  });

  test("keeps a page that was used since the last pass", () => {
    const { kernel, mem_map, page, shrink } = file(0x8000_0000_0234_5825n);
    expect(shrink().kept).toEqual(new Map<number, KeptReason>([[PFN, "referenced again"]]));
    expect(mem_map.flags[page]! & PG.lru).not.toBe(0);
    expect(mem_map.PageLocked(page)).toBe(false);
    expect(kernel.current.tlb_ubc.flush_required).toBe(false);
  });

  test("neither writes nor forgets the dirt of a page that somebody pins", () => {
    const { kernel, mem_map, page, records, shrink } = file(0x8000_0000_0234_5847n);
    get_page(kernel, page);
    expect(shrink().kept).toEqual(new Map<number, KeptReason>([[PFN, "extra reference"]]));
    expect(records).not.toContain("write-out");
    expect(mem_map.PageDirty(page)).toBe(true);
  });

  test("does not write a page that has nowhere to be written to", () => {
    const { kernel, mem_map, page, records, shrink } = anonymous(CLEAN, ({ kernel: k }) =>
      k.mem_map.clearFlag(PFN, PG.swapbacked),
    );
    // A guest's store reaches the page after its host entry is gone.
    kernel.attach((record) => {
      if (record.kind === "page-put" && record.pfn === page) mem_map.setFlag(page, PG.dirty);
    });
    expect(shrink().kept).toEqual(new Map<number, KeptReason>([[PFN, "dirtied again"]]));
    expect(records).not.toContain("write-out");
  });

  test("leaves an unevictable page alone", () => {
    const { shrink } = anonymous(DIRTY, ({ kernel: k }) => k.mem_map.setFlag(PFN, PG.unevictable));
    expect(shrink().kept).toEqual(new Map<number, KeptReason>([[PFN, "unevictable"]]));
  });

  test("a THP of which one subpage is found in use keeps its dirt, although its first one is unmapped", () => {
    const { mem_map, records, shrink } = scene((made) => {
      const vma = made.vma(made.mm(), { at: a, length: 0x3000 });
      const head = made.compoundPage(0x2400);
      made.mapSubpages(vma, a, head, 3, 0x8000_0000_0240_0847n);
      made.putInSwapCache(head, 512);
      // Used between page_referenced and try_to_unmap.
      let walks = 0;
      made.kernel.attach((record) => {
        if (record.kind === "call-entered" && record.function === "try_to_unmap" && walks++ === 0) {
          made.plantPte(vma.vm_mm, a + 0x1000, 0x8000_0000_0240_1867n);
        }
      });
      return head;
    });
    expect([...shrink().kept.values()]).toEqual(["extra reference"]);
    expect(records).not.toContain("write-out");
    expect(mem_map.PageDirty(Pfn.of(0x2400))).toBe(true);
  });
});

describe("isolation", () => {
  test("does not take a page off no list, nor one whose last reference has gone", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const page = kernel.frames.allocate();
    expect(isolate_lru_page(kernel, page)).toBe(false);
    kernel.mem_map.setFlag(page, PG.lru);
    expect(isolate_lru_page(kernel, page)).toBe(true);
    expect(kernel.mem_map.page_count(page)).toBe(2);
    kernel.mem_map.setFlag(page, PG.lru);
    kernel.mem_map._refcount[page] = 0;
    expect(isolate_lru_page(kernel, page)).toBe(false);
  });

  test("putting a page back frees it if nobody else holds it", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const page = kernel.frames.allocate();
    const freed: number[] = [];
    kernel.attach((record) => {
      if (record.kind === "page-freed") freed.push(record.pfn);
    });
    putback_lru_page(kernel, page);
    expect(freed).toEqual([page]);
    expect(kernel.frames.isFree(page)).toBe(true);
  });
});
