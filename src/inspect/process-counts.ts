import { ENTRIES_PER_TABLE, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { Entry, frameOf } from "../../arch/x86/cpu/entry.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import {
  isTable,
  type LostRange,
  MAX_LOST,
  pageBytes,
  rootTable,
  stopsAt,
  type TableMemory,
  tableKey,
} from "./leaves.ts";
import { type LinuxReading, readLinux } from "./linux-reading.ts";
import type { Lost } from "./lost-ranges.ts";

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
 * Counts the entries of the user half below a root, each as often as the half reaches it. A table is read once for each
 * level that it stands at, however often it is reached there: tables that point at themselves or at each other make 2^36
 * pages, and cost what they are. `lose` is told of tables that are missing. Throws RangeError for a root that is
 * unaligned or not in memory.
 */
export function countEntries(
  memory: TableMemory,
  root: number,
  levels: 4 | 5,
  pteFormat: PteFormat,
  lose?: (lost: Lost) => void,
): ProcessCounts {
  const top = rootTable(memory, root);
  const counter = new TableCounter(memory, pteFormat);
  const { counts, lost } = counter.count(top, levels, ENTRIES_PER_TABLE / 2);
  if (lost > 0) lose?.({ lost: counter.lostRanges(top, levels), lostCount: lost });
  return counts;
}

/** What stands below a table at one level. */
interface Below {
  readonly counts: ProcessCounts;
  /** Places where a table is missing. */
  readonly lost: number;
}

const MISSING: Below = { counts: emptyCounts(), lost: 1 };

class TableCounter {
  readonly #memory: TableMemory;
  readonly #pteFormat: PteFormat;
  /** By frame and level. */
  readonly #known = new Map<number, Below>();

  constructor(memory: TableMemory, pteFormat: PteFormat) {
    this.#memory = memory;
    this.#pteFormat = pteFormat;
  }

  /** The first `entries` of a table, and all below them. */
  count(words: Int32Array, level: number, entries = ENTRIES_PER_TABLE): Below {
    const counts = emptyCounts();
    let lost = 0;
    for (let index = 0; index < entries; index++) {
      const lo = words[2 * index]!;
      const hi = words[2 * index + 1]!;
      if ((lo | hi) === 0) continue;
      if (isTable(level, lo)) {
        const below = this.#below(frameOf(lo, hi), level - 1);
        addCounts(counts, below.counts);
        lost += below.lost;
      } else if (stopsAt(level, lo, true)) {
        const { kind } = readLinux(this.#pteFormat, level, new Entry(lo, hi));
        if (kind !== "none") counts[fieldOf(kind, level)]++;
      }
    }
    return { counts, lost };
  }

  /** The first places of the user half where a table is missing, in the order of their addresses. */
  lostRanges(top: Int32Array, levels: 4 | 5): LostRange[] {
    const found: LostRange[] = [];
    const search = (words: Int32Array, level: number, base: number, entries: number): void => {
      for (let index = 0; index < entries && found.length < MAX_LOST; index++) {
        const lo = words[2 * index]!;
        const frame = frameOf(lo, words[2 * index + 1]!);
        if (!isTable(level, lo) || this.#below(frame, level - 1).lost === 0) continue;
        const start = base + index * pageBytes(level);
        const table = this.#memory.tableAt(frame * PAGE_SIZE);
        if (table === null) found.push({ start, length: pageBytes(level), table: frame * PAGE_SIZE });
        else search(table, level - 1, start, ENTRIES_PER_TABLE);
      }
    };
    search(top, levels, 0, ENTRIES_PER_TABLE / 2);
    return found;
  }

  #below(frame: number, level: number): Below {
    const key = tableKey(frame, level);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const table = this.#memory.tableAt(frame * PAGE_SIZE);
    const below = table === null ? MISSING : this.count(table, level);
    this.#known.set(key, below);
    return below;
  }
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
