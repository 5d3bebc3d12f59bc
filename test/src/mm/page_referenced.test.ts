import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import type { vm_area_struct } from "../../../src/mm/mm_types.ts";
import { page_referenced } from "../../../src/mm/page_referenced.ts";
import { fileMapping, setFileMapping, setKsmMapping } from "../../../src/mm/util.ts";
import { VM_LOCKED, VM_SEQ_READ } from "../../../src/mm/vma.ts";
import { Scene } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

const at = 0x7f00_0020_0000;
const PFN = 0x345;
const YOUNG = 0x8000_0000_0034_5025n;
const OLD = 0x8000_0000_0034_5005n;

/** One file page mapped by vmas with these entries and flags, each in its own mm. */
function filePage(mappings: readonly { entry: bigint; flags?: number }[]) {
  const scene = new Scene();
  const { kernel } = scene;
  const file = scene.file();
  const page = scene.page(PFN);
  const vmas: vm_area_struct[] = [];
  for (const { entry, flags = 0 } of mappings) {
    const vma = scene.vma(scene.mm(), { at, length: 0x4000, file, shared: true, flags });
    scene.mapFile(vma, at, page, entry);
    scene.listen(vma.vm_mm, "K", { clear_flush_young: () => false });
    vmas.push(vma);
  }
  const run = (isLocked = true) => kernel.run(page_referenced(kernel, page, isLocked));
  return { scene, kernel, page, vmas, run };
}

test("counts the vmas through which the page was used and clears A in all of them", () => {
  const { scene, vmas, run } = filePage([{ entry: YOUNG }, { entry: OLD }, { entry: YOUNG }]);
  const flags = vmas[0]!.vm_flags;
  expect(run()).toEqual({ referenced: 2, vm_flags: flags });
  expect(vmas.map((vma) => scene.pte(vma.vm_mm, at))).toEqual([OLD, OLD, OLD]);
  expect(run()).toEqual({ referenced: 0, vm_flags: 0 });
});

test("the walk per vma, without a flush; listeners are asked even if the CPU's entry is old", () => {
  const { kernel, run } = filePage([{ entry: YOUNG }, { entry: OLD }]);
  const trace = new Trace({ names: { at }, also: ["rmw"] });
  kernel.attach(trace.observer);
  run();
  expect(trace.toString()).toBe("L+ A- NY[at,+4K) L- L+ NY[at,+4K) L-");
});

test("a listener's use counts like the CPU's", () => {
  const { scene, vmas, run } = filePage([{ entry: OLD }]);
  scene.listen(vmas[0]!.vm_mm, "guest", { clear_flush_young: () => true });
  expect(run().referenced).toBe(1);
});

test("several young ptes of one vma are one reference: vmas are counted, not entries", () => {
  const scene = new Scene();
  const vma = scene.vma(scene.mm(), { at, length: 0x20_0000 });
  scene.compoundPage(0x400);
  scene.mapSubpages(vma, at, 0x400, 16, 0x40_0027n);
  expect(scene.kernel.run(page_referenced(scene.kernel, Pfn.of(0x400), true)).referenced).toBe(1);
  expect(scene.pte(vma.vm_mm, at + 15 * 4096)).toBe(0x40_f007n);
});

test("VM_LOCKED stops the whole walk: what comes after is not aged", () => {
  const { scene, vmas, run } = filePage([
    { entry: YOUNG },
    { entry: YOUNG, flags: VM_LOCKED },
    { entry: YOUNG },
  ]);
  expect(run()).toEqual({ referenced: 1, vm_flags: vmas[0]!.vm_flags | VM_LOCKED });
  expect(vmas.map((vma) => scene.pte(vma.vm_mm, at))).toEqual([OLD, YOUNG, YOUNG]);
});

test("a sequential reader does not count, but its A is cleared", () => {
  const { scene, vmas, run } = filePage([{ entry: YOUNG, flags: VM_SEQ_READ }]);
  expect(run()).toEqual({ referenced: 0, vm_flags: 0 });
  expect(scene.pte(vmas[0]!.vm_mm, at)).toBe(OLD);
});

test("the walk ends when every mapping was seen", () => {
  const { scene, kernel, page, vmas, run } = filePage([{ entry: YOUNG }, { entry: YOUNG }]);
  // Only one mapping is counted: the second vma is not visited.
  kernel.mem_map._mapcount[page] = 0;
  expect(run().referenced).toBe(1);
  expect(scene.pte(vmas[1]!.vm_mm, at)).toBe(YOUNG);
});

test("idle page tracking: a use clears PG_idle, PG_young counts as one", () => {
  const { kernel, page, run } = filePage([{ entry: YOUNG }]);
  kernel.mem_map.setFlag(page, PG.idle);
  run();
  expect(kernel.mem_map.flags[page]! & PG.idle).toBe(0);
  kernel.mem_map.setFlag(page, PG.young | PG.idle);
  expect(run().referenced).toBe(1);
  expect(kernel.mem_map.flags[page]! & (PG.young | PG.idle)).toBe(PG.idle);
});

describe("the page lock", () => {
  test("a file page is locked for the walk if the caller has not, and unlocked again", () => {
    const { kernel, page, run } = filePage([{ entry: YOUNG }]);
    kernel.mem_map.ClearPageLocked(page);
    expect(run(false).referenced).toBe(1);
    expect(kernel.mem_map.PageLocked(page)).toBe(false);
  });

  test("if somebody else holds it, the answer is 1 and nothing is aged", () => {
    const { scene, vmas, run } = filePage([{ entry: YOUNG }]);
    expect(run(false)).toEqual({ referenced: 1, vm_flags: 0 });
    expect(scene.pte(vmas[0]!.vm_mm, at)).toBe(YOUNG);
  });
});

test("a page that is not mapped, or whose owner is gone, is not referenced", () => {
  const scene = new Scene();
  const { kernel } = scene;
  expect(kernel.run(page_referenced(kernel, scene.page(PFN), true))).toEqual({ referenced: 0, vm_flags: 0 });
  const { kernel: other, page, run } = filePage([{ entry: YOUNG }]);
  setFileMapping(other, page, null);
  expect(run()).toEqual({ referenced: 0, vm_flags: 0 });
});

test("a huge mapping: A of the pmd, a 2M flush, and listeners asked for 2M", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const vma = scene.vma(scene.mm(), { at, length: 0x20_0000 });
  scene.mapHugeAnon(vma, at, scene.compoundPage(0x400), 0x40_00e7n);
  scene.listen(vma.vm_mm, "K", {});
  const trace = new Trace({ names: { at }, also: ["rmw"] });
  kernel.attach(trace.observer);
  expect(kernel.run(page_referenced(kernel, Pfn.of(0x400), true)).referenced).toBe(1);
  expect(trace.toString()).toBe("L+(pmd) A- F(full) NY[at,+2M) L-(pmd)");
});

test("a KSM page is refused before it is locked", () => {
  const { kernel, page, run } = filePage([{ entry: YOUNG }]);
  setKsmMapping(kernel, page);
  kernel.mem_map.ClearPageLocked(page);
  const records: unknown[] = [];
  kernel.attach((record) => records.push(record));
  expect(() => run(false)).toThrow(/KSM/);
  expect([kernel.mem_map.PageLocked(page), records]).toEqual([false, []]);
});

test("a listener that throws leaves no lock behind", () => {
  const { scene, kernel, page, vmas, run } = filePage([{ entry: YOUNG }]);
  scene.listen(vmas[0]!.vm_mm, "broken", {
    clear_flush_young: () => {
      throw new RangeError("broken listener");
    },
  });
  kernel.mem_map.ClearPageLocked(page);
  expect(() => run(false)).toThrow("broken listener");
  const file = fileMapping(kernel, page);
  expect([kernel.current.locksHeld, file?.i_mmap_rwsem.readers, kernel.mem_map.PageLocked(page)]).toEqual([
    0,
    0,
    false,
  ]);
});
