import { type Linear, NO_PFN, NO_SLOT, PAGE_SIZE, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import {
  pmd_devmap,
  pmd_dirty,
  pmd_none,
  pmd_soft_dirty,
  pmd_trans_huge,
  pmd_write,
  pmd_young,
  pte_mkold,
  pte_mksoft_dirty,
  pte_mkspecial,
  pte_mkwrite,
  pte_wrprotect,
} from "../../arch/x86/mm/pgtable.ts";
import { HPAGE_PMD_NR, PMD_SIZE, type pmd_t, type pte_t, VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import { pmd_populate, pmdp_invalidate, set_pmd_at } from "../../arch/x86/mm/ptep.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import { lockTable, unlockTable } from "./locks.ts";
import { PG } from "./mem_map.ts";
import { clear_page_mlock } from "./mlock.ts";
import { add_mm_counter, MM_FILEPAGES } from "./mm_struct.ts";
import type { Kernel, mm_struct, vm_area_struct } from "./mm_types.ts";
import { mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start } from "./mmu_notifier.ts";
import { put_page } from "./page_alloc.ts";
import { page_remove_rmap } from "./page-mapcount.ts";
import { pmdSlot, tableOf } from "./page-table.ts";
import { pmdp_huge_clear_flush_notify } from "./ptep_notify.ts";
import { set_page_dirty } from "./swapfile.ts";
import { is_huge_zero_pmd, my_zero_pfn } from "./zero-page.ts";

/** Puts a spare pte table aside for the day the huge pmd is split; with the pmd lock held. */
export function pgtable_trans_huge_deposit(mm: mm_struct, pmdp: Slot, pgtable: Pfn): void {
  const table = tableOf(pmdp);
  const spare = mm.deposited.get(table);
  if (spare === undefined) mm.deposited.set(table, [pgtable]);
  else spare.push(pgtable);
}

/** Takes a spare pte table back. Throws if none was put aside: the split could not be done. */
export function pgtable_trans_huge_withdraw(mm: mm_struct, pmdp: Slot): Pfn {
  const pgtable = mm.deposited.get(tableOf(pmdp))?.pop();
  if (pgtable === undefined) throw new TypeError(`no table was deposited for the huge pmd at slot ${pmdp}`);
  return pgtable;
}

/**
 * Splits the huge pmd that maps an address by this page (mm/huge_memory.c). Listeners are bracketed wherever there is a
 * pmd: only under its lock is it known whether it is huge.
 */
export function* split_huge_pmd_address(
  k: Kernel,
  vma: vm_area_struct,
  address: Linear,
  freeze: boolean,
  page: Pfn,
): KernelThread<void> {
  const pmdp = pmdSlot(vma.vm_mm, address);
  if (pmdp === NO_SLOT) return;
  yield* __split_huge_pmd(k, vma, pmdp, address, freeze, page);
}

/** Splits a pmd if it is huge, whatever page it maps (include/linux/huge_mm.h split_huge_pmd). */
export function* split_huge_pmd(
  k: Kernel,
  vma: vm_area_struct,
  pmdp: Slot,
  address: Linear,
): KernelThread<void> {
  const pmd = readEntry(vma.vm_mm, pmdp);
  if (pmd_trans_huge(pmd) || pmd_devmap(pmd)) yield* __split_huge_pmd(k, vma, pmdp, address, false, null);
}

/**
 * Replaces one huge mapping by 512 small ones, or by migration entries (`freeze`). With a page, only if the pmd maps
 * that one; without, whatever it maps. Listeners are bracketed. No CPU ever holds a small and a huge translation of
 * one address: the huge one is made not present and flushed before the table is put in its place.
 *
 *    pmd  ..8E7 huge ──► ..8E6 huge, P=0 ──► flush 2M ──► table | 0x67
 *
 * Throws TypeError for freeze without a page: only a page that is known and locked can have migration entries.
 */
export function* __split_huge_pmd(
  k: Kernel,
  vma: vm_area_struct,
  pmdp: Slot,
  address: Linear,
  freeze: boolean,
  page: Pfn | null,
): KernelThread<void> {
  if (freeze && page === null)
    throw new TypeError("__split_huge_pmd with freeze: give the page that is locked");
  const mm = vma.vm_mm;
  const haddr = (address - (address % PMD_SIZE)) as Linear;
  const task = enter(k.current, "__split_huge_pmd", page ?? NO_PFN, mm);
  let result: CallResult = ABANDONED;
  try {
    if (stops(k, "notify", mm.id)) yield NEXT_STEP;
    yield* mmu_notifier_invalidate_range_start(mm, haddr, (haddr + PMD_SIZE) as Linear);
    const table = tableOf(pmdp);
    yield* lockTable(k, table, "pmd");
    try {
      const pmd = readEntry(mm, pmdp);
      const mapped = k.format.pmd_pfn(pmd);
      if ((pmd_trans_huge(pmd) || pmd_devmap(pmd)) && (page === null || page === mapped)) {
        if (pmd_trans_huge(pmd)) clear_page_mlock(k, mapped);
        yield* __split_huge_pmd_locked(k, vma, pmdp, haddr, freeze);
      }
    } catch (error) {
      unlockTable(k, table, "pmd");
      yield* mmu_notifier_invalidate_range_end(mm, haddr, (haddr + PMD_SIZE) as Linear);
      throw error;
    }
    unlockTable(k, table, "pmd");
    if (stops(k, "notify", mm.id)) yield NEXT_STEP;
    yield* mmu_notifier_invalidate_range_end(mm, haddr, (haddr + PMD_SIZE) as Linear);
    result = true;
  } finally {
    leave(task, result);
  }
}

function* __split_huge_pmd_locked(
  k: Kernel,
  vma: vm_area_struct,
  pmdp: Slot,
  haddr: Linear,
  freeze: boolean,
): KernelThread<void> {
  const { mem_map } = k;
  const mm = vma.vm_mm;
  const huge = readEntry(mm, pmdp);
  const page = k.format.pmd_pfn(huge);
  if (pmd_devmap(huge)) {
    // Device memory has no counts to move: faults fill the small entries.
    if (stops(k, "entry", pmdp)) yield NEXT_STEP;
    yield* pmdp_huge_clear_flush_notify(vma, haddr, pmdp);
    return;
  }
  if (is_huge_zero_pmd(k, huge)) {
    yield* __split_huge_zero_page_pmd(k, vma, haddr, pmdp);
    return;
  }
  if (!mem_map.PageAnon(page)) {
    yield* dropFilePmd(k, vma, pmdp, haddr, page);
    return;
  }
  mem_map._refcount[page]! += HPAGE_PMD_NR - 1;
  // Read from the live slot, as 4.13 does: A and D that a walker sets from here to the invalidation are lost.
  const pmd = readEntry(mm, pmdp);
  const pgtable = pgtable_trans_huge_withdraw(mm, pmdp);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    k.plantEntry((pgtable * PAGE_SIZE + i * 8) as Slot, smallEntry(k, vma, pmd, (page + i) as Pfn, freeze));
    mem_map._mapcount[page + i]!++;
  }
  if (pmd_dirty(pmd)) set_page_dirty(k, page);
  countSplitMapping(k, page);
  yield* pmdp_invalidate(vma, haddr, pmdp);
  if (stops(k, "entry", pmdp)) yield NEXT_STEP;
  pmd_populate(mm, pmdp, pgtable);
  if (!freeze) return;
  // Whoever faults now waits on a migration entry; the counts follow, all under the lock that the walks need.
  if (stops(k, "free", page)) yield NEXT_STEP;
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    page_remove_rmap(k, (page + i) as Pfn, false);
    put_page(k, (page + i) as Pfn);
  }
}

/** The huge zero page becomes 512 times the small one; the pmd is empty until all of them are in place. */
function* __split_huge_zero_page_pmd(
  k: Kernel,
  vma: vm_area_struct,
  haddr: Linear,
  pmdp: Slot,
): KernelThread<void> {
  const mm = vma.vm_mm;
  if (stops(k, "entry", pmdp)) yield NEXT_STEP;
  yield* pmdp_huge_clear_flush_notify(vma, haddr, pmdp);
  const pgtable = pgtable_trans_huge_withdraw(mm, pmdp);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const zero = my_zero_pfn(k, (haddr + i * PAGE_SIZE) as Linear);
    k.plantEntry(
      (pgtable * PAGE_SIZE + i * 8) as Slot,
      pte_mkspecial(k.format.pfn_pte(zero, vma.vm_page_prot)),
    );
  }
  if (stops(k, "entry", pmdp)) yield NEXT_STEP;
  pmd_populate(mm, pmdp, pgtable);
}

/** Maps the huge zero page, with the spare table for its split, in an empty pmd; with the pmd lock held. */
export function set_huge_zero_page(
  k: Kernel,
  pgtable: Pfn,
  mm: mm_struct,
  vma: vm_area_struct,
  haddr: Linear,
  pmdp: Slot,
  zero_page: Pfn,
): boolean {
  if (!pmd_none(readEntry(mm, pmdp))) return false;
  pgtable_trans_huge_deposit(mm, pmdp, pgtable);
  set_pmd_at(mm, haddr, pmdp, k.format.mk_huge_pmd(zero_page, vma.vm_page_prot));
  return true;
}

/** One of the 512 entries. Dirty goes to the page, never to the small entries. */
function smallEntry(k: Kernel, vma: vm_area_struct, pmd: pmd_t, page: Pfn, freeze: boolean): pte_t {
  if (freeze) {
    const entry = k.format.swp_entry_to_pte(k.format.make_migration_entry(page, pmd_write(pmd)));
    return pmd_soft_dirty(pmd) ? k.format.pte_swp_mksoft_dirty(entry) : entry;
  }
  let pte = k.format.mk_pte(page, vma.vm_page_prot);
  if ((vma.vm_flags & VM_WRITE) !== 0) pte = pte_mkwrite(pte);
  if (!pmd_write(pmd)) pte = pte_wrprotect(pte);
  if (!pmd_young(pmd)) pte = pte_mkold(pte);
  return pmd_soft_dirty(pmd) ? pte_mksoft_dirty(pte) : pte;
}

/** Moves one mapping from the compound count to the subpages' counts. */
function countSplitMapping(k: Kernel, page: Pfn): void {
  const { mem_map } = k;
  const shiftAll = (by: number) => {
    for (let i = 0; i < HPAGE_PMD_NR; i++) mem_map._mapcount[page + i]! += by;
  };
  if (mem_map.compound_mapcount[page]! > 0 && !mem_map.PageDoubleMap(page)) {
    mem_map.setFlag(page, PG.double_map);
    shiftAll(1);
  }
  if (--mem_map.compound_mapcount[page]! < 0 && mem_map.PageDoubleMap(page)) {
    mem_map.clearFlag(page, PG.double_map);
    shiftAll(-1);
  }
}

/**
 * A file's huge mapping is not split but dropped: faults fill the small entries. 4.13 drops its dirty bit, too, and
 * counts it as MM_FILEPAGES even if the file is shared memory.
 */
function* dropFilePmd(
  k: Kernel,
  vma: vm_area_struct,
  pmdp: Slot,
  haddr: Linear,
  page: Pfn,
): KernelThread<void> {
  if (stops(k, "entry", pmdp)) yield NEXT_STEP;
  const old = yield* pmdp_huge_clear_flush_notify(vma, haddr, pmdp);
  if (pmd_young(old)) k.mem_map.setFlag(page, PG.referenced);
  page_remove_rmap(k, page, true);
  put_page(k, page);
  add_mm_counter(vma.vm_mm, MM_FILEPAGES, -HPAGE_PMD_NR);
}
