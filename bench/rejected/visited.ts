import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { ORDER_STRIDE, userPages } from "../user-pages.ts";
import { WALK_PAGES } from "../walk.ts";

/** What the `walk` benchmark visits, with the addresses as Numbers: below 2^47, so exact. */
export function visited(): { memory: PhysicalMemory; addresses: Float64Array } {
  const { machine, order } = userPages(WALK_PAGES, "none");
  const addresses = Float64Array.from(
    { length: WALK_PAGES },
    (_, i) => order[ORDER_STRIDE * i + 1]! * 2 ** 32 + (order[ORDER_STRIDE * i]! >>> 0),
  );
  return { memory: machine.memory, addresses };
}
