import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnonSets } from "../../../src/guest/anon-sets.ts";

describe("vmas that share anonymous pages", () => {
  test("fork: one address, one base, and pgoff is the address", () => {
    const sets = new AnonSets([null, null, null]);
    expect(sets.join(0, 1, 0)).toBe(true);
    const { set, base } = sets.solve([0x10000, 0x10000, 0x50000]);
    expect(set[0]).toBe(set[1]);
    expect([...base]).toEqual([0, 0, 0]);
    expect(set[2]).toBe(-1);
  });

  test("mremap: the one that lies elsewhere is the one that moved", () => {
    const sets = new AnonSets([null, null, null]);
    sets.join(0, 1, 0);
    sets.join(1, 2, -0x300);
    const { base } = sets.solve([0x100000, 0x100000, 0x400000]);
    expect([...base]).toEqual([0, 0, -0x300]);
  });

  test("a file's vma knows its base, and gives it to the others", () => {
    const sets = new AnonSets([null, 7]);
    expect(sets.join(0, 1, 2)).toBe(true);
    expect([...sets.solve([0, 0]).base]).toEqual([5, 7]);
  });

  test("two files' vmas that do not fit are not joined", () => {
    const sets = new AnonSets([3, 7]);
    expect(sets.join(0, 1, 5)).toBe(false);
    expect(sets.join(0, 1, 4)).toBe(true);
  });

  test("no page is at two places of one vma, directly or around a corner", () => {
    const sets = new AnonSets([null, null]);
    expect(sets.join(0, 0, 1)).toBe(false);
    expect(sets.join(0, 1, 10)).toBe(true);
    expect(sets.join(1, 0, -9)).toBe(false);
    expect(sets.join(1, 0, -10)).toBe(true);
  });

  test("no offset is negative, even when the vma that did not move lies low", () => {
    const sets = new AnonSets([null, null, null]);
    sets.join(0, 1, 0);
    sets.join(0, 2, -100);
    const starts = [4096 * 3, 4096 * 3, 4096 * 50];
    const { base } = sets.solve(starts);
    const offsets = starts.map((start, vma) => base[vma]! + start / 4096);
    expect(offsets).toEqual([53, 53, 0]);
  });

  test("whatever is joined in whatever order, the bases differ by what was said", () => {
    const links = fc.array(fc.tuple(fc.nat(19), fc.nat(19), fc.boolean()), { maxLength: 60 });
    const truths = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 20, maxLength: 20 });
    fc.assert(
      fc.property(truths, links, fc.array(fc.nat(19), { maxLength: 3 }), (truth, pairs, known) => {
        const sets = new AnonSets(truth.map((base, vma) => (known.includes(vma) ? base : null)));
        const accepted = pairs.filter(([a, b, lie]) => {
          const said = truth[b]! - truth[a]! + (lie && a === b ? 1 : 0);
          return sets.join(a, b, said);
        });
        expect(accepted.length).toBe(pairs.filter(([a, b, lie]) => !lie || a !== b).length);
        const { set, base } = sets.solve(truth.map(() => 2 ** 20 * 4096));
        for (const [a, b] of accepted) {
          expect(set[a]).toBe(set[b]);
          expect(base[b]! - base[a]!).toBe(truth[b]! - truth[a]!);
        }
        for (const vma of known) expect(base[vma]).toBe(truth[vma]);
      }),
      { seed: 0x5eed, numRuns: 300 },
    );
  });
});
