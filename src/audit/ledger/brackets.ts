import { BYTES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { ByteRange } from "./byte-range.ts";
import type { Change } from "./debt.ts";
import type { DerivedMoment } from "./moments.ts";
import { covers, hullOf, leftOut, roundedOut } from "./ranges.ts";
import { type Bracket, type TaskState, TouchedRanges } from "./tasks.ts";

type NotifierCalled = TraceRecordOf<"notifier-called">;

/**
 * Follows what each task tells the listeners of: which range_start each range_end belongs to, and which changes a call had
 * to cover.
 */
export class Brackets {
  readonly #moment: (moment: DerivedMoment) => void;

  constructor(moment: (moment: DerivedMoment) => void) {
    this.#moment = moment;
  }

  /** The notifier core was called. */
  called(task: TaskState, record: NotifierCalled): void {
    const range = rangeOf(record);
    const { op, space } = record;
    if (op === "invalidate_range_start") {
      task.brackets.push({ space, range, seq: record.seq, outside: [], touched: new TouchedRanges() });
    } else if (op === "invalidate_range_end") this.#close(task, record, range);
    else if (op === "invalidate_range") this.#bare(task, record, range);
    else if (op === "invalidate_page") tellLast(task.walkOf(space)?.untold ?? NOTHING, record, range);
  }

  /** An entry was weakened: it must lie in the open bracket, or be told by a range call later. */
  changed(task: TaskState, space: number, change: Change): void {
    task.lastChange = change;
    const { page, level } = change.leaf;
    const end = page + BYTES_OF_LEVEL[level]!;
    task.touched(space, page, end);
    let innermost: Bracket | null = null;
    let inside = false;
    for (const bracket of task.brackets) {
      if (bracket.space !== space) continue;
      innermost = bracket;
      if (page >= bracket.range.start && end <= bracket.range.start + bracket.range.length) inside = true;
    }
    if (innermost === null) task.walkOf(space)?.changed(change);
    else if (!inside) innermost.outside.push(change);
  }

  /** The run is over: brackets that never closed. */
  ended(task: TaskState): void {
    for (const { space, range } of task.brackets) {
      this.#unpaired(task, space, range, "run ended", "a range_end with the same bounds");
    }
  }

  #close(task: TaskState, record: NotifierCalled, range: ByteRange): void {
    const { brackets, misended } = task;
    const { space } = record;
    const isSame = (bracket: Bracket) =>
      bracket.space === space && bracket.range.start === range.start && bracket.range.length === range.length;
    const at = brackets.findLastIndex(isSame);
    if (at < 0) {
      // This one is right: the one before, which is a finding already, was stray.
      if (misended !== null && isSame(misended)) {
        task.misended = null;
        return;
      }
      this.#unpaired(task, space, range, "range_end", "a range_start with the same bounds before");
      const meant = brackets.findLastIndex((bracket) => bracket.space === space);
      if (meant >= 0) task.misended = brackets.splice(meant, 1)[0]!;
      return;
    }
    if (at !== brackets.length - 1) {
      this.#unpaired(task, space, range, "range_end", "the range_end of the bracket opened last");
    }
    const bracket = brackets[at]!;
    brackets.splice(at, 1);
    const told = { task, record, bracket, walk: null, left: bracket.outside, early: false };
    this.#moment({ kind: "range-told", told });
  }

  #unpaired(
    task: TaskState,
    space: number,
    range: ByteRange,
    when: "range_end" | "run ended",
    owed: string,
  ): void {
    this.#moment({ kind: "bracket-unpaired", task, space, ...range, when, owed });
  }

  /**
   * invalidate_range called by itself. Inside a bracket it may be any part of it; outside, as protocol b does it, it
   * is all that tells of the walk so far, and is judged as the range.
   */
  #bare(task: TaskState, record: NotifierCalled, range: ByteRange): void {
    const { from, to } = roundedOut(range);
    const { space } = record;
    const bracket = task.brackets.findLast((open) => open.space === space) ?? null;
    if (bracket !== null) {
      const early = !bracket.touched.overlaps(from, to);
      this.#moment({ kind: "range-told", told: { task, record, bracket, walk: null, left: [], early } });
      return;
    }
    const walk = task.walkOf(space);
    const untold = walk?.takeUntold() ?? NOTHING;
    tell(untold, record, range);
    const left = untold.filter((change) => !covers(range, change));
    if (left.length > 0) {
      const missed = { stale: leftOut(left, range), needed: hullOf(untold) };
      for (const change of left) change.missed = missed;
    }
    // A call that misses what has changed is a wrong range, not an early one.
    const early = left.length === 0 && walk !== null && !walk.hasTouched(from, to);
    this.#moment({ kind: "range-told", told: { task, record, bracket, walk, left, early } });
  }
}

const NOTHING: readonly Change[] = [];

/** Notes on the changes made since the last call that the listeners were told. */
function tellLast(changes: readonly Change[], { op, seq }: NotifierCalled, range: ByteRange): void {
  for (let i = changes.length - 1; i >= 0 && changes[i]!.told === null; i--) {
    changes[i]!.told = { op, range, seq };
  }
}

/** Notes on changes that the listeners were told of a range because of them. */
function tell(changes: readonly Change[], { op, seq }: NotifierCalled, range: ByteRange): void {
  for (const change of changes) change.told = { op, range, seq };
}

/** The range of a record that tells of one; without an end for one that says `all`. */
export function rangeOf({
  linearLo,
  linearHi,
  bytes,
  all,
}: {
  readonly linearLo: number;
  readonly linearHi: number;
  readonly bytes: number;
  readonly all: boolean;
}): ByteRange {
  return { start: linearNumber(linearLo, linearHi), length: all ? Infinity : bytes };
}
