import { BYTES_OF_LEVEL, PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { PTE_G, PTE_P } from "../../arch/x86/cpu/entry-layout.ts";
import type { UserMapping } from "./guest-mappings.ts";
import type { GuestPage } from "./guest-pages.ts";
import type { GuestScan } from "./scan-guest.ts";

/** What can be wrong in a guest before anything runs on it, for which rules then find something in every run. */
export const SNAPSHOT_FAULTS = {
  global: "an entry of user memory is global (G): no flush of its address space drops it",
  uncounted: "an entry maps a page that its map count leaves out: one is left when the page is unmapped",
} as const;

/** What is wrong: a key of {@link SNAPSHOT_FAULTS}. */
export type SnapshotFault = keyof typeof SNAPSHOT_FAULTS;

/** What a finding says that tells whether the snapshot is to blame. */
export interface Blamed {
  /** Name of the address space. */
  readonly mm: string;
  readonly linear: number | null;
  readonly pfn: number | null;
  /** "CPU 1", or what else can still translate. */
  readonly agents: readonly string[];
  /** The change that was not followed up; null where an entry is as it was. */
  readonly changed: object | null;
}

interface FrameRange {
  readonly first: number;
  /** Frame behind the last. */
  end: number;
}

/** The faults that a snapshot brought along, for findings to be held against. */
export class SnapshotFaults {
  /** Where global entries map, by process, then by level: linear addresses divided by the level's size. */
  readonly #global = new Map<string, readonly Set<number>[]>();
  /** What entries map that are not in rmap, in order and without overlap. */
  readonly #uncounted: readonly FrameRange[];
  readonly #pages: readonly GuestPage[];
  readonly #ends = new Map<GuestPage, number>();

  constructor({ guest, mappings, pages }: GuestScan) {
    this.#pages = pages;
    for (const mapping of mappings) this.#noteGlobal(guest.processes[mapping.process]!.name, mapping);
    this.#uncounted = merged(mappings.filter(({ reason }) => reason !== null));
  }

  #noteGlobal(process: string, { entry, level, address }: UserMapping): void {
    if ((entry.lo & (PTE_P | PTE_G)) !== (PTE_P | PTE_G)) return;
    let levels = this.#global.get(process);
    if (levels === undefined) {
      levels = BYTES_OF_LEVEL.slice(0, 4).map(() => new Set<number>());
      this.#global.set(process, levels);
    }
    levels[level]!.add(address / BYTES_OF_LEVEL[level]!);
  }

  /** The fault that a finding comes from; null if it is of the run's own making. */
  behind({ mm, linear, pfn, agents, changed }: Blamed): SnapshotFault | null {
    const onCpus = agents.every((agent) => agent.startsWith("CPU "));
    if (linear !== null && onCpus && this.#isGlobal(mm, linear)) return "global";
    // What the run changed and did not follow up is its own doing, whatever else maps the frame.
    return pfn !== null && changed === null && this.#isUncounted(pfn) ? "uncounted" : null;
  }

  #isGlobal(mm: string, linear: number): boolean {
    const levels = this.#global.get(mm) ?? [];
    return levels.some((pages, level) => pages.has(Math.floor(linear / BYTES_OF_LEVEL[level]!)));
  }

  /** Whether such an entry maps any part of the page, small or compound, that the frame belongs to. */
  #isUncounted(pfn: number): boolean {
    const page = lastNotAbove(this.#pages, pfn, ({ head }) => head);
    const [first, end] =
      page !== undefined && pfn < this.#endOf(page) ? [page.head, this.#endOf(page)] : [pfn, pfn + 1];
    const range = lastNotAbove(this.#uncounted, end - 1, (each) => each.first);
    return range !== undefined && range.end > first;
  }

  #endOf(page: GuestPage): number {
    let end = this.#ends.get(page);
    if (end === undefined) {
      end = page.mappings.reduce((most, { pfn, level }) => Math.max(most, pfn + PAGES_OF_LEVEL[level]!), 0);
      this.#ends.set(page, end);
    }
    return end;
  }
}

function merged(mappings: readonly UserMapping[]): FrameRange[] {
  const ranges: FrameRange[] = [];
  for (const { pfn, level } of [...mappings].sort((a, b) => a.pfn - b.pfn)) {
    const last = ranges.at(-1);
    const end = pfn + PAGES_OF_LEVEL[level]!;
    if (last === undefined || pfn > last.end) ranges.push({ first: pfn, end });
    else last.end = Math.max(last.end, end);
  }
  return ranges;
}

/** The last item whose key is at most a value, of items in the order of their keys. */
function lastNotAbove<T>(items: readonly T[], value: number, keyOf: (item: T) => number): T | undefined {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyOf(items[middle]!) <= value) low = middle + 1;
    else high = middle;
  }
  return items[low - 1];
}
