import { checked } from "../../../arch/x86/cpu/argument.ts";
import { nullable } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as anonVma from "../../mm/anon_vma.ts";
import * as calls from "../../mm/calls.ts";
import * as dropMmFunctions from "../../mm/drop-mm.ts";
import * as locks from "../../mm/locks.ts";
import * as mmStruct from "../../mm/mm_struct.ts";
import * as mmTypes from "../../mm/mm_types.ts";
import * as populate from "../../mm/populate.ts";
import * as vma from "../../mm/vma.ts";
import * as zeroPage from "../../mm/zero-page.ts";
import * as draws from "../../sim/draws.ts";
import { ENTRY, FRAME, LEVEL, NUMBER } from "./cpu-arguments.ts";
import {
  ANON_VMA,
  COUNTER,
  KERNEL,
  KERNEL_FUNCTION,
  LINEAR,
  LINEAR_PAGE,
  LOCK_LEVEL,
  MEM_MAP,
  MM,
  MMAP_OPTIONS,
  PAGE,
  PAGE_OR_NONE,
  RESULT,
  SEMAPHORE,
  TASK,
  VMA,
} from "./linux-arguments.ts";

/* The functions of address spaces, locks and counts, checked. */

export const anon_vma_clone: typeof anonVma.anon_vma_clone = checked(anonVma.anon_vma_clone, VMA, VMA);
export const anon_vma_fork: typeof anonVma.anon_vma_fork = checked(anonVma.anon_vma_fork, VMA, VMA);
export const anon_vma_prepare: typeof anonVma.anon_vma_prepare = checked(anonVma.anon_vma_prepare, VMA);
export const attachAnonVma: typeof anonVma.attachAnonVma = checked(anonVma.attachAnonVma, VMA, ANON_VMA);
export const find_mergeable_anon_vma: typeof anonVma.find_mergeable_anon_vma = checked(
  anonVma.find_mergeable_anon_vma,
  VMA,
);
export const put_anon_vma: typeof anonVma.put_anon_vma = checked(anonVma.put_anon_vma, ANON_VMA);
export const unlink_anon_vmas: typeof anonVma.unlink_anon_vmas = checked(anonVma.unlink_anon_vmas, VMA);

export const enter: typeof calls.enter = checked(
  calls.enter,
  TASK,
  KERNEL_FUNCTION,
  PAGE_OR_NONE,
  nullable(MM),
);
export const leave: typeof calls.leave = checked(calls.leave, TASK, RESULT);

export const dropMm: typeof dropMmFunctions.dropMm = checked(dropMmFunctions.dropMm, MM);
export const freeTable: typeof dropMmFunctions.freeTable = checked(
  dropMmFunctions.freeTable,
  MM,
  PAGE,
  LEVEL,
);

export const down_read: typeof locks.down_read = checked(locks.down_read, KERNEL, SEMAPHORE);
export const down_read_trylock: typeof locks.down_read_trylock = checked(
  locks.down_read_trylock,
  KERNEL,
  SEMAPHORE,
);
export const down_write: typeof locks.down_write = checked(locks.down_write, KERNEL, SEMAPHORE);
export const lock_page: typeof locks.lock_page = checked(locks.lock_page, KERNEL, PAGE);
export const lockTable: typeof locks.lockTable = checked(locks.lockTable, KERNEL, PAGE, LOCK_LEVEL);
export const pageLockId: typeof locks.pageLockId = checked(locks.pageLockId, FRAME);
export const semaphoreId: typeof locks.semaphoreId = checked(locks.semaphoreId, KERNEL, SEMAPHORE);
export const tableLockId: typeof locks.tableLockId = checked(locks.tableLockId, FRAME);
export const tryLockTable: typeof locks.tryLockTable = checked(locks.tryLockTable, KERNEL, PAGE, LOCK_LEVEL);
export const trylock_page: typeof locks.trylock_page = checked(locks.trylock_page, KERNEL, PAGE);
export const unlock_page: typeof locks.unlock_page = checked(locks.unlock_page, KERNEL, PAGE);
export const unlockTable: typeof locks.unlockTable = checked(locks.unlockTable, KERNEL, PAGE, LOCK_LEVEL);
export const up_read: typeof locks.up_read = checked(locks.up_read, KERNEL, SEMAPHORE);
export const up_write: typeof locks.up_write = checked(locks.up_write, KERNEL, SEMAPHORE);

export const add_mm_counter: typeof mmStruct.add_mm_counter = checked(
  mmStruct.add_mm_counter,
  MM,
  COUNTER,
  NUMBER,
);
export const dec_mm_counter: typeof mmStruct.dec_mm_counter = checked(mmStruct.dec_mm_counter, MM, COUNTER);
export const get_mm_rss: typeof mmStruct.get_mm_rss = checked(mmStruct.get_mm_rss, MM);
export const inc_mm_counter: typeof mmStruct.inc_mm_counter = checked(mmStruct.inc_mm_counter, MM, COUNTER);
export const mm_counter: typeof mmStruct.mm_counter = checked(mmStruct.mm_counter, KERNEL, PAGE);
export const mm_counter_file: typeof mmStruct.mm_counter_file = checked(
  mmStruct.mm_counter_file,
  KERNEL,
  PAGE,
);
export const update_hiwater_rss: typeof mmStruct.update_hiwater_rss = checked(
  mmStruct.update_hiwater_rss,
  MM,
);

export const vmaLastPgoff: typeof mmTypes.vmaLastPgoff = checked(mmTypes.vmaLastPgoff, VMA);

export const mapAnonymous: typeof populate.mapAnonymous = checked(
  populate.mapAnonymous,
  KERNEL,
  VMA,
  LINEAR_PAGE,
);
export const mmap: typeof populate.mmap = checked(populate.mmap, MM, MMAP_OPTIONS);

export const __vma_address: typeof vma.__vma_address = checked(vma.__vma_address, MEM_MAP, PAGE, VMA);
export const linear_page_index: typeof vma.linear_page_index = checked(vma.linear_page_index, VMA, LINEAR);
export const vma_address: typeof vma.vma_address = checked(vma.vma_address, MEM_MAP, PAGE, VMA);

export const get_huge_zero_page: typeof zeroPage.get_huge_zero_page = checked(
  zeroPage.get_huge_zero_page,
  KERNEL,
);
export const is_huge_zero_page: typeof zeroPage.is_huge_zero_page = checked(
  zeroPage.is_huge_zero_page,
  KERNEL,
  PAGE,
);
export const is_huge_zero_pmd: typeof zeroPage.is_huge_zero_pmd = checked(
  zeroPage.is_huge_zero_pmd,
  KERNEL,
  ENTRY,
);
export const my_zero_pfn: typeof zeroPage.my_zero_pfn = checked(zeroPage.my_zero_pfn, KERNEL, LINEAR);

export const hash32: typeof draws.hash32 = checked(draws.hash32, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER);
