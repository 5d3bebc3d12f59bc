import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { Kernel } from "../mm/kernel.ts";
import { lock_page, unlock_page } from "../mm/locks.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import {
  PageVmaMappedWalk,
  PVMW_BLOCKED,
  PVMW_FOUND,
  PVMW_SYNC,
  page_vma_mapped_walk,
} from "../mm/page_vma_mapped.ts";
import { rmap_walk } from "../mm/rmap.ts";
import type { vm_area_struct } from "../mm/vma.ts";

/** One entry that rmap found: whose, and the first linear address it maps. */
export interface RmapPair {
  readonly mm: mm_struct;
  readonly address: number;
}

/** Every entry that rmap_walk and page_vma_mapped_walk find for a page, in the walk's order. Changes nothing. */
export function* rmapPairs(k: Kernel, page: number): KernelThread<RmapPair[]> {
  const pairs: RmapPair[] = [];
  yield* lock_page(k, page);
  yield* rmap_walk(k, page, {
    arg: pairs,
    rmap_one: collectPairs,
    done: null,
    anon_lock: null,
    invalid_vma: null,
  });
  unlock_page(k, page);
  return pairs;
}

function* collectPairs(
  k: Kernel,
  page: number,
  vma: vm_area_struct,
  address: number,
  pairs: RmapPair[],
): KernelThread<boolean> {
  const walk = new PageVmaMappedWalk(k, page, vma, address, PVMW_SYNC);
  for (;;) {
    const result = page_vma_mapped_walk(walk);
    if (result >= PVMW_BLOCKED) yield "blocked";
    else if (result === PVMW_FOUND) pairs.push({ mm: vma.vm_mm, address: walk.address });
    else return true;
  }
}
