import { PAGE_SIZE, type pgprot_t, vm_get_page_prot } from "../../arch/x86/mm/pgtable_types.ts";
import type { address_space } from "./address_space.ts";
import type { anon_vma, anon_vma_chain } from "./anon_vma.ts";
import type { MemMap } from "./mem_map.ts";
import type { mm_struct } from "./mm_struct.ts";

/** vm_flags beyond those in pgtable-types.ts (include/linux/mm.h, v4.13). */
export const VM_MAYWRITE = 0x20;
export const VM_MAYSHARE = 0x80;
export const VM_GROWSDOWN = 0x100;
export const VM_PFNMAP = 0x400;
export const VM_LOCKED = 0x2000;
export const VM_SEQ_READ = 0x8000;
export const VM_RAND_READ = 0x10000;
export const VM_SOFTDIRTY = 0x0800_0000;
export const VM_MIXEDMAP = 0x1000_0000;

export interface VmaOptions {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  /** First page of the file, or of the anonymous space, that the vma shows. */
  readonly pgoff: number;
  readonly file?: address_space | null;
  readonly name?: string;
}

/** One mapping [vm_start, vm_end) of one address space (include/linux/mm_types.h). */
export class vm_area_struct {
  readonly vm_mm: mm_struct;
  readonly vm_start: number;
  readonly vm_end: number;
  readonly vm_pgoff: number;
  readonly name: string;
  vm_flags: number;
  vm_page_prot: pgprot_t;
  readonly vm_file: address_space | null;
  anon_vma: anon_vma | null = null;
  readonly anon_vma_chain: anon_vma_chain[] = [];

  constructor(mm: mm_struct, options: VmaOptions) {
    const { start, end } = options;
    if (start % PAGE_SIZE !== 0 || end % PAGE_SIZE !== 0 || end <= start) {
      throw new RangeError(
        `vma [0x${start.toString(16)}, 0x${end.toString(16)}): give page-aligned bounds, the end above the start`,
      );
    }
    this.vm_mm = mm;
    this.vm_start = start;
    this.vm_end = end;
    this.vm_pgoff = options.pgoff;
    this.vm_flags = options.flags;
    this.vm_page_prot = vm_get_page_prot(options.flags);
    this.vm_file = options.file ?? null;
    this.name = options.name ?? "";
  }
}

/** Last page offset that the vma shows. */
export function vmaLastPgoff(vma: vm_area_struct): number {
  return vma.vm_pgoff + (vma.vm_end - vma.vm_start) / PAGE_SIZE - 1;
}

/** Offset of the page that a linear address shows (include/linux/pagemap.h linear_page_index, in 4K pages). */
export function linear_page_index(vma: vm_area_struct, address: number): number {
  return Math.floor((address - vma.vm_start) / PAGE_SIZE) + vma.vm_pgoff;
}

/** Where the page would lie in the vma; for the head of a THP that is cut off, below vm_start (mm/internal.h). */
export function __vma_address(mem_map: MemMap, page: number, vma: vm_area_struct): number {
  return vma.vm_start + (mem_map.page_to_pgoff(page) - vma.vm_pgoff) * PAGE_SIZE;
}

/** First address of the page that is inside the vma: not always aligned to a THP's size (mm/internal.h). */
export function vma_address(mem_map: MemMap, page: number, vma: vm_area_struct): number {
  return Math.max(__vma_address(mem_map, page, vma), vma.vm_start);
}
