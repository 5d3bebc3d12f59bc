import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import type { NotifierOp } from "./events.ts";
import type { mm_struct } from "./mm_struct.ts";

/** A callback that may sleep is a thread; one that is done at once returns nothing. */
export type MaySleep = KernelThread<void> | undefined | void;

/**
 * What a listener implements (include/linux/mmu_notifier.h, v4.13 plus invalidate_page of earlier kernels): either
 * the start/end pair, if it has page tables of its own, or invalidate_range, if it shares the CPU's and only has a
 * TLB to flush.
 */
export interface mmu_notifier_ops {
  /** The mm goes away: drop everything. None of the mm's locks is held. */
  release?(mm: mm_struct): MaySleep;
  /** Under the page-table lock, must not sleep; returns whether the range was used since the last call. */
  clear_flush_young?(mm: mm_struct, start: number, end: number): boolean;
  clear_young?(mm: mm_struct, start: number, end: number): boolean;
  test_young?(mm: mm_struct, address: number): boolean;
  /** Before the primary entry is stored, under the page-table lock. */
  change_pte?(mm: mm_struct, address: number, pte: pte_t): void;
  invalidate_page?(mm: mm_struct, address: number): MaySleep;
  invalidate_range_start?(mm: mm_struct, start: number, end: number): MaySleep;
  invalidate_range_end?(mm: mm_struct, start: number, end: number): MaySleep;
  /** After the entry changed, possibly under the page-table lock: must not sleep. */
  invalidate_range?(mm: mm_struct, start: number, end: number): void;
}

export interface mmu_notifier {
  readonly name: string;
  readonly ops: mmu_notifier_ops;
  /** Which callbacks may sleep; the auditor holds callers to it (invariants 12 and 13). */
  readonly sleeps: ReadonlySet<NotifierOp>;
}

export interface mmu_notifier_mm {
  /** Most recently registered first. Replaced, never changed: a call that sleeps goes on with the list it began with. */
  list: readonly mmu_notifier[];
}

export function mm_has_notifiers(mm: mm_struct): boolean {
  return mm.mmu_notifier_mm !== null;
}

/**
 * Adds a listener at the head of the list (mm/mmu_notifier.c mmu_notifier_register). The kernel takes all of the mm's
 * locks for it, so that no bracket is open then: throws TypeError if one is.
 */
export function mmu_notifier_register(mn: mmu_notifier, mm: mm_struct): void {
  if (mm.openBrackets > 0) {
    throw new TypeError(
      `listener ${mn.name} registers with ${mm.name} between a range_start and its range_end`,
    );
  }
  mm.mmu_notifier_mm ??= { list: [] };
  mm.mmu_notifier_mm.list = [mn, ...mm.mmu_notifier_mm.list];
}

/**
 * Calls release, then removes the listener; nothing is left to do if the mm's own release came first. Throws if no
 * listener was ever registered with the mm.
 */
export function* mmu_notifier_unregister(mn: mmu_notifier, mm: mm_struct): KernelThread<void> {
  const notifiers = mm.mmu_notifier_mm;
  if (notifiers === null) {
    throw new TypeError(`listener ${mn.name} is not registered with ${mm.name}`);
  }
  if (!notifiers.list.includes(mn)) return;
  yield* callRelease(mn, mm);
  notifiers.list = notifiers.list.filter((each) => each !== mn);
}

function* callRelease(mn: mmu_notifier, mm: mm_struct): KernelThread<void> {
  if (mn.ops.release === undefined) return;
  reportCallback(mn, "release", mm, 0, Number.POSITIVE_INFINITY);
  const thread = mn.ops.release(mm);
  if (thread) yield* thread;
}

function reportCall(op: NotifierOp, mm: mm_struct, start: number, length: number): void {
  mm.kernel.emit?.({ type: "notifier-called", op, mm, start, length });
}

function reportCallback(
  mn: mmu_notifier,
  op: NotifierOp,
  mm: mm_struct,
  start: number,
  length: number,
): void {
  mm.kernel.emit?.({
    type: "notifier-callback",
    op,
    mm,
    start,
    length,
    listener: mn.name,
    maySleep: mn.sleeps.has(op),
    locksHeld: mm.kernel.current.locksHeld,
  });
}

const NO_LISTENERS: readonly mmu_notifier[] = [];

function listeners(mm: mm_struct): readonly mmu_notifier[] {
  return mm.mmu_notifier_mm === null ? NO_LISTENERS : mm.mmu_notifier_mm.list;
}

/** Whether the listener may still be called: one that was released while another's callback slept may not. */
function stillListens(mn: mmu_notifier, mm: mm_struct): boolean {
  return listeners(mm).includes(mn);
}

/** Before anything in [start, end) changes; the caller holds no spinlock. */
export function* mmu_notifier_invalidate_range_start(
  mm: mm_struct,
  start: number,
  end: number,
): KernelThread<void> {
  mm.openBrackets++;
  if (!mm_has_notifiers(mm)) return;
  reportCall("invalidate_range_start", mm, start, end - start);
  for (const mn of listeners(mm)) {
    if (mn.ops.invalidate_range_start === undefined || !stillListens(mn, mm)) continue;
    reportCallback(mn, "invalidate_range_start", mm, start, end - start);
    const thread = mn.ops.invalidate_range_start(mm, start, end);
    if (thread) yield* thread;
  }
}

/** After the last change; each listener gets invalidate_range first, then invalidate_range_end. */
export function* mmu_notifier_invalidate_range_end(
  mm: mm_struct,
  start: number,
  end: number,
): KernelThread<void> {
  try {
    if (mm_has_notifiers(mm)) yield* endRange(mm, start, end);
  } finally {
    // Whoever calls it without a range_start is for the auditor to name (invariant 5).
    if (mm.openBrackets > 0) mm.openBrackets--;
  }
}

function* endRange(mm: mm_struct, start: number, end: number): KernelThread<void> {
  reportCall("invalidate_range_end", mm, start, end - start);
  for (const mn of listeners(mm)) {
    if (!stillListens(mn, mm)) continue;
    if (mn.ops.invalidate_range !== undefined) {
      reportCallback(mn, "invalidate_range", mm, start, end - start);
      mn.ops.invalidate_range(mm, start, end);
    }
    if (mn.ops.invalidate_range_end === undefined) continue;
    reportCallback(mn, "invalidate_range_end", mm, start, end - start);
    const thread = mn.ops.invalidate_range_end(mm, start, end);
    if (thread) yield* thread;
  }
}

/** After an entry of [start, end) changed; may be called under the page-table lock. */
export function mmu_notifier_invalidate_range(mm: mm_struct, start: number, end: number): void {
  if (!mm_has_notifiers(mm)) return;
  reportCall("invalidate_range", mm, start, end - start);
  for (const mn of listeners(mm)) {
    if (mn.ops.invalidate_range === undefined) continue;
    reportCallback(mn, "invalidate_range", mm, start, end - start);
    mn.ops.invalidate_range(mm, start, end);
  }
}

/** After the entry of one 4K page changed (kernels before 4.13; not forwarded to invalidate_range). */
export function* mmu_notifier_invalidate_page(mm: mm_struct, address: number): KernelThread<void> {
  if (!mm_has_notifiers(mm)) return;
  reportCall("invalidate_page", mm, address, 4096);
  for (const mn of listeners(mm)) {
    if (mn.ops.invalidate_page === undefined || !stillListens(mn, mm)) continue;
    reportCallback(mn, "invalidate_page", mm, address, 4096);
    const thread = mn.ops.invalidate_page(mm, address);
    if (thread) yield* thread;
  }
}

/** Ages the secondary mappings of [start, end); returns whether any was used. */
export function mmu_notifier_clear_flush_young(mm: mm_struct, start: number, end: number): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportCall("clear_flush_young", mm, start, end - start);
  let young = false;
  for (const mn of listeners(mm)) {
    if (mn.ops.clear_flush_young === undefined) continue;
    reportCallback(mn, "clear_flush_young", mm, start, end - start);
    if (mn.ops.clear_flush_young(mm, start, end)) young = true;
  }
  return young;
}

/** Tells the new entry before the primary one is stored; legal only on a slot cleared and flushed before. */
export function mmu_notifier_change_pte(mm: mm_struct, address: number, pte: pte_t): void {
  if (!mm_has_notifiers(mm)) return;
  reportCall("change_pte", mm, address, 4096);
  for (const mn of listeners(mm)) {
    if (mn.ops.change_pte === undefined) continue;
    reportCallback(mn, "change_pte", mm, address, 4096);
    mn.ops.change_pte(mm, address, pte);
  }
}

/** Whether a secondary mapping of the address was used; the first listener that says so wins. */
export function mmu_notifier_test_young(mm: mm_struct, address: number): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportCall("test_young", mm, address, 4096);
  for (const mn of listeners(mm)) {
    if (mn.ops.test_young === undefined) continue;
    reportCallback(mn, "test_young", mm, address, 4096);
    if (mn.ops.test_young(mm, address)) return true;
  }
  return false;
}

/** As mmu_notifier_clear_flush_young, without asking for a flush. */
export function mmu_notifier_clear_young(mm: mm_struct, start: number, end: number): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportCall("clear_young", mm, start, end - start);
  let young = false;
  for (const mn of listeners(mm)) {
    if (mn.ops.clear_young === undefined) continue;
    reportCallback(mn, "clear_young", mm, start, end - start);
    if (mn.ops.clear_young(mm, start, end)) young = true;
  }
  return young;
}

/**
 * The mm is about to be unmapped for good: every listener drops everything, then all are removed and hear no more
 * (mm/mmu_notifier.c __mmu_notifier_release).
 */
export function* mmu_notifier_release(mm: mm_struct): KernelThread<void> {
  const notifiers = mm.mmu_notifier_mm;
  if (notifiers === null) return;
  for (const mn of notifiers.list) if (stillListens(mn, mm)) yield* callRelease(mn, mm);
  notifiers.list = NO_LISTENERS;
}
