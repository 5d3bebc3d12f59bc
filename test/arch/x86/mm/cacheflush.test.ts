import { expect, test } from "vitest";
import { Linear, NO_PFN, NONE, Pfn, Slot } from "../../../../arch/x86/cpu/address.ts";
import { linearHi, linearLo } from "../../../../arch/x86/cpu/linear-address.ts";
import * as cacheflush from "../../../../arch/x86/mm/cacheflush.ts";
import type { MmRecord } from "../../../../src/mm/records.ts";
import { Scene } from "../../../support/scene.ts";

/* x86 needs none of the cache hooks, so all that they do is to be seen. */
const at = Linear.of(0x7f00_0020_0000);

function observed() {
  const scene = new Scene();
  const mm = scene.mm();
  const vma = scene.vma(mm, { at, length: 0x3000 });
  const records: Omit<MmRecord, "seq">[] = [];
  scene.kernel.attach(({ seq: _seq, ...record }) => records.push(record));
  /** What a record of this kind begins with. */
  const header = (kind: string, space: number) => ({ kind, agent: scene.kernel.current.id, cpu: 0, space });
  return { kernel: scene.kernel, mm, vma, records, header };
}

test("each hook records its name, the range it is about and the page, and changes nothing", () => {
  const { kernel, mm, vma, records, header } = observed();
  cacheflush.flush_cache_page(vma, at, Pfn.of(0x345));
  cacheflush.flush_cache_range(vma, at, (at + 0x3000) as Linear);
  cacheflush.flush_cache_mm(mm);
  cacheflush.flush_cache_dup_mm(mm);
  cacheflush.flush_icache_page(vma, Pfn.of(0x345));
  cacheflush.flush_dcache_page(kernel, Pfn.of(0x345));
  const all = Number.POSITIVE_INFINITY;
  const hook = (name: string, space: number, start: number, length: number, pfn: number) => ({
    ...header("cache-flushed", space),
    hook: name,
    linearLo: linearLo(start),
    linearHi: linearHi(start),
    bytes: length === all ? 0 : length,
    all: length === all,
    pfn,
  });
  expect(records).toEqual([
    hook("flush_cache_page", mm.id, at, 4096, 0x345),
    hook("flush_cache_range", mm.id, at, 0x3000, NO_PFN),
    hook("flush_cache_mm", mm.id, 0, all, NO_PFN),
    hook("flush_cache_dup_mm", mm.id, 0, all, NO_PFN),
    hook("flush_icache_page", mm.id, 0, 0, 0x345),
    hook("flush_dcache_page", NONE, 0, 0, 0x345),
  ]);
});

test("update_mmu_cache names the address and the slot: it comes after a change, so it is no flush", () => {
  const { mm, vma, records, header } = observed();
  cacheflush.update_mmu_cache(vma, at, Slot.of(0x5008));
  cacheflush.update_mmu_cache_pmd(vma, at, Slot.of(0x6010));
  const updated = {
    ...header("mmu-cache-updated", mm.id),
    linearLo: linearLo(at),
    linearHi: linearHi(at),
  };
  expect(records).toEqual([
    { ...updated, slot: 0x5008 },
    { ...updated, slot: 0x6010 },
  ]);
});

test("without a listener the hooks are silent", () => {
  const scene = new Scene();
  expect(() => cacheflush.flush_cache_mm(scene.mm())).not.toThrow();
  expect(scene.kernel.records.seq).toBe(0);
});
