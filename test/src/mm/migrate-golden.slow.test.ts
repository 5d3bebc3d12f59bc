import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { remove_migration_ptes } from "../../../src/mm/migrate.ts";
import { MM_ANONPAGES } from "../../../src/mm/mm_struct.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS, TTU_IGNORE_MLOCK, TTU_MIGRATION } from "../../../src/mm/ttu-flags.ts";
import { setAnonMapping } from "../../../src/mm/util.ts";
import { VM_LOCKED } from "../../../src/mm/vma.ts";
import { Scene } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

/* Golden trace T11: the page 0x12345 at a = 0x7F0000201000 migrates to 0x23456, under every notifier protocol. */
const a = 0x7f00_0020_1000;
const OLD = Pfn.of(0x12345);
const NEW = Pfn.of(0x23456);
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;
const FLAGS = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS;

function anonPage(notifiers: string, entry: bigint, vmFlags = 0) {
  const scene = new Scene({ memory: "576MiB", notifiers });
  const { kernel } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: a, length: 0x1000, flags: vmFlags });
  const page = scene.page(OLD);
  scene.mapAnon(vma, a, page, entry);
  scene.listen(mm, "K", {});
  const trace = new Trace({ names: { a } });
  kernel.attach(trace.observer);
  /** What migrate_page_move_mapping copies before the entries are restored. */
  const moveMapping = () => {
    scene.page(NEW);
    if (vma.anon_vma !== null) setAnonMapping(kernel, NEW, vma.anon_vma);
    kernel.mem_map.index[NEW] = kernel.mem_map.index[OLD]!;
    kernel.mem_map.setFlag(NEW, PG.swapbacked);
  };
  return { scene, kernel, mem_map: kernel.mem_map, mm, vma, trace, page, moveMapping };
}

describe("T11", () => {
  const MOVE = "L+ FC X(0x8000000012345867) F[a,+4K) SPD S(0x0000000048d17e80) RM PP";
  const expected: Readonly<Record<(typeof PROTOCOLS)[number], string>> = {
    a0: `${MOVE} L- NP(a)`,
    c: `${MOVE} NP(a) L-`,
    b: `${MOVE} L- NR[a,+1)`,
    d: `NS[a,+4K) ${MOVE} NR[a,+4K) L- NE[a,+4K)`,
    e1: `NS[a,+4K) ${MOVE} L- NE[a,+4K)`,
  };
  test.each(PROTOCOLS)("protocol %s: a migration entry that neither counts nor references", (notifiers) => {
    const { scene, kernel, mem_map, mm, trace, page, moveMapping } = anonPage(
      notifiers,
      0x8000_0000_1234_5867n,
    );
    expect(kernel.run(try_to_unmap(kernel, page, FLAGS))).toBe(true);
    expect(trace.take()).toBe(expected[notifiers]);
    expect(scene.pte(mm, a)).toBe(0x48d1_7e80n);
    expect([mem_map._mapcount[page], mem_map._refcount[page], mm.rss_stat[MM_ANONPAGES]]).toEqual([-1, 1, 1]);

    moveMapping();
    kernel.run(remove_migration_ptes(kernel, OLD, NEW, false));
    // No notifier call, no flush: nothing was present.
    expect(trace.toString()).toBe("L+ flush_dcache_page S(0x8000000023456807) L-");
    expect([mem_map._mapcount[NEW], mem_map._refcount[NEW], mm.rss_stat[MM_ANONPAGES]]).toEqual([0, 2, 1]);
  });

  test.each([
    ["read-only, not soft-dirty", 0x8000_0000_1234_5025n, 0x48d1_7c00n, 0x8000_0000_2345_6005n],
    ["read-only, soft-dirty", 0x8000_0000_1234_5825n, 0x48d1_7c80n, 0x8000_0000_2345_6805n],
    ["writable, soft-dirty", 0x8000_0000_1234_5867n, 0x48d1_7e80n, 0x8000_0000_2345_6807n],
  ])("%s: A and D are clear afterwards", (_what, before, migrating, after) => {
    const { scene, kernel, mm, page, moveMapping } = anonPage("c", before);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    expect(scene.pte(mm, a)).toBe(migrating);
    moveMapping();
    kernel.run(remove_migration_ptes(kernel, OLD, NEW, false));
    expect(scene.pte(mm, a)).toBe(after);
  });

  test("a move that failed restores the mapping of the old page", () => {
    const { scene, kernel, mem_map, mm, page } = anonPage("c", 0x8000_0000_1234_5867n);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    kernel.run(remove_migration_ptes(kernel, page, page, false));
    expect(scene.pte(mm, a)).toBe(0x8000_0000_1234_5807n);
    expect([mem_map._mapcount[page], mem_map._refcount[page]]).toEqual([0, 2]);
  });

  test("update_mmu_cache comes right after the new entry, under its lock", () => {
    const { kernel, page, moveMapping, trace } = anonPage("c", 0x8000_0000_1234_5867n);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    moveMapping();
    const full = new Trace({ names: { a }, also: ["mmu-cache"] });
    kernel.attach(full.observer);
    kernel.run(remove_migration_ptes(kernel, OLD, NEW, false));
    expect(full.toString()).toBe("L+ flush_dcache_page S(0x8000000023456807) UMC(a) L-");
    // The golden traces leave it out.
    expect(trace.toString()).not.toContain("UMC");
  });

  test("in a locked vma the new page becomes mlocked", () => {
    const { kernel, mem_map, page, moveMapping, trace } = anonPage("c", 0x8000_0000_1234_5867n, VM_LOCKED);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    moveMapping();
    trace.take();
    kernel.run(remove_migration_ptes(kernel, OLD, NEW, false));
    expect(trace.toString()).toBe("L+ flush_dcache_page S(0x8000000023456807) mlock_vma_page L-");
    expect(mem_map.PageMlocked(NEW)).toBe(true);
  });

  test("the vma may have lost VM_WRITE meanwhile: a write entry then comes back read-only", () => {
    const { scene, kernel, mm, vma, page, moveMapping } = anonPage("c", 0x8000_0000_1234_5867n);
    kernel.run(try_to_unmap(kernel, page, FLAGS));
    vma.vm_flags &= ~0x2;
    moveMapping();
    kernel.run(remove_migration_ptes(kernel, OLD, NEW, false));
    expect(scene.pte(mm, a)).toBe(0x8000_0000_2345_6805n);
  });
});
