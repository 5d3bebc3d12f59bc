/**
 * Linux's memory management around v4.13 on a machine's own page tables: a kernel with its pages, address spaces and
 * listeners, the functions of mm/rmap.c with their callers and primitives, under the kernel's names and with its
 * arguments, and a scheduler that interleaves them. Nothing here needs Node.
 */
export {
  Linear,
  NO_LINEAR,
  NO_PFN,
  NO_SLOT,
  NONE,
  PAGE_SHIFT,
  PAGE_SIZE,
  Pfn,
  Slot,
} from "../../arch/x86/cpu/address.ts";
export { Entry, sameEntry, ZERO_ENTRY } from "../../arch/x86/cpu/entry.ts";
export { Machine, type MachineOptions } from "../../arch/x86/cpu/machine.ts";
export {
  flush_cache_dup_mm,
  flush_cache_mm,
  flush_cache_page,
  flush_cache_range,
  flush_dcache_page,
  flush_icache_page,
  update_mmu_cache,
  update_mmu_cache_pmd,
  update_mmu_cache_pud,
} from "../../arch/x86/mm/cacheflush.ts";
export {
  CPU_MASK_NONE,
  type CpuMask,
  cpumask_empty,
  cpumask_test_cpu,
  hasOtherCpu,
  unionOf,
  withCpu,
  withoutCpu,
} from "../../arch/x86/mm/cpumask.ts";
export {
  hintPrimitive,
  type KernelContext,
  type MmContext,
  read_pkru,
  readEntry,
  smp_processor_id,
  type Task as ArchTask,
  TLBSTATE_LAZY,
  TLBSTATE_OK,
  type TlbState,
  type VmaContext,
} from "../../arch/x86/mm/kernel-context.ts";
export {
  is_swap_pte,
  pmd_bad,
  pmd_devmap,
  pmd_dirty,
  pmd_huge,
  pmd_large,
  pmd_mkclean,
  pmd_none,
  pmd_present,
  pmd_protnone,
  pmd_soft_dirty,
  pmd_trans_huge,
  pmd_write,
  pmd_wrprotect,
  pmd_young,
  pte_access_permitted,
  pte_clear_savedwrite,
  pte_clear_soft_dirty,
  pte_devmap,
  pte_dirty,
  pte_exec,
  pte_global,
  pte_huge,
  pte_mk_savedwrite,
  pte_mkclean,
  pte_mkdevmap,
  pte_mkdirty,
  pte_mkhuge,
  pte_mkold,
  pte_mksoft_dirty,
  pte_mkspecial,
  pte_mkwrite,
  pte_mkyoung,
  pte_none,
  pte_present,
  pte_protnone,
  pte_same,
  pte_savedwrite,
  pte_soft_dirty,
  pte_special,
  pte_unused,
  pte_write,
  pte_wrprotect,
  pte_young,
  pud_bad,
  pud_huge,
  pud_large,
  pud_none,
  pud_present,
  pud_trans_huge,
  tableIndex,
} from "../../arch/x86/mm/pgtable.ts";
export {
  _KERNPG_TABLE,
  _PAGE_ACCESSED,
  _PAGE_DEVMAP_HI,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_KNL_ERRATUM_MASK,
  _PAGE_NX_HI,
  _PAGE_PAT,
  _PAGE_PCD,
  _PAGE_PKEY_HI,
  _PAGE_PKEY_SHIFT_HI,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_PWT,
  _PAGE_RW,
  _PAGE_SOFT_DIRTY,
  _PAGE_SPECIAL,
  _PAGE_TABLE,
  _PAGE_UFFD_WP,
  _PAGE_USER,
  HPAGE_PMD_NR,
  HPAGE_PMD_ORDER,
  LINUX_BITS,
  type LinuxBit,
  PAGE_COPY,
  PAGE_COPY_EXEC,
  PAGE_NONE,
  PAGE_READONLY,
  PAGE_READONLY_EXEC,
  PAGE_SHARED,
  PAGE_SHARED_EXEC,
  PMD_SIZE,
  PTRS_PER_TABLE,
  PUD_SIZE,
  type pgprot_t,
  type pmd_t,
  protection_map,
  type pte_t,
  type pud_t,
  VM_EXEC,
  VM_HUGETLB,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  vm_get_page_prot,
} from "../../arch/x86/mm/pgtable_types.ts";
export {
  PTE_LAYOUTS,
  PteFormat,
  type PteLayout,
  pteLayout,
  type SwapLayout,
  type SwapTypes,
} from "../../arch/x86/mm/pte-format.ts";
export {
  flush_tlb_fix_spurious_fault,
  linkTable,
  pmd_none_or_trans_huge_or_clear_bad,
  pmd_populate,
  pmd_trans_unstable,
  pmdp_clear_flush_young,
  pmdp_collapse_flush,
  pmdp_huge_clear_flush,
  pmdp_huge_get_and_clear,
  pmdp_huge_get_and_clear_full,
  pmdp_invalidate,
  pmdp_set_access_flags,
  pmdp_set_wrprotect,
  pmdp_test_and_clear_young,
  pte_accessible,
  pte_clear,
  pte_clear_not_present_full,
  ptep_clear_flush,
  ptep_clear_flush_young,
  ptep_get_and_clear,
  ptep_get_and_clear_full,
  ptep_modify_prot_commit,
  ptep_modify_prot_start,
  ptep_set_access_flags,
  ptep_set_wrprotect,
  ptep_test_and_clear_young,
  pudp_huge_clear_flush,
  pudp_huge_get_and_clear,
  set_huge_swap_pte_at,
  set_pmd_at,
  set_pte_at,
  set_pud_at,
} from "../../arch/x86/mm/ptep.ts";
export {
  ARCH_MM_FIELDS,
  ARCH_MM_KINDS,
  type ArchMmRecord,
  type ArchMmRecordOf,
  CACHE_HOOKS,
  type CacheHook,
} from "../../arch/x86/mm/records.ts";
export {
  FINISHED,
  finished,
  type KernelThread,
  type Step,
  type StepKind,
  step,
} from "../../arch/x86/mm/step.ts";
export {
  OFFSET_HI_MASK,
  swp_entry,
  type swp_entry_t,
  swp_offset,
  swp_type,
  TYPE_SHIFT_HI,
} from "../../arch/x86/mm/swap-entry.ts";
export {
  enter_lazy_tlb,
  flush_tlb_mm,
  flush_tlb_mm_range,
  flush_tlb_page,
  flush_tlb_range,
  flushBatchedCpus,
  leave_mm,
  mm_cpumask,
  switch_mm,
  TLB_FLUSH_ALL,
  tlb_single_page_flush_ceiling,
} from "../../arch/x86/mm/tlb.ts";
export {
  arch_tlbbatch_add_mm,
  arch_tlbbatch_flush,
  type arch_tlbflush_unmap_batch,
} from "../../arch/x86/mm/tlbbatch.ts";
export {
  anon_vma_clone,
  anon_vma_fork,
  anon_vma_prepare,
  attachAnonVma,
  find_mergeable_anon_vma,
  put_anon_vma,
  unlink_anon_vmas,
} from "../mm/anon_vma.ts";
export { ABANDONED, type CallResult, enter, leave } from "../mm/calls.ts";
export { dropMm, freeTable } from "../mm/drop-mm.ts";
export { FrameAllocator } from "../mm/frame-allocator.ts";
export {
  FOLL_GET,
  FOLL_WRITE,
  follow_page,
  getPage,
  type MappingEntry,
  mappingEntry,
  pageAt,
} from "../mm/gup.ts";
export {
  __split_huge_pmd,
  pgtable_trans_huge_deposit,
  pgtable_trans_huge_withdraw,
  set_huge_zero_page,
  split_huge_pmd,
  split_huge_pmd_address,
} from "../mm/huge_memory.ts";
export { IntervalTree } from "../mm/interval-tree.ts";
export { Kernel, type KernelOptions } from "../mm/kernel.ts";
export { KERNEL_MODELS, type KernelModel, kernelModel } from "../mm/kernel-model.ts";
export {
  down_read,
  down_read_trylock,
  down_write,
  lock_page,
  lockTable,
  pageLockId,
  semaphoreId,
  tableLockId,
  tryLockTable,
  trylock_page,
  unlock_page,
  unlockTable,
  up_read,
  up_write,
} from "../mm/locks.ts";
export {
  MAPPING_ANON,
  MAPPING_FILE,
  MAPPING_KSM,
  type MappingKind,
  MemMap,
  PG,
} from "../mm/mem_map.ts";
export { remove_migration_ptes } from "../mm/migrate.ts";
export { clear_page_mlock, mlock_vma_page } from "../mm/mlock.ts";
export {
  add_mm_counter,
  dec_mm_counter,
  get_mm_rss,
  inc_mm_counter,
  MM_ANONPAGES,
  MM_FILEPAGES,
  MM_SHMEMPAGES,
  MM_SWAPENTS,
  mm_counter,
  mm_counter_file,
  update_hiwater_rss,
} from "../mm/mm_struct.ts";
export {
  address_space,
  anon_vma,
  anon_vma_chain,
  type Call,
  type ChangeBranch,
  type MaySleep,
  mm_struct,
  type mmu_notifier,
  type mmu_notifier_mm,
  type mmu_notifier_ops,
  type NotifierProtocol,
  type OpenBracket,
  type Registration,
  type Task,
  type Told,
  type VmaOptions,
  vm_area_struct,
  vmaLastPgoff,
} from "../mm/mm_types.ts";
export {
  mm_has_notifiers,
  mmu_notifier_change_pte,
  mmu_notifier_clear_flush_young,
  mmu_notifier_clear_young,
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_register,
  mmu_notifier_release,
  mmu_notifier_test_young,
  mmu_notifier_unregister,
  registrationOf,
} from "../mm/mmu_notifier.ts";
export { NOTIFIER_PROTOCOLS, notifierProtocol } from "../mm/notifier-protocol.ts";
export { ownProtocol, ProtocolError } from "../mm/own-protocol.ts";
export {
  alloc_page,
  alloc_pages,
  free_page,
  get_page,
  page_ref_freeze,
  prep_compound_page,
  put_page,
} from "../mm/page_alloc.ts";
export { type Cleaned, page_mkclean, page_mkclean_one } from "../mm/page_mkclean.ts";
export { page_referenced, type Referenced } from "../mm/page_referenced.ts";
export {
  PageVmaMappedWalk,
  PVMW_MIGRATION,
  PVMW_SYNC,
  page_mapped_in_vma,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
} from "../mm/page_vma_mapped.ts";
export {
  hugepage_add_anon_rmap,
  hugepage_add_new_anon_rmap,
  page_add_anon_rmap,
  page_add_file_rmap,
  page_add_new_anon_rmap,
  page_dup_rmap,
  page_move_anon_rmap,
  page_remove_rmap,
} from "../mm/page-mapcount.ts";
export {
  ensurePmdSlot,
  ensurePteSlot,
  huge_pte_offset,
  pmdSlot,
  pteSlot,
  pteSlotUnder,
  pudSlot,
  tableOf,
} from "../mm/page-table.ts";
export { clear_page_dirty_for_io, pageout } from "../mm/page-writeback.ts";
export { type MmapOptions, mapAnonymous, mmap } from "../mm/populate.ts";
export {
  pmdp_clear_flush_young_notify,
  pmdp_clear_young_notify,
  pmdp_huge_clear_flush_notify,
  ptep_clear_flush_notify,
  ptep_clear_flush_young_notify,
  ptep_clear_young_notify,
  pudp_huge_clear_flush_notify,
  set_pte_at_notify,
} from "../mm/ptep_notify.ts";
export {
  KERNEL_FUNCTIONS,
  type KernelFunction,
  LOCK_CLASSES,
  type LockClass,
  type LockLevel,
  MM_FIELDS,
  MM_KINDS,
  type MmRecord,
  type MmRecordOf,
  NOTIFIER_OPS,
  type NotifierOp,
  RECORDED_FLAGS,
} from "../mm/records.ts";
export {
  mm_find_pmd,
  page_address_in_vma,
  page_get_anon_vma,
  page_lock_anon_vma_read,
  refuseKsm,
  rmap_walk,
  type rmap_walk_control,
  rmap_walk_locked,
} from "../mm/rmap.ts";
export { rw_semaphore } from "../mm/rwsem.ts";
export { SWAP_HAS_CACHE, SwapSpace } from "../mm/swap-space.ts";
export {
  __delete_from_swap_cache,
  add_to_swap,
  ClearPageDirty,
  set_page_dirty,
  swap_duplicate,
  swap_free,
} from "../mm/swapfile.ts";
export {
  flush_tlb_batched_pending,
  set_tlb_ubc_flush_pending,
  should_defer_flush,
  try_to_unmap_flush,
  try_to_unmap_flush_dirty,
} from "../mm/tlb_ubc.ts";
export {
  is_vma_temporary_stack,
  try_to_munlock,
  try_to_unmap,
  try_to_unmap_one,
} from "../mm/try_to_unmap.ts";
export {
  TTU_BATCH_FLUSH,
  TTU_IGNORE_ACCESS,
  TTU_IGNORE_HWPOISON,
  TTU_IGNORE_MLOCK,
  TTU_MIGRATION,
  TTU_MUNLOCK,
  TTU_RMAP_LOCKED,
  TTU_SPLIT_HUGE_PMD,
} from "../mm/ttu-flags.ts";
export {
  fileMapping,
  page_anon_vma,
  setAnonMapping,
  setFileMapping,
  setKsmMapping,
} from "../mm/util.ts";
export {
  __vma_address,
  linear_page_index,
  VM_GROWSDOWN,
  VM_LOCKED,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_SEQ_READ,
  VM_SOFTDIRTY,
  vma_address,
} from "../mm/vma.ts";
export {
  isolate_lru_page,
  type KeptReason,
  putback_lru_page,
  type Shrunk,
  shrink_page_list,
} from "../mm/vmscan.ts";
export {
  get_huge_zero_page,
  is_huge_zero_page,
  is_huge_zero_pmd,
  my_zero_pfn,
} from "../mm/zero-page.ts";
export { type Dice, Draws, hash32 } from "../sim/draws.ts";
export { Random } from "../sim/random.ts";
export { Scheduler, type ThreadOptions } from "../sim/scheduler.ts";
export { Iommu, type IommuOptions } from "../virt/iommu.ts";
export { type GuestAccess, Kvm, type KvmOptions, type Spte } from "../virt/kvm.ts";
export { type Memslot, Memslots } from "../virt/memslots.ts";
export { VIRT_FIELDS, VIRT_KINDS, type VirtRecord, type VirtRecordOf } from "../virt/records.ts";
