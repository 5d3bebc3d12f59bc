import { describe, expect, test } from "vitest";
import { Linear, NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import { type KernelThread, step } from "../../../arch/x86/mm/step.ts";
import { Kernel } from "../../../src/mm/kernel.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { remove_migration_ptes } from "../../../src/mm/migrate.ts";
import type { mm_struct, mmu_notifier_ops, NotifierProtocol } from "../../../src/mm/mm_types.ts";
import { page_mkclean } from "../../../src/mm/page_mkclean.ts";
import { page_referenced } from "../../../src/mm/page_referenced.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS, TTU_IGNORE_MLOCK, TTU_MIGRATION } from "../../../src/mm/ttu-flags.ts";
import { hex } from "../../../src/text/hex.ts";
import { Scene } from "../../support/scene.ts";
import { advance } from "../../support/steps.ts";

const a = Linear.of(0x7f00_0020_0000);
const PFN = Pfn.of(0x345);
const HEAD = Pfn.of(0x400);
const DIRTY = 0x8000_0000_0034_5867n;
const MIGRATE = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS;

/**
 * A protocol of our own that tells nobody and writes down what it was asked, with the page-table locks held then.
 * It throws where `throwsAt` says.
 */
function noting(throwsAt: "begin" | "replaced" | "cleared" | "end" | null = null) {
  const calls: string[] = [];
  const note = (what: string, op: typeof throwsAt, mm: mm_struct) => {
    calls.push(`${mm.name} ${what} L${mm.kernel.current.locksHeld}`);
    if (op === throwsAt) throw new RangeError(`broken ${op}`);
  };
  const protocol: NotifierProtocol = {
    name: "home-made",
    kernels: "none",
    *begin(mm, start, end, page) {
      note(`begin [${hex(start)}, ${hex(end)}) ${hex(page)}`, "begin", mm);
      yield step("notify", mm.id);
      return {
        *replaced(address, bytes, branch) {
          note(`replaced ${hex(address)}+${bytes} ${branch}`, "replaced", mm);
          yield step("notify", mm.id);
        },
        *cleared(address, bytes, branch) {
          note(`cleared ${hex(address)}+${bytes} ${branch}`, "cleared", mm);
          yield step("notify", mm.id);
        },
        *end(): KernelThread<void> {
          note("end", "end", mm);
          yield step("notify", mm.id);
        },
      };
    },
  };
  return { protocol, calls };
}

/** A scene under that protocol, with a listener that would hear every operation. */
function sceneOf(protocol: NotifierProtocol) {
  const scene = new Scene({ notifiers: protocol });
  const heard: string[] = [];
  const note = (op: string) => () => void heard.push(op);
  const ops: mmu_notifier_ops = {
    invalidate_page: note("page"),
    invalidate_range: note("range"),
    invalidate_range_start: note("start"),
    invalidate_range_end: note("end"),
  };
  const mm = (name: string) => {
    const made = scene.mm(name);
    scene.listen(made, "K", ops);
    return made;
  };
  return { scene, kernel: scene.kernel, mem_map: scene.kernel.mem_map, mm, heard };
}

/** A file page that these mms map, each by one entry. */
function filePage(protocol: NotifierProtocol, entries: Readonly<Record<string, bigint>>) {
  const built = sceneOf(protocol);
  const { scene } = built;
  const file = scene.file();
  const page = scene.page(PFN);
  for (const [name, entry] of Object.entries(entries)) {
    const vma = scene.vma(built.mm(name), { at: a, length: 0x1000, file, shared: true });
    scene.mapFile(vma, a, page, entry);
  }
  return { ...built, file, page };
}

/** A THP of which one vma maps three subpages by ptes. */
function subpages(protocol: NotifierProtocol) {
  const built = sceneOf(protocol);
  const vma = built.scene.vma(built.mm("m"), { at: a, length: 0x3000 });
  built.scene.compoundPage(HEAD);
  built.scene.mapSubpages(vma, a, HEAD, 3, 0x40_0027n);
  return { ...built, vma };
}

test("a kernel takes a protocol of one's own, and calls it by its name", () => {
  const { protocol } = noting();
  const kernel = new Kernel(new Machine({ memory: "4MiB" }), { notifiers: protocol });
  expect(kernel.protocol).toBe(protocol);
  expect(new Kernel(new Machine({ memory: "4MiB" }), { notifiers: "d" }).protocol.name).toBe("d");
});

describe("page_mkclean asks it", () => {
  test("once per vma: begin, cleared for an entry that was cleaned, end; nobody else is told anything", () => {
    const { protocol, calls } = noting();
    const { kernel, heard } = filePage(protocol, {
      dirty: DIRTY,
      clean: 0x8000_0000_0034_5025n,
      writable: 0x8000_0000_0034_5027n,
    });
    expect(kernel.run(page_mkclean(kernel, PFN))).toBe(2);
    const begin = "begin [0x7f0000200000, 0x7f0000201000) 0x345 L0";
    expect(calls).toEqual([
      `dirty ${begin}`,
      "dirty cleared 0x7f0000200000+4096 clean L1",
      "dirty end L0",
      `clean ${begin}`,
      "clean end L0",
      `writable ${begin}`,
      "writable cleared 0x7f0000200000+4096 clean L1",
      "writable end L0",
    ]);
    expect(heard).toEqual([]);
  });

  test("for a pmd once, with 2 MiB", () => {
    const { protocol, calls } = noting();
    const { scene, kernel, mm } = sceneOf(protocol);
    const vma = scene.vma(mm("m"), { at: a, length: 0x20_0000, file: scene.file(), shared: true });
    scene.mapHugeFile(vma, a, scene.compoundPage(HEAD), 0x8000_0000_0040_08e7n);
    expect(kernel.run(page_mkclean(kernel, HEAD))).toBe(1);
    expect(calls).toEqual([
      "m begin [0x7f0000200000, 0x7f0000400000) 0x400 L0",
      "m cleared 0x7f0000200000+2097152 clean L1",
      "m end L0",
    ]);
  });
});

describe("try_to_unmap asks it", () => {
  test("begin once, replaced and cleared once per entry, end once", () => {
    const { protocol, calls } = noting();
    const { kernel, heard } = subpages(protocol);
    expect(kernel.run(try_to_unmap(kernel, HEAD, MIGRATE))).toBe(true);
    const entries = [0x7f00_0020_0000, 0x7f00_0020_1000, 0x7f00_0020_2000].flatMap((address) => [
      `m replaced ${hex(address)}+4096 migration L1`,
      `m cleared ${hex(address)}+4096 migration L1`,
    ]);
    expect(calls).toEqual(["m begin [0x7f0000200000, 0x7f0000203000) 0x400 L0", ...entries, "m end L0"]);
    expect(heard).toEqual([]);
  });

  test("replaced comes before mapping and reference go, cleared after it", () => {
    const { protocol, calls } = noting();
    const { kernel, mem_map } = filePage(protocol, { m: DIRTY });
    const counts: unknown[] = [];
    kernel.attach((record) => {
      if (record.kind !== "rmap-removed" && record.kind !== "page-put") return;
      counts.push([record.kind, calls.at(-1)]);
    });
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(true);
    const replaced = "m replaced 0x7f0000200000+4096 file L1";
    expect(counts).toEqual([
      ["rmap-removed", replaced],
      ["page-put", replaced],
    ]);
    expect(calls.slice(-2)).toEqual(["m cleared 0x7f0000200000+4096 file L1", "m end L0"]);
    expect(mem_map._mapcount[PFN]).toBe(-1);
  });

  test.each([
    ["a page that was written again: the old entry is back", DIRTY & ~0x20n, []],
    ["a swap-backed page outside the swap cache: the entry is lost", DIRTY, ["swapbacked-mismatch"]],
  ])("%s", (_what, entry, branches) => {
    const { protocol, calls } = noting();
    const { scene, kernel, mem_map, mm } = sceneOf(protocol);
    const vma = scene.vma(mm("m"), { at: a, length: 0x1000 });
    scene.mapAnon(vma, a, scene.page(PFN), entry);
    if (branches.length === 0) mem_map.clearFlag(PFN, PG.swapbacked);
    expect(kernel.run(try_to_unmap(kernel, PFN, TTU_IGNORE_ACCESS))).toBe(false);
    expect(calls).toEqual([
      "m begin [0x7f0000200000, 0x7f0000201000) 0x345 L0",
      ...branches.map((branch) => `m replaced 0x7f0000200000+4096 ${branch} L1`),
      "m end L0",
    ]);
  });
});

test("nobody else asks it", () => {
  const { protocol, calls } = noting();
  const { kernel, vma } = subpages(protocol);
  kernel.run(try_to_unmap(kernel, HEAD, MIGRATE));
  calls.length = 0;
  for (let i = 0; i < 3; i++) {
    const page = Pfn.of(HEAD + i);
    kernel.run(remove_migration_ptes(kernel, page, page, false));
  }
  kernel.run(page_referenced(kernel, HEAD, true));
  expect([calls, vma.vm_mm.openBrackets]).toEqual([[], 0]);
});

test("its steps are those of the function that asks", () => {
  const { protocol } = noting();
  const { kernel } = filePage(protocol, { m: DIRTY });
  const steps: unknown[] = [];
  const space = kernel.mms[0]!.id;
  for (const { kind, object } of page_mkclean(kernel, PFN)) {
    if (kind === "ipi-wait") kernel.machine.cpu(1).handleIpis();
    else steps.push([kind, object]);
  }
  expect(steps).toEqual([
    ["notify", space],
    ["notify", space],
    ["notify", space],
  ]);
});

describe("end comes once also when the walk throws, with no lock held", () => {
  const held = (kernel: Kernel) => [kernel.current.locksHeld, kernel.current.depth];

  test("because a pmd maps the page", () => {
    const { protocol, calls } = noting();
    const { scene, kernel, mm } = sceneOf(protocol);
    const vma = scene.vma(mm("m"), { at: a, length: 0x20_0000 });
    scene.mapHugeAnon(vma, a, scene.compoundPage(HEAD), 0x8000_0000_0040_08c7n);
    expect(() => kernel.run(try_to_unmap(kernel, HEAD, TTU_IGNORE_ACCESS))).toThrow(/split it first/);
    expect(calls).toEqual(["m begin [0x7f0000200000, 0x7f0000400000) 0x400 L0", "m end L0"]);
    expect([...held(kernel), vma.anon_vma?.root.rwsem.readers]).toEqual([0, 0, 0]);
  });

  test.each(["replaced", "cleared"] as const)("because the protocol's own %s does, in try_to_unmap", (op) => {
    const { protocol, calls } = noting(op);
    const { kernel, vma } = subpages(protocol);
    expect(() => kernel.run(try_to_unmap(kernel, HEAD, MIGRATE))).toThrow(`broken ${op}`);
    // The first entry only: the walk is over.
    const upTo = ["replaced", "cleared"].slice(0, op === "replaced" ? 1 : 2);
    expect(calls).toEqual([
      "m begin [0x7f0000200000, 0x7f0000203000) 0x400 L0",
      ...upTo.map((each) => `m ${each} 0x7f0000200000+4096 migration L1`),
      "m end L0",
    ]);
    expect([...held(kernel), vma.anon_vma?.root.rwsem.readers]).toEqual([0, 0, 0]);
  });

  test("because a listener of records does, in page_mkclean; the other vmas are not visited", () => {
    const { protocol, calls } = noting();
    const { kernel, file } = filePage(protocol, { first: DIRTY, second: DIRTY });
    const stop = kernel.attach((record) => {
      if (record.kind === "entry-written") throw new RangeError("stopped");
    });
    expect(() => kernel.run(page_mkclean(kernel, PFN))).toThrow("stopped");
    stop();
    expect(calls).toEqual(["first begin [0x7f0000200000, 0x7f0000201000) 0x345 L0", "first end L0"]);
    expect([...held(kernel), file.i_mmap_rwsem.readers]).toEqual([0, 0, 0]);
  });

  test("but what never began is not ended, and what failed to end is not ended again", () => {
    for (const op of ["begin", "end"] as const) {
      const { protocol, calls } = noting(op);
      const { kernel, file } = filePage(protocol, { m: 0x8000_0000_0034_5025n });
      expect(() => kernel.run(page_mkclean(kernel, PFN))).toThrow(`broken ${op}`);
      const begin = "m begin [0x7f0000200000, 0x7f0000201000) 0x345 L0";
      expect(calls).toEqual(op === "begin" ? [begin] : [begin, "m end L0"]);
      expect([...held(kernel), file.i_mmap_rwsem.readers]).toEqual([0, 0, 0]);
    }
  });
});

test("a call that is stopped in the middle is not ended: nobody could let it run any more", () => {
  const { protocol, calls } = noting();
  const { kernel } = filePage(protocol, { m: DIRTY });
  kernel.contended = true;
  const thread = page_mkclean(kernel, PFN);
  // The walk's own lock of the file comes first.
  expect([advance(thread), advance(thread)]).toEqual(["lock", "notify"]);
  thread.return(NONE);
  expect(calls).toEqual(["m begin [0x7f0000200000, 0x7f0000201000) 0x345 L0"]);
});
