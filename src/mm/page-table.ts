import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pud_huge, pud_present, tableIndex } from "../../arch/x86/mm/pgtable.ts";
import { _PAGE_PRESENT, _PAGE_PSE, PAGE_SIZE } from "../../arch/x86/mm/pgtable_types.ts";
import type { Kernel } from "./kernel.ts";
import type { mm_struct } from "./mm_struct.ts";

/*
 * From a linear address to the slot that maps it: the pgd_offset .. pte_offset chain of the kernel. A slot is
 * the physical address of an entry; NO_SLOT where the tables do not reach that far.
 *
 *    63      56      47      38      29      20      11       0
 *   | sign  | pgd*  | pgd   | pud   | pmd   | pte   | offset |      * with five levels the pgd is here, p4d next
 */

export const NO_SLOT = -1;

/** Frame of the table that a slot lies in; its lock protects the slot. */
export function tableOf(slot: number): number {
  return Math.floor(slot / PAGE_SIZE);
}

/** Slot of the pud, whatever it holds. */
export function pudSlot(mm: mm_struct, address: number): number {
  const { memory } = mm.kernel.machine;
  let table = mm.pgd;
  for (let level = mm.kernel.levels; level > 3; level--) {
    const slot = table + tableIndex(address, level) * 8;
    const lo = memory.readLo(slot);
    if ((lo & _PAGE_PRESENT) === 0) return NO_SLOT;
    table = frameOf(lo, memory.readHi(slot) & mm.kernel.format.pfnMaskHi) * PAGE_SIZE;
  }
  return table + tableIndex(address, 3) * 8;
}

/** Slot of the pmd, whatever it holds; NO_SLOT under a 1G page. */
export function pmdSlot(mm: mm_struct, address: number): number {
  const slot = pudSlot(mm, address);
  if (slot === NO_SLOT) return NO_SLOT;
  const { memory } = mm.kernel.machine;
  const lo = memory.readLo(slot);
  if ((lo & (_PAGE_PRESENT | _PAGE_PSE)) !== _PAGE_PRESENT) return NO_SLOT;
  const table = frameOf(lo, memory.readHi(slot) & mm.kernel.format.pfnMaskHi) * PAGE_SIZE;
  return table + tableIndex(address, 2) * 8;
}

/** Slot of the pte under a pmd slot that points to a table. */
export function pteSlotUnder(mm: mm_struct, pmdp: number, address: number): number {
  const { memory } = mm.kernel.machine;
  const pfn = frameOf(memory.readLo(pmdp), memory.readHi(pmdp) & mm.kernel.format.pfnMaskHi);
  return pfn * PAGE_SIZE + tableIndex(address, 1) * 8;
}

/** Slot of the pte, whatever it holds; NO_SLOT where a large page or no table is. */
export function pteSlot(mm: mm_struct, address: number): number {
  const pmdp = pmdSlot(mm, address);
  if (pmdp === NO_SLOT) return NO_SLOT;
  const lo = mm.kernel.machine.memory.readLo(pmdp);
  if ((lo & (_PAGE_PRESENT | _PAGE_PSE)) !== _PAGE_PRESENT) return NO_SLOT;
  return pteSlotUnder(mm, pmdp, address);
}

/**
 * Slot of a hugetlb entry, whatever size the page has: the pud's if it is huge, else the pmd's, whatever that holds;
 * NO_SLOT if the pud is not present, be it none or, as 4.13 has it, an entry of a page that migrates
 * (mm/hugetlb.c huge_pte_offset).
 */
export function huge_pte_offset(mm: mm_struct, address: number, _sz: number): number {
  const pudp = pudSlot(mm, address);
  if (pudp === NO_SLOT) return NO_SLOT;
  const pud = readEntry(mm, pudp);
  return pud_present(pud) && pud_huge(pud) ? pudp : pmdSlot(mm, address);
}

/** Slot of the pte, with the tables to it allocated as a fault would. */
export function ensurePteSlot(k: Kernel, mm: mm_struct, address: number): number {
  let table = mm.pgd;
  for (let level = k.levels; level > 1; level--) {
    table = ensureTable(k, table + tableIndex(address, level) * 8);
  }
  return table + tableIndex(address, 1) * 8;
}

/** Slot of the pmd, with the tables above it allocated. */
export function ensurePmdSlot(k: Kernel, mm: mm_struct, address: number): number {
  let table = mm.pgd;
  for (let level = k.levels; level > 2; level--) {
    table = ensureTable(k, table + tableIndex(address, level) * 8);
  }
  return table + tableIndex(address, 2) * 8;
}

function ensureTable(k: Kernel, slot: number): number {
  const { memory } = k.machine;
  const lo = memory.readLo(slot);
  if ((lo & _PAGE_PRESENT) !== 0) {
    return frameOf(lo, memory.readHi(slot) & k.format.pfnMaskHi) * PAGE_SIZE;
  }
  const pfn = k.frames.allocate();
  memory.clear(pfn * PAGE_SIZE, PAGE_SIZE);
  k.machine.storeEntry(slot, (pfn << 12) | 0x67, Math.floor(pfn / 0x10_0000), k.current.cpu);
  return pfn * PAGE_SIZE;
}
