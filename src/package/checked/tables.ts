import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable, optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as kernelContext from "../../../arch/x86/mm/kernel-context.ts";
import * as ptep from "../../../arch/x86/mm/ptep.ts";
import * as gup from "../../mm/gup.ts";
import * as hugeMemory from "../../mm/huge_memory.ts";
import * as pageTable from "../../mm/page-table.ts";
import * as ptepNotify from "../../mm/ptep_notify.ts";
import { BITS, ENTRY, FLAG, FRAME, LEVEL, NAME } from "./cpu-arguments.ts";
import {
  CONTEXT,
  FLAGS,
  HUGE_SIZE,
  KERNEL,
  LINEAR,
  LINEAR_PAGE,
  MAPPING,
  MM,
  MM_CONTEXT,
  PAGE,
  SLOT,
  VMA,
  VMA_CONTEXT,
} from "./linux-arguments.ts";

/* The functions of page tables, checked. */

export const hintPrimitive: typeof kernelContext.hintPrimitive = checked(
  kernelContext.hintPrimitive,
  CONTEXT,
  NAME,
);
export const read_pkru: typeof kernelContext.read_pkru = checked(kernelContext.read_pkru, CONTEXT);
export const readEntry: typeof kernelContext.readEntry = checked(kernelContext.readEntry, MM_CONTEXT, SLOT);
export const smp_processor_id: typeof kernelContext.smp_processor_id = checked(
  kernelContext.smp_processor_id,
  CONTEXT,
);

export const flush_tlb_fix_spurious_fault: typeof ptep.flush_tlb_fix_spurious_fault = checked(
  ptep.flush_tlb_fix_spurious_fault,
  VMA_CONTEXT,
  LINEAR,
);
export const linkTable: typeof ptep.linkTable = checked(ptep.linkTable, MM_CONTEXT, SLOT, LEVEL, FRAME, NAME);
export const pmd_none_or_trans_huge_or_clear_bad: typeof ptep.pmd_none_or_trans_huge_or_clear_bad = checked(
  ptep.pmd_none_or_trans_huge_or_clear_bad,
  MM_CONTEXT,
  SLOT,
);
export const pmd_populate: typeof ptep.pmd_populate = checked(ptep.pmd_populate, MM_CONTEXT, SLOT, FRAME);
export const pmd_trans_unstable: typeof ptep.pmd_trans_unstable = checked(
  ptep.pmd_trans_unstable,
  MM_CONTEXT,
  SLOT,
);
export const pmdp_clear_flush_young: typeof ptep.pmdp_clear_flush_young = checked(
  ptep.pmdp_clear_flush_young,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_collapse_flush: typeof ptep.pmdp_collapse_flush = checked(
  ptep.pmdp_collapse_flush,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_huge_clear_flush: typeof ptep.pmdp_huge_clear_flush = checked(
  ptep.pmdp_huge_clear_flush,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_huge_get_and_clear: typeof ptep.pmdp_huge_get_and_clear = checked(
  ptep.pmdp_huge_get_and_clear,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_huge_get_and_clear_full: typeof ptep.pmdp_huge_get_and_clear_full = checked(
  ptep.pmdp_huge_get_and_clear_full,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  FLAG,
);
export const pmdp_invalidate: typeof ptep.pmdp_invalidate = checked(
  ptep.pmdp_invalidate,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_set_access_flags: typeof ptep.pmdp_set_access_flags = checked(
  ptep.pmdp_set_access_flags,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
  FLAG,
);
export const pmdp_set_wrprotect: typeof ptep.pmdp_set_wrprotect = checked(
  ptep.pmdp_set_wrprotect,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_test_and_clear_young: typeof ptep.pmdp_test_and_clear_young = checked(
  ptep.pmdp_test_and_clear_young,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pte_accessible: typeof ptep.pte_accessible = checked(ptep.pte_accessible, MM_CONTEXT, ENTRY);
export const pte_clear: typeof ptep.pte_clear = checked(ptep.pte_clear, MM_CONTEXT, LINEAR_PAGE, SLOT);
export const pte_clear_not_present_full: typeof ptep.pte_clear_not_present_full = checked(
  ptep.pte_clear_not_present_full,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  FLAG,
);
export const ptep_clear_flush: typeof ptep.ptep_clear_flush = checked(
  ptep.ptep_clear_flush,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_clear_flush_young: typeof ptep.ptep_clear_flush_young = checked(
  ptep.ptep_clear_flush_young,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_get_and_clear: typeof ptep.ptep_get_and_clear = checked(
  ptep.ptep_get_and_clear,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_get_and_clear_full: typeof ptep.ptep_get_and_clear_full = checked(
  ptep.ptep_get_and_clear_full,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  FLAG,
);
export const ptep_modify_prot_commit: typeof ptep.ptep_modify_prot_commit = checked(
  ptep.ptep_modify_prot_commit,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);
export const ptep_modify_prot_start: typeof ptep.ptep_modify_prot_start = checked(
  ptep.ptep_modify_prot_start,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_set_access_flags: typeof ptep.ptep_set_access_flags = checked(
  ptep.ptep_set_access_flags,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
  FLAG,
);
export const ptep_set_wrprotect: typeof ptep.ptep_set_wrprotect = checked(
  ptep.ptep_set_wrprotect,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_test_and_clear_young: typeof ptep.ptep_test_and_clear_young = checked(
  ptep.ptep_test_and_clear_young,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pudp_huge_clear_flush: typeof ptep.pudp_huge_clear_flush = checked(
  ptep.pudp_huge_clear_flush,
  VMA_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const pudp_huge_get_and_clear: typeof ptep.pudp_huge_get_and_clear = checked(
  ptep.pudp_huge_get_and_clear,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
);
export const set_huge_swap_pte_at: typeof ptep.set_huge_swap_pte_at = checked(
  ptep.set_huge_swap_pte_at,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);
export const set_pmd_at: typeof ptep.set_pmd_at = checked(
  ptep.set_pmd_at,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);
export const set_pte_at: typeof ptep.set_pte_at = checked(
  ptep.set_pte_at,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);
export const set_pud_at: typeof ptep.set_pud_at = checked(
  ptep.set_pud_at,
  MM_CONTEXT,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);

export const pmdp_clear_flush_young_notify: typeof ptepNotify.pmdp_clear_flush_young_notify = checked(
  ptepNotify.pmdp_clear_flush_young_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_clear_young_notify: typeof ptepNotify.pmdp_clear_young_notify = checked(
  ptepNotify.pmdp_clear_young_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const pmdp_huge_clear_flush_notify: typeof ptepNotify.pmdp_huge_clear_flush_notify = checked(
  ptepNotify.pmdp_huge_clear_flush_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_clear_flush_notify: typeof ptepNotify.ptep_clear_flush_notify = checked(
  ptepNotify.ptep_clear_flush_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_clear_flush_young_notify: typeof ptepNotify.ptep_clear_flush_young_notify = checked(
  ptepNotify.ptep_clear_flush_young_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const ptep_clear_young_notify: typeof ptepNotify.ptep_clear_young_notify = checked(
  ptepNotify.ptep_clear_young_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const pudp_huge_clear_flush_notify: typeof ptepNotify.pudp_huge_clear_flush_notify = checked(
  ptepNotify.pudp_huge_clear_flush_notify,
  VMA,
  LINEAR_PAGE,
  SLOT,
);
export const set_pte_at_notify: typeof ptepNotify.set_pte_at_notify = checked(
  ptepNotify.set_pte_at_notify,
  MM,
  LINEAR_PAGE,
  SLOT,
  ENTRY,
);

export const ensurePmdSlot: typeof pageTable.ensurePmdSlot = checked(pageTable.ensurePmdSlot, MM, LINEAR);
export const ensurePteSlot: typeof pageTable.ensurePteSlot = checked(pageTable.ensurePteSlot, MM, LINEAR);
export const huge_pte_offset: typeof pageTable.huge_pte_offset = checked(
  pageTable.huge_pte_offset,
  MM,
  LINEAR,
  HUGE_SIZE,
);
export const pmdSlot: typeof pageTable.pmdSlot = checked(pageTable.pmdSlot, MM, LINEAR);
export const pteSlot: typeof pageTable.pteSlot = checked(pageTable.pteSlot, MM, LINEAR);
export const pteSlotUnder: typeof pageTable.pteSlotUnder = checked(pageTable.pteSlotUnder, MM, SLOT, LINEAR);
export const pudSlot: typeof pageTable.pudSlot = checked(pageTable.pudSlot, MM, LINEAR);
export const tableOf: typeof pageTable.tableOf = checked(pageTable.tableOf, SLOT);

export const follow_page: typeof gup.follow_page = checked(gup.follow_page, VMA, LINEAR, FLAGS);
export const getPage: typeof gup.getPage = checked(gup.getPage, MM, MAPPING, LINEAR, FLAGS, optional(BITS));
export const mappingEntry: typeof gup.mappingEntry = checked(gup.mappingEntry, MM, LINEAR);
export const pageAt: typeof gup.pageAt = checked(gup.pageAt, KERNEL, MAPPING, LINEAR);

export const __split_huge_pmd: typeof hugeMemory.__split_huge_pmd = checked(
  hugeMemory.__split_huge_pmd,
  KERNEL,
  VMA,
  SLOT,
  LINEAR,
  FLAG,
  nullable(PAGE),
);
export const pgtable_trans_huge_deposit: typeof hugeMemory.pgtable_trans_huge_deposit = checked(
  hugeMemory.pgtable_trans_huge_deposit,
  MM,
  SLOT,
  PAGE,
);
export const pgtable_trans_huge_withdraw: typeof hugeMemory.pgtable_trans_huge_withdraw = checked(
  hugeMemory.pgtable_trans_huge_withdraw,
  MM,
  SLOT,
);
export const set_huge_zero_page: typeof hugeMemory.set_huge_zero_page = checked(
  hugeMemory.set_huge_zero_page,
  KERNEL,
  PAGE,
  MM,
  VMA,
  LINEAR_PAGE,
  SLOT,
  PAGE,
);
export const split_huge_pmd: typeof hugeMemory.split_huge_pmd = checked(
  hugeMemory.split_huge_pmd,
  KERNEL,
  VMA,
  SLOT,
  LINEAR,
);
export const split_huge_pmd_address: typeof hugeMemory.split_huge_pmd_address = checked(
  hugeMemory.split_huge_pmd_address,
  KERNEL,
  VMA,
  LINEAR,
  FLAG,
  PAGE,
);
