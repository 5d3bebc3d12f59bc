/**
 * The silicon of an x86-64 machine: physical memory, paging-structure entries, the page walk, TLBs, CPUs. It knows
 * nothing of any operating system.
 */

export * from "../../arch/x86/cpu/access-rights.ts";
export * from "../../arch/x86/cpu/address.ts";
export * from "../../arch/x86/cpu/control-registers.ts";
export * from "../../arch/x86/cpu/cpu.ts";
export * from "../../arch/x86/cpu/cpu-model.ts";
export * from "../../arch/x86/cpu/create-tlb.ts";
export * from "../../arch/x86/cpu/entry.ts";
export * from "../../arch/x86/cpu/entry-layout.ts";
export * from "../../arch/x86/cpu/invalidation.ts";
export * from "../../arch/x86/cpu/invalidation-scope.ts";
export * from "../../arch/x86/cpu/linear-address.ts";
export * from "../../arch/x86/cpu/machine.ts";
export type { AccessResult, AccessSize, Segment } from "../../arch/x86/cpu/memory-access.ts";
export * from "../../arch/x86/cpu/memory-type.ts";
export * from "../../arch/x86/cpu/mmu.ts";
export * from "../../arch/x86/cpu/page-fault.ts";
export * from "../../arch/x86/cpu/page-walk.ts";
export * from "../../arch/x86/cpu/paging-structure-cache.ts";
export * from "../../arch/x86/cpu/pat.ts";
export * from "../../arch/x86/cpu/physical-memory.ts";
export * from "../../arch/x86/cpu/record.ts";
export * from "../../arch/x86/cpu/record-stream.ts";
export * from "../../arch/x86/cpu/records.ts";
export * from "../../arch/x86/cpu/register-write.ts";
export * from "../../arch/x86/cpu/tlb.ts";
export * from "../../arch/x86/cpu/tlb-entry.ts";
export * from "../../arch/x86/cpu/tlb-geometry.ts";
export * from "../../arch/x86/oracle/outcome-oracle.ts";
export * from "../../arch/x86/oracle/tlb-report.ts";
