import type { Linear, Pfn } from "../../arch/x86/cpu/address.ts";
import type { KernelThread } from "../../arch/x86/mm/step.ts";
import { lock_page, unlock_page } from "../mm/locks.ts";
import type { Kernel, mm_struct, vm_area_struct } from "../mm/mm_types.ts";
import { PageVmaMappedWalk, PVMW_SYNC, page_vma_mapped_walk } from "../mm/page_vma_mapped.ts";
import { rmap_walk } from "../mm/rmap.ts";

/** One entry that rmap found: whose, and the first linear address it maps. */
export interface RmapPair {
  readonly mm: mm_struct;
  readonly address: Linear;
}

/** Every entry that rmap_walk and page_vma_mapped_walk find for a page, in the walk's order. Changes nothing. */
export function* rmapPairs(k: Kernel, page: Pfn): KernelThread<RmapPair[]> {
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
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  pairs: RmapPair[],
): KernelThread<boolean> {
  const walk = new PageVmaMappedWalk(k, page, vma, address, PVMW_SYNC);
  while (yield* page_vma_mapped_walk(walk)) pairs.push({ mm: vma.vm_mm, address: walk.address });
  return true;
}
