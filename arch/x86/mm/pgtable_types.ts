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

/** Every bit that has a name in Linux, lowest first. */
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

/* Masks of an entry's flags, of the low word unless the name ends in _HI (arch/x86/include/asm/pgtable_types.h). */

/** The processor may use the entry. */
export const _PAGE_PRESENT = 0x1;
/** Stores are allowed. */
export const _PAGE_RW = 0x2;
/** User mode may use it. */
export const _PAGE_USER = 0x4;
/** Write-through. */
export const _PAGE_PWT = 0x8;
/** Not cached. */
export const _PAGE_PCD = 0x10;
/** Set by the walker: young. */
export const _PAGE_ACCESSED = 0x20;
/** Set by the walker on a store. */
export const _PAGE_DIRTY = 0x40;
/** A large page, in a pmd or pud. */
export const _PAGE_PSE = 0x80;
/** PAT, in a pte of 4 KiB: the same bit. */
export const _PAGE_PAT = 0x80;
/** Global, in an entry that is present. */
export const _PAGE_GLOBAL = 0x100;
/** PROT_NONE, in one that is not: the same bit. */
export const _PAGE_PROTNONE = 0x100;
/** No struct page stands behind the pte. */
export const _PAGE_SPECIAL = 0x200;
/** Write-protected by userfaultfd (5.7 and later). */
export const _PAGE_UFFD_WP = 0x400;
/** Written since clear_refs. */
export const _PAGE_SOFT_DIRTY = 0x800;
/** Lowest bit of the protection key in the high word. */
export const _PAGE_PKEY_SHIFT_HI = 27;
/** Device memory that has a struct page: bit 58. */
export const _PAGE_DEVMAP_HI = 1 << 26;
/** The protection key: bits 59 to 62. */
export const _PAGE_PKEY_HI = 0xf << _PAGE_PKEY_SHIFT_HI;
/** No execute: bit 63. */
export const _PAGE_NX_HI = 1 << 31;
/** Knights Landing may set these two in an entry that is not present (Intel erratum KNL4). */
export const _PAGE_KNL_ERRATUM_MASK = _PAGE_ACCESSED | _PAGE_DIRTY;
/** Flags of an entry that points to a table of user addresses: all rights, A and D. */
export const _PAGE_TABLE = 0x67;
/** The same of a table of kernel addresses: without USER. */
export const _KERNPG_TABLE = 0x63;

/* The same 64 bits, named by the level that they were read from. */

/** The value of a pte. */
export type pte_t = Entry;
/** The value of a pmd. */
export type pmd_t = Entry;
/** The value of a pud. */
export type pud_t = Entry;
/** Flags without a frame: what pfn_pte makes an entry of. */
export type pgprot_t = Entry;

/** PROT_NONE: Linux has the page mapped, the processor faults. */
export const PAGE_NONE: pgprot_t = new Entry(_PAGE_PROTNONE | _PAGE_ACCESSED, 0);
/** Readable and writable, not executable: of a shared mapping. */
export const PAGE_SHARED: pgprot_t = new Entry(0x27, _PAGE_NX_HI);
/** Readable, writable and executable: of a shared mapping. */
export const PAGE_SHARED_EXEC: pgprot_t = new Entry(0x27, 0);
/** Readable, not executable, until the first store makes a copy: of a private mapping. */
export const PAGE_COPY: pgprot_t = new Entry(0x25, _PAGE_NX_HI);
/** Readable and executable, until the first store makes a copy: of a private mapping. */
export const PAGE_COPY_EXEC: pgprot_t = new Entry(0x25, 0);
/** Readable, not executable. */
export const PAGE_READONLY = PAGE_COPY;
/** Readable and executable. */
export const PAGE_READONLY_EXEC = PAGE_COPY_EXEC;

/** A vma that may be read (include/linux/mm.h). */
export const VM_READ = 0x1;
/** One that may be written. */
export const VM_WRITE = 0x2;
/** One that may be executed. */
export const VM_EXEC = 0x4;
/** One whose stores others see. */
export const VM_SHARED = 0x8;
/** One of hugetlbfs. */
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

/** Entries of a table of any level. */
export const PTRS_PER_TABLE = 512;
/** Bytes that a pmd maps: 2 MiB. */
export const PMD_SIZE = BYTES_OF_LEVEL[2]!;
/** Bytes that a pud maps: 1 GiB. */
export const PUD_SIZE = BYTES_OF_LEVEL[3]!;
/** 4-KiB pages that a pmd maps. */
export const HPAGE_PMD_NR = PAGES_OF_LEVEL[2]!;
/** The order of a page that a pmd maps: 2^9 pages. */
export const HPAGE_PMD_ORDER = 9;
