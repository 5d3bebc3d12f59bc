import { expect, test } from "vitest";
import * as cacheflush from "../../../../arch/x86/mm/cacheflush.ts";
import type { MmEvent } from "../../../../src/mm/events.ts";
import { Scene } from "../../../support/scene.ts";

/* linux-mm section 2: x86 needs none of the cache hooks, so all that they do is to be seen. */
const at = 0x7f00_0020_0000;

function observed() {
  const scene = new Scene();
  const mm = scene.mm();
  const vma = scene.vma(mm, { at, length: 0x3000 });
  const events: MmEvent[] = [];
  scene.kernel.attach((event) => events.push(event));
  return { kernel: scene.kernel, mm, vma, events };
}

test("each hook reports its name, the range it is about and the page, and changes nothing", () => {
  const { kernel, mm, vma, events } = observed();
  cacheflush.flush_cache_page(vma, at, 0x345);
  cacheflush.flush_cache_range(vma, at, at + 0x3000);
  cacheflush.flush_cache_mm(mm);
  cacheflush.flush_cache_dup_mm(mm);
  cacheflush.flush_icache_page(vma, 0x345);
  cacheflush.flush_dcache_page(kernel, 0x345);
  const hook = (name: string, of: object | null, start: number, length: number, pfn: number) => ({
    type: "cache-flush",
    hook: name,
    mm: of,
    start,
    length,
    pfn,
  });
  expect(events).toEqual([
    hook("flush_cache_page", mm, at, 4096, 0x345),
    hook("flush_cache_range", mm, at, 0x3000, -1),
    hook("flush_cache_mm", mm, 0, Number.POSITIVE_INFINITY, -1),
    hook("flush_cache_dup_mm", mm, 0, Number.POSITIVE_INFINITY, -1),
    hook("flush_icache_page", mm, 0, 0, 0x345),
    hook("flush_dcache_page", null, 0, 0, 0x345),
  ]);
});

test("update_mmu_cache names the address and the slot: it comes after a change, so it is no flush", () => {
  const { mm, vma, events } = observed();
  cacheflush.update_mmu_cache(vma, at, 0x5008);
  cacheflush.update_mmu_cache_pmd(vma, at, 0x6010);
  expect(events).toEqual([
    { type: "mmu-cache-updated", mm, address: at, slot: 0x5008 },
    { type: "mmu-cache-updated", mm, address: at, slot: 0x6010 },
  ]);
});

test("without an observer the hooks are silent", () => {
  const scene = new Scene();
  expect(() => cacheflush.flush_cache_mm(scene.mm())).not.toThrow();
});
