import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { PtImageNote } from "./elf-note.ts";
import { FormatError } from "./format-error.ts";
import { fileOffsetAt, type SegmentedFile, segmentAt } from "./memory-image.ts";
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

/** A core, and whether it is a reduced one, which holds every table. */
export interface TableCore extends SegmentedFile {
  readonly note: PtImageNote | null;
}

/** A table entry that leads nowhere. */
export interface LostTable {
  /** Physical address of the entry, and its level. */
  readonly entry: number;
  readonly level: number;
  /** Physical address of the table that it points at. */
  readonly table: number;
}

/**
 * Checks every table entry that a walk from one of `roots` can meet: it must point at a table page in memory
 * and, in a reduced core (one with a PTIMAGE note), at a page that the core holds. What a *leaf* points at is
 * free: devices lie beyond memory. Tables may be shared and may point at themselves; each page is visited once per level,
 * so the work is at most `levels` times the pages of the core. The memory is the core's own, loaded before.
 *
 * Returns the number of visits. Throws FormatError with the file offset of the first bad entry.
 */
export function validateTables(
  core: TableCore,
  memory: PhysicalMemory,
  roots: Iterable<number>,
  levels: 4 | 5,
  budget: ReadBudget = new ReadBudget(),
): number {
  return visitTables(core, memory, roots, levels, budget, (lost) => {
    throw lostTableError(core, memory, lost);
  });
}

/** Finds the same bad entries, and clears them in memory: then they lead nowhere. Throws FormatError for a bad root. */
export function clearLostTables(
  core: TableCore,
  memory: PhysicalMemory,
  roots: Iterable<number>,
  levels: 4 | 5,
  budget: ReadBudget = new ReadBudget(),
): LostTable[] {
  const found: LostTable[] = [];
  visitTables(core, memory, roots, levels, budget, (lost) => {
    found.push(lost);
    memory.write(lost.entry, 0, 0);
  });
  return found;
}

function visitTables(
  core: TableCore,
  memory: PhysicalMemory,
  roots: Iterable<number>,
  levels: 4 | 5,
  budget: ReadBudget,
  lose: (lost: LostTable) => void,
): number {
  const visited = new Set<number>();
  const pending: { page: number; level: number }[] = [];
  const visit = (page: number, level: number): void => {
    const key = (page / PAGE_SIZE) * LEVELS + level;
    if (visited.has(key)) return;
    budget.takeTableVisit(core.file);
    visited.add(key);
    if (level > LAST_LEVEL) pending.push({ page, level });
  };

  for (const root of roots) {
    checkRoot(core, memory, root);
    visit(root, levels);
  }
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (let entry = next.page; entry < next.page + PAGE_SIZE; entry += ENTRY_SIZE) {
      const lo = memory.readLo(entry);
      if (!isTableEntry(lo, next.level)) continue;
      const table = frameOf(lo, memory.readHi(entry)) * PAGE_SIZE;
      if (table < memory.size && segmentAt(core, table) !== undefined) visit(table, next.level - 1);
      // A page that a full dump left out is all zero: it has no entries, so there is nothing to visit.
      else if (table >= memory.size || core.note !== null) lose({ entry, level: next.level, table });
    }
  }
  return visited.size;
}

/** Throws FormatError unless a table page may stand at `root`. */
export function checkRoot(core: SegmentedFile, memory: { readonly size: number }, root: number): void {
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

function lostTableError(
  core: SegmentedFile,
  memory: PhysicalMemory,
  { entry, level, table }: LostTable,
): FormatError {
  const name = `the level ${level} entry at physical 0x${entry.toString(16)}`;
  const place = `0x${table.toString(16)}`;
  const size = `0x${memory.size.toString(16)}`;
  const expected =
    table < memory.size
      ? `the table page ${place} that ${name} points at`
      : `${name} to point inside the memory of ${size} bytes, found ${place}`;
  return new FormatError(core.file, fileOffsetAt(core, entry), expected);
}
