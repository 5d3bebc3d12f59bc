import { Entry, sameEntry, ZERO_ENTRY } from "../cpu/entry.ts";
import type { KernelThread } from "./events.ts";
import type { MmContext, VmaContext } from "./kernel-context.ts";
import { readEntry, smp_processor_id } from "./kernel-context.ts";
import { pmd_bad, pmd_devmap, pmd_none, pmd_trans_huge, pte_protnone, pud_trans_huge } from "./pgtable.ts";
import {
  _PAGE_ACCESSED,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_TABLE,
  PMD_SIZE,
  PUD_SIZE,
  type pmd_t,
  type pte_t,
  type pud_t,
} from "./pgtable_types.ts";
import { flush_tlb_page, flush_tlb_range } from "./tlb.ts";

/*
 * The primitives that change a live entry, with exactly the steps of v4.13 on x86 (arch/x86/mm/pgtable.c,
 * mm/pgtable-generic.c). A pte pointer is the physical address of the slot. All are called with the lock of the
 * table held; only the hardware walker changes entries without it, by setting A and D.
 *
 * Plain functions are one atomic step. Those that also flush are threads, because other CPUs run between the
 * exchange and the end of the flush.
 */

/** A plain 64-bit store; the right one for filling an empty slot or replacing one just cleared. */
export function set_pte_at(mm: MmContext, _address: number, ptep: number, pte: pte_t): void {
  mm.kernel.machine.storeEntry(ptep, pte.lo, pte.hi, smp_processor_id(mm.kernel));
}

export const set_pmd_at: typeof set_pte_at = set_pte_at;
export const set_pud_at: typeof set_pte_at = set_pte_at;
/** A plain store on x86 (mm/hugetlb.c set_huge_swap_pte_at). */
export const set_huge_swap_pte_at: typeof set_pte_at = set_pte_at;

/** Stores zero: for an entry whose old value no longer matters, since no CPU can be using it. */
export function pte_clear(mm: MmContext, address: number, ptep: number): void {
  set_pte_at(mm, address, ptep, ZERO_ENTRY);
}

/** As pte_clear, for an entry that is not present; `full` says that the whole mm goes away, which x86 ignores. */
export function pte_clear_not_present_full(
  mm: MmContext,
  address: number,
  ptep: number,
  _full: boolean,
): void {
  pte_clear(mm, address, ptep);
}

/** Points a pmd slot at a table of ptes. */
export function pmd_populate(mm: MmContext, pmdp: number, tablePfn: number): void {
  set_pmd_at(mm, 0, pmdp, new Entry((tablePfn << 12) | _PAGE_TABLE, Math.floor(tablePfn / 0x10_0000)));
}

/** Exchanges the slot with zero; returns the old entry with every A and D the walker set until that instant. */
export function ptep_get_and_clear(mm: MmContext, _address: number, ptep: number): pte_t {
  return mm.kernel.machine.exchangeEntry(ptep, ZERO_ENTRY.lo, ZERO_ENTRY.hi, smp_processor_id(mm.kernel));
}

/**
 * As ptep_get_and_clear; when the whole mm goes away (`full`) by a load and a store, which is cheaper than a locked
 * exchange. Nobody is left then who could set D between the two, so they are one step here.
 */
export function ptep_get_and_clear_full(mm: MmContext, address: number, ptep: number, full: boolean): pte_t {
  if (!full) return ptep_get_and_clear(mm, address, ptep);
  const old = readEntry(mm, ptep);
  pte_clear(mm, address, ptep);
  return old;
}

export const pmdp_huge_get_and_clear: typeof ptep_get_and_clear = ptep_get_and_clear;
export const pudp_huge_get_and_clear: typeof ptep_get_and_clear = ptep_get_and_clear;

/** Always an exchange: v4.13's x86 has no cheaper way for a huge pmd. */
export function pmdp_huge_get_and_clear_full(
  mm: MmContext,
  address: number,
  pmdp: number,
  _full: boolean,
): pmd_t {
  return pmdp_huge_get_and_clear(mm, address, pmdp);
}

/** Locked read-modify-write of one flag; in this machine no walker can come between the read and the swap. */
function clearFlag(mm: MmContext, slot: number, flag: number): Entry {
  const old = readEntry(mm, slot);
  const value = new Entry(old.lo & ~flag, old.hi);
  if (!mm.kernel.machine.compareExchangeEntry(slot, old, value, smp_processor_id(mm.kernel))) {
    throw new TypeError(`the entry at ${slot.toString(16)} changed inside one atomic step`);
  }
  return old;
}

export function ptep_set_wrprotect(mm: MmContext, _address: number, ptep: number): void {
  clearFlag(mm, ptep, _PAGE_RW);
}

export const pmdp_set_wrprotect: typeof ptep_set_wrprotect = ptep_set_wrprotect;

/** Clears A; returns whether it was set. */
export function ptep_test_and_clear_young(vma: VmaContext, _address: number, ptep: number): boolean {
  if ((readEntry(vma.vm_mm, ptep).lo & _PAGE_ACCESSED) === 0) return false;
  clearFlag(vma.vm_mm, ptep, _PAGE_ACCESSED);
  return true;
}

export const pmdp_test_and_clear_young: typeof ptep_test_and_clear_young = ptep_test_and_clear_young;

/**
 * As ptep_test_and_clear_young: x86 does not flush here. A CPU may go on with a translation whose A was set, so
 * the page can look idle while in use; that is an error of aging only.
 */
export const ptep_clear_flush_young: typeof ptep_test_and_clear_young = ptep_test_and_clear_young;

/** Whether a CPU may hold the translation: PROT_NONE only while a protection change has not flushed yet. */
export function pte_accessible(mm: MmContext, pte: pte_t): boolean {
  if ((pte.lo & _PAGE_PRESENT) !== 0) return true;
  return pte_protnone(pte) && mm.tlb_flush_pending > 0;
}

/** Exchange with zero, then a one-page flush if a CPU may hold the old translation; returns the old entry. */
export function* ptep_clear_flush(vma: VmaContext, address: number, ptep: number): KernelThread<pte_t> {
  const mm = vma.vm_mm;
  const old = ptep_get_and_clear(mm, address, ptep);
  if (pte_accessible(mm, old)) yield* flush_tlb_page(vma, address);
  return old;
}

/** Stores the entry if it differs and `dirty` says a store is due; returns whether it differed. No flush. */
export function ptep_set_access_flags(
  vma: VmaContext,
  address: number,
  ptep: number,
  entry: pte_t,
  dirty: boolean,
): boolean {
  const changed = !sameEntry(readEntry(vma.vm_mm, ptep), entry);
  if (changed && dirty) set_pte_at(vma.vm_mm, address, ptep, entry);
  return changed;
}

/** As for a pte. Throws RangeError unless the address is a multiple of 2 MiB. */
export function pmdp_set_access_flags(
  vma: VmaContext,
  address: number,
  pmdp: number,
  entry: pmd_t,
  dirty: boolean,
): boolean {
  assertHuge(address, null, "pmdp_set_access_flags");
  return ptep_set_access_flags(vma, address, pmdp, entry, dirty);
}

/**
 * After a fault whose entry allowed the access already: nothing on x86, whose CPUs drop the translation that a
 * fault came from.
 */
export function flush_tlb_fix_spurious_fault(_vma: VmaContext, _address: number): void {
  // Other architectures flush one page here.
}

export const ptep_modify_prot_start: typeof ptep_get_and_clear = ptep_get_and_clear;
export const ptep_modify_prot_commit: typeof set_pte_at = set_pte_at;

function assertHuge(address: number, pmd: pmd_t | null, what: string): void {
  if (address % PMD_SIZE !== 0) {
    throw new RangeError(`${what} at 0x${address.toString(16)}: give a multiple of 2 MiB`);
  }
  if (pmd !== null && !pmd_trans_huge(pmd) && !pmd_devmap(pmd)) {
    throw new TypeError(`${what} on ${pmd}: give the slot of a huge pmd`);
  }
}

/** As for a pte, and a 2 MiB range is flushed if the entry was young. */
export function* pmdp_clear_flush_young(
  vma: VmaContext,
  address: number,
  pmdp: number,
): KernelThread<boolean> {
  assertHuge(address, null, "pmdp_clear_flush_young");
  const young = ptep_test_and_clear_young(vma, address, pmdp);
  if (young) yield* flush_tlb_range(vma, address, address + PMD_SIZE);
  return young;
}

/** Exchange with zero, then an unconditional 2 MiB flush; returns the old entry. */
export function* pmdp_huge_clear_flush(vma: VmaContext, address: number, pmdp: number): KernelThread<pmd_t> {
  assertHuge(address, readEntry(vma.vm_mm, pmdp), "pmdp_huge_clear_flush");
  const old = pmdp_huge_get_and_clear(vma.vm_mm, address, pmdp);
  yield* flush_tlb_range(vma, address, address + PMD_SIZE);
  return old;
}

/**
 * As for a pmd, with 1 GiB. Throws RangeError for an address that is not a multiple of it, TypeError for a pud that
 * is not huge.
 */
export function* pudp_huge_clear_flush(vma: VmaContext, address: number, pudp: number): KernelThread<pud_t> {
  if (address % PUD_SIZE !== 0) {
    throw new RangeError(`pudp_huge_clear_flush at 0x${address.toString(16)}: give a multiple of 1 GiB`);
  }
  const pud = readEntry(vma.vm_mm, pudp);
  // DEVMAP is the same bit in a pud as in a pmd.
  if (!pud_trans_huge(pud) && !pmd_devmap(pud)) {
    throw new TypeError(`pudp_huge_clear_flush on ${pud}: give the slot of a huge pud`);
  }
  const old = pudp_huge_get_and_clear(vma.vm_mm, address, pudp);
  yield* flush_tlb_range(vma, address, address + PUD_SIZE);
  return old;
}

/**
 * Makes a huge pmd not present and flushes 2 MiB. v4.13 loads and then stores: A and D bits that a walker sets
 * between the two are lost (later kernels exchange).
 */
export function* pmdp_invalidate(vma: VmaContext, address: number, pmdp: number): KernelThread<void> {
  const { kernel } = vma.vm_mm;
  const entry = readEntry(vma.vm_mm, pmdp);
  if (kernel.contended) yield "entry";
  set_pmd_at(vma.vm_mm, address, pmdp, kernel.format.pmd_mknotpresent(entry));
  yield* flush_tlb_range(vma, address, address + PMD_SIZE);
}

/**
 * Takes a table of ptes out of its pmd before the pages that it maps become one huge page; returns the pmd that
 * pointed to it. The flush covers 2 MiB: small translations and the CPU's copies of the pmd both go. Throws
 * RangeError for an address that is not a multiple of 2 MiB, TypeError for a pmd that is huge already.
 */
export function* pmdp_collapse_flush(vma: VmaContext, address: number, pmdp: number): KernelThread<pmd_t> {
  assertHuge(address, null, "pmdp_collapse_flush");
  const pmd = readEntry(vma.vm_mm, pmdp);
  if (pmd_trans_huge(pmd)) throw new TypeError(`pmdp_collapse_flush on ${pmd}: give the slot of a table`);
  const old = pmdp_huge_get_and_clear(vma.vm_mm, address, pmdp);
  yield* flush_tlb_range(vma, address, address + PMD_SIZE);
  return old;
}

/**
 * Whether a walk must not go down through the pmd at this slot: there is nothing, or a huge page, or something that
 * is no table, which is reported and cleared. Looks once, so what it says holds for the value it saw
 * (asm-generic/pgtable.h).
 */
export function pmd_none_or_trans_huge_or_clear_bad(mm: MmContext, pmdp: number): boolean {
  const { kernel } = mm;
  const pmd = readEntry(mm, pmdp);
  if (pmd_none(pmd) || pmd_trans_huge(pmd)) return true;
  if (!pmd_bad(pmd, kernel.format.pfnMaskHi)) return false;
  kernel.emit?.({ type: "bad-pmd", mm, slot: pmdp, value: pmd });
  set_pmd_at(mm, 0, pmdp, ZERO_ENTRY);
  return true;
}

/** The same question, asked where a huge page may appear or go at any moment (kernels with THP). */
export const pmd_trans_unstable: typeof pmd_none_or_trans_huge_or_clear_bad =
  pmd_none_or_trans_huge_or_clear_bad;
