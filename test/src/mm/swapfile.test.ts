import { describe, expect, test } from "vitest";
import { swp_entry } from "../../../arch/x86/mm/swap-entry.ts";
import { SWAP_HAS_CACHE, SwapSpace } from "../../../src/mm/swap-space.ts";
import { swap_duplicate, swap_free } from "../../../src/mm/swapfile.ts";
import { Scene } from "../../support/scene.ts";

describe("slots", () => {
  test("behind the last one the search begins again at slot 1, so that freed slots are used", () => {
    const swap = new SwapSpace(8);
    const take = (count = 1) => {
      const first = swap.takeSlots(count);
      if (first !== null) swap.swap_map.fill(SWAP_HAS_CACHE, first, first + count);
      return first;
    };
    expect([take(4), take(3), take()]).toEqual([1, 5, null]);
    swap.swap_map.fill(0, 2, 4);
    expect([take(3), take(2), take()]).toEqual([null, 2, null]);
    swap.swap_map[1] = 0;
    expect(take()).toBe(1);
  });
});

describe("references", () => {
  const SLOT = 0x77;
  const entry = swp_entry(0, SLOT);

  test("the 63rd is counted on a continuation page; only its allocation can fail", () => {
    const { kernel } = new Scene();
    const { swap } = kernel;
    swap.swap_map[SLOT] = SWAP_HAS_CACHE;
    for (let i = 1; i <= 100; i++)
      expect([swap_duplicate(kernel, entry), swap.references(SLOT)]).toEqual([0, i]);
    expect(swap.swap_map[SLOT]).toBe(SWAP_HAS_CACHE | 62);
    swap.failDuplicates = 1;
    expect([swap_duplicate(kernel, entry), swap.references(SLOT)]).toEqual([-12, 100]);
    for (let i = 99; i >= 0; i--) {
      swap_free(kernel, entry);
      expect(swap.references(SLOT)).toBe(i);
    }
    expect([swap.continued.size, swap.swap_map[SLOT]]).toEqual([0, SWAP_HAS_CACHE]);
    expect(() => swap_free(kernel, entry)).toThrow(/no entry refers to that slot/);
  });

  test("a slot that is not in use cannot be duplicated, nor one that the area does not have", () => {
    const { kernel } = new Scene({ swapSlots: 16 });
    expect([swap_duplicate(kernel, swp_entry(0, 3)), kernel.swap.swap_map[3]]).toEqual([-2, 0]);
    expect(swap_duplicate(kernel, swp_entry(0, 16))).toBe(-22);
    expect(swap_duplicate(kernel, swp_entry(1, 3))).toBe(-22);
  });
});
