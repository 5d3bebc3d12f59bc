import { describe, expect, test } from "vitest";
import {
  type anon_vma,
  anon_vma_clone,
  anon_vma_fork,
  anon_vma_prepare,
  attachAnonVma,
  unlink_anon_vmas,
} from "../../../src/mm/anon_vma.ts";
import type { vm_area_struct } from "../../../src/mm/vma.ts";
import { Scene } from "../../support/scene.ts";

const at = 0x7f00_0020_0000;

function family() {
  const scene = new Scene();
  let processes = 0;
  /** A process with one vma, not yet linked anywhere. */
  const process = () => scene.vma(scene.mm(`p${++processes}`, []), { at, length: 0x10000 });
  const fork = (parent: vm_area_struct) => {
    const child = process();
    anon_vma_fork(child, parent);
    return child;
  };
  return { scene, process, fork };
}

const own = (vma: vm_area_struct): anon_vma => {
  if (vma.anon_vma === null) throw new TypeError("the vma has no anon_vma");
  return vma.anon_vma;
};
const members = (anon: anon_vma) =>
  anon.rb_root.overlapping(0, Number.MAX_SAFE_INTEGER).map((avc) => avc.vma);

describe("degree (linux-mm 4.3)", () => {
  test("a fresh root: 1 for itself as its parent, 1 for its vma", () => {
    const { process } = family();
    const vma = process();
    const anon = anon_vma_prepare(vma);
    expect([anon.degree, anon.refcount, anon.root === anon, anon.parent === anon]).toEqual([
      2,
      1,
      true,
      true,
    ]);
    expect([members(anon), vma.anon_vma_chain.length]).toEqual([[vma], 1]);
    // Preparing again changes nothing.
    expect([anon_vma_prepare(vma), anon.degree]).toEqual([anon, 2]);
  });

  test("fork: the child starts at 1, its parent goes up by one, the root gains a reference", () => {
    const { process, fork } = family();
    const parent = process();
    const root = anon_vma_prepare(parent);
    const child = fork(parent);
    expect([root.degree, own(child).degree, root.refcount]).toEqual([3, 1, 2]);
    expect([own(child).root, own(child).parent]).toEqual([root, root]);
    // The child is found from pages of both; the parent only from its own.
    expect([members(root), members(own(child))]).toEqual([[parent, child], [child]]);
    expect(child.anon_vma_chain.map((avc) => avc.anon_vma)).toEqual([root, own(child)]);
  });

  test("a grandchild hangs below the child and shares the root and its lock", () => {
    const { process, fork } = family();
    const parent = process();
    const root = anon_vma_prepare(parent);
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
    const { process } = family();
    const vma = process();
    const root = anon_vma_prepare(vma);
    const half = process();
    half.anon_vma = root;
    anon_vma_clone(half, vma);
    expect([root.degree, members(root)]).toEqual([3, [vma, half]]);
  });
});

describe("unlink", () => {
  test("the last vma of a root: degree 0, reference 0", () => {
    const { process } = family();
    const vma = process();
    const root = anon_vma_prepare(vma);
    unlink_anon_vmas(vma);
    expect([root.degree, root.refcount, vma.anon_vma, vma.anon_vma_chain]).toEqual([0, 0, null, []]);
  });

  test("57: the child goes first, then the parent; every emptied anon_vma ends at degree 0", () => {
    const { process, fork } = family();
    const parent = process();
    const root = anon_vma_prepare(parent);
    const child = fork(parent);
    const below = own(child);
    unlink_anon_vmas(child);
    expect([below.degree, below.refcount, root.degree, root.refcount]).toEqual([0, 0, 2, 1]);
    unlink_anon_vmas(parent);
    expect([root.degree, root.refcount]).toEqual([0, 0]);
  });

  test("57: the parent goes first; the root lives on while the child's vma is linked to it", () => {
    const { process, fork } = family();
    const parent = process();
    const root = anon_vma_prepare(parent);
    const child = fork(parent);
    const below = own(child);
    unlink_anon_vmas(parent);
    expect([root.degree, root.refcount, members(root)]).toEqual([2, 2, [child]]);
    unlink_anon_vmas(child);
    expect([root.degree, root.refcount, below.degree, below.refcount]).toEqual([0, 0, 0, 0]);
  });
});

describe("reuse", () => {
  test("an ancestor with no vma of its own and one child is adopted instead of growing the chain", () => {
    const { process, fork } = family();
    const first = process();
    const root = anon_vma_prepare(first);
    const second = fork(first);
    const middle = own(second);
    const third = fork(second);
    // The second process exits: its anon_vma has no vma of its own left, only the third below it.
    unlink_anon_vmas(second);
    expect(middle.degree).toBe(1);
    const fourth = fork(third);
    expect([fourth.anon_vma, middle.degree]).toEqual([middle, 2]);
    expect([root.degree, own(third).degree]).toEqual([3, 1]);
  });

  test("a root is not adopted while it has a child: it counts itself, too", () => {
    const { process, fork } = family();
    const first = process();
    const root = anon_vma_prepare(first);
    const second = fork(first);
    unlink_anon_vmas(first);
    expect(root.degree).toBe(2);
    expect(own(fork(second))).not.toBe(root);
  });

  test("processes that fork and exit for ever do not make the chain grow", () => {
    const { process, fork } = family();
    let current = process();
    anon_vma_prepare(current);
    const lengths: number[] = [];
    for (let i = 0; i < 20; i++) {
      const child = fork(current);
      unlink_anon_vmas(current);
      current = child;
      lengths.push(current.anon_vma_chain.length);
    }
    expect(Math.max(...lengths)).toBeLessThanOrEqual(3);
  });
});

test("a vma has one anon_vma of its own", () => {
  const { process } = family();
  const vma = process();
  attachAnonVma(vma, anon_vma_prepare(process()));
  expect(() => attachAnonVma(vma, anon_vma_prepare(process()))).toThrow(TypeError);
});
