import { describe, expect, test } from "vitest";
import { Linear } from "../../../../arch/x86/cpu/address.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import { attachListeners } from "../../../../src/jobs/reclaim/listeners.ts";
import { MappedAtClear } from "../../../../src/jobs/reclaim/mapped-at-clear.ts";
import { type MappedPage, ReclaimJob } from "../../../../src/jobs/reclaim/reclaim-job.ts";
import { innermostCall } from "../../../../src/mm/calls.ts";
import { PG } from "../../../../src/mm/mem_map.ts";
import type { mm_struct } from "../../../../src/mm/mm_types.ts";
import type { VirtRecord } from "../../../../src/virt/records.ts";
import { Scene } from "../../../support/scene.ts";

const A = Linear.of(0x7f00_0020_0000);
const FIRST_SEED = 1;

/** A few anonymous pages on the LRU list, a KVM and a device on their mm, ready to run. */
function job(seed: number, notifiers: string, build: (scene: Scene, mm: mm_struct) => MappedPage[]) {
  const scene = new Scene({ memory: "24MiB", notifiers, cpus: 3 });
  const { kernel } = scene;
  const mm = kernel.createMm("m");
  const pages = build(scene, mm);
  for (const { page } of pages) {
    kernel.mem_map.ClearPageLocked(page);
    kernel.mem_map._refcount[page]!--;
    kernel.mem_map.setFlag(page, PG.lru);
  }
  const listeners = attachListeners(mm, ["kvm", "iommu"]);
  const auditor = new Auditor(kernel);
  const freed = new Map<number, number>();
  const mappedAtClear = new MappedAtClear(() => innermostCall(kernel.current));
  kernel.attach(mappedAtClear.handlers);
  kernel.attach((record: VirtRecord) => {
    if (record.kind === "page-freed") {
      for (let frame = record.pfn; frame < record.pfn + 2 ** record.order; frame++) {
        freed.set(frame, (freed.get(frame) ?? 0) + 1);
      }
    }
  });
  const result = new ReclaimJob(kernel, {
    pages,
    listeners: new Map([[mm, listeners]]),
    seed,
  }).run();
  auditor.finish();
  return { result, freed, auditor, mappedAtClear };
}

function smallPages(count: number, lazyfree: boolean) {
  return (scene: Scene, mm: mm_struct): MappedPage[] => {
    const vma = scene.vma(mm, { at: A, length: count * 4096 });
    return Array.from({ length: count }, (_, i) => {
      const page = scene.page(0x1000 + i);
      const address = Linear.of(A + i * 4096);
      const entry = 0x8000_0000_0100_0007n + BigInt(i * 4096);
      scene.mapAnon(vma, address, page, lazyfree ? entry & ~2n : entry);
      if (lazyfree) scene.kernel.mem_map.clearFlag(page, PG.swapbacked);
      return { page, frames: 1, mappings: [{ mm, address }] };
    });
  };
}

function subpagesOfThp(scene: Scene, mm: mm_struct): MappedPage[] {
  const vma = scene.vma(mm, { at: A, length: 0x3000 });
  const head = scene.compoundPage(0x1000);
  scene.mapSubpages(vma, A, head, 3, 0x8000_0000_0100_0067n);
  const mappings = [0, 1, 2].map((i) => ({ mm, address: Linear.of(A + i * 4096) }));
  return [{ page: head, frames: 3, mappings }];
}

describe("the job over many seeds", () => {
  test("frees each page once, also one that a guest's fault held for a moment", () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 200; seed++) {
      const { result, freed } = job(seed, "d", smallPages(2, true));
      expect([...freed.values()], `seed ${seed}`).toEqual([1, 1]);
      expect(result.freed, `seed ${seed}`).toBe(2);
    }
  });

  test.each(["c", "d", "e1"])(
    "protocol %s: a THP of which a part is in use is not written out",
    (notifiers) => {
      for (let seed = FIRST_SEED; seed < FIRST_SEED + 60; seed++) {
        const { auditor, result } = job(seed, notifiers, subpagesOfThp);
        expect(
          auditor.findings.map(({ rule }) => rule.id),
          `seed ${seed}`,
        ).toEqual([]);
        expect(result.freed, `seed ${seed}`).toBe(3);
      }
    },
  );

  test("protocol b: what a guest still maps at the last clear is what rule 2 finds", () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 60; seed++) {
      const { auditor, mappedAtClear } = job(seed, "b", smallPages(3, false));
      expect(auditor.countByRule().get(2) ?? 0, `seed ${seed}`).toBe(mappedAtClear.freed);
      expect(mappedAtClear.freed).toBeGreaterThan(0);
    }
  });
});

describe("which pages the job takes", () => {
  test("not hugetlb, not unevictable ones, none off the LRU list; it says so by frames", () => {
    const scene = new Scene({ cpus: 2 });
    const { kernel } = scene;
    const mm = kernel.createMm("m");
    const vma = scene.vma(mm, { at: A, length: 0x40_0000 });
    const huge = scene.compoundPage(0x1000, 9, true);
    scene.mapHugetlb(vma, A, huge, 0x8000_0000_0100_00e7n);
    const locked = scene.page(0x1200);
    const lone = scene.page(0x1201);
    kernel.mem_map.setFlag(locked, PG.lru | PG.unevictable);
    const pages = [
      { page: huge, frames: 512, mappings: [{ mm, address: A }] },
      { page: locked, frames: 1, mappings: [] },
      { page: lone, frames: 1, mappings: [] },
    ];
    const result = new ReclaimJob(kernel, { pages, listeners: new Map(), seed: 1 }).run();
    expect(Object.fromEntries(result.skipped)).toEqual({
      hugetlb: 512,
      unevictable: 1,
      "not on an LRU list": 1,
    });
    expect([result.eligible, result.freed]).toEqual([0, 0]);
  });

  test("needs a CPU beside the one that reclaims", () => {
    const { kernel } = new Scene({ memory: "4MiB", cpus: 1 });
    expect(() => new ReclaimJob(kernel, { pages: [], listeners: new Map(), seed: 1 })).toThrow(
      "the job needs 2 CPUs or more",
    );
  });
});
