import { expect, test } from "vitest";
import { Draws, hash32 } from "../../../src/sim/draws.ts";

/** Draws over pages that the test turns. */
function turned(seed: number) {
  const at = { page: 0 };
  return { at, draws: new Draws(seed, () => at.page) };
}

test("what is drawn for a page does not depend on how much was drawn for those before it", () => {
  const few = turned(1);
  const many = turned(1);
  const ofFew = few.draws.dice(3);
  const ofMany = many.draws.dice(3);
  ofFew.below(1000);
  for (let i = 0; i < 50; i++) ofMany.below(1000);
  few.at.page = 7;
  many.at.page = 7;
  const draw = (dice: { below(bound: number): number }) => Array.from({ length: 20 }, () => dice.below(1000));
  expect(draw(ofFew)).toEqual(draw(ofMany));
});

test("agents, seeds, pages and rounds of a page draw differently", () => {
  const series = (seed: number, agent: number, pages: readonly number[]) => {
    const { at, draws } = turned(seed);
    const dice = draws.dice(agent);
    for (const page of pages) {
      at.page = page;
      dice.below(2);
    }
    return Array.from({ length: 8 }, () => dice.below(2 ** 31)).join(" ");
  };
  const all = [
    series(1, 1, [5]),
    series(2, 1, [5]),
    series(1, 2, [5]),
    series(1, 1, [6]),
    series(1, 1, [5, 6, 5]),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(series(1, 1, [5])).toBe(all[0]);
});

test("agents take turns without a part in each other's numbers", () => {
  const alone = turned(9).draws.dice(1);
  const { draws } = turned(9);
  const dice = draws.dice(1);
  const other = draws.dice(2);
  for (let i = 0; i < 30; i++) {
    other.below(10);
    expect(dice.below(1_000_000)).toBe(alone.below(1_000_000));
  }
});

test("is even: every face of a die of 6 comes up, each about as often", () => {
  const faces = new Array<number>(6).fill(0);
  const { at, draws } = turned(4);
  const dice = draws.dice(1);
  for (let i = 0; i < 60_000; i++) {
    at.page = i % 100;
    faces[dice.below(6)]!++;
  }
  for (const count of faces) expect(Math.abs(count - 10_000)).toBeLessThan(500);
});

test("refuses a bound below 1", () => {
  expect(() => turned(1).draws.dice(1).below(0)).toThrow("random number below 0: give a bound of 1 or more");
});

test("hash32 is MurmurHash3 (x86, 32 bits, seed 0) of its words", () => {
  // Of twenty bytes of zeros; of 01000000 02000000 03000000 04000000 05000000.
  expect(hash32(0, 0, 0, 0, 0)).toBe(murmur3([0, 0, 0, 0, 0]));
  expect(hash32(1, 2, 3, 4, 5)).toBe(murmur3([1, 2, 3, 4, 5]));
});

/** The published algorithm, in 64-bit arithmetic. */
function murmur3(words: readonly number[]): number {
  const mask = 0xffff_ffffn;
  const rotate = (value: bigint, by: bigint) => ((value << by) | (value >> (32n - by))) & mask;
  let hash = 0n;
  for (const word of words) {
    const k = (rotate((BigInt(word) * 0xcc9e_2d51n) & mask, 15n) * 0x1b87_3593n) & mask;
    hash = (rotate(hash ^ k, 13n) * 5n + 0xe654_6b64n) & mask;
  }
  hash ^= BigInt(4 * words.length);
  hash = ((hash ^ (hash >> 16n)) * 0x85eb_ca6bn) & mask;
  hash = ((hash ^ (hash >> 13n)) * 0xc2b2_ae35n) & mask;
  return Number(hash ^ (hash >> 16n));
}
