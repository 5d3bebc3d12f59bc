import type { RecordKind, TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import type { Change, Debt } from "./debts.ts";
import type { Bracket, OpenCall, TaskState } from "./tasks.ts";
import type { Reach } from "./translation.ts";

/** A call that tells listeners of a range, with what has changed under it. */
export interface RangeTold {
  readonly task: TaskState;
  readonly record: TraceRecordOf<"notifier-called">;
  /** The bracket that it closes, or that it is inside of; null for one that stands by itself. */
  readonly bracket: Bracket | null;
  /** The function that the task is in, if it works on the range's address space. */
  readonly walk: OpenCall | null;
  /** Changes that the call had to cover and did not. */
  readonly left: readonly Change[];
  /** Nothing that it covers has been changed yet. */
  readonly early: boolean;
}

/** What follows from records and is judged, too. */
export type DerivedMoment =
  /** An entry allows less than before, or leads elsewhere. */
  | { readonly kind: "entry-weakened"; readonly change: Change; readonly task: TaskState }
  /** A kernel address got another page, or a user address one. */
  | {
      readonly kind: "entry-installed";
      readonly reach: Reach;
      readonly page: number;
      readonly level: number;
      readonly pfn: number;
    }
  | {
      readonly kind: "flush-deferred";
      readonly change: Change;
      readonly record: TraceRecordOf<"batch-added">;
    }
  /** A batch's flush has ended; what it was for is forgotten after this. */
  | { readonly kind: "batch-flushed"; readonly task: TaskState }
  | { readonly kind: "range-told"; readonly told: RangeTold }
  /** A range_end that fits no range_start, not the last one, or never came. */
  | {
      readonly kind: "bracket-unpaired";
      readonly task: TaskState;
      readonly space: number;
      readonly start: number;
      readonly length: number;
      readonly when: "range_end" | "run ended";
      readonly owed: string;
    }
  /** A table's lock was dropped while devices may have two views of addresses in it. */
  | { readonly kind: "views-doubtful"; readonly debts: readonly Debt[] }
  | { readonly kind: "run-ended" };

/** When a rule may judge: a record, or what follows from records. */
export type Moment = TraceRecord | DerivedMoment;
/** Name of a kind of moment: that of a record's kind, or of a {@link DerivedMoment}. */
export type MomentKind = Moment["kind"];
/** The moment type of one kind, or of several. */
export type MomentOf<K extends MomentKind> = Extract<Moment, { readonly kind: K }>;

/** Kinds of records that a derived moment follows from, and whether it may come with the end of the run. */
export const DERIVED_FROM: Readonly<
  Record<DerivedMoment["kind"], { readonly kinds: readonly RecordKind[]; readonly atEnd: boolean }>
> = {
  "entry-weakened": { kinds: ["entry-written"], atEnd: false },
  "entry-installed": { kinds: ["entry-written"], atEnd: false },
  "flush-deferred": { kinds: ["batch-added"], atEnd: false },
  "batch-flushed": { kinds: ["flush-ended"], atEnd: false },
  "range-told": { kinds: ["notifier-called"], atEnd: false },
  "bracket-unpaired": { kinds: ["notifier-called"], atEnd: true },
  "views-doubtful": { kinds: [], atEnd: true },
  "run-ended": { kinds: [], atEnd: true },
};
