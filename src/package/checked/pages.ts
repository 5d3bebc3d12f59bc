import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable, optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as migrate from "../../mm/migrate.ts";
import * as mlock from "../../mm/mlock.ts";
import * as pageAlloc from "../../mm/page_alloc.ts";
import * as pageMkclean from "../../mm/page_mkclean.ts";
import * as pageReferenced from "../../mm/page_referenced.ts";
import * as pageVmaMapped from "../../mm/page_vma_mapped.ts";
import * as pageMapcount from "../../mm/page-mapcount.ts";
import * as pageWriteback from "../../mm/page-writeback.ts";
import * as rmap from "../../mm/rmap.ts";
import * as swapfile from "../../mm/swapfile.ts";
import * as tryToUnmap from "../../mm/try_to_unmap.ts";
import * as util from "../../mm/util.ts";
import * as vmscan from "../../mm/vmscan.ts";
import { COUNT, ENTRY, FLAG } from "./cpu-arguments.ts";
import {
  ANON_VMA,
  CLEANED,
  FILE,
  FLAGS,
  KERNEL,
  LINEAR,
  LINEAR_PAGE,
  MM,
  ORDER,
  PAGE,
  PAGES,
  RMAP_WALK,
  VMA,
  WALK,
} from "./linux-arguments.ts";

/* The functions of pages and their reverse mapping, checked. */

export const remove_migration_ptes: typeof migrate.remove_migration_ptes = checked(
  migrate.remove_migration_ptes,
  KERNEL,
  PAGE,
  PAGE,
  FLAG,
);

export const clear_page_mlock: typeof mlock.clear_page_mlock = checked(mlock.clear_page_mlock, KERNEL, PAGE);
export const mlock_vma_page: typeof mlock.mlock_vma_page = checked(mlock.mlock_vma_page, KERNEL, PAGE);

export const alloc_page: typeof pageAlloc.alloc_page = checked(pageAlloc.alloc_page, KERNEL);
export const alloc_pages: typeof pageAlloc.alloc_pages = checked(pageAlloc.alloc_pages, KERNEL, ORDER);
export const free_page: typeof pageAlloc.free_page = checked(pageAlloc.free_page, KERNEL, PAGE);
export const get_page: typeof pageAlloc.get_page = checked(pageAlloc.get_page, KERNEL, PAGE);
export const page_ref_freeze: typeof pageAlloc.page_ref_freeze = checked(
  pageAlloc.page_ref_freeze,
  KERNEL,
  PAGE,
  COUNT,
);
export const prep_compound_page: typeof pageAlloc.prep_compound_page = checked(
  pageAlloc.prep_compound_page,
  KERNEL,
  PAGE,
  ORDER,
  optional(FLAG),
);
export const put_page: typeof pageAlloc.put_page = checked(pageAlloc.put_page, KERNEL, PAGE);

export const page_mkclean: typeof pageMkclean.page_mkclean = checked(pageMkclean.page_mkclean, KERNEL, PAGE);
export const page_mkclean_one: typeof pageMkclean.page_mkclean_one = checked(
  pageMkclean.page_mkclean_one,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
  CLEANED,
);

export const page_referenced: typeof pageReferenced.page_referenced = checked(
  pageReferenced.page_referenced,
  KERNEL,
  PAGE,
  FLAG,
);

export const page_mapped_in_vma: typeof pageVmaMapped.page_mapped_in_vma = checked(
  pageVmaMapped.page_mapped_in_vma,
  KERNEL,
  PAGE,
  VMA,
);
export const page_vma_mapped_walk: typeof pageVmaMapped.page_vma_mapped_walk = checked(
  pageVmaMapped.page_vma_mapped_walk,
  WALK,
);
export const page_vma_mapped_walk_done: typeof pageVmaMapped.page_vma_mapped_walk_done = checked(
  pageVmaMapped.page_vma_mapped_walk_done,
  WALK,
);

export const hugepage_add_anon_rmap: typeof pageMapcount.hugepage_add_anon_rmap = checked(
  pageMapcount.hugepage_add_anon_rmap,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
);
export const hugepage_add_new_anon_rmap: typeof pageMapcount.hugepage_add_new_anon_rmap = checked(
  pageMapcount.hugepage_add_new_anon_rmap,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
);
export const page_add_anon_rmap: typeof pageMapcount.page_add_anon_rmap = checked(
  pageMapcount.page_add_anon_rmap,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
  FLAG,
  optional(FLAG),
);
export const page_add_file_rmap: typeof pageMapcount.page_add_file_rmap = checked(
  pageMapcount.page_add_file_rmap,
  KERNEL,
  PAGE,
  FLAG,
);
export const page_add_new_anon_rmap: typeof pageMapcount.page_add_new_anon_rmap = checked(
  pageMapcount.page_add_new_anon_rmap,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
  FLAG,
);
export const page_dup_rmap: typeof pageMapcount.page_dup_rmap = checked(
  pageMapcount.page_dup_rmap,
  KERNEL,
  PAGE,
  FLAG,
);
export const page_move_anon_rmap: typeof pageMapcount.page_move_anon_rmap = checked(
  pageMapcount.page_move_anon_rmap,
  KERNEL,
  PAGE,
  VMA,
);
export const page_remove_rmap: typeof pageMapcount.page_remove_rmap = checked(
  pageMapcount.page_remove_rmap,
  KERNEL,
  PAGE,
  FLAG,
);

export const clear_page_dirty_for_io: typeof pageWriteback.clear_page_dirty_for_io = checked(
  pageWriteback.clear_page_dirty_for_io,
  KERNEL,
  PAGE,
);
export const pageout: typeof pageWriteback.pageout = checked(pageWriteback.pageout, KERNEL, PAGE);

export const mm_find_pmd: typeof rmap.mm_find_pmd = checked(rmap.mm_find_pmd, MM, LINEAR);
export const page_address_in_vma: typeof rmap.page_address_in_vma = checked(
  rmap.page_address_in_vma,
  KERNEL,
  PAGE,
  VMA,
);
export const page_get_anon_vma: typeof rmap.page_get_anon_vma = checked(rmap.page_get_anon_vma, KERNEL, PAGE);
export const page_lock_anon_vma_read: typeof rmap.page_lock_anon_vma_read = checked(
  rmap.page_lock_anon_vma_read,
  KERNEL,
  PAGE,
);
export const refuseKsm: typeof rmap.refuseKsm = checked(rmap.refuseKsm, KERNEL, PAGE);
export const rmap_walk: typeof rmap.rmap_walk = checked(rmap.rmap_walk, KERNEL, PAGE, RMAP_WALK);
export const rmap_walk_locked: typeof rmap.rmap_walk_locked = checked(
  rmap.rmap_walk_locked,
  KERNEL,
  PAGE,
  RMAP_WALK,
);

export const __delete_from_swap_cache: typeof swapfile.__delete_from_swap_cache = checked(
  swapfile.__delete_from_swap_cache,
  KERNEL,
  PAGE,
);
export const add_to_swap: typeof swapfile.add_to_swap = checked(swapfile.add_to_swap, KERNEL, PAGE);
export const ClearPageDirty: typeof swapfile.ClearPageDirty = checked(swapfile.ClearPageDirty, KERNEL, PAGE);
export const set_page_dirty: typeof swapfile.set_page_dirty = checked(swapfile.set_page_dirty, KERNEL, PAGE);
export const swap_duplicate: typeof swapfile.swap_duplicate = checked(swapfile.swap_duplicate, KERNEL, ENTRY);
export const swap_free: typeof swapfile.swap_free = checked(swapfile.swap_free, KERNEL, ENTRY);

export const is_vma_temporary_stack: typeof tryToUnmap.is_vma_temporary_stack = checked(
  tryToUnmap.is_vma_temporary_stack,
  VMA,
);
export const try_to_munlock: typeof tryToUnmap.try_to_munlock = checked(
  tryToUnmap.try_to_munlock,
  KERNEL,
  PAGE,
);
export const try_to_unmap: typeof tryToUnmap.try_to_unmap = checked(
  tryToUnmap.try_to_unmap,
  KERNEL,
  PAGE,
  FLAGS,
);
export const try_to_unmap_one: typeof tryToUnmap.try_to_unmap_one = checked(
  tryToUnmap.try_to_unmap_one,
  KERNEL,
  PAGE,
  VMA,
  LINEAR_PAGE,
  FLAGS,
);

export const fileMapping: typeof util.fileMapping = checked(util.fileMapping, KERNEL, PAGE);
export const page_anon_vma: typeof util.page_anon_vma = checked(util.page_anon_vma, KERNEL, PAGE);
export const setAnonMapping: typeof util.setAnonMapping = checked(
  util.setAnonMapping,
  KERNEL,
  PAGE,
  ANON_VMA,
);
export const setFileMapping: typeof util.setFileMapping = checked(
  util.setFileMapping,
  KERNEL,
  PAGE,
  nullable(FILE),
);
export const setKsmMapping: typeof util.setKsmMapping = checked(util.setKsmMapping, KERNEL, PAGE);

export const isolate_lru_page: typeof vmscan.isolate_lru_page = checked(
  vmscan.isolate_lru_page,
  KERNEL,
  PAGE,
);
export const putback_lru_page: typeof vmscan.putback_lru_page = checked(
  vmscan.putback_lru_page,
  KERNEL,
  PAGE,
);
export const shrink_page_list: typeof vmscan.shrink_page_list = checked(
  vmscan.shrink_page_list,
  KERNEL,
  PAGES,
);
