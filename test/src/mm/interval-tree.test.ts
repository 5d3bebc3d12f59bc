import fc from "fast-check";
import { expect, test } from "vitest";
import { IntervalTree, nextInterval } from "../../../src/mm/interval-tree.ts";

const interval = fc.tuple(fc.nat(60), fc.nat(12)).map(([start, more]) => ({ start, last: start + more }));
const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant("insert" as const), at: interval }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant("after" as const), which: fc.nat(), more: fc.nat(12) }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("remove" as const), which: fc.nat() }) },
);

test("any insertions and removals: queries give what a scan gives, by start and then by insertion", () => {
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 80 }),
      fc.array(interval, { maxLength: 8 }),
      (ops, queries) => {
        const tree = new IntervalTree<number>();
        let kept: { start: number; last: number; id: number }[] = [];
        ops.forEach((each, id) => {
          if (each.op === "insert") {
            tree.insert(each.at.start, each.at.last, id);
            kept.push({ ...each.at, id });
          } else if (each.op === "after" && kept.length > 0) {
            const at = each.which % kept.length;
            const { start, id: previous } = kept[at]!;
            tree.insertAfter(previous, start, start + each.more, id);
            kept.splice(at + 1, 0, { start, last: start + each.more, id });
          } else if (each.op === "remove" && kept.length > 0) {
            const gone = kept[each.which % kept.length]!;
            expect(tree.remove(gone.start, gone.id)).toBe(true);
            kept = kept.filter((other) => other !== gone);
          }
        });
        expect(tree.size).toBe(kept.length);
        const sorted = kept.toSorted((one, other) => one.start - other.start);
        for (const { start, last } of [...queries, { start: 0, last: 100 }]) {
          const scan = sorted.filter((each) => each.start <= last && start <= each.last);
          expect(tree.overlapping(start, last)).toEqual(scan.map((each) => each.id));
        }
      },
    ),
  );
});

test("equal keys keep their order of insertion, through the rotations of a thousand others", () => {
  const tree = new IntervalTree<number>();
  for (let i = 0; i < 1000; i++) tree.insert(i % 7 === 0 ? 500 : i, 1000, i);
  const equal = tree.overlapping(0, 2000).filter((value) => value % 7 === 0);
  expect(equal).toEqual([...equal].sort((one, other) => one - other));
});

test("insertAfter: directly behind the one named, before what came later with the same start", () => {
  const tree = new IntervalTree<string>();
  for (const name of ["a", "b", "c"]) tree.insert(5, 9, name);
  tree.insertAfter("a", 5, 20, "child of a");
  tree.insertAfter("c", 5, 5, "child of c");
  expect(tree.overlapping(0, 99)).toEqual(["a", "child of a", "b", "c", "child of c"]);
  expect([tree.overlapping(15, 15), tree.size]).toEqual([["child of a"], 5]);
  expect(() => tree.insertAfter("a", 6, 9, "d")).toThrow(TypeError);
  expect(() => tree.insertAfter("x", 5, 9, "d")).toThrow(/starts at 5/);
  expect(() => tree.insertAfter("a", 5, 4, "d")).toThrow(RangeError);
  expect(tree.size).toBe(5);
});

test("insertAfter keeps the order whatever the tree's shape", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 120 }), (choices) => {
      const tree = new IntervalTree<number>();
      tree.insert(500, 500, 0);
      const expected = [0];
      choices.forEach((choice, i) => {
        // Others on both sides make it rotate.
        tree.insert(choice % 1000 === 500 ? 499 : choice % 1000, 1000, -1 - i);
        const after = choice % expected.length;
        tree.insertAfter(expected[after]!, 500, 500, i + 1);
        expected.splice(after + 1, 0, i + 1);
      });
      expect(tree.overlapping(0, 1000).filter((value) => value >= 0)).toEqual(expected);
      expect(tree.size).toBe(2 * choices.length + 1);
    }),
  );
});

test("ten thousand equal starts: every interval lies at most a logarithm deep, and those that go leave the others in order", () => {
  const tree = new IntervalTree<number>();
  const count = 10_000;
  for (let i = 0; i < count; i++) tree.insert(5, 5 + (i % 3), i);
  for (let i = 0; i < count; i += 2) expect(tree.remove(5, (i * 7) % count)).toBe(true);
  const kept = Array.from({ length: count / 2 }, (_, i) => 2 * i + 1);
  expect(tree.overlapping(0, 9)).toEqual(kept);
  expect(tree.overlapping(7, 9)).toEqual(kept.filter((value) => value % 3 === 2));
  // An AVL tree is at most 1.44 times as high as a perfect one.
  let deepest = 0;
  for (let node = tree.first(0, 9); node !== null; node = nextInterval(node, 0, 9)) {
    let depth = 1;
    for (let above = node.parent; above !== null; above = above.parent) depth++;
    deepest = Math.max(deepest, depth);
  }
  expect(deepest).toBeLessThanOrEqual(1.44 * Math.log2(kept.length + 2));
});

test("one value may have several intervals: the start says which goes", () => {
  const tree = new IntervalTree<string>();
  for (const start of [3, 1, 2]) tree.insert(start, start, "it");
  expect([tree.remove(1, "it"), tree.remove(1, "it"), tree.overlapping(2, 2)]).toEqual([true, false, ["it"]]);
  expect([tree.remove(3, "it"), tree.remove(2, "it"), tree.size]).toEqual([true, true, 0]);
});

test("both ends are inside: a query meets an interval that ends where it starts", () => {
  const tree = new IntervalTree<string>();
  tree.insert(10, 20, "it");
  expect([
    tree.overlapping(20, 30),
    tree.overlapping(0, 10),
    tree.overlapping(21, 30),
    tree.overlapping(0, 9),
  ]).toEqual([["it"], ["it"], [], []]);
});

test("removing what is not there, or under another start, changes nothing", () => {
  const tree = new IntervalTree<string>();
  tree.insert(1, 5, "it");
  expect([tree.remove(2, "it"), tree.remove(1, "other"), tree.size]).toEqual([false, false, 1]);
});

test("an interval must not end before it starts", () => {
  expect(() => new IntervalTree<number>().insert(5, 4, 0)).toThrow(/\[5, 4\]/);
});
