import { NO_PFN, type Pfn } from "../../arch/x86/cpu/address.ts";
import { hex } from "../../arch/x86/cpu/hex.ts";
import { FINISHED, type KernelThread, NEXT_STEP, step, stops } from "../../arch/x86/mm/step.ts";
import type { Kernel } from "./mm_types.ts";
import type { LockLevel } from "./records.ts";
import { reportLock } from "./report.ts";
import type { rw_semaphore } from "./rwsem.ts";

/*
 * Lock order, outer to inner: mmap_sem, page lock, i_mmap_rwsem, anon_vma root rwsem, page-table lock (pmd before pte).
 * Only the last is a spinlock: nothing may sleep under it.
 */

/** Id of a page-table lock, as records and steps have it. */
export function tableLockId(table: Pfn): number {
  return 4 * table;
}

/** Id of a page lock, as records and steps have it. */
export function pageLockId(page: Pfn): number {
  return 4 * page + 1;
}

/** Id of a semaphore, as records and steps have it; given to it when it is first asked for. */
export function semaphoreId(k: Kernel, sem: rw_semaphore): number {
  if (sem.id === 0) sem.id = k.newLock();
  return 4 * sem.id + 2;
}

/** Takes a semaphore for reading, unless a writer holds it; returns whether it was taken. */
export function down_read_trylock(k: Kernel, sem: rw_semaphore): boolean {
  if (sem.writer) return false;
  sem.readers++;
  reportLock(k, "lock-taken", semaphoreId(k, sem), "rwsem", NO_PFN);
  return true;
}

/** Takes a semaphore for reading, waiting for its writer. */
export function down_read(k: Kernel, sem: rw_semaphore): KernelThread<void> {
  const stopped = stops(k, "lock", semaphoreId(k, sem));
  return !stopped && down_read_trylock(k, sem) ? FINISHED : waitToRead(k, sem, stopped);
}

function* waitToRead(k: Kernel, sem: rw_semaphore, stopped: boolean): KernelThread<void> {
  if (stopped) yield NEXT_STEP;
  while (!down_read_trylock(k, sem)) yield step("blocked", semaphoreId(k, sem));
}

/** Throws TypeError if no reader holds it. */
export function up_read(k: Kernel, sem: rw_semaphore): void {
  if (sem.readers === 0) throw new TypeError("up_read on a semaphore that no reader holds");
  sem.readers--;
  reportLock(k, "lock-dropped", semaphoreId(k, sem), "rwsem", NO_PFN);
}

/** Takes a semaphore for writing, waiting for everybody who holds it. */
export function* down_write(k: Kernel, sem: rw_semaphore): KernelThread<void> {
  if (stops(k, "lock", semaphoreId(k, sem))) yield NEXT_STEP;
  while (sem.writer || sem.readers > 0) yield step("blocked", semaphoreId(k, sem));
  sem.writer = true;
  reportLock(k, "lock-taken", semaphoreId(k, sem), "rwsem", NO_PFN);
}

/** Throws TypeError if no writer holds it. */
export function up_write(k: Kernel, sem: rw_semaphore): void {
  if (!sem.writer) throw new TypeError("up_write on a semaphore that no writer holds");
  sem.writer = false;
  reportLock(k, "lock-dropped", semaphoreId(k, sem), "rwsem", NO_PFN);
}

/**
 * Takes the lock of one page table (split page-table locks: each table page has its own; level "mm" with the frame of
 * the root is the mm's page_table_lock). Returns false if another thread holds it. Throws TypeError if this
 * thread does: a spinlock does not nest; RangeError for a frame that memory does not have, as in damaged tables.
 */
export function tryLockTable(k: Kernel, table: Pfn, level: LockLevel): boolean {
  const { ptl } = k.mem_map;
  const owner = ptl[table];
  if (owner === undefined) {
    throw new RangeError(
      `lock of the page table in frame ${hex(table)}: memory has ${hex(ptl.length)} frames`,
    );
  }
  if (owner !== 0) {
    if (owner === k.current.id) throw new TypeError(`task ${k.current.name} locks table ${table} twice`);
    return false;
  }
  ptl[table] = k.current.id;
  k.current.locksHeld++;
  reportLock(k, "lock-taken", tableLockId(table), level, table);
  return true;
}

/** As tryLockTable, waiting for the lock. */
export function* lockTable(k: Kernel, table: Pfn, level: LockLevel): KernelThread<void> {
  if (stops(k, "lock", tableLockId(table))) yield NEXT_STEP;
  while (!tryLockTable(k, table, level)) yield step("blocked", tableLockId(table));
}

/** Throws TypeError unless this thread holds it. */
export function unlockTable(k: Kernel, table: Pfn, level: LockLevel): void {
  const { ptl } = k.mem_map;
  if (ptl[table] !== k.current.id) {
    throw new TypeError(`task ${k.current.name} unlocks table ${table}, which it does not hold`);
  }
  ptl[table] = 0;
  k.current.locksHeld--;
  reportLock(k, "lock-dropped", tableLockId(table), level, table);
}

/** Takes the page lock (mm/filemap.c lock_page), waiting for its holder. */
export function* lock_page(k: Kernel, page: Pfn): KernelThread<void> {
  if (stops(k, "lock", pageLockId(page))) yield NEXT_STEP;
  while (!trylock_page(k, page)) yield step("blocked", pageLockId(page));
}

/** Takes the page lock, unless somebody holds it; returns whether it was taken (include/linux/pagemap.h). */
export function trylock_page(k: Kernel, page: Pfn): boolean {
  if (k.mem_map.PageLocked(page)) return false;
  k.mem_map.SetPageLocked(page);
  reportLock(k, "lock-taken", pageLockId(page), "page", page);
  return true;
}

/** Throws TypeError if the page is not locked. */
export function unlock_page(k: Kernel, page: Pfn): void {
  if (!k.mem_map.PageLocked(page)) throw new TypeError(`unlock_page of frame ${page}, which is not locked`);
  k.mem_map.ClearPageLocked(page);
  reportLock(k, "lock-dropped", pageLockId(page), "page", page);
}
