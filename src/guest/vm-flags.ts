/**
 * The two-letter codes of smaps' VmFlags and their bits in vm_flags (fs/proc/task_mmu.c show_smap_vma_flags,
 * include/linux/mm.h). Codes for bits above 31 exist in later kernels; nothing here depends on them.
 */
export const VM_FLAG_CODES = [
  { code: "rd", bit: 0, name: "VM_READ" },
  { code: "wr", bit: 1, name: "VM_WRITE" },
  { code: "ex", bit: 2, name: "VM_EXEC" },
  { code: "sh", bit: 3, name: "VM_SHARED" },
  { code: "mr", bit: 4, name: "VM_MAYREAD" },
  { code: "mw", bit: 5, name: "VM_MAYWRITE" },
  { code: "me", bit: 6, name: "VM_MAYEXEC" },
  { code: "ms", bit: 7, name: "VM_MAYSHARE" },
  { code: "gd", bit: 8, name: "VM_GROWSDOWN" },
  { code: "um", bit: 9, name: "VM_UFFD_MISSING" },
  { code: "pf", bit: 10, name: "VM_PFNMAP" },
  { code: "dw", bit: 11, name: "VM_DENYWRITE" },
  { code: "uw", bit: 12, name: "VM_UFFD_WP" },
  { code: "lo", bit: 13, name: "VM_LOCKED" },
  { code: "io", bit: 14, name: "VM_IO" },
  { code: "sr", bit: 15, name: "VM_SEQ_READ" },
  { code: "rr", bit: 16, name: "VM_RAND_READ" },
  { code: "dc", bit: 17, name: "VM_DONTCOPY" },
  { code: "de", bit: 18, name: "VM_DONTEXPAND" },
  { code: "ac", bit: 20, name: "VM_ACCOUNT" },
  { code: "nr", bit: 21, name: "VM_NORESERVE" },
  { code: "ht", bit: 22, name: "VM_HUGETLB" },
  { code: "ar", bit: 24, name: "VM_ARCH_1" },
  { code: "wf", bit: 25, name: "VM_WIPEONFORK" },
  { code: "dd", bit: 26, name: "VM_DONTDUMP" },
  { code: "sd", bit: 27, name: "VM_SOFTDIRTY" },
  { code: "mm", bit: 28, name: "VM_MIXEDMAP" },
  { code: "hg", bit: 29, name: "VM_HUGEPAGE" },
  { code: "nh", bit: 30, name: "VM_NOHUGEPAGE" },
  { code: "mg", bit: 31, name: "VM_MERGEABLE" },
] as const;

const MASK_BY_CODE: ReadonlyMap<string, number> = new Map(
  VM_FLAG_CODES.map(({ code, bit }) => [code, 1 << bit]),
);

/** vm_flags from VmFlags codes. A code without a bit here, "??" among them, adds nothing. */
export function vmFlagsOf(codes: readonly string[]): number {
  return codes.reduce((flags, code) => flags | (MASK_BY_CODE.get(code) ?? 0), 0);
}
