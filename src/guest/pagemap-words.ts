import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { PAGE_SIZE, PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { _PAGE_SOFT_DIRTY, _PAGE_UFFD_WP, VM_HUGETLB } from "../../arch/x86/mm/pgtable_types.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { swp_type } from "../../arch/x86/mm/swap-entry.ts";
import type { MemMap } from "../mm/mem_map.ts";
import { VM_PFNMAP, VM_SOFTDIRTY } from "../mm/vma.ts";
import type { NumberedVma, UserEntries, UserEntry, UserMapping } from "./guest-mappings.ts";

/** Flags of a pagemap word (Documentation/admin-guide/mm/pagemap.rst); all lie in its high word. */
export const PAGEMAP_BITS = [
  { bit: 63, name: "PM_PRESENT", meaning: "in memory: bits 0..54 are the frame number" },
  { bit: 62, name: "PM_SWAP", meaning: "a software entry: bits 0..4 are its type, 5..54 its offset" },
  { bit: 61, name: "PM_FILE", meaning: "a file's page, or shared memory's, or the huge zero page" },
  { bit: 57, name: "PM_UFFD_WP", meaning: "write-protected by userfaultfd" },
  { bit: 56, name: "PM_MMAP_EXCLUSIVE", meaning: "mapped once" },
  { bit: 55, name: "PM_SOFT_DIRTY", meaning: "written since clear_refs" },
] as const;

type PagemapBit = (typeof PAGEMAP_BITS)[number]["name"];

/** Masks in the high word. */
const PM = Object.fromEntries(PAGEMAP_BITS.map(({ bit, name }) => [name, 1 << (bit - 32)])) as Record<
  PagemapBit,
  number
>;
const FRAME_HI_MASK = 0x7f_ffff;
const MARKER_UFFD_WP = 1;
/** Layouts of kernels that look at each page of a huge one for "mapped once"; others look at the head. */
const COUNTS_EACH_PAGE: ReadonlySet<string> = new Set(["linux-6.12"]);

/** What prediction needs beside the entries. */
export interface PagemapContext {
  readonly format: PteFormat;
  readonly mem_map: MemMap;
  /** Mappings of each frame by all processes. */
  readonly mapcounts: Uint32Array;
}

/**
 * The words that /proc/PID/pagemap prints (fs/proc/task_mmu.c of 6.1), predicted from the entries: for each vma two
 * 32-bit words a page, low first.
 */
export function predictPagemap(
  context: PagemapContext,
  vmas: readonly NumberedVma[],
  { mappings, software }: UserEntries,
): Int32Array[] {
  const runs = vmas.map(({ vma, vm_flags }) => {
    const run = new Int32Array((2 * (vma.end - vma.start)) / PAGE_SIZE);
    const hole = softDirtyOf(vm_flags);
    if (hole !== 0) for (let i = 1; i < run.length; i += 2) run[i] = hole;
    return run;
  });
  const { mapcounts } = context;
  const each = COUNTS_EACH_PAGE.has(context.format.layout.name);
  for (const mapping of mappings) {
    const vma = vmas[mapping.vma];
    // The words of a PFNMAP vma are those of a hole.
    if (vma === undefined || (vma.vm_flags & VM_PFNMAP) !== 0) continue;
    const flags = presentFlags(context, mapping, vma.vm_flags);
    const hasPage = pageBehind(context, mapping);
    const run = runs[mapping.vma]!;
    const { first, count } = partOf(run, vma, mapping);
    for (let i = 0; i < count; i++) {
      const pfn = mapping.pfn + i;
      const once = hasPage && mapcounts[each ? pfn : mapping.pfn] === 1 ? PM.PM_MMAP_EXCLUSIVE : 0;
      run[2 * (first + i)] = pfn | 0;
      run[2 * (first + i) + 1] = flags | once | Math.floor(pfn / 2 ** 32);
    }
  }
  for (const found of software) {
    const vma = vmas[found.vma];
    if (vma === undefined || (vma.vm_flags & VM_PFNMAP) !== 0) continue;
    predictSoftware(context, runs[found.vma]!, vma, found);
  }
  return runs;
}

/** Which words of a run the pages of an entry have, as far as it lies in the vma. */
function partOf(
  run: Int32Array,
  { vma }: NumberedVma,
  { address, level }: UserEntry,
): { first: number; count: number } {
  const first = (address - vma.start) / PAGE_SIZE;
  return { first, count: Math.min(PAGES_OF_LEVEL[level]!, run.length / 2 - first) };
}

function softDirtyOf(vm_flags: number): number {
  return (vm_flags & VM_SOFTDIRTY) !== 0 ? PM.PM_SOFT_DIRTY : 0;
}

function presentFlags(context: PagemapContext, mapping: UserMapping, vm_flags: number): number {
  const { format, mem_map } = context;
  const { entry, pfn } = mapping;
  let flags = PM.PM_PRESENT | softDirtyOf(vm_flags);
  // hugetlb prints the vma's soft-dirty flag only.
  const soft = (vm_flags & VM_HUGETLB) === 0 && (entry.lo & _PAGE_SOFT_DIRTY) !== 0;
  if (soft) flags |= PM.PM_SOFT_DIRTY;
  if (format.layout.uffdWp && (entry.lo & _PAGE_UFFD_WP) !== 0) flags |= PM.PM_UFFD_WP;
  if (pageBehind(context, mapping) && !mem_map.PageAnon(pfn)) flags |= PM.PM_FILE;
  return flags;
}

/** A pmd always has a page behind it, a special pte has none. */
function pageBehind({ mem_map }: PagemapContext, { pfn, level, reason }: UserMapping): boolean {
  return reason === null || (level > 1 && mem_map.pfn_valid(pfn));
}

function predictSoftware(
  { format, mem_map }: PagemapContext,
  run: Int32Array,
  vma: NumberedVma,
  found: UserEntry,
): void {
  const { entry, level } = found;
  const generic = format.pte_to_swp_entry(entry);
  const type = swp_type(generic);
  const { softDirtyBit, uffdWpBit } = format.layout.swap;
  const { first, count } = partOf(run, vma, found);
  let flags = softDirtyOf(vma.vm_flags);
  if (uffdWpBit !== null && (entry.lo & (1 << uffdWpBit)) !== 0) flags |= PM.PM_UFFD_WP;
  if ((vma.vm_flags & VM_HUGETLB) !== 0) {
    for (let page = first; page < first + count; page++) {
      run[2 * page] = 0;
      run[2 * page + 1] = flags;
    }
    return;
  }
  flags |= PM.PM_SWAP;
  if ((entry.lo & (1 << softDirtyBit)) !== 0) flags |= PM.PM_SOFT_DIRTY;
  if (format.is_pte_marker_entry(generic) && (generic.lo & MARKER_UFFD_WP) !== 0) flags |= PM.PM_UFFD_WP;
  if (format.is_migration_entry(generic) && !mem_map.PageAnon(generic.lo as Pfn)) flags |= PM.PM_FILE;
  for (let i = 0; i < count; i++) {
    const lo = (generic.lo + (level > 1 ? i : 0)) | 0;
    run[2 * (first + i)] = (lo << 5) | type;
    run[2 * (first + i) + 1] = flags | (((generic.hi << 5) | (lo >>> 27)) & FRAME_HI_MASK);
  }
}
