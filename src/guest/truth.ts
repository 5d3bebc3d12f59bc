import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import type { GuestSnapshot } from "../formats/guest-snapshot.ts";
import { KPF } from "../formats/proc-pagemap.ts";
import type { MemMap } from "../mm/mem_map.ts";
import { collectEntries, flattenVmas, type UserMapping } from "./guest-mappings.ts";
import type { ImportedGuest } from "./import-kernel.ts";
import { predictPagemap } from "./pagemap-words.ts";
import { type RmapPair, rmapPairs } from "./rmap-pairs.ts";

/** How many mismatches are described; all are counted. */
const MAX_DESCRIBED = 20;

/** An imported guest against what its own kernel recorded at the same moment. */
export interface Truth {
  /** Frames whose mappings, summed over all processes, are as many as kpagecount and struct page say. */
  readonly kpagecount: { readonly frames: number; readonly equal: number };
  /** Words of /proc/PID/pagemap that follow from the entries. */
  readonly pagemap: { readonly words: number; readonly equal: number };
  /** Pages in rmap of which a walk visits exactly the entries that map them. */
  readonly rmap: { readonly pages: number; readonly equal: number };
  /** The first mismatches, in words. */
  readonly mismatches: readonly string[];
}

/** Whether nothing differs. */
export function isTrue({ kpagecount, pagemap, rmap }: Truth): boolean {
  return (
    kpagecount.equal === kpagecount.frames && pagemap.equal === pagemap.words && rmap.equal === rmap.pages
  );
}

/**
 * Checks an imported guest, as its tables are now, against kpagecount, pagemap and rmap itself. Nothing is changed.
 * For a guest just imported, or one whose entries were changed without the kernel's knowledge.
 */
export function checkTruth(imported: ImportedGuest): Truth {
  const { guest, machine, kernel } = imported;
  const vmas = flattenVmas(guest);
  const entries = collectEntries(guest, machine.memory, kernel.format, vmas);
  const mapcounts = countFrames(entries.mappings, kernel.mem_map);
  const mismatches: string[] = [];
  const context = { format: kernel.format, mem_map: kernel.mem_map, mapcounts };
  return {
    kpagecount: checkKpagecount(imported, mapcounts, mismatches),
    pagemap: checkPagemap(guest, predictPagemap(context, vmas, entries), mismatches),
    rmap: checkRmap(imported, entries.mappings, mismatches),
    mismatches,
  };
}

/** How often each frame is mapped, through large entries or small: summed up from where their ranges begin and end. */
function countFrames(mappings: readonly UserMapping[], mem_map: MemMap): Uint32Array {
  const counts = new Uint32Array(mem_map.nr_pages);
  for (const { pfn, level, reason } of mappings) {
    if (reason !== null) continue;
    const end = pfn + PAGES_OF_LEVEL[level]!;
    counts[pfn]!++;
    if (end < counts.length) counts[end]!--;
  }
  for (let pfn = 1; pfn < counts.length; pfn++) counts[pfn]! += counts[pfn - 1]!;
  return counts;
}

function describe(mismatches: string[], text: () => string): void {
  if (mismatches.length < MAX_DESCRIBED) mismatches.push(text());
}

/**
 * Compared are the frames that the tables map, and those that should be mapped: counted, and a process's by their
 * flags. (zsmalloc keeps an offset where a page has its map count: its pages look mapped and are not.)
 */
function checkKpagecount(
  { guest: { kpagecount, kpageflags }, kernel: { mem_map }, keptPages }: ImportedGuest,
  mapcounts: Uint32Array,
  mismatches: string[],
): Truth["kpagecount"] {
  const kept = new Set(keptPages);
  const users = KPF.KPF_LRU | KPF.KPF_ANON | KPF.KPF_HUGE | KPF.KPF_THP;
  const result = { frames: 0, equal: 0 };
  for (let pfn = 0; pfn < mapcounts.length; pfn++) {
    const recorded = kpagecount[pfn]!;
    const found = mapcounts[pfn]!;
    if (found === 0 && (recorded === 0 || (kpageflags[pfn]! & users) === 0)) continue;
    const counted = kept.has(mem_map.compound_head(pfn as Pfn))
      ? mem_map.page_mapcount(pfn as Pfn)
      : recorded;
    result.frames++;
    if (found === recorded && counted === recorded) {
      result.equal++;
      continue;
    }
    describe(mismatches, () => {
      const frame = `frame 0x${pfn.toString(16)}: kpagecount says ${recorded}`;
      return `${frame}, the tables map it ${found} times, struct page counts ${counted}`;
    });
  }
  return result;
}

function checkPagemap(guest: GuestSnapshot, predicted: Int32Array[], mismatches: string[]): Truth["pagemap"] {
  const result = { words: 0, equal: 0 };
  let number = 0;
  for (const { name, pagemap } of guest.processes) {
    for (const { start, words } of pagemap) {
      const run = predicted[number++]!;
      const recorded = new Int32Array(words.buffer, words.byteOffset, 2 * words.length);
      result.words += words.length;
      for (let page = 0; page < words.length; page++) {
        const lo = run[2 * page]!;
        const hi = run[2 * page + 1]!;
        if (lo === recorded[2 * page] && hi === recorded[2 * page + 1]) {
          result.equal++;
          continue;
        }
        describe(mismatches, () => {
          const word = new Entry(recorded[2 * page]!, recorded[2 * page + 1]!);
          const address = (start + page * 4096).toString(16);
          return `${name} 0x${address}: pagemap says ${word}, the entry gives ${new Entry(lo, hi)}`;
        });
      }
    }
  }
  return result;
}

function checkRmap(
  imported: ImportedGuest,
  mappings: readonly UserMapping[],
  mismatches: string[],
): Truth["rmap"] {
  const { kernel, keptPages, mms, guest } = imported;
  const byHead = new Map<number, RmapPair[]>(keptPages.map((page) => [page, []]));
  const ordered = guest.processes.map(({ name }) => mms.get(name)!);
  for (const { process, address, pfn, reason } of mappings) {
    if (reason !== null) continue;
    byHead.get(kernel.mem_map.compound_head(pfn))?.push({ mm: ordered[process]!, address });
  }
  const order = new Map(ordered.map((mm, number) => [mm, number]));
  const result = { pages: keptPages.length, equal: 0 };
  for (const [page, expected] of byHead) {
    const visited = kernel.run(rmapPairs(kernel, page as Pfn));
    visited.sort((a, b) => order.get(a.mm)! - order.get(b.mm)! || a.address - b.address);
    if (samePairs(visited, expected)) {
      result.equal++;
      continue;
    }
    describe(mismatches, () => {
      const list = (pairs: RmapPair[]) =>
        pairs.map(({ mm, address }) => `${mm.name} 0x${address.toString(16)}`).join(", ") || "none";
      return `page 0x${page.toString(16)}: rmap visits ${list(visited)}; the tables have ${list(expected)}`;
    });
  }
  return result;
}

function samePairs(a: readonly RmapPair[], b: readonly RmapPair[]): boolean {
  return (
    a.length === b.length && a.every(({ mm, address }, i) => mm === b[i]!.mm && address === b[i]!.address)
  );
}
