import { type Linear, PAGE_SHIFT, type Pfn, type Slot } from "../cpu/address.ts";
import { Entry, sameEntry, ZERO_ENTRY } from "../cpu/entry.ts";
import {
  hintPrimitive,
  type MmContext,
  readEntry,
  smp_processor_id,
  type VmaContext,
} from "./kernel-context.ts";
import {
  pmd_bad,
  pmd_devmap,
  pmd_none,
  pmd_present,
  pmd_trans_huge,
  pte_protnone,
  pud_trans_huge,
} from "./pgtable.ts";
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
import { comingTo, finished, type KernelThread, NEXT_STEP, stops } from "./step.ts";
import { flush_tlb_page, flush_tlb_range } from "./tlb.ts";

/*
 * The primitives that change a live entry, with exactly the steps of v4.13 on x86 (arch/x86/mm/pgtable.c,
 * mm/pgtable-generic.c). A pte pointer is the physical address of the slot. All are called with the lock of the
 * table held; only the hardware walker changes entries without it, by setting A and D.
 *
 * Plain functions are one atomic step. Those that also flush are threads, because other CPUs run between the
 * exchange and the end of the flush.
 */

/** A plain 64-bit store by the primitive of that name. */
function store(mm: MmContext, slot: Slot, entry: Entry, primitive: string): void {
  const { kernel } = mm;
  hintPrimitive(kernel, primitive);
  kernel.machine.storeEntry(slot, entry.lo, entry.hi, smp_processor_id(kernel));
}

/** An exchange with zero: returns the old entry with every A and D that the walker set until that instant. */
function exchange(mm: MmContext, slot: Slot, primitive: string): Entry {
  const { kernel } = mm;
  hintPrimitive(kernel, primitive);
  return kernel.machine.exchangeEntry(slot, ZERO_ENTRY.lo, ZERO_ENTRY.hi, smp_processor_id(kernel));
}

/** Locked read-modify-write of one flag; in this machine no walker can come between the read and the swap. */
function clearFlag(mm: MmContext, slot: Slot, flag: number, primitive: string): void {
  const { kernel } = mm;
  const old = readEntry(mm, slot);
  const value = new Entry(old.lo & ~flag, old.hi);
  hintPrimitive(kernel, primitive);
  if (!kernel.machine.compareExchangeEntry(slot, old, value, smp_processor_id(kernel))) {
    throw new TypeError(`the entry at ${slot.toString(16)} changed inside one atomic step`);
  }
}

/** The right one for filling an empty slot or replacing one just cleared. */
export function set_pte_at(mm: MmContext, _address: Linear, ptep: Slot, pte: pte_t): void {
  store(mm, ptep, pte, "set_pte_at");
}

/** The same for a pmd. */
export function set_pmd_at(mm: MmContext, _address: Linear, pmdp: Slot, pmd: pmd_t): void {
  store(mm, pmdp, pmd, "set_pmd_at");
}

/** The same for a pud. */
export function set_pud_at(mm: MmContext, _address: Linear, pudp: Slot, pud: pud_t): void {
  store(mm, pudp, pud, "set_pud_at");
}

/** A plain store on x86 (mm/hugetlb.c). */
export function set_huge_swap_pte_at(mm: MmContext, _address: Linear, ptep: Slot, pte: pte_t): void {
  store(mm, ptep, pte, "set_huge_swap_pte_at");
}

/** Stores zero: for an entry whose old value no longer matters, since no CPU can be using it. */
export function pte_clear(mm: MmContext, _address: Linear, ptep: Slot): void {
  store(mm, ptep, ZERO_ENTRY, "pte_clear");
}

/** As pte_clear, for an entry that is not present; `full` says that the whole mm goes away, which x86 ignores. */
export function pte_clear_not_present_full(mm: MmContext, address: Linear, ptep: Slot, _full: boolean): void {
  pte_clear(mm, address, ptep);
}

/** Points a pmd slot at a table of ptes. */
export function pmd_populate(mm: MmContext, pmdp: Slot, pgtable: Pfn): void {
  linkTable(mm, pmdp, 1, pgtable, "pmd_populate");
}

/**
 * Points an entry at a table of the level below, all of whose entries are in place; recorded with what it holds. This
 * is the one place where a table comes to be used.
 */
export function linkTable(mm: MmContext, slot: Slot, level: number, table: Pfn, primitive: string): void {
  reportTable(mm, "table-linked", slot, level, table);
  store(mm, slot, new Entry((table << PAGE_SHIFT) | _PAGE_TABLE, Math.floor(table / 2 ** 20)), primitive);
}

/** Records that a table, whose entries are of that level, was linked or unlinked at a slot. */
export function reportTable(
  mm: MmContext,
  kind: "table-linked" | "table-unlinked",
  slot: Slot,
  level: number,
  table: Pfn,
): void {
  const { kernel, id } = mm;
  const { records, machine } = kernel;
  if (!records.live) return;
  const header = { seq: records.next(), agent: records.agent, cpu: smp_processor_id(kernel), space: id };
  if (kind === "table-unlinked") records.emit({ kind, ...header, slot, level, pfn: table });
  else records.emit({ kind, ...header, slot, level, pfn: table, words: machine.memory.tableWords(table) });
}

/**
 * Takes an entry out by an exchange with zero; returns it, with every A and D that a walker has set in it. No flush.
 */
export function ptep_get_and_clear(mm: MmContext, _address: Linear, ptep: Slot): pte_t {
  return exchange(mm, ptep, "ptep_get_and_clear");
}

/**
 * As ptep_get_and_clear; when the whole mm goes away (`full`) by a load and a store, which is cheaper than a locked
 * exchange. Nobody is left then who could set D between the two, so they are one step here.
 */
export function ptep_get_and_clear_full(mm: MmContext, address: Linear, ptep: Slot, full: boolean): pte_t {
  if (!full) return ptep_get_and_clear(mm, address, ptep);
  const old = readEntry(mm, ptep);
  pte_clear(mm, address, ptep);
  return old;
}

/** The same for a huge pmd. */
export function pmdp_huge_get_and_clear(mm: MmContext, _address: Linear, pmdp: Slot): pmd_t {
  return exchange(mm, pmdp, "pmdp_huge_get_and_clear");
}

/** The same for a huge pud. */
export function pudp_huge_get_and_clear(mm: MmContext, _address: Linear, pudp: Slot): pud_t {
  return exchange(mm, pudp, "pudp_huge_get_and_clear");
}

/** Always an exchange: v4.13's x86 has no cheaper way for a huge pmd. */
export function pmdp_huge_get_and_clear_full(
  mm: MmContext,
  address: Linear,
  pmdp: Slot,
  _full: boolean,
): pmd_t {
  return pmdp_huge_get_and_clear(mm, address, pmdp);
}

/** Takes away the right to store by a locked AND; A and D stay. No flush. */
export function ptep_set_wrprotect(mm: MmContext, _address: Linear, ptep: Slot): void {
  clearFlag(mm, ptep, _PAGE_RW, "ptep_set_wrprotect");
}

/** The same for a huge pmd. */
export function pmdp_set_wrprotect(mm: MmContext, _address: Linear, pmdp: Slot): void {
  clearFlag(mm, pmdp, _PAGE_RW, "pmdp_set_wrprotect");
}

function testAndClearYoung(vma: VmaContext, slot: Slot, primitive: string): boolean {
  if ((readEntry(vma.vm_mm, slot).lo & _PAGE_ACCESSED) === 0) return false;
  clearFlag(vma.vm_mm, slot, _PAGE_ACCESSED, primitive);
  return true;
}

/** Clears A; returns whether it was set. */
export function ptep_test_and_clear_young(vma: VmaContext, _address: Linear, ptep: Slot): boolean {
  return testAndClearYoung(vma, ptep, "ptep_test_and_clear_young");
}

/** The same for a huge pmd. */
export function pmdp_test_and_clear_young(vma: VmaContext, _address: Linear, pmdp: Slot): boolean {
  return testAndClearYoung(vma, pmdp, "pmdp_test_and_clear_young");
}

/**
 * As ptep_test_and_clear_young: x86 does not flush here. A CPU may go on with a translation whose A was set, so
 * the page can look idle while in use; that is an error of aging only.
 */
export function ptep_clear_flush_young(vma: VmaContext, _address: Linear, ptep: Slot): boolean {
  return testAndClearYoung(vma, ptep, "ptep_clear_flush_young");
}

/** Whether a CPU may hold the translation: PROT_NONE only while a protection change has not flushed yet. */
export function pte_accessible(mm: MmContext, pte: pte_t): boolean {
  if ((pte.lo & _PAGE_PRESENT) !== 0) return true;
  return pte_protnone(pte) && mm.tlb_flush_pending > 0;
}

/** Exchange with zero, then a one-page flush if a CPU may hold the old translation; returns the old entry. */
export function ptep_clear_flush(vma: VmaContext, address: Linear, ptep: Slot): KernelThread<pte_t> {
  const mm = vma.vm_mm;
  const old = ptep_get_and_clear(mm, address, ptep);
  return pte_accessible(mm, old) ? comingTo(flush_tlb_page(vma, address), old) : finished(old);
}

/** Stores the entry if it differs and `dirty` says a store is due; returns whether it differed. No flush. */
export function ptep_set_access_flags(
  vma: VmaContext,
  address: Linear,
  ptep: Slot,
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
  address: Linear,
  pmdp: Slot,
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
export function flush_tlb_fix_spurious_fault(_vma: VmaContext, _address: Linear): void {
  // Other architectures flush one page here.
}

/** Takes an entry out while its protection changes: no walker sets A or D in what is not there. */
export function ptep_modify_prot_start(mm: MmContext, _address: Linear, ptep: Slot): pte_t {
  return exchange(mm, ptep, "ptep_modify_prot_start");
}

/** Puts the changed entry back. */
export function ptep_modify_prot_commit(mm: MmContext, _address: Linear, ptep: Slot, pte: pte_t): void {
  store(mm, ptep, pte, "ptep_modify_prot_commit");
}

function assertHuge(address: number, pmd: pmd_t | null, what: string): void {
  if (address % PMD_SIZE !== 0) {
    throw new RangeError(`${what} at 0x${address.toString(16)}: give a multiple of 2 MiB`);
  }
  if (pmd !== null && !pmd_trans_huge(pmd) && !pmd_devmap(pmd)) {
    throw new TypeError(`${what} on ${pmd}: give the slot of a huge pmd`);
  }
}

/** As for a pte, and a 2 MiB range is flushed if the entry was young. */
export function* pmdp_clear_flush_young(vma: VmaContext, address: Linear, pmdp: Slot): KernelThread<boolean> {
  assertHuge(address, null, "pmdp_clear_flush_young");
  const young = ptep_test_and_clear_young(vma, address, pmdp);
  if (young) yield* flush_tlb_range(vma, address, (address + PMD_SIZE) as Linear);
  return young;
}

/** Exchange with zero, then an unconditional 2 MiB flush; returns the old entry. */
export function* pmdp_huge_clear_flush(vma: VmaContext, address: Linear, pmdp: Slot): KernelThread<pmd_t> {
  assertHuge(address, readEntry(vma.vm_mm, pmdp), "pmdp_huge_clear_flush");
  const old = pmdp_huge_get_and_clear(vma.vm_mm, address, pmdp);
  yield* flush_tlb_range(vma, address, (address + PMD_SIZE) as Linear);
  return old;
}

/**
 * As for a pmd, with 1 GiB. Throws RangeError for an address that is not a multiple of it, TypeError for a pud that
 * is not huge.
 */
export function* pudp_huge_clear_flush(vma: VmaContext, address: Linear, pudp: Slot): KernelThread<pud_t> {
  if (address % PUD_SIZE !== 0) {
    throw new RangeError(`pudp_huge_clear_flush at 0x${address.toString(16)}: give a multiple of 1 GiB`);
  }
  const pud = readEntry(vma.vm_mm, pudp);
  // DEVMAP is the same bit in a pud as in a pmd.
  if (!pud_trans_huge(pud) && !pmd_devmap(pud)) {
    throw new TypeError(`pudp_huge_clear_flush on ${pud}: give the slot of a huge pud`);
  }
  const old = pudp_huge_get_and_clear(vma.vm_mm, address, pudp);
  yield* flush_tlb_range(vma, address, (address + PUD_SIZE) as Linear);
  return old;
}

/**
 * Makes a huge pmd not present and flushes 2 MiB. v4.13 loads and then stores: A and D bits that a walker sets
 * between the two are lost (later kernels exchange).
 */
export function* pmdp_invalidate(vma: VmaContext, address: Linear, pmdp: Slot): KernelThread<void> {
  const { kernel } = vma.vm_mm;
  const entry = readEntry(vma.vm_mm, pmdp);
  if (stops(kernel, "entry", pmdp)) yield NEXT_STEP;
  set_pmd_at(vma.vm_mm, address, pmdp, kernel.format.pmd_mknotpresent(entry));
  yield* flush_tlb_range(vma, address, (address + PMD_SIZE) as Linear);
}

/**
 * Takes a table of ptes out of its pmd before the pages that it maps become one huge page; returns the pmd that
 * pointed to it. The flush covers 2 MiB: small translations and the CPU's copies of the pmd both go. Throws
 * RangeError for an address that is not a multiple of 2 MiB, TypeError for a pmd that is huge already.
 */
export function* pmdp_collapse_flush(vma: VmaContext, address: Linear, pmdp: Slot): KernelThread<pmd_t> {
  assertHuge(address, null, "pmdp_collapse_flush");
  const pmd = readEntry(vma.vm_mm, pmdp);
  if (pmd_trans_huge(pmd)) throw new TypeError(`pmdp_collapse_flush on ${pmd}: give the slot of a table`);
  const old = pmdp_huge_get_and_clear(vma.vm_mm, address, pmdp);
  const { kernel } = vma.vm_mm;
  if (pmd_present(old)) reportTable(vma.vm_mm, "table-unlinked", pmdp, 1, kernel.format.pte_pfn(old));
  yield* flush_tlb_range(vma, address, (address + PMD_SIZE) as Linear);
  return old;
}

/**
 * Whether a walk must not go down through the pmd at this slot: there is nothing, or a huge page, or something that
 * is no table, which is reported and cleared. Looks once, so what it says holds for the value it saw
 * (asm-generic/pgtable.h).
 */
export function pmd_none_or_trans_huge_or_clear_bad(mm: MmContext, pmdp: Slot): boolean {
  const { kernel } = mm;
  const pmd = readEntry(mm, pmdp);
  if (pmd_none(pmd) || pmd_trans_huge(pmd)) return true;
  if (!pmd_bad(pmd, kernel.format.pfnMaskHi)) return false;
  const { records } = kernel;
  if (records.live) {
    records.emit({
      kind: "bad-pmd",
      seq: records.next(),
      agent: records.agent,
      cpu: smp_processor_id(kernel),
      space: mm.id,
      slot: pmdp,
      entryLo: pmd.lo,
      entryHi: pmd.hi,
    });
  }
  store(mm, pmdp, ZERO_ENTRY, "pmd_clear_bad");
  return true;
}

/** The same question, asked where a huge page may appear or go at any moment (kernels with THP). */
export const pmd_trans_unstable: typeof pmd_none_or_trans_huge_or_clear_bad =
  pmd_none_or_trans_huge_or_clear_bad;
