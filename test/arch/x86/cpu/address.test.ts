import { describe, expect, it } from "vitest";
import {
  BYTES_OF_LEVEL,
  Linear,
  NO_LINEAR,
  NO_PFN,
  NO_SLOT,
  NONE,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_OF_LEVEL,
  Pfn,
  Slot,
} from "../../../../src/package/cpu.ts";

/** What is neither a whole number nor at least 0. */
const NEVER = [-1, -4096, 0.5, 4096.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

describe("Pfn", () => {
  it("of takes whole numbers below 2^40", () => {
    for (const number of [0, 1, 0x345, 2 ** 32, 2 ** 40 - 1]) expect(Pfn.of(number)).toBe(number);
    for (const number of [...NEVER, 2 ** 40, 2 ** 53]) {
      expect(() => Pfn.of(number)).toThrow(RangeError);
      expect(() => Pfn.of(number)).toThrow(`frame number ${number}: give a whole number from 0 to 2^40-1`);
    }
  });

  it("truncate gives the frame that holds a byte", () => {
    expect([0, 4095, 4096, 0x34_5fff, 2 ** 52 - 1].map(Pfn.truncate)).toEqual([0, 0, 1, 0x345, 2 ** 40 - 1]);
  });
});

describe("Slot", () => {
  it("of takes multiples of 8 below 2^52", () => {
    for (const place of [0, 8, 0x10_2200, 2 ** 32 + 8, 2 ** 52 - 8]) expect(Slot.of(place)).toBe(place);
    for (const place of [...NEVER, 4, 7, 8.5, -8, 2 ** 32 + 4, 2 ** 51 + 1, 2 ** 52, 2 ** 60]) {
      expect(() => Slot.of(place)).toThrow(RangeError);
      expect(() => Slot.of(place)).toThrow(`entry address ${place}: give a multiple of 8 below 2^52`);
    }
  });

  it("truncate gives the slot that holds a byte", () => {
    expect([0, 7, 8, 0x10_2207, 2 ** 52 - 1].map(Slot.truncate)).toEqual([0, 0, 8, 0x10_2200, 2 ** 52 - 8]);
  });
});

describe("Linear", () => {
  it("of takes any byte below 2^53, as a Number or a bigint", () => {
    for (const address of [0, 1, 0x7f00_0020_1238, 2 ** 53 - 1]) {
      expect(Linear.of(address)).toBe(address);
      expect(Linear.of(BigInt(address))).toBe(address);
    }
  });

  it("of takes pages only from 2^53 on, where no other byte is exact", () => {
    for (const page of [2 ** 53, 0xffff_8000_0000_0000, 2 ** 64 - 4096]) {
      expect(Linear.of(page)).toBe(page);
      expect(Linear.of(BigInt(page))).toBe(page);
    }
    for (const byte of [
      2 ** 53 + 2,
      2n ** 53n + 1n,
      // A multiple of 2048 is exact up there, too, and no page.
      0xffff_8000_0000_0800,
      0xffff_8000_0000_0800n,
      // These round to a page's address as Numbers.
      0xffff_8000_0000_0001n,
      0xffff_8000_0000_0fffn,
    ]) {
      expect(() => Linear.of(byte)).toThrow(RangeError);
      expect(() => Linear.of(byte)).toThrow(`linear address ${byte}: from 2^53 on only a page's address`);
    }
  });

  it("of refuses what is no address", () => {
    for (const value of [...NEVER, -1n, 2 ** 64, 2n ** 64n, 2n ** 64n + 4096n]) {
      expect(() => Linear.of(value)).toThrow(RangeError);
      expect(() => Linear.of(value)).toThrow(`linear address ${value}: give a whole number from 0 to 2^64-1`);
    }
    // The last byte of all: an address, but not exact.
    expect(() => Linear.of(2n ** 64n - 1n)).toThrow(RangeError);
  });

  it("truncate gives the page that holds a byte", () => {
    const last = 0xffff_8000_0000_0000;
    expect([0, 4095, 0x7f00_0020_1238, last + 2048, 2 ** 64 - 4096].map(Linear.truncate)).toEqual([
      0,
      0,
      0x7f00_0020_1000,
      last,
      2 ** 64 - 4096,
    ]);
  });
});

it("unchecked believes its caller", () => {
  for (const of of [Pfn, Slot, Linear]) {
    for (const value of [...NEVER, 5, 2 ** 60]) expect(of.unchecked(value)).toBe(value);
  }
});

it("a place that is not there is NONE, which no constructor makes", () => {
  expect([NO_PFN, NO_SLOT, NO_LINEAR]).toEqual([NONE, NONE, NONE]);
  for (const of of [Pfn, Slot, Linear]) expect(() => of.of(NONE)).toThrow(RangeError);
});

it("sizes agree with each other", () => {
  expect(PAGE_SIZE).toBe(2 ** PAGE_SHIFT);
  expect(BYTES_OF_LEVEL[1]).toBe(PAGE_SIZE);
  for (const level of [2, 3, 4, 5]) expect(BYTES_OF_LEVEL[level]).toBe(BYTES_OF_LEVEL[level - 1]! * 512);
  for (const level of [0, 1, 2, 3]) expect(PAGES_OF_LEVEL[level]).toBe(BYTES_OF_LEVEL[level]! / PAGE_SIZE);
});

describe("types", () => {
  const takesPfn = (pfn: Pfn): number => pfn;
  const takesSlot = (slot: Slot): number => slot;
  const takesLinear = (linear: Linear): number => linear;
  const pfn = Pfn.of(8);
  const slot = Slot.of(8);
  const linear = Linear.of(8);

  it("each is taken for itself and for a number", () => {
    expect([takesPfn(pfn), takesSlot(slot), takesLinear(linear), pfn + slot + linear]).toEqual([8, 8, 8, 24]);
  });

  it("none is taken for another, nor a plain number for any: the compiler sees to it", () => {
    // @ts-expect-error a slot is no frame
    takesPfn(slot);
    // @ts-expect-error a linear address is no frame
    takesPfn(linear);
    // @ts-expect-error a frame is no slot
    takesSlot(pfn);
    // @ts-expect-error a linear address is no slot
    takesSlot(linear);
    // @ts-expect-error a frame is no linear address
    takesLinear(pfn);
    // @ts-expect-error a slot is no linear address
    takesLinear(slot);
    // @ts-expect-error nobody has said what the number is
    takesPfn(8);
    // @ts-expect-error nobody has said what the number is
    takesSlot(8);
    // @ts-expect-error nobody has said what the number is
    takesLinear(8);
    // @ts-expect-error a sum is a plain number until somebody says what it is
    takesPfn(pfn + 1);
    // @ts-expect-error a sum is a plain number until somebody says what it is
    takesLinear(linear + PAGE_SIZE);
    expect(takesLinear((linear + PAGE_SIZE) as Linear)).toBe(4104);
  });
});
