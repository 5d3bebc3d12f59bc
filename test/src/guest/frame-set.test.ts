import { expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { FrameSet } from "../../../src/guest/frame-set.ts";
import { Random } from "../../../src/sim/random.ts";

const SEED = 20_417;
const PAGES = [0, 1, 512, 262_144];

test(`leaves of all sizes at random, seed ${SEED}: as a set of numbers has it`, () => {
  const random = new Random(SEED);
  const set = new FrameSet();
  const plain = new Set<number>();
  for (let i = 0; i < 3000; i++) {
    // Mostly inside six large pages, far beyond memory; a GiB as the last one.
    const level = i === 2999 ? 3 : random.below(40) === 0 ? 2 : 1;
    const pages = PAGES[level]!;
    const pfn = 2 ** 36 + Math.floor(random.below(6 * 512) / pages) * pages;
    const before = plain.size;
    for (let frame = pfn; frame < pfn + pages; frame++) plain.add(frame);
    expect(set.add(Pfn.of(pfn), level)).toBe(plain.size - before);
    expect(set.size).toBe(plain.size);
  }
  expect([1, 2, 3].map((level) => set.add(Pfn.of(2 ** 36), level))).toEqual([0, 0, 0]);
});

test("more frames than a Set can have members", () => {
  const set = new FrameSet();
  for (let gib = 0; gib < 4096; gib++) set.add(Pfn.of(gib * PAGES[3]!), 3);
  expect(set.size).toBe(2 ** 30);
});
