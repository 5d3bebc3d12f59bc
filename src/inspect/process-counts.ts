import { Entry } from "../../arch/x86/cpu/entry.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { LeafCursor, type TableMemory, userHalf } from "./leaves.ts";
import { type LinuxReading, readLinux } from "./linux-reading.ts";

/** Entries of a process's user half by what Linux takes them for. Each entry counts once, whatever its size. */
export interface ProcessCounts {
  present4K: number;
  present2M: number;
  present1G: number;
  protNone4K: number;
  protNone2M: number;
  swap: number;
  migration: number;
  hwpoison: number;
  marker: number;
  /** Swap-in errors, invalidated huge pages and types that the layout does not name. */
  other: number;
}

/**
 * Counts the entries of the user half below a root: one scan of the tables, nothing else is looked at. `lose` is told of
 * the cursor at its end when tables are missing.
 */
export function countEntries(
  memory: TableMemory,
  root: number,
  levels: 4 | 5,
  pteFormat: PteFormat,
  lose?: (leaves: LeafCursor) => void,
): ProcessCounts {
  const counts = emptyCounts();
  const leaves = new LeafCursor(memory, root, levels, { range: userHalf(levels), notPresent: true });
  while (leaves.next()) {
    const { kind } = readLinux(pteFormat, leaves.level, new Entry(leaves.lo, leaves.hi));
    if (kind === "none") continue;
    counts[fieldOf(kind, leaves.level)]++;
  }
  if (leaves.lostCount > 0) lose?.(leaves);
  return counts;
}

/** Counts that are all zero. */
export function emptyCounts(): ProcessCounts {
  return {
    present4K: 0,
    present2M: 0,
    present1G: 0,
    protNone4K: 0,
    protNone2M: 0,
    swap: 0,
    migration: 0,
    hwpoison: 0,
    marker: 0,
    other: 0,
  };
}

/** Adds counts to a sum. */
export function addCounts(sum: ProcessCounts, counts: ProcessCounts): void {
  for (const name of Object.keys(sum) as (keyof ProcessCounts)[]) sum[name] += counts[name];
}

/** Pages of 4 KiB that are mapped, those closed by PROT_NONE included: near to what the kernel calls RSS. */
export function mappedPages(counts: ProcessCounts): number {
  const huge = counts.present2M + counts.protNone2M;
  return counts.present4K + counts.protNone4K + huge * 512 + counts.present1G * 512 * 512;
}

function fieldOf(kind: LinuxReading["kind"], level: number): keyof ProcessCounts {
  switch (kind) {
    case "present":
      return (["other", "present4K", "present2M", "present1G"] as const)[level] ?? "other";
    case "prot-none":
      return level === 1 ? "protNone4K" : "protNone2M";
    case "swap":
    case "migration":
    case "hwpoison":
    case "marker":
      return kind;
    default:
      return "other";
  }
}
