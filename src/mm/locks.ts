import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { LockLevel } from "./events.ts";
import type { Kernel } from "./kernel.ts";

/*
 * Lock order, outer to inner (linux-mm 4.4): mmap_sem, page lock, i_mmap_rwsem, anon_vma root rwsem, page-table
 * lock (pmd before pte). Only the last is a spinlock: nothing may sleep under it.
 */

/** A sleeping lock with many readers or one writer (struct rw_semaphore). */
export class rw_semaphore {
  readers = 0;
  writer = false;
}

export function down_read_trylock(sem: rw_semaphore): boolean {
  if (sem.writer) return false;
  sem.readers++;
  return true;
}

export function* down_read(k: Kernel, sem: rw_semaphore): KernelThread<void> {
  if (k.contended) yield "lock";
  while (!down_read_trylock(sem)) yield "blocked";
}

export function up_read(sem: rw_semaphore): void {
  if (sem.readers === 0) throw new TypeError("up_read on a semaphore that no reader holds");
  sem.readers--;
}

export function* down_write(k: Kernel, sem: rw_semaphore): KernelThread<void> {
  if (k.contended) yield "lock";
  while (sem.writer || sem.readers > 0) yield "blocked";
  sem.writer = true;
}

export function up_write(sem: rw_semaphore): void {
  if (!sem.writer) throw new TypeError("up_write on a semaphore that no writer holds");
  sem.writer = false;
}

/**
 * Takes the lock of one page table (split page-table locks: each table page has its own; level "mm" with the frame of
 * the root is the mm's page_table_lock). Returns false if another thread holds it. Throws if this thread does: a spinlock does not nest.
 */
export function tryLockTable(k: Kernel, table: number, level: LockLevel): boolean {
  const { ptl } = k.mem_map;
  const owner = ptl[table]!;
  if (owner !== 0) {
    if (owner === k.current.id) throw new TypeError(`task ${k.current.name} locks table ${table} twice`);
    return false;
  }
  ptl[table] = k.current.id;
  k.current.locksHeld++;
  k.emit?.({ type: "ptl-locked", table, level, task: k.current.name });
  return true;
}

/** As tryLockTable, waiting for the lock. */
export function* lockTable(k: Kernel, table: number, level: LockLevel): KernelThread<void> {
  if (k.contended) yield "lock";
  while (!tryLockTable(k, table, level)) yield "blocked";
}

export function unlockTable(k: Kernel, table: number, level: LockLevel): void {
  const { ptl } = k.mem_map;
  if (ptl[table] !== k.current.id) {
    throw new TypeError(`task ${k.current.name} unlocks table ${table}, which it does not hold`);
  }
  ptl[table] = 0;
  k.current.locksHeld--;
  k.emit?.({ type: "ptl-unlocked", table, level, task: k.current.name });
}

/** Takes the page lock (mm/filemap.c lock_page), waiting for its holder. */
export function* lock_page(k: Kernel, page: number): KernelThread<void> {
  if (k.contended) yield "lock";
  while (!trylock_page(k, page)) yield "blocked";
}

export function trylock_page(k: Kernel, page: number): boolean {
  if (k.mem_map.PageLocked(page)) return false;
  k.mem_map.SetPageLocked(page);
  return true;
}

export function unlock_page(k: Kernel, page: number): void {
  if (!k.mem_map.PageLocked(page)) throw new TypeError(`unlock_page of frame ${page}, which is not locked`);
  k.mem_map.ClearPageLocked(page);
}
