import { Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { pte_mkdirty, pte_mkwrite } from "../../arch/x86/mm/pgtable.ts";
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import { set_pte_at } from "../../arch/x86/mm/ptep.ts";
import { anon_vma_prepare } from "./anon_vma.ts";
import { PG } from "./mem_map.ts";
import { inc_mm_counter, MM_ANONPAGES } from "./mm_struct.ts";
import type { address_space, Kernel, mm_struct, vm_area_struct } from "./mm_types.ts";
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

/** Adds a mapping to an address space, as mmap with MAP_FIXED would where nothing is mapped yet. */
export function mmap(mm: mm_struct, options: MmapOptions): vm_area_struct {
  const { at, length, prot, file, shared = false, offset = 0 } = options;
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
 * shared or file mapping, RangeError when memory is full.
 */
export function mapAnonymous(k: Kernel, vma: vm_area_struct, address: Linear): Pfn {
  if (vma.vm_file !== null || (vma.vm_flags & VM_SHARED) !== 0) {
    throw new TypeError(`mapAnonymous at 0x${address.toString(16)}: give a private mapping without a file`);
  }
  const mm = vma.vm_mm;
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
