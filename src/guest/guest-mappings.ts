import type { Linear, Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import { PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { _PAGE_PRESENT, _PAGE_PROTNONE, _PAGE_PSE, _PAGE_SPECIAL } from "../../arch/x86/mm/pgtable_types.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { FormatError } from "../formats/format-error.ts";
import type { GuestSnapshot } from "../formats/guest-snapshot.ts";
import { fileOffsetAt } from "../formats/memory-image.ts";
import type { GuestVma } from "../formats/proc-maps.ts";
import { KPF } from "../formats/proc-pagemap.ts";
import { VM_PFNMAP } from "../mm/vma.ts";
import { hex } from "../text/hex.ts";
import { scanBudget, scanTables } from "./scan-tables.ts";
import { vmFlagsOf } from "./vm-flags.ts";

/**
 * Why a mapping is not in rmap. `counted`: whether the page's map count has the mapping nevertheless, so that it
 * is in kpagecount.
 */
export const LEFT_OUT = {
  KSM: { counted: true, why: "merged by KSM, which finds its mappings by lists of its own" },
  vdso: { counted: true, why: "code that the kernel maps into every process" },
  "no file": { counted: true, why: "a page that the kernel maps by itself: not anonymous, and of no file" },
  contradiction: { counted: true, why: "its mappings disagree about where in its file or memory it belongs" },
  vvar: { counted: false, why: "data that the kernel maps into every process" },
  "zero page": { counted: false, why: "the page of zeros, shared by all" },
  "huge zero page": { counted: false, why: "the huge page of zeros, shared by all" },
  PFNMAP: { counted: false, why: "in a vma of raw frames (VM_PFNMAP)" },
  special: { counted: false, why: "the entry says that no struct page stands behind it" },
  "beyond memory": { counted: false, why: "device memory: its frames have no struct page" },
  "no struct page": { counted: false, why: "a hole in memory: the frame has no struct page" },
  "no vma": { counted: false, why: "in no mapping that maps lists" },
} as const;

/** Why a mapped frame is not in rmap: a key of {@link LEFT_OUT}. */
export type LeftOutReason = keyof typeof LEFT_OUT;

/** A vma of the guest; its number is its place in {@link flattenVmas}. */
export interface NumberedVma {
  /** Number of its process in the guest. */
  readonly process: number;
  readonly vma: GuestVma;
  readonly vm_flags: number;
  /** Number of its file, the same for all vmas of one device and inode; -1 for a vma without a file. */
  readonly file: number;
}

/** One entry of a process's tables that is not none. */
export interface UserEntry {
  readonly process: number;
  /** Number of the vma that its first address lies in, or -1. */
  readonly vma: number;
  /** First linear address that it stands for. */
  readonly address: Linear;
  /** 1 pte, 2 pmd, 3 pud. */
  readonly level: number;
  readonly slot: Slot;
  readonly entry: Entry;
}

/** An entry that maps frames, PROT_NONE included. */
export interface UserMapping extends UserEntry {
  readonly pfn: Pfn;
  /** Why the entry alone keeps the mapping out of rmap and of map counts, or null. */
  readonly reason: LeftOutReason | null;
}

export interface UserEntries {
  /** By process, then by address. */
  readonly mappings: readonly UserMapping[];
  /** Entries that map nothing: swap, migration, poison, markers. In the same order. */
  readonly software: readonly UserEntry[];
}

/** The vmas of all processes, process by process, in address order. */
export function flattenVmas(guest: GuestSnapshot): NumberedVma[] {
  const files = new Map<string, number>();
  return guest.processes.flatMap(({ vmas }, process) =>
    vmas.map((vma) => {
      const key = `${vma.device}:${vma.inode}`;
      if (vma.inode !== 0 && !files.has(key)) files.set(key, files.size);
      return { process, vma, vm_flags: vmFlagsOf(vma.vmFlags), file: files.get(key) ?? -1 };
    }),
  );
}

/**
 * All user entries of a guest, read from its tables as they are in `memory`. Under page-table isolation the
 * kernel's roots are scanned and not the user roots, which map the same again. Throws FormatError for tables
 * that point at each other without end, and for an entry that is neither a table's nor a leaf.
 */
export function collectEntries(
  guest: GuestSnapshot,
  memory: PhysicalMemory,
  format: PteFormat,
  vmas: readonly NumberedVma[],
): UserEntries {
  const mappings: UserMapping[] = [];
  const software: UserEntry[] = [];
  const budget = scanBudget(guest);
  let first = 0;
  for (const [process, { root, vmas: own }] of guest.processes.entries()) {
    let next = 0;
    const base = first;
    scanTables(memory, root, guest.levels, budget, guest.core.file, (address, level, slot, lo, hi) => {
      while (next < own.length && own[next]!.end <= address) next++;
      const vma = next < own.length && own[next]!.start <= address ? base + next : -1;
      const entry = new Entry(lo, hi);
      if (isNeitherTableNorLeaf(lo, level)) throw shapeError(guest, level, slot, entry);
      if (!mapsFrames(lo, level)) {
        software.push({ process, vma, address, level, slot, entry });
        return;
      }
      const pfn = leafFrame(format, entry, level);
      const reason = reasonOf(guest.kpageflags, vmas[vma], level, entry, pfn);
      mappings.push({ process, vma, address, level, slot, entry, pfn, reason });
    });
    first += own.length;
  }
  return { mappings, software };
}

/** Present to Linux. A huge pmd that is being split has P and PROTNONE clear, and PSE set. */
function mapsFrames(lo: number, level: number): boolean {
  return (lo & (_PAGE_PRESENT | _PAGE_PROTNONE | (level > 1 ? _PAGE_PSE : 0))) !== 0;
}

/**
 * PROT_NONE above the ptes keeps PSE. Without it Linux takes a pmd for present and for a table's, while no processor
 * would follow it, and no table need be there.
 */
function isNeitherTableNorLeaf(lo: number, level: number): boolean {
  return level > 1 && (lo & (_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE)) === _PAGE_PROTNONE;
}

function shapeError({ core }: GuestSnapshot, level: number, slot: Slot, entry: Entry): FormatError {
  const place = `the level ${level} entry at physical ${hex(slot)}`;
  const expected = `${place} to be a table's (P) or a large page's (PSE), found PROT_NONE alone: ${entry}`;
  return new FormatError(core.file, fileOffsetAt(core, slot), expected);
}

function leafFrame(format: PteFormat, entry: Entry, level: number): Pfn {
  const pfn = format.pte_pfn(entry);
  return level === 1 ? pfn : ((pfn - (pfn % PAGES_OF_LEVEL[level]!)) as Pfn);
}

/** The order matters: the first reason that holds is the one that is listed. */
function reasonOf(
  kpageflags: Uint32Array,
  vma: NumberedVma | undefined,
  level: number,
  entry: Entry,
  pfn: Pfn,
): LeftOutReason | null {
  if (vma === undefined) return "no vma";
  if (vma.vma.name === "[vvar]") return "vvar";
  const flags = pfn < kpageflags.length ? kpageflags[pfn]! : 0;
  if ((flags & KPF.KPF_ZERO_PAGE) !== 0) return level > 1 ? "huge zero page" : "zero page";
  if ((vma.vm_flags & VM_PFNMAP) !== 0) return "PFNMAP";
  if (level === 1 && (entry.lo & _PAGE_SPECIAL) !== 0) return "special";
  if (pfn + PAGES_OF_LEVEL[level]! > kpageflags.length) return "beyond memory";
  return (flags & KPF.KPF_NOPAGE) !== 0 ? "no struct page" : null;
}
