import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { ByteRange } from "./byte-range.ts";
import type { Change } from "./debt.ts";

/**
 * The bytes whose entries were changed, as ranges; empty at first. A walk goes upwards, so its next entry mostly
 * continues the last range.
 */
export class TouchedRanges {
  #ranges: { from: number; to: number }[] = [];
  #joinAt = 64;

  add(from: number, to: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && from <= last.to && to >= last.from) {
      if (from < last.from) last.from = from;
      if (to > last.to) last.to = to;
      return;
    }
    this.#ranges.push({ from, to });
    if (this.#ranges.length >= this.#joinAt) this.#join();
  }

  overlaps(from: number, to: number): boolean {
    for (const range of this.#ranges) if (from < range.to && to > range.from) return true;
    return false;
  }

  /** Joins ranges that touch, so that places that are changed again and again take no more room. */
  #join(): void {
    const sorted = this.#ranges.sort((a, b) => a.from - b.from);
    this.#ranges = [];
    for (const range of sorted) {
      const last = this.#ranges.at(-1);
      if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
      else this.#ranges.push(range);
    }
    this.#joinAt = Math.max(64, 2 * this.#ranges.length);
  }
}

/** A function that a task is in. Most change nothing, so what was changed has room only once there is any. */
export class OpenCall {
  readonly function: string;
  readonly pfn: number;
  readonly space: number;
  /** How many brackets were open when it was entered: those opened since go with it when it is abandoned. */
  readonly brackets: number;
  #untold: Change[] | null = null;
  #touched: TouchedRanges | null = null;

  constructor({ function: name, pfn, space }: TraceRecordOf<"call-entered">, brackets: number) {
    this.function = name;
    this.pfn = pfn;
    this.space = space;
    this.brackets = brackets;
  }

  /** Entries changed since, outside any range_start .. range_end, that no range call has been judged for yet. */
  get untold(): readonly Change[] {
    return this.#untold ?? [];
  }

  changed(change: Change): void {
    this.#untold ??= [];
    this.#untold.push(change);
  }

  /** A range call is judged for all that is untold. */
  takeUntold(): readonly Change[] {
    const { untold } = this;
    this.#untold = null;
    return untold;
  }

  touch(from: number, to: number): void {
    this.#touched ??= new TouchedRanges();
    this.#touched.add(from, to);
  }

  hasTouched(from: number, to: number): boolean {
    return this.#touched?.overlaps(from, to) ?? false;
  }
}

/** A range_start without its range_end. */
export interface Bracket {
  readonly space: number;
  readonly range: ByteRange;
  /** Number of the record of its range_start. */
  readonly seq: number;
  /** Entries changed since that lie outside of it. */
  readonly outside: Change[];
  readonly touched: TouchedRanges;
}

/** Flushes that a task has put off. */
export interface DeferredBatch {
  readonly pfns: Set<number>;
  readonly changes: Change[];
  /** CPUs that the flush must reach, as words. */
  readonly cpus: number[];
}

/** What one agent is in the middle of. */
export class TaskState {
  readonly agent: number;
  readonly calls: OpenCall[] = [];
  readonly brackets: Bracket[] = [];
  batch: DeferredBatch = emptyBatch();
  /** A bracket that some range_end may have been meant for: that had other bounds, and is a finding. */
  misended: Bracket | null = null;
  /** What its last store to an entry weakened, null if nothing. */
  lastChange: Change | null = null;
  /** The last cache hook reached, null once an entry change has used it. */
  cacheHook: { readonly space: number; readonly start: number; readonly end: number } | null = null;
  /** The primitive that a hint named last. */
  primitive = "";

  constructor(agent: number) {
    this.agent = agent;
  }

  entered(record: TraceRecordOf<"call-entered">): void {
    this.calls.push(new OpenCall(record, this.brackets.length));
  }

  /** Leaves the innermost call of that name; calls inside it that never told their return go with it. */
  left(name: string): OpenCall | undefined {
    const { calls } = this;
    if (calls.at(-1)?.function === name) return calls.pop();
    const at = calls.findLastIndex((call) => call.function === name);
    if (at < 0) return undefined;
    const call = calls[at];
    calls.length = at;
    return call;
  }

  /** The innermost call, if it works on the entries of that space. */
  walkOf(space: number): OpenCall | null {
    const call = this.calls.at(-1);
    return call !== undefined && call.space === space ? call : null;
  }

  isIn(name: string, pfn: number): boolean {
    return this.calls.some((call) => call.function === name && call.pfn === pfn);
  }

  get flushDue(): boolean {
    return this.batch.changes.length > 0 || this.batch.cpus.some((word) => word !== 0);
  }

  /** A flush of these CPUs, as words, is put off. */
  putOff(cpus: readonly number[]): void {
    const { cpus: words } = this.batch;
    cpus.forEach((word, i) => {
      words[i] = (words[i] ?? 0) | word;
    });
  }

  forgetBatch(): void {
    this.batch = emptyBatch();
  }

  /** An entry was changed, weakened or not: a range call that follows has something to tell. */
  touched(space: number, from: number, to: number): void {
    for (const bracket of this.brackets) if (bracket.space === space) bracket.touched.add(from, to);
    this.walkOf(space)?.touch(from, to);
  }
}

/** What every agent is in the middle of. */
export class Tasks {
  readonly #byAgent = new Map<number, TaskState>();
  /** The one asked for last: mostly the next one, too. */
  #last = new TaskState(NONE);

  of(agent: number): TaskState {
    if (this.#last.agent === agent) return this.#last;
    let state = this.#byAgent.get(agent);
    if (state === undefined) {
      state = new TaskState(agent);
      this.#byAgent.set(agent, state);
    }
    this.#last = state;
    return state;
  }

  all(): Iterable<TaskState> {
    return this.#byAgent.values();
  }
}

function emptyBatch(): DeferredBatch {
  return { pfns: new Set(), changes: [], cpus: [] };
}
