/**
 * ptescope as a library: a machine with real page tables, Linux's reverse-mapping code on it, listeners, and an
 * auditor of stale translations. The machine alone, without a Linux word, is "ptescope/cpu".
 */

export { Linear, type Pfn, type Slot } from "../arch/x86/cpu/address.ts";
export { Entry } from "../arch/x86/cpu/entry.ts";
export { Machine, type MachineOptions } from "../arch/x86/cpu/machine.ts";
export type { PageFault } from "../arch/x86/cpu/page-fault.ts";
export { PTE_LAYOUTS, PteFormat, type PteLayout, pteLayout } from "../arch/x86/mm/pte-format.ts";
export type { KernelThread, Step } from "../arch/x86/mm/step.ts";
export { switch_mm } from "../arch/x86/mm/tlb.ts";
export { Auditor } from "./audit/auditor.ts";
export type { Finding } from "./audit/findings.ts";
export { RULES } from "./audit/rules/index.ts";
export { FormatError } from "./formats/format-error.ts";
export { type GuestSnapshot, readGuestDirectory } from "./formats/guest-snapshot.ts";
export { type ImportedGuest, importGuest } from "./guest/import-kernel.ts";
export { checkTruth } from "./guest/truth.ts";
export { type AuditReport, type AuditSettings, auditGuest } from "./jobs/reclaim/audit-report.ts";
export { auditText } from "./jobs/reclaim/audit-text.ts";
export { Kernel, type KernelOptions } from "./mm/kernel.ts";
export { lock_page, unlock_page } from "./mm/locks.ts";
export { address_space, type mmu_notifier } from "./mm/mm_types.ts";
export { mmu_notifier_register } from "./mm/mmu_notifier.ts";
export { NOTIFIER_PROTOCOLS } from "./mm/notifier-protocol.ts";
export { free_page, get_page, put_page } from "./mm/page_alloc.ts";
export { page_mkclean } from "./mm/page_mkclean.ts";
export { page_referenced } from "./mm/page_referenced.ts";
export { pageout } from "./mm/page-writeback.ts";
export { type MmapOptions, mapAnonymous, mmap } from "./mm/populate.ts";
export { add_to_swap } from "./mm/swapfile.ts";
export { try_to_unmap_flush, try_to_unmap_flush_dirty } from "./mm/tlb_ubc.ts";
export { try_to_unmap } from "./mm/try_to_unmap.ts";
export * from "./mm/ttu-flags.ts";
export { isolate_lru_page, shrink_page_list } from "./mm/vmscan.ts";
export { Random } from "./sim/random.ts";
export { Scheduler } from "./sim/scheduler.ts";
export type { TraceRecord } from "./trace/record.ts";
export { Iommu } from "./virt/iommu.ts";
export { Kvm } from "./virt/kvm.ts";
