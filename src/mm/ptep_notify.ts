import { Linear, PAGE_SIZE, type Slot } from "../../arch/x86/cpu/address.ts";
import { PMD_SIZE, PUD_SIZE, type pmd_t, type pte_t, type pud_t } from "../../arch/x86/mm/pgtable_types.ts";
import {
  pmdp_clear_flush_young,
  pmdp_huge_clear_flush,
  pmdp_test_and_clear_young,
  ptep_clear_flush,
  ptep_clear_flush_young,
  ptep_test_and_clear_young,
  pudp_huge_clear_flush,
  set_pte_at,
} from "../../arch/x86/mm/ptep.ts";
import type { KernelThread } from "../../arch/x86/mm/step.ts";
import type { mm_struct, vm_area_struct } from "./mm_types.ts";
import {
  mmu_notifier_change_pte,
  mmu_notifier_clear_flush_young,
  mmu_notifier_clear_young,
  mmu_notifier_invalidate_range,
} from "./mmu_notifier.ts";

/* The primitives of arch/x86/mm/ptep.ts with the listeners told (include/linux/mmu_notifier.h *_notify). */

/** Ages one page everywhere; listeners are asked even if the CPU's entry was old. */
export function ptep_clear_flush_young_notify(vma: vm_area_struct, address: Linear, ptep: Slot): boolean {
  const young = ptep_clear_flush_young(vma, address, ptep);
  return mmu_notifier_clear_flush_young(vma.vm_mm, address, (address + PAGE_SIZE) as Linear) || young;
}

/** The same for 2 MiB; unlike a pte's, a huge entry that was young is flushed. */
export function* pmdp_clear_flush_young_notify(
  vma: vm_area_struct,
  address: Linear,
  pmdp: Slot,
): KernelThread<boolean> {
  const young = yield* pmdp_clear_flush_young(vma, address, pmdp);
  return mmu_notifier_clear_flush_young(vma.vm_mm, address, (address + PMD_SIZE) as Linear) || young;
}

/** As ptep_clear_flush_young_notify; listeners need not flush either, so their answer may come late (idle pages). */
export function ptep_clear_young_notify(vma: vm_area_struct, address: Linear, ptep: Slot): boolean {
  const young = ptep_test_and_clear_young(vma, address, ptep);
  return mmu_notifier_clear_young(vma.vm_mm, address, (address + PAGE_SIZE) as Linear) || young;
}

/** The same for 2 MiB; unlike pmdp_clear_flush_young_notify it never flushes. */
export function pmdp_clear_young_notify(vma: vm_area_struct, address: Linear, pmdp: Slot): boolean {
  const young = pmdp_test_and_clear_young(vma, address, pmdp);
  return mmu_notifier_clear_young(vma.vm_mm, address, (address + PMD_SIZE) as Linear) || young;
}

/**
 * Takes an entry out, flushes it where a CPU may hold it, then tells listeners by invalidate_range; returns the old
 * entry.
 */
export function* ptep_clear_flush_notify(
  vma: vm_area_struct,
  address: Linear,
  ptep: Slot,
): KernelThread<pte_t> {
  const old = yield* ptep_clear_flush(vma, address, ptep);
  const start = Linear.truncate(address);
  mmu_notifier_invalidate_range(vma.vm_mm, start, (start + PAGE_SIZE) as Linear);
  return old;
}

/** The same for a huge pmd, which is always flushed. */
export function* pmdp_huge_clear_flush_notify(
  vma: vm_area_struct,
  address: Linear,
  pmdp: Slot,
): KernelThread<pmd_t> {
  const old = yield* pmdp_huge_clear_flush(vma, address, pmdp);
  mmu_notifier_invalidate_range(vma.vm_mm, address, (address + PMD_SIZE) as Linear);
  return old;
}

/** The same for a huge pud. */
export function* pudp_huge_clear_flush_notify(
  vma: vm_area_struct,
  address: Linear,
  pudp: Slot,
): KernelThread<pud_t> {
  const old = yield* pudp_huge_clear_flush(vma, address, pudp);
  mmu_notifier_invalidate_range(vma.vm_mm, address, (address + PUD_SIZE) as Linear);
  return old;
}

/** Listeners get the new entry before the CPU does; only for a slot that was cleared and flushed before. */
export function set_pte_at_notify(mm: mm_struct, address: Linear, ptep: Slot, pte: pte_t): void {
  mmu_notifier_change_pte(mm, address, pte);
  set_pte_at(mm, address, ptep, pte);
}
