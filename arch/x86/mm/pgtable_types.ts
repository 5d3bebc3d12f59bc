import { BYTES_OF_LEVEL, PAGES_OF_LEVEL } from "../cpu/address.ts";
import { Entry } from "../cpu/entry.ts";

/**
 * What Linux makes of an x86-64 entry's bits (arch/x86/include/asm/pgtable_types.h, v4.13), declared once.
 * The hardware's own reading is in cpu/entry-layout.ts; here are Linux's names and the second meanings that
 * apply when the entry is not present.
 */
export interface LinuxBit {
  readonly bit: number;
  readonly name: string;
  readonly meaning: string;
  /** The kernel layouts in which the bit means this; absent: in all. */
  readonly since?: string;
}

export const LINUX_BITS: readonly LinuxBit[] = [
  { bit: 0, name: "PRESENT", meaning: "valid to the hardware" },
  { bit: 1, name: "RW", meaning: "writable" },
  { bit: 2, name: "USER", meaning: "accessible to user mode" },
  { bit: 3, name: "PWT", meaning: "write-through" },
  { bit: 4, name: "PCD", meaning: "cache disabled" },
  { bit: 5, name: "ACCESSED", meaning: "young: set by the walker" },
  { bit: 6, name: "DIRTY", meaning: "set by the walker on a store" },
  { bit: 7, name: "PSE", meaning: "large page in a pmd or pud; PAT in a pte" },
  { bit: 8, name: "GLOBAL", meaning: "global translation; PROTNONE when not present" },
  { bit: 9, name: "SPECIAL", meaning: "no struct page stands behind this pte" },
  { bit: 10, name: "UFFD_WP", meaning: "write-protected by userfaultfd", since: "linux-6.1" },
  { bit: 11, name: "SOFT_DIRTY", meaning: "written since clear_refs" },
  { bit: 12, name: "PAT_LARGE", meaning: "PAT of a 2M or 1G leaf" },
  { bit: 58, name: "DEVMAP", meaning: "device memory with a struct page (SAVED_DIRTY since linux-6.12)" },
  { bit: 63, name: "NX", meaning: "no execute" },
];

/** Low-word masks of the flags that code tests; all of them are in bits 0..11. */
export const _PAGE_PRESENT = 0x1;
export const _PAGE_RW = 0x2;
export const _PAGE_USER = 0x4;
export const _PAGE_PWT = 0x8;
export const _PAGE_PCD = 0x10;
export const _PAGE_ACCESSED = 0x20;
export const _PAGE_DIRTY = 0x40;
export const _PAGE_PSE = 0x80;
export const _PAGE_PAT = 0x80;
export const _PAGE_GLOBAL = 0x100;
export const _PAGE_PROTNONE = 0x100;
export const _PAGE_SPECIAL = 0x200;
export const _PAGE_UFFD_WP = 0x400;
export const _PAGE_SOFT_DIRTY = 0x800;
/** The protection key's place in the high word. */
export const _PAGE_PKEY_SHIFT_HI = 27;
/** High-word masks: DEVMAP is bit 58, the protection key bits 59..62, NX bit 63. */
export const _PAGE_DEVMAP_HI = 1 << 26;
export const _PAGE_PKEY_HI = 0xf << _PAGE_PKEY_SHIFT_HI;
export const _PAGE_NX_HI = 1 << 31;
/** Knights Landing may set these two in an entry that is not present (Intel erratum KNL4). */
export const _PAGE_KNL_ERRATUM_MASK = _PAGE_ACCESSED | _PAGE_DIRTY;
/** A user table pointer's flags, and a kernel one's. */
export const _PAGE_TABLE = 0x67;
export const _KERNPG_TABLE = 0x63;

/** A pte, pmd or pud value: the same 64 bits, named by the level that it was read from. */
export type pte_t = Entry;
export type pmd_t = Entry;
export type pud_t = Entry;
export type pgprot_t = Entry;

export const PAGE_NONE: pgprot_t = new Entry(_PAGE_PROTNONE | _PAGE_ACCESSED, 0);
export const PAGE_SHARED: pgprot_t = new Entry(0x27, _PAGE_NX_HI);
export const PAGE_SHARED_EXEC: pgprot_t = new Entry(0x27, 0);
export const PAGE_COPY: pgprot_t = new Entry(0x25, _PAGE_NX_HI);
export const PAGE_COPY_EXEC: pgprot_t = new Entry(0x25, 0);
export const PAGE_READONLY = PAGE_COPY;
export const PAGE_READONLY_EXEC = PAGE_COPY_EXEC;

export const VM_READ = 0x1;
export const VM_WRITE = 0x2;
export const VM_EXEC = 0x4;
export const VM_SHARED = 0x8;
export const VM_HUGETLB = 0x400000;

/**
 * The protection that a mapping starts with, by READ 1, WRITE 2, EXEC 4, SHARED 8 (mm/mmap.c protection_map).
 * A private mapping is never writable here: the fault path adds RW after it has made a private copy.
 */
export const protection_map: readonly pgprot_t[] = [
  PAGE_NONE,
  PAGE_READONLY,
  PAGE_COPY,
  PAGE_COPY,
  PAGE_READONLY_EXEC,
  PAGE_READONLY_EXEC,
  PAGE_COPY_EXEC,
  PAGE_COPY_EXEC,
  PAGE_NONE,
  PAGE_READONLY,
  PAGE_SHARED,
  PAGE_SHARED,
  PAGE_READONLY_EXEC,
  PAGE_READONLY_EXEC,
  PAGE_SHARED_EXEC,
  PAGE_SHARED_EXEC,
];

/** Page protection of a mapping with these flags, protection key 0 (mm/mmap.c vm_get_page_prot). */
export function vm_get_page_prot(vm_flags: number): pgprot_t {
  return protection_map[vm_flags & (VM_READ | VM_WRITE | VM_EXEC | VM_SHARED)]!;
}

export const PTRS_PER_TABLE = 512;
export const PMD_SIZE = BYTES_OF_LEVEL[2]!;
export const PUD_SIZE = BYTES_OF_LEVEL[3]!;
export const HPAGE_PMD_NR = PAGES_OF_LEVEL[2]!;
export const HPAGE_PMD_ORDER = 9;
