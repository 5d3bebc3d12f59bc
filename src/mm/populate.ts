import { Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { misuse, need, printed } from "../../arch/x86/cpu/argument.ts";
import { flag, instance, numeral, optional, shape, text } from "../../arch/x86/cpu/argument-kinds.ts";
import { pte_mkdirty, pte_mkwrite, pte_none } from "../../arch/x86/mm/pgtable.ts";
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import { set_pte_at } from "../../arch/x86/mm/ptep.ts";
import { anon_vma_prepare } from "./anon_vma.ts";
import { mappingEntry } from "./gup.ts";
import { PG } from "./mem_map.ts";
import { inc_mm_counter, MM_ANONPAGES } from "./mm_struct.ts";
import { address_space, type Kernel, type mm_struct, type vm_area_struct } from "./mm_types.ts";
import { alloc_page } from "./page_alloc.ts";
import { page_add_new_anon_rmap } from "./page-mapcount.ts";
import { ensurePteSlot } from "./page-table.ts";
import { VM_MAYSHARE, VM_MAYWRITE } from "./vma.ts";

/** What {@link mmap} maps. */
export interface MmapOptions {
  /** First linear address, page-aligned. */
  readonly at: number;
  /** Bytes, a multiple of 4096. */
  readonly length: number;
  /** Letters of "rwx". */
  readonly prot: string;
  readonly shared?: boolean;
  readonly file?: address_space;
  /** First byte of the file that is shown, page-aligned (default 0). */
  readonly offset?: number;
}

const OPTIONS = shape<MmapOptions>("options of mmap", {
  at: numeral("address", "a multiple of 4096 in the lower half of the address space", isPageNumber),
  length: numeral("length", "a multiple of 4096 above 0", (length) => length > 0 && isPageNumber(length)),
  prot: text("protection"),
  shared: optional(flag("shared")),
  file: optional(instance("file", address_space)),
  offset: optional(numeral("offset", "a multiple of 4096", isPageNumber)),
});

function isPageNumber(value: number): boolean {
  return value >= 0 && value < 2 ** 57 && value % PAGE_SIZE === 0;
}

/**
 * Adds a mapping to an address space, as mmap with MAP_FIXED would where nothing is mapped yet. Throws TypeError or
 * RangeError for options that are none, and for a range that is mapped or leaves the half that user mode has.
 */
export function mmap(mm: mm_struct, options: MmapOptions): vm_area_struct {
  const { at, length, prot, file, shared = false, offset = 0 } = need(OPTIONS, options);
  if (!/^r?w?x?$/.test(prot))
    throw new RangeError(`protection "${prot}": give letters of "rwx" in this order`);
  let flags = VM_MAYWRITE | (shared ? VM_SHARED | VM_MAYSHARE : 0);
  if (prot.includes("r")) flags |= VM_READ;
  if (prot.includes("w")) flags |= VM_WRITE;
  if (prot.includes("x")) flags |= VM_EXEC;
  // Anonymous memory counts its pages from address 0, so that neighbours can be merged.
  const pgoff = (file === undefined ? at : offset) / PAGE_SIZE;
  const start = Linear.of(at);
  return mm.insertVma({ start, end: Linear.of(at + length), flags, pgoff, file: file ?? null });
}

/**
 * Maps a fresh anonymous page at an address of a private mapping: the entry that a first write fault leaves, with
 * its tables, rmap, counts and LRU flag (mm/memory.c do_anonymous_page). Returns the page. Throws TypeError for a
 * shared or file mapping and for another kernel's, RangeError for an address that is no page's of the mapping or has an
 * entry already, and when memory is full.
 */
export function mapAnonymous(k: Kernel, vma: vm_area_struct, address: Linear): Pfn {
  if (vma.vm_file !== null || (vma.vm_flags & VM_SHARED) !== 0) {
    throw new TypeError(`mapAnonymous at ${printed(address)}: give a private mapping without a file`);
  }
  const mm = vma.vm_mm;
  if (mm.kernel !== k) throw new TypeError(`mapAnonymous in ${mm.name}: it is another kernel's mm`);
  const { vm_start, vm_end } = vma;
  const refuse = (words: string): Error =>
    misuse(
      numeral("address", words, () => false),
      address,
    );
  if (
    !(typeof address === "number" && address >= vm_start && address < vm_end && address % PAGE_SIZE === 0)
  ) {
    throw refuse(`a multiple of 4096 from 0x${vm_start.toString(16)} to below 0x${vm_end.toString(16)}`);
  }
  if (!pte_none(mappingEntry(mm, address).entry)) throw refuse("one where no entry is");
  k.run(anon_vma_prepare(vma));
  const slot = ensurePteSlot(mm, address);
  const page = alloc_page(k);
  k.mem_map.setFlag(page, PG.uptodate | PG.lru);
  page_add_new_anon_rmap(k, page, vma, address, false);
  inc_mm_counter(mm, MM_ANONPAGES);
  const clean = k.format.mk_pte(page, vma.vm_page_prot);
  set_pte_at(
    mm,
    address as Linear,
    slot,
    (vma.vm_flags & VM_WRITE) === 0 ? clean : pte_mkwrite(pte_mkdirty(clean)),
  );
  return page;
}
