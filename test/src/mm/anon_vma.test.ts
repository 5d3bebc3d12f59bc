import { describe, expect, test } from "vitest";
import {
  anon_vma_clone,
  anon_vma_fork,
  anon_vma_prepare,
  attachAnonVma,
  find_mergeable_anon_vma,
  unlink_anon_vmas,
} from "../../../src/mm/anon_vma.ts";
import { down_read_trylock, up_read } from "../../../src/mm/locks.ts";
import { address_space, type anon_vma, type vm_area_struct } from "../../../src/mm/mm_types.ts";
import { Scene, type SceneVma } from "../../support/scene.ts";
import { advance } from "../../support/steps.ts";

const at = 0x7f00_0020_0000;

function family() {
  const scene = new Scene();
  const { kernel } = scene;
  let processes = 0;
  /** A process with one vma, not yet linked anywhere. */
  const process = () => scene.vma(scene.mm(`p${++processes}`, []), { at, length: 0x10000 });
  const fork = (parent: vm_area_struct) => {
    const child = process();
    kernel.run(anon_vma_fork(child, parent));
    return child;
  };
  const prepare = (vma: vm_area_struct) => kernel.run(anon_vma_prepare(vma));
  const unlink = (vma: vm_area_struct) => kernel.run(unlink_anon_vmas(vma));
  return { scene, kernel, process, fork, prepare, unlink };
}

const own = (vma: vm_area_struct): anon_vma => {
  if (vma.anon_vma === null) throw new TypeError("the vma has no anon_vma");
  return vma.anon_vma;
};
const members = (anon: anon_vma) =>
  anon.rb_root.overlapping(0, Number.MAX_SAFE_INTEGER).map((avc) => avc.vma);

describe("degree", () => {
  test("a fresh root: 1 for itself as its parent, 1 for its vma", () => {
    const { process, prepare } = family();
    const vma = process();
    const anon = prepare(vma);
    expect([anon.degree, anon.refcount, anon.root === anon, anon.parent === anon]).toEqual([
      2,
      1,
      true,
      true,
    ]);
    expect([members(anon), vma.anon_vma_chain.length]).toEqual([[vma], 1]);
    // Preparing again changes nothing.
    expect([prepare(vma), anon.degree]).toEqual([anon, 2]);
  });

  test("fork: the child starts at 1, its parent goes up by one, the root gains a reference", () => {
    const { process, fork, prepare } = family();
    const parent = process();
    const root = prepare(parent);
    const child = fork(parent);
    expect([root.degree, own(child).degree, root.refcount]).toEqual([3, 1, 2]);
    expect([own(child).root, own(child).parent]).toEqual([root, root]);
    // The child is found from pages of both; the parent only from its own.
    expect([members(root), members(own(child))]).toEqual([[parent, child], [child]]);
    expect(child.anon_vma_chain.map((avc) => avc.anon_vma)).toEqual([root, own(child)]);
  });

  test("a grandchild hangs below the child and shares the root and its lock", () => {
    const { process, fork, prepare } = family();
    const parent = process();
    const root = prepare(parent);
    const child = fork(parent);
    const grandchild = fork(child);
    expect([root.degree, own(child).degree, own(grandchild).degree]).toEqual([3, 2, 1]);
    expect([own(grandchild).root, own(grandchild).parent]).toEqual([root, own(child)]);
    expect(root.refcount).toBe(3);
    expect(members(root)).toEqual([parent, child, grandchild]);
    expect(grandchild.anon_vma_chain.map((avc) => avc.anon_vma)).toEqual([root, own(child), own(grandchild)]);
  });

  test("fork of a vma without anonymous pages links nothing", () => {
    const { process, fork } = family();
    expect(fork(process()).anon_vma_chain).toEqual([]);
  });

  test("clone of a vma that keeps its anon_vma (a split): one more owner", () => {
    const { scene, process, prepare } = family();
    const vma = process();
    const root = prepare(vma);
    const half = process();
    half.anon_vma = root;
    scene.kernel.run(anon_vma_clone(half, vma));
    expect([root.degree, members(root)]).toEqual([3, [vma, half]]);
  });
});

describe("reuse of a neighbour's", () => {
  const LENGTH = 0x10000;
  /** Two vmas side by side, the lower one with an anon_vma; the upper one as the options say. */
  function neighbours(options: Partial<SceneVma> = {}, lowerOptions: Partial<SceneVma> = {}) {
    const { scene, kernel, prepare } = family();
    const mm = scene.mm("p", []);
    const lower = scene.vma(mm, { at, length: LENGTH, ...lowerOptions });
    const upper = scene.vma(mm, { at: at + LENGTH, length: LENGTH, ...options });
    return { scene, kernel, mm, lower, upper, prepare };
  }

  test("the vma below and the one above share theirs, so that the two can be merged one day", () => {
    const { lower, upper, prepare } = neighbours();
    const anon = prepare(lower);
    expect(prepare(upper)).toBe(anon);
    expect([anon.degree, members(anon)]).toEqual([3, [lower, upper]]);
    const other = neighbours();
    expect(other.prepare(other.upper)).toBe(other.prepare(other.lower));
  });

  test("with two neighbours the one above wins", () => {
    const { scene, mm, lower, upper, prepare } = neighbours({ at: at + 2 * LENGTH });
    const [below, above] = [prepare(lower), prepare(upper)];
    expect(below).not.toBe(above);
    const between = scene.vma(mm, { at: at + LENGTH, length: LENGTH });
    expect(find_mergeable_anon_vma(between)).toBe(above);
  });

  test.each<[string, Partial<SceneVma>, boolean]>([
    ["other rights", { prot: "rx" }, true],
    ["soft-dirty tracking", { flags: 0x0800_0000 }, true],
    ["locked", { flags: 0x2000 }, false],
    ["shared", { shared: true }, false],
    ["a gap between", { at: at + 2 * LENGTH }, false],
    ["page offsets that do not go on", { pgoff: 7 }, false],
    ["a file", { file: new address_space("f"), pgoff: (at + LENGTH) / 4096 }, false],
  ])("%s: mergeable or not", (_what, options, mergeable) => {
    const { lower, upper, prepare } = neighbours(options);
    const anon = prepare(lower);
    expect(find_mergeable_anon_vma(upper)).toBe(mergeable ? anon : null);
    expect(prepare(upper) === anon).toBe(mergeable);
  });

  test("a neighbour that came by fork is linked to two families' pages: not shared", () => {
    const { kernel, scene, lower, prepare } = neighbours();
    prepare(lower);
    const child = scene.mm("child", []);
    const copy = scene.forkVma(lower, child);
    const fresh = scene.vma(child, { at: at + LENGTH, length: LENGTH });
    expect([copy.anon_vma_chain.length, find_mergeable_anon_vma(fresh)]).toEqual([2, null]);
    expect(kernel.run(anon_vma_prepare(fresh))).not.toBe(copy.anon_vma);
  });
});

describe("59: who changes the tree holds the root's lock for writing", () => {
  test("two threads fault in one vma: the second waits, then finds the first one's anon_vma", () => {
    const { scene, kernel, process } = family();
    const lower = process();
    const root = kernel.run(anon_vma_prepare(lower));
    const vma = scene.vma(lower.vm_mm, { at: at + 0x10000, length: 0x10000 });
    kernel.contended = true;
    expect(down_read_trylock(kernel, root.rwsem)).toBe(true);
    const [first, second] = [anon_vma_prepare(vma), anon_vma_prepare(vma)];
    expect([advance(first), advance(first)]).toEqual(["lock", "blocked"]);
    expect([advance(second), advance(second)]).toEqual(["lock", "blocked"]);
    expect(vma.anon_vma).toBe(null);
    up_read(kernel, root.rwsem);
    expect(first.next()).toEqual({ done: true, value: root });
    expect(second.next()).toEqual({ done: true, value: root });
    // Linked once.
    expect([vma.anon_vma_chain.length, root.degree, root.rwsem.writer]).toEqual([1, 3, false]);
  });

  test("fork and exit wait for a walker and let go of the lock", () => {
    const { kernel, process, prepare } = family();
    const parent = process();
    const root = prepare(parent);
    const child = process();
    kernel.contended = true;
    for (const change of [anon_vma_fork(child, parent), unlink_anon_vmas(child)]) {
      expect(down_read_trylock(kernel, root.rwsem)).toBe(true);
      const before = members(root).length;
      expect([advance(change), advance(change)]).toEqual(["lock", "blocked"]);
      expect(members(root).length).toBe(before);
      up_read(kernel, root.rwsem);
      kernel.run(change);
      expect([root.rwsem.writer, root.rwsem.readers]).toEqual([false, 0]);
    }
    expect(members(root)).toEqual([parent]);
  });
});

describe("unlink", () => {
  test("the last vma of a root: degree 0, reference 0", () => {
    const { process, prepare, unlink } = family();
    const vma = process();
    const root = prepare(vma);
    unlink(vma);
    expect([root.degree, root.refcount, vma.anon_vma, vma.anon_vma_chain]).toEqual([0, 0, null, []]);
  });

  test("57: the child goes first, then the parent; every emptied anon_vma ends at degree 0", () => {
    const { process, fork, prepare, unlink } = family();
    const parent = process();
    const root = prepare(parent);
    const child = fork(parent);
    const below = own(child);
    unlink(child);
    expect([below.degree, below.refcount, root.degree, root.refcount]).toEqual([0, 0, 2, 1]);
    unlink(parent);
    expect([root.degree, root.refcount]).toEqual([0, 0]);
  });

  test("57: the parent goes first; the root lives on while the child's vma is linked to it", () => {
    const { process, fork, prepare, unlink } = family();
    const parent = process();
    const root = prepare(parent);
    const child = fork(parent);
    const below = own(child);
    unlink(parent);
    expect([root.degree, root.refcount, members(root)]).toEqual([2, 2, [child]]);
    unlink(child);
    expect([root.degree, root.refcount, below.degree, below.refcount]).toEqual([0, 0, 0, 0]);
  });
});

describe("reuse", () => {
  test("an ancestor with no vma of its own and one child is adopted instead of growing the chain", () => {
    const { process, fork, prepare, unlink } = family();
    const first = process();
    const root = prepare(first);
    const second = fork(first);
    const middle = own(second);
    const third = fork(second);
    // The second process exits: its anon_vma has no vma of its own left, only the third below it.
    unlink(second);
    expect(middle.degree).toBe(1);
    const fourth = fork(third);
    expect([fourth.anon_vma, middle.degree]).toEqual([middle, 2]);
    expect([root.degree, own(third).degree]).toEqual([3, 1]);
  });

  test("a root is not adopted while it has a child: it counts itself, too", () => {
    const { process, fork, prepare, unlink } = family();
    const first = process();
    const root = prepare(first);
    const second = fork(first);
    unlink(first);
    expect(root.degree).toBe(2);
    expect(own(fork(second))).not.toBe(root);
  });

  test("processes that fork and exit for ever do not make the chain grow", () => {
    const { process, fork, prepare, unlink } = family();
    let current = process();
    prepare(current);
    const lengths: number[] = [];
    for (let i = 0; i < 20; i++) {
      const child = fork(current);
      unlink(current);
      current = child;
      lengths.push(current.anon_vma_chain.length);
    }
    expect(Math.max(...lengths)).toBeLessThanOrEqual(3);
  });
});

test("a vma has one anon_vma of its own", () => {
  const { process, prepare } = family();
  const vma = process();
  attachAnonVma(vma, prepare(process()));
  expect(() => attachAnonVma(vma, prepare(process()))).toThrow(TypeError);
});

test("an anon_vma without any vma must not count one", () => {
  const scene = new Scene();
  const vma = scene.vma(scene.mm(), { at: 0x7f00_0020_0000, length: 0x1000 });
  const anon = scene.kernel.run(anon_vma_prepare(vma));
  anon.degree++;
  expect(() => scene.kernel.run(unlink_anon_vmas(vma))).toThrow(/has degree 1/);
  expect(anon.root.rwsem.writer).toBe(false);
});
