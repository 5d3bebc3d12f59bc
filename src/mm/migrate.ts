import type { Linear, Pfn } from "../../arch/x86/cpu/address.ts";
import { flush_dcache_page, update_mmu_cache } from "../../arch/x86/mm/cacheflush.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_mkhuge, pte_mkold, pte_mksoft_dirty, pte_mkwrite } from "../../arch/x86/mm/pgtable.ts";
import { VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import { set_pte_at } from "../../arch/x86/mm/ptep.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { ABANDONED, type CallResult, enter, leave } from "./calls.ts";
import { mlock_vma_page } from "./mlock.ts";
import type { Kernel, vm_area_struct } from "./mm_types.ts";
import { get_page } from "./page_alloc.ts";
import {
  PageVmaMappedWalk,
  PVMW_MIGRATION,
  PVMW_SYNC,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "./page_vma_mapped.ts";
import {
  hugepage_add_anon_rmap,
  page_add_anon_rmap,
  page_add_file_rmap,
  page_dup_rmap,
} from "./page-mapcount.ts";
import { rmap_walk, rmap_walk_locked } from "./rmap.ts";
import { linear_page_index, VM_LOCKED } from "./vma.ts";

/**
 * Turns the migration entries for `old` back into mappings, of `replacement` or of `old` itself if the move failed
 * (mm/migrate.c remove_migration_ptes). Both pages are locked.
 */
export function* remove_migration_ptes(
  k: Kernel,
  old: Pfn,
  replacement: Pfn,
  locked: boolean,
): KernelThread<void> {
  const task = enter(k.current, "remove_migration_ptes", old, null);
  let result: CallResult = ABANDONED;
  try {
    const walk = locked ? rmap_walk_locked : rmap_walk;
    yield* walk(k, replacement, {
      arg: old,
      rmap_one: remove_migration_pte,
      done: null,
      anon_lock: null,
      invalid_vma: null,
    });
    result = true;
  } finally {
    leave(task, result);
  }
}

/** One vma; always true. D stays clear: it went to the page when the migration entry was made. */
function* remove_migration_pte(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  old: Pfn,
): KernelThread<boolean> {
  const task = enter(k.current, "remove_migration_pte", old, vma.vm_mm);
  let result: CallResult = ABANDONED;
  const v = new PageVmaMappedWalk(k, old, vma, address, PVMW_SYNC | PVMW_MIGRATION);
  try {
    while (yield* page_vma_mapped_walk(v)) yield* restoreEntry(v, page);
    result = true;
    return true;
  } catch (error) {
    page_vma_mapped_walk_done(v);
    throw error;
  } finally {
    leave(task, result);
  }
}

/** Maps the page, or the part of it that belongs there, where the migration entry at hand is. */
function* restoreEntry(v: PageVmaMappedWalk, page: Pfn): KernelThread<void> {
  const { k, vma, address, pte: slot } = v;
  const { format, mem_map } = k;
  const mm = vma.vm_mm;
  const subpage = (page - mem_map.page_to_pgoff(page) + linear_page_index(vma, address)) as Pfn;
  get_page(k, subpage);
  const swp = readEntry(mm, slot);
  let pte = pte_mkold(format.mk_pte(subpage, vma.vm_page_prot));
  if (format.pte_swp_soft_dirty(swp)) pte = pte_mksoft_dirty(pte);
  if (format.is_write_migration_entry(format.pte_to_swp_entry(swp)) && (vma.vm_flags & VM_WRITE) !== 0) {
    pte = pte_mkwrite(pte);
  }
  flush_dcache_page(k, subpage);
  if (stops(k, "entry", slot)) yield NEXT_STEP;
  if (mem_map.PageHuge(page)) {
    set_pte_at(mm, address, slot, pte_mkhuge(pte));
    if (mem_map.PageAnon(page)) hugepage_add_anon_rmap(k, page, vma, address);
    else page_dup_rmap(k, page, true);
  } else {
    set_pte_at(mm, address, slot, pte);
    if (mem_map.PageAnon(page)) page_add_anon_rmap(k, subpage, vma, address, false);
    else page_add_file_rmap(k, subpage, false);
  }
  if ((vma.vm_flags & VM_LOCKED) !== 0 && !mem_map.PageTransCompound(subpage)) mlock_vma_page(k, subpage);
  update_mmu_cache(vma, address, slot);
}
