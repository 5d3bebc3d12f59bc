import { describe, expect, test } from "vitest";
import { Linear, NO_SLOT, Pfn } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import type { KernelThread, Step } from "../../../arch/x86/mm/step.ts";
import { unlink_anon_vmas } from "../../../src/mm/anon_vma.ts";
import { down_write, semaphoreId, up_write } from "../../../src/mm/locks.ts";
import type { vm_area_struct } from "../../../src/mm/mm_types.ts";
import { pmdSlot } from "../../../src/mm/page-table.ts";
import {
  mm_find_pmd,
  page_address_in_vma,
  page_get_anon_vma,
  page_lock_anon_vma_read,
  rmap_walk,
  rmap_walk_locked,
} from "../../../src/mm/rmap.ts";
import { setFileMapping, setKsmMapping } from "../../../src/mm/util.ts";
import { Scene } from "../../support/scene.ts";
import { advance, advanceTo } from "../../support/steps.ts";

const at = Linear.of(0x7f00_0020_0000);
const PFN = Pfn.of(0x345);

/** A thread that can be interrupted nowhere. */
const NO_STEPS: readonly Step[] = [];

/** A recorder of the calls of one walk. `answers` are what rmap_one returns by vma name; default true. */
function recorder(answers: Record<string, boolean> = {}, done: (calls: string[]) => boolean = () => false) {
  const calls: string[] = [];
  const rwc = {
    arg: "arg",
    *rmap_one(
      _k: unknown,
      _page: number,
      vma: vm_area_struct,
      address: number,
      arg: string,
    ): KernelThread<boolean> {
      calls.push(`one ${vma.name} 0x${address.toString(16)} ${arg}`);
      yield* NO_STEPS;
      return answers[vma.name] ?? true;
    },
    done: () => {
      calls.push("done?");
      return done(calls);
    },
    anon_lock: null,
    invalid_vma: (vma: vm_area_struct) => {
      calls.push(`invalid? ${vma.name}`);
      return vma.name === "skipped";
    },
  };
  return { calls, rwc };
}

function fileScene() {
  const scene = new Scene();
  const file = scene.file();
  const page = scene.page(PFN);
  const vma = (name: string, pgoff: number, pages: number) =>
    scene.vma(scene.mm(name, []), { at, length: pages * 4096, pgoff, file, shared: true, name });
  return { scene, kernel: scene.kernel, file, page, vma };
}

describe("order", () => {
  test("file: vmas by their first page, then by insertion; invalid_vma, rmap_one, done for each", () => {
    const { scene, kernel, page, vma } = fileScene();
    vma("late", 4, 8);
    vma("skipped", 0, 8);
    const first = vma("first", 2, 8);
    vma("beside", 9, 8);
    vma("second", 2, 8);
    scene.mapFile(first, at + 3 * 4096, page, 0x34_5025n);
    const { calls, rwc } = recorder();
    kernel.run(rmap_walk(kernel, page, rwc));
    expect(calls).toEqual([
      "invalid? skipped",
      "invalid? first",
      "one first 0x7f0000203000 arg",
      "done?",
      "invalid? second",
      "one second 0x7f0000203000 arg",
      "done?",
      "invalid? late",
      "one late 0x7f0000201000 arg",
      "done?",
    ]);
  });

  test("file: a child's vma follows its parent's, before those that were mapped in between", () => {
    const scene = new Scene();
    const file = scene.file();
    const map = (name: string) =>
      scene.vma(scene.mm(name, []), { at, length: 0x1000, file, name, shared: true });
    const [first] = [map("first"), map("second")];
    scene.forkVma(first, scene.mm("child", []));
    expect(file.i_mmap.overlapping(0, 0).map((vma) => vma.name)).toEqual([
      "first",
      "child of first",
      "second",
    ]);
  });

  test("anonymous: the family in tree order, parent before child", () => {
    const scene = new Scene();
    const parent = scene.vma(scene.mm(), { at, length: 0x4000, name: "parent" });
    scene.mapAnon(parent, at + 0x1000, scene.page(PFN), 0x34_5025n);
    const child = scene.forkVma(parent, scene.mm("child"));
    scene.forkVma(child, scene.mm("grandchild"));
    const { calls, rwc } = recorder();
    scene.kernel.run(rmap_walk(scene.kernel, PFN, rwc));
    expect(calls.filter((call) => call.startsWith("one"))).toEqual([
      "one parent 0x7f0000201000 arg",
      "one child of parent 0x7f0000201000 arg",
      "one child of child of parent 0x7f0000201000 arg",
    ]);
  });

  test("a page that the child made its own is not looked for in the parent", () => {
    const scene = new Scene();
    const parent = scene.vma(scene.mm(), { at, length: 0x4000, name: "parent" });
    scene.mapAnon(parent, at, scene.page(PFN), 0x34_5025n);
    const child = scene.forkVma(parent, scene.mm("child"));
    scene.mapAnon(child, at, scene.page(0x346), 0x34_6025n);
    const { calls, rwc } = recorder();
    scene.kernel.run(rmap_walk(scene.kernel, Pfn.of(0x346), rwc));
    expect(calls.filter((call) => call.startsWith("one"))).toEqual([
      "one child of parent 0x7f0000200000 arg",
    ]);
  });

  test("a THP meets every vma that shows any part of it; the address is not below vm_start", () => {
    const scene = new Scene();
    const file = scene.file();
    const head = scene.compoundPage(0x400);
    const vma = (name: string, start: number, length: number, pgoff: number) =>
      scene.vma(scene.mm(name, []), { at: start, length, pgoff, file, shared: true, name });
    const whole = vma("whole", at, 0x20_0000, 512);
    vma("upper", at + 0x8_0000, 0x38_0000, 512 + 128);
    vma("last", at, 0x1000, 1023);
    vma("before", at, 0x20_0000, 0);
    vma("after", at, 0x20_0000, 1024);
    scene.mapHugeFile(whole, at, head, 0x40_00e7n);
    const { calls, rwc } = recorder();
    scene.kernel.run(rmap_walk(scene.kernel, head, rwc));
    expect(calls.filter((call) => call.startsWith("one"))).toEqual([
      "one whole 0x7f0000200000 arg",
      "one upper 0x7f0000280000 arg",
      "one last 0x7f0000200000 arg",
    ]);
  });
});

describe("ends", () => {
  function three() {
    const built = fileScene();
    const first = built.vma("a", 0, 4);
    built.vma("b", 0, 4);
    built.vma("c", 0, 4);
    built.scene.mapFile(first, at, built.page, 0x34_5025n);
    return built;
  }

  test("rmap_one's false stops the walk and done is not asked", () => {
    const { kernel, page } = three();
    const { calls, rwc } = recorder({ b: false });
    kernel.run(rmap_walk(kernel, page, rwc));
    expect(calls.slice(3)).toEqual(["invalid? b", "one b 0x7f0000200000 arg"]);
  });

  test("done stops the walk after a vma", () => {
    const { kernel, page, file } = three();
    const { calls, rwc } = recorder({}, (so_far) => so_far.length >= 6);
    kernel.run(rmap_walk(kernel, page, rwc));
    expect(calls).toHaveLength(6);
    expect(file.i_mmap_rwsem.readers).toBe(0);
  });

  test("a file page must be locked; without a mapping there is nothing to walk", () => {
    const { kernel, page } = three();
    kernel.mem_map.ClearPageLocked(page);
    expect(() => kernel.run(rmap_walk(kernel, page, recorder().rwc))).toThrow(
      /file page 837, which is not locked/,
    );
    kernel.mem_map.SetPageLocked(page);
    setFileMapping(kernel, page, null);
    const { calls, rwc } = recorder();
    kernel.run(rmap_walk(kernel, page, rwc));
    expect(calls).toEqual([]);
  });

  test("KSM pages have structures of their own, which this machine lacks", () => {
    const { kernel, page } = three();
    setKsmMapping(kernel, page);
    expect(() => kernel.run(rmap_walk(kernel, page, recorder().rwc))).toThrow(/KSM/);
  });
});

describe("locks", () => {
  test("the walk holds the file's lock for reading, and rmap_walk_locked leaves it to the caller", () => {
    const { scene, kernel, file, page, vma } = fileScene();
    scene.mapFile(vma("a", 0, 4), at, page, 0x34_5025n);
    const readers: number[] = [];
    const { rwc } = recorder();
    const seeing = { ...rwc, done: () => readers.push(file.i_mmap_rwsem.readers) < 0 };
    kernel.run(rmap_walk(kernel, page, seeing));
    kernel.run(rmap_walk_locked(kernel, page, seeing));
    expect(readers).toEqual([1, 0]);
  });

  test("59: a writer of the anon_vma's root keeps walkers out until it is done", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const parent = scene.vma(scene.mm(), { at, length: 0x4000 });
    scene.mapAnon(parent, at, scene.page(PFN), 0x34_5025n);
    const sem = parent.anon_vma?.root.rwsem;
    if (sem === undefined) throw new TypeError("no anon_vma");
    kernel.run(down_write(kernel, sem));
    const walk = rmap_walk(kernel, PFN, { ...recorder().rwc, anon_lock: page_lock_anon_vma_read });
    const blocked = { kind: "blocked", object: semaphoreId(kernel, sem) };
    expect([advanceTo(walk), advanceTo(walk)]).toEqual([blocked, blocked]);
    up_write(kernel, sem);
    expect(walk.next().done).toBe(true);
    expect(sem.readers).toBe(0);
  });

  test("page_lock_anon_vma_read looks again after it got the lock: the page may be unmapped by then", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const vma = scene.vma(scene.mm(), { at, length: 0x4000 });
    scene.mapAnon(vma, at, scene.page(PFN), 0x34_5025n);
    kernel.contended = true;
    const thread = page_lock_anon_vma_read(kernel, PFN);
    expect(advance(thread)).toBe("lock");
    kernel.mem_map._mapcount[PFN] = -1;
    expect(thread.next()).toEqual({ done: true, value: null });
    expect(vma.anon_vma?.root.rwsem.readers).toBe(0);
    // And before it: an unmapped page has no family to lock.
    expect(page_lock_anon_vma_read(kernel, PFN).next()).toEqual({ done: true, value: null });
  });
});

describe("the anon_vma of a page that may be unmapped at any moment", () => {
  function contendedFamily(contended = false) {
    const scene = new Scene();
    const { kernel } = scene;
    const vma = scene.vma(scene.mm(), { at, length: 0x4000 });
    scene.mapAnon(vma, at, scene.page(PFN), 0x34_5025n);
    const anon = vma.anon_vma!;
    kernel.run(down_write(kernel, anon.root.rwsem));
    kernel.contended = contended;
    return { scene, kernel, vma, anon, thread: page_lock_anon_vma_read(kernel, PFN) };
  }

  test("whoever waits for its lock holds a reference on it", () => {
    const { kernel, anon, thread } = contendedFamily();
    expect([advance(thread), anon.refcount]).toEqual(["blocked", 2]);
    up_write(kernel, anon.root.rwsem);
    expect(thread.next()).toEqual({ done: true, value: anon });
    expect([anon.refcount, anon.root.rwsem.readers]).toEqual([1, 1]);
  });

  test("if that was the last one, there is nothing to walk", () => {
    const { kernel, vma, anon, thread } = contendedFamily();
    thread.next();
    up_write(kernel, anon.root.rwsem);
    kernel.run(unlink_anon_vmas(vma));
    expect(thread.next()).toEqual({ done: true, value: null });
    expect([anon.refcount, anon.root.rwsem.readers]).toEqual([0, 0]);
  });

  test("a page that was unmapped before the wait is not waited for", () => {
    const { kernel, anon, thread } = contendedFamily(true);
    expect(advance(thread)).toBe("lock");
    kernel.mem_map._mapcount[PFN] = -1;
    expect(thread.next()).toEqual({ done: true, value: null });
    expect(anon.refcount).toBe(1);
  });

  test("page_get_anon_vma takes a reference, unless the page is unmapped or the anon_vma on its way out", () => {
    const { kernel, anon } = contendedFamily();
    expect([page_get_anon_vma(kernel, PFN), anon.refcount]).toEqual([anon, 2]);
    anon.refcount = 0;
    expect(page_get_anon_vma(kernel, PFN)).toBe(null);
    anon.refcount = 1;
    kernel.mem_map._mapcount[PFN] = -1;
    expect([page_get_anon_vma(kernel, PFN), anon.refcount]).toEqual([null, 1]);
  });
});

describe("page_address_in_vma", () => {
  test("anonymous: any vma of the family, inside its bounds", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const parent = scene.vma(scene.mm(), { at, length: 0x4000 });
    scene.mapAnon(parent, at + 0x1000, scene.page(PFN), 0x34_5025n);
    const child = scene.forkVma(parent, scene.mm());
    const stranger = scene.vma(scene.mm(), { at, length: 0x4000 });
    scene.mapAnon(stranger, at, scene.page(PFN + 1), 0x34_6025n);
    const below = scene.vma(scene.mm(), { at: at + 0x2000, length: 0x2000 });
    below.anon_vma = parent.anon_vma;
    const where = [parent, child, stranger, below].map((vma) => page_address_in_vma(kernel, PFN, vma));
    expect(where).toEqual([at + 0x1000, at + 0x1000, -14, -14]);
  });

  test("file: the vma's file is the page's; a page of no file is in none", () => {
    const { scene, kernel, page, vma } = fileScene();
    const own = vma("own", 0, 4);
    scene.mapFile(own, at + 0x2000, page, 0x34_5025n);
    const other = scene.vma(scene.mm(), { at, length: 0x4000, file: scene.file() });
    const anonymous = scene.vma(scene.mm(), { at, length: 0x4000 });
    expect(page_address_in_vma(kernel, page, own)).toBe(at + 0x2000);
    expect([other, anonymous].map((each) => page_address_in_vma(kernel, page, each))).toEqual([-14, -14]);
    setFileMapping(kernel, page, null);
    expect(page_address_in_vma(kernel, page, anonymous)).toBe(-14);
  });
});

test("mm_find_pmd: only a pmd that points to a table", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const mm = scene.mm();
  expect(mm_find_pmd(mm, at)).toBe(NO_SLOT);
  scene.plantPte(mm, at, 0n);
  const pmdp = pmdSlot(mm, at);
  expect(mm_find_pmd(mm, Linear.of(at + 0x5000))).toBe(pmdp);
  for (const value of [0n, 0x40_00e7n, 0x40_00e6n]) {
    kernel.plantEntry(pmdp, Entry.fromBigInt(value));
    expect(mm_find_pmd(mm, at)).toBe(NO_SLOT);
  }
});

test("an exception in rmap_one lets go of the walk's lock", () => {
  const { scene, kernel, file, page, vma } = fileScene();
  scene.mapFile(vma("a", 0, 4), at, page, 0x34_5025n);
  const rwc = {
    ...recorder().rwc,
    done: () => {
      throw new RangeError("stopped");
    },
  };
  expect(() => kernel.run(rmap_walk(kernel, page, rwc))).toThrow("stopped");
  expect(file.i_mmap_rwsem.readers).toBe(0);
});
