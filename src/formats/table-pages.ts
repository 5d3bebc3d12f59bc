import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { FormatError } from "./format-error.ts";
import { fileOffsetAt, type MemoryImage, segmentAt } from "./memory-image.ts";
import { ReadBudget } from "./read-budget.ts";

const ENTRY_SIZE = 8;
/** The level whose entries map 4 KiB pages: nothing below it to descend to. */
const LAST_LEVEL = 1;
/** Room for the level beside the frame number in the key of a visit. */
const LEVELS = 8;
/** PML4E and PML5E: never a leaf, and PS is reserved. */
const FIRST_TOP_LEVEL = 4;

/** The reserved bits of a CPU in its present state. */
export type ReservedBits = Pick<ControlRegisters, "reservedHi" | "reservedTop" | "reservedLarge">;

/** Whether a present entry has a bit set that must be zero: every access through it is a page fault. */
export function hasReservedBit(bits: ReservedBits, level: number, lo: number, hi: number): boolean {
  if ((hi & bits.reservedHi) !== 0) return true;
  if (level >= FIRST_TOP_LEVEL) return (lo & bits.reservedTop) !== 0;
  return level > LAST_LEVEL && (lo & PTE_PS) !== 0 && (lo & bits.reservedLarge(level)) !== 0;
}

/**
 * Checks every table entry that a walk from one of `roots` can meet: it must point at a table page in memory
 * and, in a reduced core (one with a PTIMAGE note), at a page that the core holds. What a *leaf* points at is
 * free: devices lie beyond memory. Given the reserved bits of a CPU, entries that have one of them lead nowhere. Tables
 * may be shared and may point at themselves; each page is visited once per level, so the work is at most `levels` times
 * the pages of the core. The memory is the core's own: loaded, or loaded here page by page.
 *
 * Returns the number of visits. Throws FormatError with the file offset of the first bad entry.
 */
export function validateTables(
  core: MemoryImage,
  memory: PhysicalMemory,
  roots: Iterable<number>,
  levels: 4 | 5,
  budget: ReadBudget = new ReadBudget(),
  reserved: ReservedBits | null = null,
): number {
  const visited = new Set<number>();
  const pending: { page: number; level: number }[] = [];
  const visit = (page: number, level: number): void => {
    const key = (page / PAGE_SIZE) * LEVELS + level;
    if (visited.has(key)) return;
    budget.takeTableVisit(core.file);
    visited.add(key);
    core.loadPage?.(memory, page);
    if (level > LAST_LEVEL) pending.push({ page, level });
  };

  for (const root of roots) {
    checkRoot(core, memory, root);
    visit(root, levels);
  }
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (let address = next.page; address < next.page + PAGE_SIZE; address += ENTRY_SIZE) {
      const lo = memory.readLo(address);
      if (!isTableEntry(lo, next.level)) continue;
      const hi = memory.readHi(address);
      if (reserved !== null && hasReservedBit(reserved, next.level, lo, hi)) continue;
      const table = frameOf(lo, hi) * PAGE_SIZE;
      // A page that a full dump left out is all zero: it has no entries, so there is nothing to visit.
      if (checkTable(core, memory, address, next.level, table)) visit(table, next.level - 1);
    }
  }
  return visited.size;
}

/** Throws FormatError unless a table page may stand at `root`. */
export function checkRoot(core: MemoryImage, memory: { readonly size: number }, root: number): void {
  if (root % PAGE_SIZE !== 0 || root < 0 || root >= memory.size) {
    const bytes = `0x${memory.size.toString(16)}`;
    throw new FormatError(
      core.file,
      null,
      `a page-aligned root inside the memory of ${bytes} bytes, found 0x${root.toString(16)}`,
    );
  }
  if (segmentAt(core, root) === undefined) {
    throw new FormatError(core.file, null, `a segment that holds the root 0x${root.toString(16)}`);
  }
}

/** Present, and not a 1 GiB or 2 MiB leaf. Above that the PS bit is reserved: a walk ends there in a fault. */
function isTableEntry(lo: number, level: number): boolean {
  return (lo & PTE_P) !== 0 && (lo & PTE_PS) === 0 && level > LAST_LEVEL;
}

/** Whether the core holds the table page that the entry at `address` points at. */
function checkTable(
  core: MemoryImage,
  memory: PhysicalMemory,
  address: number,
  level: number,
  table: number,
): boolean {
  const entry = `the level ${level} entry at physical 0x${address.toString(16)}`;
  if (table >= memory.size) {
    throw new FormatError(
      core.file,
      fileOffsetAt(core, address),
      `${entry} to point inside the memory of 0x${memory.size.toString(16)} bytes, found 0x${table.toString(16)}`,
    );
  }
  if (segmentAt(core, table) !== undefined) return true;
  if (core.note === null) return false;
  throw new FormatError(
    core.file,
    fileOffsetAt(core, address),
    `the table page 0x${table.toString(16)} that ${entry} points at`,
  );
}
