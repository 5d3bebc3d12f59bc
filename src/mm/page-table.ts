import { type Linear, NO_SLOT, PAGE_SIZE, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pud_huge, pud_present, tableIndex } from "../../arch/x86/mm/pgtable.ts";
import { _PAGE_PRESENT, _PAGE_PSE } from "../../arch/x86/mm/pgtable_types.ts";
import { linkTable } from "../../arch/x86/mm/ptep.ts";
import type { mm_struct } from "./mm_types.ts";
import { alloc_page } from "./page_alloc.ts";

/*
 * From a linear address to the slot that maps it: the pgd_offset .. pte_offset chain of the kernel. A slot is
 * the physical address of an entry; NO_SLOT where the tables do not reach that far.
 *
 *    63      56      47      38      29      20      11       0
 *   | sign  | pgd*  | pgd   | pud   | pmd   | pte   | offset |      * with five levels the pgd is here, p4d next
 */

/** Slot for an address in the table at a physical address, whose entries are of that level. */
function slotIn(table: number, address: Linear, level: number): Slot {
  return (table + tableIndex(address, level) * 8) as Slot;
}

/** Frame of the table that a slot lies in; its lock protects the slot. */
export function tableOf(slot: Slot): Pfn {
  return Math.floor(slot / PAGE_SIZE) as Pfn;
}

/** Slot of the pud, whatever it holds. */
export function pudSlot(mm: mm_struct, address: Linear): Slot {
  const { memory } = mm.kernel.machine;
  let table = mm.pgd;
  for (let level = mm.kernel.levels; level > 3; level--) {
    const slot = slotIn(table, address, level);
    const lo = memory.readLo(slot);
    if ((lo & _PAGE_PRESENT) === 0) return NO_SLOT;
    table = frameOf(lo, memory.readHi(slot) & mm.kernel.format.pfnMaskHi) * PAGE_SIZE;
  }
  return slotIn(table, address, 3);
}

/** Slot of the pmd, whatever it holds; NO_SLOT under a 1G page. */
export function pmdSlot(mm: mm_struct, address: Linear): Slot {
  const slot = pudSlot(mm, address);
  if (slot === NO_SLOT) return NO_SLOT;
  const { memory } = mm.kernel.machine;
  const lo = memory.readLo(slot);
  if ((lo & (_PAGE_PRESENT | _PAGE_PSE)) !== _PAGE_PRESENT) return NO_SLOT;
  const table = frameOf(lo, memory.readHi(slot) & mm.kernel.format.pfnMaskHi) * PAGE_SIZE;
  return slotIn(table, address, 2);
}

/** Slot of the pte under a pmd slot that points to a table. */
export function pteSlotUnder(mm: mm_struct, pmdp: Slot, address: Linear): Slot {
  const { memory } = mm.kernel.machine;
  const pfn = frameOf(memory.readLo(pmdp), memory.readHi(pmdp) & mm.kernel.format.pfnMaskHi);
  return slotIn(pfn * PAGE_SIZE, address, 1);
}

/** Slot of the pte, whatever it holds; NO_SLOT where a large page or no table is. */
export function pteSlot(mm: mm_struct, address: Linear): Slot {
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
export function huge_pte_offset(mm: mm_struct, address: Linear, _sz: number): Slot {
  const pudp = pudSlot(mm, address);
  if (pudp === NO_SLOT) return NO_SLOT;
  const pud = readEntry(mm, pudp);
  return pud_present(pud) && pud_huge(pud) ? pudp : pmdSlot(mm, address);
}

/** Which primitive links a table with entries of a level (asm/pgalloc.h). */
const POPULATE = ["", "pmd_populate", "pud_populate", "p4d_populate", "pgd_populate"] as const;

/** Slot of the pte, with the tables to it allocated as a fault would. */
export function ensurePteSlot(mm: mm_struct, address: Linear): Slot {
  return ensureSlot(mm, address, 1);
}

/** Slot of the pmd, with the tables above it allocated. */
export function ensurePmdSlot(mm: mm_struct, address: Linear): Slot {
  return ensureSlot(mm, address, 2);
}

function ensureSlot(mm: mm_struct, address: Linear, wanted: number): Slot {
  let table = mm.pgd;
  for (let level = mm.kernel.levels; level > wanted; level--) {
    table = ensureTable(mm, slotIn(table, address, level), level - 1);
  }
  return slotIn(table, address, wanted);
}

/** Physical address of the table, with entries of a level, that a slot leads to; a fresh one if it leads to none. */
function ensureTable(mm: mm_struct, slot: Slot, level: number): number {
  const { kernel } = mm;
  const { memory } = kernel.machine;
  const lo = memory.readLo(slot);
  if ((lo & _PAGE_PRESENT) !== 0) {
    return frameOf(lo, memory.readHi(slot) & kernel.format.pfnMaskHi) * PAGE_SIZE;
  }
  const table = alloc_page(kernel);
  memory.clear(table * PAGE_SIZE, PAGE_SIZE);
  linkTable(mm, slot, level, table, POPULATE[level]!);
  return table * PAGE_SIZE;
}
