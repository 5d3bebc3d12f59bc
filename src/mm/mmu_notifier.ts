import { type Linear, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import { FINISHED, type KernelThread } from "../../arch/x86/mm/step.ts";
import type { Kernel, mm_struct, mmu_notifier, Registration } from "./mm_types.ts";
import { type MmRecord, NOTIFIER_OPS, type NotifierOp } from "./records.ts";
import { reportListener, reportNotifier } from "./report.ts";

/* Calls to those who keep copies of an mm's entries (mm/mmu_notifier.c); what they implement is in mm_types.ts. */

/**
 * Whether a listener was ever registered with the mm; it stays true when the last one has gone
 * (include/linux/mmu_notifier.h).
 */
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
  const { kernel } = mm;
  const registration = { mn, id: kernel.newListener() };
  mm.mmu_notifier_mm = { list: [registration, ...listeners(mm)] };
  if (!kernel.records.live) return;
  for (const record of listenerRecords(kernel, mm, registration)) kernel.records.emit(record);
}

/** The records by which a reader learns of a listener and of what it holds. */
export function* listenerRecords(k: Kernel, mm: mm_struct, { mn, id }: Registration): Iterable<MmRecord> {
  yield {
    kind: "listener-registered",
    ...k.header(mm),
    listener: id,
    listenerType: mn.type ?? "other",
    ops: NOTIFIER_OPS.filter((op) => mn.ops[op] !== undefined),
    sleeps: [...mn.sleeps],
  };
  yield { kind: "named", ...k.header(mm), subject: "listener", id, name: mn.name };
  if (mn.holdings !== undefined) yield* mn.holdings() as Iterable<MmRecord>;
}

/** The registration of a listener with an mm, if it has one. */
export function registrationOf(mn: mmu_notifier, mm: mm_struct): Registration | undefined {
  return listeners(mm).find((each) => each.mn === mn);
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
  const registration = registrationOf(mn, mm);
  if (registration === undefined) return;
  yield* callRelease(registration, mm);
  notifiers.list = notifiers.list.filter((each) => each !== registration);
  reportGone(mm, registration);
}

function reportGone(mm: mm_struct, { id }: Registration): void {
  const { kernel } = mm;
  if (kernel.records.live) {
    kernel.records.emit({ kind: "listener-unregistered", ...kernel.header(mm), listener: id });
  }
}

function* callRelease(registration: Registration, mm: mm_struct): KernelThread<void> {
  const { ops } = registration.mn;
  if (ops.release === undefined) return;
  reportCallback(registration, "release", mm, 0, Infinity);
  const thread = ops.release(mm);
  if (thread) yield* thread;
}

function reportCallback(
  { mn, id }: Registration,
  op: NotifierOp,
  mm: mm_struct,
  start: number,
  bytes: number,
): void {
  if (mm.kernel.records.live) reportListener(id, op, mm, start, bytes, mn.sleeps.has(op));
}

const NO_LISTENERS: readonly Registration[] = [];

function listeners(mm: mm_struct): readonly Registration[] {
  return mm.mmu_notifier_mm === null ? NO_LISTENERS : mm.mmu_notifier_mm.list;
}

/** Whether the listener may still be called: one that was released while another's callback slept may not. */
function stillListens(registration: Registration, mm: mm_struct): boolean {
  return listeners(mm).includes(registration);
}

/** Before anything in [start, end) changes; the caller holds no spinlock. */
export function mmu_notifier_invalidate_range_start(
  mm: mm_struct,
  start: Linear,
  end: Linear,
): KernelThread<void> {
  mm.brackets.push({ agent: mm.kernel.records.agent, start, end });
  return mm_has_notifiers(mm) ? startRange(mm, start, end) : FINISHED;
}

function* startRange(mm: mm_struct, start: Linear, end: Linear): KernelThread<void> {
  reportNotifier("invalidate_range_start", mm, start, end - start);
  for (const each of listeners(mm)) {
    if (each.mn.ops.invalidate_range_start === undefined || !stillListens(each, mm)) continue;
    reportCallback(each, "invalidate_range_start", mm, start, end - start);
    const thread = each.mn.ops.invalidate_range_start(mm, start, end);
    if (thread) yield* thread;
  }
}

/** After the last change; each listener gets invalidate_range first, then invalidate_range_end. */
export function mmu_notifier_invalidate_range_end(
  mm: mm_struct,
  start: Linear,
  end: Linear,
): KernelThread<void> {
  if (mm_has_notifiers(mm)) return endRange(mm, start, end);
  closeBracket(mm, start, end);
  return FINISHED;
}

/** Whoever calls range_end without a range_start is for the auditor to name (rule 5). */
function closeBracket({ brackets }: mm_struct, start: Linear, end: Linear): void {
  let at = brackets.length - 1;
  while (at >= 0 && (brackets[at]!.start !== start || brackets[at]!.end !== end)) at--;
  if (at < 0 || at === brackets.length - 1) brackets.pop();
  else brackets.splice(at, 1);
}

function* endRange(mm: mm_struct, start: Linear, end: Linear): KernelThread<void> {
  try {
    yield* tellEnd(mm, start, end);
  } finally {
    closeBracket(mm, start, end);
  }
}

function* tellEnd(mm: mm_struct, start: Linear, end: Linear): KernelThread<void> {
  reportNotifier("invalidate_range_end", mm, start, end - start);
  for (const each of listeners(mm)) {
    if (!stillListens(each, mm)) continue;
    if (each.mn.ops.invalidate_range !== undefined) {
      reportCallback(each, "invalidate_range", mm, start, end - start);
      each.mn.ops.invalidate_range(mm, start, end);
    }
    if (each.mn.ops.invalidate_range_end === undefined) continue;
    reportCallback(each, "invalidate_range_end", mm, start, end - start);
    const thread = each.mn.ops.invalidate_range_end(mm, start, end);
    if (thread) yield* thread;
  }
}

/** After an entry of [start, end) changed; may be called under the page-table lock. */
export function mmu_notifier_invalidate_range(mm: mm_struct, start: Linear, end: Linear): void {
  if (!mm_has_notifiers(mm)) return;
  reportNotifier("invalidate_range", mm, start, end - start);
  for (const each of listeners(mm)) {
    if (each.mn.ops.invalidate_range === undefined) continue;
    reportCallback(each, "invalidate_range", mm, start, end - start);
    each.mn.ops.invalidate_range(mm, start, end);
  }
}

/** After the entry of one 4K page changed (kernels before 4.13; not forwarded to invalidate_range). */
export function mmu_notifier_invalidate_page(mm: mm_struct, address: Linear): KernelThread<void> {
  return mm_has_notifiers(mm) ? tellPage(mm, address) : FINISHED;
}

function* tellPage(mm: mm_struct, address: Linear): KernelThread<void> {
  reportNotifier("invalidate_page", mm, address, PAGE_SIZE);
  for (const each of listeners(mm)) {
    if (each.mn.ops.invalidate_page === undefined || !stillListens(each, mm)) continue;
    reportCallback(each, "invalidate_page", mm, address, PAGE_SIZE);
    const thread = each.mn.ops.invalidate_page(mm, address);
    if (thread) yield* thread;
  }
}

/** Ages the secondary mappings of [start, end); returns whether any was used. */
export function mmu_notifier_clear_flush_young(mm: mm_struct, start: Linear, end: Linear): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportNotifier("clear_flush_young", mm, start, end - start);
  let young = false;
  for (const each of listeners(mm)) {
    if (each.mn.ops.clear_flush_young === undefined) continue;
    reportCallback(each, "clear_flush_young", mm, start, end - start);
    if (each.mn.ops.clear_flush_young(mm, start, end)) young = true;
  }
  return young;
}

/** Tells the new entry before the primary one is stored; legal only on a slot cleared and flushed before. */
export function mmu_notifier_change_pte(mm: mm_struct, address: Linear, pte: pte_t): void {
  if (!mm_has_notifiers(mm)) return;
  reportNotifier("change_pte", mm, address, PAGE_SIZE);
  for (const each of listeners(mm)) {
    if (each.mn.ops.change_pte === undefined) continue;
    reportCallback(each, "change_pte", mm, address, PAGE_SIZE);
    each.mn.ops.change_pte(mm, address, pte);
  }
}

/** Whether a secondary mapping of the address was used; the first listener that says so wins. */
export function mmu_notifier_test_young(mm: mm_struct, address: Linear): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportNotifier("test_young", mm, address, PAGE_SIZE);
  for (const each of listeners(mm)) {
    if (each.mn.ops.test_young === undefined) continue;
    reportCallback(each, "test_young", mm, address, PAGE_SIZE);
    if (each.mn.ops.test_young(mm, address)) return true;
  }
  return false;
}

/** As mmu_notifier_clear_flush_young, without asking for a flush. */
export function mmu_notifier_clear_young(mm: mm_struct, start: Linear, end: Linear): boolean {
  if (!mm_has_notifiers(mm)) return false;
  reportNotifier("clear_young", mm, start, end - start);
  let young = false;
  for (const each of listeners(mm)) {
    if (each.mn.ops.clear_young === undefined) continue;
    reportCallback(each, "clear_young", mm, start, end - start);
    if (each.mn.ops.clear_young(mm, start, end)) young = true;
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
  // A release may sleep, and others may come and go meanwhile.
  const released = new Set<Registration>();
  for (;;) {
    const next = notifiers.list.find((each) => !released.has(each));
    if (next === undefined) break;
    released.add(next);
    yield* callRelease(next, mm);
  }
  const gone = notifiers.list;
  notifiers.list = NO_LISTENERS;
  for (const each of gone) reportGone(mm, each);
}
