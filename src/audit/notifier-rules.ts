import { WHOLE_MM } from "../../arch/x86/mm/events.ts";
import type { MmEvent, NotifierOp } from "../mm/events.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { AuditState } from "./audit-state.ts";
import { changedBy, rangeText } from "./describe.ts";
import { BYTES_OF_LEVEL } from "./frame-index.ts";
import type { ByteRange, Change } from "./ghost-tlb.ts";
import { type Bracket, type OpenCall, type TaskState, TouchedRanges } from "./task-state.ts";

type NotifierCalled = Extract<MmEvent, { type: "notifier-called" }>;
type NotifierCallback = Extract<MmEvent, { type: "notifier-callback" }>;

const NEVER_SLEEP: ReadonlySet<NotifierOp> = new Set([
  "invalidate_range",
  "change_pte",
  "clear_flush_young",
  "clear_young",
  "test_young",
]);

/** The notifier core was called: follows the brackets and judges the bounds (rules 5, 15, 16, 70). */
export function judgeNotifierCall(s: AuditState, event: NotifierCalled): void {
  const { task } = s;
  const { op, mm, start, length } = event;
  if (op === "invalidate_range_start") {
    const outside: Change[] = [];
    task.brackets.push({ mm, start, length, outside, touched: new TouchedRanges() });
  } else if (op === "invalidate_range_end") closeBracket(s, task, event);
  else if (op === "invalidate_range") judgeBareRange(s, task, event);
}

/** A listener was called: may it sleep here (rules 12 and 13)? */
export function judgeCallback(s: AuditState, event: NotifierCallback): void {
  if (!event.maySleep) return;
  const { op, listener, mm, locksHeld } = event;
  const { caller } = s.kernel.current;
  const details = { moment: `${op} called`, agent: listener, mm: mm.name, address: event.start };
  const key = `${mm.name}/${listener}.${op}/${caller}`;
  if (locksHeld > 0) {
    s.report(key, { ...details, rule: 12, owed: `${op} after ${caller} has dropped its page-table lock` });
  }
  if (NEVER_SLEEP.has(op)) s.report(key, { ...details, rule: 13, owed: `a ${op} that does not sleep` });
}

/** An entry was weakened: it must lie in the open bracket (rule 16), or be told by a range call later. */
export function noteChange(s: AuditState, change: Change): void {
  const { task } = s;
  task.lastChange = change;
  const { mm, page, level } = change.leaf;
  const size = BYTES_OF_LEVEL[level]!;
  noteTouched(task, mm, page, page + size);
  let innermost: Bracket | null = null;
  let inside = false;
  for (const bracket of task.brackets) {
    if (bracket.mm !== mm) continue;
    innermost = bracket;
    if (page >= bracket.start && page + size <= bracket.start + bracket.length) inside = true;
  }
  if (innermost === null) {
    task.walkOf(mm)?.untold.push(change);
    return;
  }
  if (inside) return;
  innermost.outside.push(change);
  reportOutside(s, [change], innermost.start, innermost.length, "entry changed");
}

/** An entry was changed, weakened or not: a range call that follows has something to tell (rule 70). */
export function noteTouched(task: TaskState, mm: mm_struct, from: number, to: number): void {
  for (const bracket of task.brackets) if (bracket.mm === mm) bracket.touched.add(from, to);
  task.walkOf(mm)?.touched.add(from, to);
}

/** At the end of a run: brackets that never closed (rule 5). */
export function judgeOpenBrackets(s: AuditState): void {
  for (const task of s.tasks()) {
    for (const bracket of task.brackets) {
      reportUnpaired(s, task, bracket, "run ended", "a range_end with the same bounds");
    }
  }
}

function closeBracket(s: AuditState, task: TaskState, event: NotifierCalled): void {
  const { mm, start, length } = event;
  const { brackets, misended } = task;
  const isSame = (bracket: Bracket) =>
    bracket.mm === mm && bracket.start === start && bracket.length === length;
  const at = brackets.findLastIndex(isSame);
  if (at < 0) {
    // This one is right: the one before, which is a finding already, was stray.
    if (misended !== null && isSame(misended)) {
      task.misended = null;
      return;
    }
    reportUnpaired(s, task, event, "range_end", "a range_start with the same bounds before");
    const meant = brackets.findLastIndex((bracket) => bracket.mm === mm);
    if (meant >= 0) task.misended = brackets.splice(meant, 1)[0]!;
    return;
  }
  if (at !== brackets.length - 1) {
    reportUnpaired(s, task, event, "range_end", "the range_end of the bracket opened last");
  }
  const bracket = brackets[at]!;
  brackets.splice(at, 1);
  judgeBounds(s, task, event, bracket.outside);
}

function reportUnpaired(
  s: AuditState,
  task: TaskState,
  { mm, start, length }: { readonly mm: mm_struct; readonly start: number; readonly length: number },
  moment: string,
  owed: string,
): void {
  s.report(`${task.task.caller}/${mm.name}/${owed}`, {
    rule: 5,
    moment,
    agent: task.task.caller || task.task.name,
    mm: mm.name,
    address: start,
    owed: `${owed}: ${rangeText(start, length)}`,
  });
}

/**
 * invalidate_range called by itself. Inside a bracket it may be any part of it; outside, as protocol b does it, it
 * is all that tells of the walk so far, and is judged as the range.
 */
function judgeBareRange(s: AuditState, task: TaskState, event: NotifierCalled): void {
  const { mm, start, length } = event;
  const { from, to } = rounded(start, length);
  const bracket = task.brackets.findLast((open) => open.mm === mm);
  if (bracket !== undefined) {
    if (!bracket.touched.overlaps(from, to)) reportEarly(s, event);
    judgeBounds(s, task, event, []);
    return;
  }
  const walk = task.walkOf(mm);
  const untold = walk?.untold.splice(0) ?? [];
  const left = untold.filter((change) => !covers(start, length, change));
  // A call that misses what has changed is a wrong range, not an early one.
  if (left.length === 0 && walk !== null && !walk.touched.overlaps(from, to)) reportEarly(s, event);
  if (left.length > 0) {
    const needed = hullOf(untold);
    const stale = leftOut(left, start, length);
    const owed = `invalidate_range of ${rangeText(needed.start, needed.length)}: the call covered only ${length} bytes from 0x${start.toString(16)}`;
    for (const change of left) change.missed = { stale, owed };
    reportOutside(s, left, start, length, "range told", walk);
  }
  judgeBounds(s, task, event, left, walk);
}

/** Rule 15: aligned, not empty, and everything covered. A range that concerns the whole mm is exempt. */
function judgeBounds(
  s: AuditState,
  task: TaskState,
  event: NotifierCalled,
  left: readonly Change[],
  walk: OpenCall | null = null,
): void {
  const { op, mm, start, length } = event;
  if (length === WHOLE_MM) return;
  const faults: string[] = [];
  if (start % 4096 !== 0) faults.push("a page-aligned start");
  if (length <= 0) faults.push("an end above the start");
  else if ((start + length) % 4096 !== 0) faults.push("a page-aligned end");
  if (left.length === 0 && faults.length === 0) return;
  const { caller, name } = task.task;
  const first = left[0];
  const key = first === undefined ? `${op}/${caller}/${faults.join()}` : placeOf(s, first, walk);
  s.report(key, {
    rule: 15,
    moment: op === "invalidate_range" ? "range told" : "range_end",
    agent: caller || name,
    mm: mm.name,
    address: start,
    frame: first?.leaf.frame ?? null,
    changedBy: changedBy(first ?? null),
    owed:
      first === undefined ? `${op} with ${faults.join(" and ")}` : (first.missed?.owed ?? owedBounds(left)),
    staleRanges: first === undefined ? [] : (first.missed?.stale ?? leftOut(left, start, length)),
  });
}

function reportOutside(
  s: AuditState,
  left: readonly Change[],
  start: number,
  length: number,
  moment: string,
  walk: OpenCall | null = null,
): void {
  const first = left[0]!;
  s.report(placeOf(s, first, walk), {
    rule: 16,
    moment,
    agent: first.caller,
    mm: first.leaf.mm.name,
    address: first.leaf.page,
    frame: first.leaf.frame,
    changedBy: changedBy(first),
    owed: first.missed?.owed ?? owedBounds(left),
    staleRanges: first.missed?.stale ?? leftOut(left, start, length),
  });
}

/** One finding for each page that a walk works on; without a walk, for each frame. */
function placeOf(s: AuditState, change: Change, walk: OpenCall | null): string {
  return `${change.leaf.mm.name}/${s.life(walk?.page ?? change.leaf.frame)}`;
}

function reportEarly(s: AuditState, event: NotifierCalled): void {
  const { mm, start, length } = event;
  const { caller, name } = s.kernel.current;
  s.report(`${caller}/${mm.name}`, {
    rule: 70,
    moment: "range told",
    agent: caller || name,
    mm: mm.name,
    address: start,
    owed: `invalidate_range of ${rangeText(start, length)} after an entry in it was cleared`,
  });
}

function owedBounds(changes: readonly Change[]): string {
  const { start, length } = hullOf(changes);
  return `invalidate_range_start/end with bounds that contain ${rangeText(start, length)}`;
}

function hullOf(changes: readonly Change[]): ByteRange {
  let start = Infinity;
  let end = 0;
  for (const { leaf } of changes) {
    start = Math.min(start, leaf.page);
    end = Math.max(end, leaf.page + BYTES_OF_LEVEL[leaf.level]!);
  }
  return { start, length: end - start };
}

/** The pages that a range touches: a listener rounds its bounds out to pages. */
function rounded(start: number, length: number): { readonly from: number; readonly to: number } {
  return { from: Math.floor(start / 4096) * 4096, to: Math.ceil((start + length) / 4096) * 4096 };
}

function covers(start: number, length: number, change: Change): boolean {
  const { page, level } = change.leaf;
  const { from, to } = rounded(start, length);
  return page >= from && page + BYTES_OF_LEVEL[level]! <= to;
}

/** The bytes of changed entries that a range does not touch, neighbours joined. */
function leftOut(changes: readonly Change[], start: number, length: number): ByteRange[] {
  const { from, to } = rounded(start, length);
  const pieces: ByteRange[] = [];
  for (const { leaf } of changes) {
    const end = leaf.page + BYTES_OF_LEVEL[leaf.level]!;
    if (leaf.page < from) pieces.push({ start: leaf.page, length: Math.min(end, from) - leaf.page });
    if (end > to) {
      const first = Math.max(leaf.page, to);
      pieces.push({ start: first, length: end - first });
    }
  }
  pieces.sort((a, b) => a.start - b.start);
  const joined: ByteRange[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last !== undefined && last.start + last.length >= piece.start) {
      const end = Math.max(last.start + last.length, piece.start + piece.length);
      joined[joined.length - 1] = { start: last.start, length: end - last.start };
    } else joined.push(piece);
  }
  return joined;
}
