import { expect, test } from "vitest";
import { NO_PFN } from "../../../../arch/x86/cpu/address.ts";
import {
  ptep_clear_flush,
  ptep_get_and_clear,
  ptep_test_and_clear_young,
} from "../../../../arch/x86/mm/ptep.ts";
import { flush_tlb_page } from "../../../../arch/x86/mm/tlb.ts";
import { Counters } from "../../../../src/jobs/reclaim/counters.ts";
import { enter, leave } from "../../../../src/mm/calls.ts";
import { pteSlot } from "../../../../src/mm/page-table.ts";
import { AT, AuditScene, PFN, reclaim } from "../../../support/audit-scene.ts";

function mapped(entry: bigint, cpus = 2) {
  const scene = new AuditScene({ cpus });
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x1000 });
  scene.mapAnon(vma, AT, scene.page(PFN), entry);
  return { scene, mm, vma, slot: pteSlot(mm, AT), auditor: scene.audit() };
}

test("a flush that drops a used stale translation is of use, another is redundant", () => {
  const { scene, mm, vma, slot, auditor } = mapped(0x8000_0000_0123_4867n);
  const task = enter(scene.kernel.current, "page_mkclean_one", NO_PFN, mm);
  scene.run(ptep_clear_flush(vma, AT, slot));
  scene.run(flush_tlb_page(vma, AT));
  leave(task, 1);
  enter(task, "remove_migration_pte", NO_PFN, mm);
  scene.run(flush_tlb_page(vma, AT));
  leave(task, true);
  expect(auditor.flushes.sites()).toEqual([
    { site: "page_mkclean_one > flush_tlb_page", flushes: 2, redundant: 1 },
    { site: "remove_migration_pte > flush_tlb_page", flushes: 1, redundant: 1 },
  ]);
  expect([auditor.flushes.flushes, auditor.flushes.redundant]).toEqual([3, 2]);
});

test("outside of any function the task's name stands for the site", () => {
  const { scene, vma, auditor } = mapped(0x8000_0000_0123_4867n);
  scene.run(flush_tlb_page(vma, AT));
  expect(auditor.flushes.sites()).toEqual([{ site: "main > flush_tlb_page", flushes: 1, redundant: 1 }]);
});

test("a translation that was never used may be cached, so it is owed, but its flush counts as redundant", () => {
  const { scene, mm, vma, slot, auditor } = mapped(0x8000_0000_0123_4807n);
  ptep_get_and_clear(mm, AT, slot);
  scene.run(flush_tlb_page(vma, AT));
  expect(auditor.flushes).toMatchObject({ flushes: 1, redundant: 1 });
});

test("clearing A without a flush forgets nothing: the translation may have been used before", () => {
  const { scene, vma, slot, auditor } = mapped(0x8000_0000_0123_4867n);
  ptep_test_and_clear_young(vma, AT, slot);
  scene.run(ptep_clear_flush(vma, AT, slot));
  expect(auditor.flushes).toMatchObject({ flushes: 1, redundant: 0 });
});

test("but once the CPUs have flushed, an entry with A clear was not used since", () => {
  const { scene, vma, slot, auditor } = mapped(0x8000_0000_0123_4867n);
  ptep_test_and_clear_young(vma, AT, slot);
  scene.run(flush_tlb_page(vma, AT));
  scene.run(ptep_clear_flush(vma, AT, slot));
  expect(auditor.flushes).toMatchObject({ flushes: 2, redundant: 2 });
});

test("counters: what reclaim of one page does, and what it would have cost without deferring", () => {
  const { scene, mm, auditor } = mapped(0x8000_0000_0123_4867n, 4);
  const counters = new Counters();
  scene.kernel.attach(counters.handlers);
  scene.addListener(mm, "iommu", AT, 0x1000);
  reclaim(scene.kernel, PFN);
  expect(counters).toMatchObject({
    flushes: 0,
    deferrals: 1,
    batches: 1,
    ipis: 3,
    ipisUnbatched: 3,
    entriesChanged: 2,
    pagesFreed: 1,
    writeOuts: 1,
  });
  // Protocol d: one call for the entry, one more inside range_end.
  expect(counters.callbacks()).toEqual(new Map([["iommu", new Map([["invalidate_range", 2]])]]));
  expect(auditor.flushes.sites()).toEqual([
    { site: "try_to_unmap_flush > arch_tlbbatch_flush", flushes: 1, redundant: 0 },
  ]);
});
