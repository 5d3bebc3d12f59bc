import { BYTES_OF_LEVEL, type Linear, PAGE_SIZE, type Slot } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import {
  _PAGE_KNL_ERRATUM_MASK,
  _PAGE_PRESENT,
  _PAGE_PSE,
  PTRS_PER_TABLE,
} from "../../arch/x86/mm/pgtable_types.ts";
import type { GuestSnapshot } from "../formats/guest-snapshot.ts";
import { MAX_READ_BYTES, ReadBudget } from "../formats/read-budget.ts";

/** Told of one entry: first linear address that it maps, level (1 pte, 2 pmd, 3 pud), its slot, its words. */
export type EntryVisitor = (address: Linear, level: number, slot: Slot, lo: number, hi: number) => void;

/** Above the pud a large page is reserved: a walk faults there, and Linux keeps no software entries there. */
const HIGHEST_LEAF_LEVEL = 3;

/**
 * Visits every leaf and every software entry (swap, PROT_NONE, marker) in the user half of one process's tables,
 * in address order. Entries that are none, and tables beyond memory, have nothing to visit. `budget` bounds the
 * tables met, since tables of a made-up file can point at each other without end. Throws FormatError in the name
 * of `file` when it is used up.
 */
export function scanTables(
  memory: PhysicalMemory,
  root: number,
  levels: 4 | 5,
  budget: ReadBudget,
  file: string,
  visit: EntryVisitor,
): void {
  const { words } = memory;
  const scanTable = (table: number, level: number, base: number, entries: number): void => {
    budget.takeTableVisit(file);
    const bytesPerEntry = BYTES_OF_LEVEL[level]!;
    const firstWord = table / 4;
    for (let i = 0; i < entries; i++) {
      const lo = words[firstWord + 2 * i]!;
      const hi = words[firstWord + 2 * i + 1]!;
      if (((lo & ~_PAGE_KNL_ERRATUM_MASK) | hi) === 0) continue;
      const address = base + i * bytesPerEntry;
      if (level > 1 && (lo & (_PAGE_PRESENT | _PAGE_PSE)) === _PAGE_PRESENT) {
        const pfn = frameOf(lo, hi);
        if (memory.hasFrame(pfn)) scanTable(pfn * PAGE_SIZE, level - 1, address, PTRS_PER_TABLE);
      } else if (level <= HIGHEST_LEAF_LEVEL) {
        visit(address as Linear, level, (table + i * 8) as Slot, lo, hi);
      }
    }
  };
  scanTable(root, levels, 0, PTRS_PER_TABLE / 2);
}

/**
 * What scanning all processes of a guest may cost. A user table belongs to one process, save those that hugetlb
 * shares, so that all scans together meet each page of the core about once.
 */
export function scanBudget(guest: GuestSnapshot): ReadBudget {
  const bytes = guest.core.segments.reduce((sum, { size }) => sum + size, 0);
  return new ReadBudget(MAX_READ_BYTES, 2 * (bytes / PAGE_SIZE));
}
