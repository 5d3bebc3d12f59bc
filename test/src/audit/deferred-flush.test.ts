import { describe, expect, test } from "vitest";
import { owedText } from "../../../src/audit/findings.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { clear_page_dirty_for_io } from "../../../src/mm/page-writeback.ts";
import { add_to_swap } from "../../../src/mm/swapfile.ts";
import { try_to_unmap_flush, try_to_unmap_flush_dirty } from "../../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { isolate_lru_page, shrink_page_list } from "../../../src/mm/vmscan.ts";
import { AuditScene, freeSwapped, reclaim, tell, UNMAP } from "../../support/audit-scene.ts";

/*
 * What the deferred flush of reclaim rests on (SDM vol. 3, 4.10.2, "Translation Lookaside Buffers"): a CPU can store through a stale dirty translation, but
 * not through a stale clean one, and what is omitted is found although no access needs to hit it.
 */

const AT = 0x7f00_0020_1000;

/** CPU 1 has loaded from the page, or stored to it, through its TLB; CPU 0 reclaims. */
function cachedOnCpu1(dirty: boolean) {
  const scene = new AuditScene({ notifiers: "c" });
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x1000 });
  const page = scene.page(0x1234);
  scene.mapAnon(vma, AT, page, 0x8000_0000_0123_4807n);
  const user = scene.machine.cpu(1);
  user.cpl = 3;
  const auditor = scene.audit();
  expect(user.touch(AT, dirty)).toBeNull();
  return { scene, user, page, auditor };
}

describe("the promise", () => {
  test("a store through a stale clean translation faults", () => {
    const { scene, user, page } = cachedOnCpu1(false);
    add_to_swap(scene.kernel, page);
    scene.run(try_to_unmap(scene.kernel, page, UNMAP));
    expect(scene.kernel.current.tlb_ubc).toMatchObject({ flush_required: true, writable: false });
    expect(user.touch(AT, false)).toBeNull();
    expect(user.touch(AT, true)?.errorCode).toBe(0x6);
    expect(user.touch(AT, false)).not.toBeNull();
  });

  test("a store through a stale dirty translation lands, and the kernel has noted that it may", () => {
    const { scene, user, page } = cachedOnCpu1(true);
    add_to_swap(scene.kernel, page);
    scene.run(try_to_unmap(scene.kernel, page, UNMAP));
    expect(scene.kernel.current.tlb_ubc).toMatchObject({ flush_required: true, writable: true });
    const before = scene.machine.memory.readLo(page * 4096);
    expect(user.touch(AT, true)).toBeNull();
    expect(scene.machine.memory.readLo(page * 4096)).not.toBe(before);
    scene.run(try_to_unmap_flush_dirty(scene.kernel));
    expect(user.touch(AT, true)?.errorCode).toBe(0x6);
  });
});

describe("the flushes that it leaves due", () => {
  test("in order: silent", () => {
    const { scene, page } = cachedOnCpu1(true);
    reclaim(scene.kernel, page);
    expect(scene.brokenRules()).toEqual([]);
  });

  test("shrink_page_list: silent", () => {
    const { scene, page } = cachedOnCpu1(true);
    scene.kernel.mem_map.ClearPageLocked(page);
    scene.kernel.mem_map._refcount[page]!--;
    scene.kernel.mem_map.setFlag(page, PG.lru);
    // In use at first, so aged only; idle the second time.
    for (const freed of [[], [page]]) {
      isolate_lru_page(scene.kernel, page);
      expect(scene.run(shrink_page_list(scene.kernel, [page])).freed).toEqual(freed);
    }
    expect(scene.brokenRules()).toEqual([]);
  });

  test("no try_to_unmap_flush_dirty before the write-out: rule 36", () => {
    const { scene, page, auditor } = cachedOnCpu1(true);
    reclaim(scene.kernel, page, { withoutDirtyFlush: true });
    expect(scene.brokenRules()).toEqual([36]);
    expect(auditor.findings[0]).toMatchObject({
      moment: "page written out",
      agents: expect.arrayContaining(["CPU 1"]),
      pfn: page,
      linear: AT,
      stale: { rights: "read, write", writable: true, dirty: true },
      changed: { site: "try_to_unmap_one", primitive: "ptep_get_and_clear" },
    });
    expect(owedText(auditor.findings[0]!.owed)).toBe("try_to_unmap_flush_dirty before the write-out");
  });

  test("the same with a clean entry: no flush was due before the write-out", () => {
    const { scene, page } = cachedOnCpu1(false);
    reclaim(scene.kernel, page, { withoutDirtyFlush: true });
    expect(scene.brokenRules()).toEqual([]);
  });

  test("and with a store in the window: the data is lost, rule 35 with 36", () => {
    const { scene, user, page, auditor } = cachedOnCpu1(true);
    const { kernel } = scene;
    add_to_swap(kernel, page);
    scene.run(try_to_unmap(kernel, page, UNMAP));
    scene.run(clear_page_dirty_for_io(kernel, page));
    tell(kernel, "write-out", { pfn: page });
    expect(user.touch(AT, true)).toBeNull();
    scene.run(try_to_unmap_flush(kernel));
    freeSwapped(kernel, page);
    expect(scene.brokenRules()).toEqual([35, 36]);
    expect(auditor.findings.at(-1)).toMatchObject({ moment: "page freed", agent: "CPU 1", pfn: page });
  });

  test("no try_to_unmap_flush before the free: rules 1 and 48", () => {
    const { scene, page, auditor } = cachedOnCpu1(false);
    reclaim(scene.kernel, page, { withoutFlush: true });
    expect(scene.brokenRules()).toEqual([1, 48]);
    expect(auditor.findings[0]).toMatchObject({
      moment: "page freed",
      agents: ["CPU 0", "CPU 1"],
      pfn: page,
    });
    expect(owedText(auditor.findings[0]!.owed)).toBe("try_to_unmap_flush before the page is freed");
  });

  test("a dirty page's flush before the write-out serves for the free as well", () => {
    const { scene, page } = cachedOnCpu1(true);
    reclaim(scene.kernel, page, { withoutFlush: true });
    expect(scene.brokenRules()).toEqual([]);
  });
});
