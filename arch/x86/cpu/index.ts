/**
 * The silicon of an x86-64 machine: physical memory, paging-structure entries, the page walk, TLBs, CPUs. It knows
 * nothing of any operating system.
 */
export * from "./access-rights.ts";
export * from "./control-registers.ts";
export * from "./cpu.ts";
export * from "./cpu-model.ts";
export * from "./entry.ts";
export * from "./entry-layout.ts";
export type * from "./events.ts";
export * from "./invalidation.ts";
export * from "./invalidation-scope.ts";
export * from "./linear-address.ts";
export * from "./machine.ts";
export type { AccessResult, AccessSize, Segment } from "./memory-access.ts";
export * from "./memory-type.ts";
export * from "./mmu.ts";
export * from "./outcome-oracle.ts";
export * from "./page-fault.ts";
export * from "./page-walk.ts";
export * from "./paging-structure-cache.ts";
export * from "./physical-memory.ts";
export * from "./register-write.ts";
export * from "./tlb.ts";
export * from "./tlb-entry.ts";
export * from "./tlb-geometry.ts";
export * from "./tlb-report.ts";
