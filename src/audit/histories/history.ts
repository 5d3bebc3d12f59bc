import type { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { Kernel } from "../../mm/mm_types.ts";
import type { RecordedMachine } from "../../trace/file/header.ts";
import type { RecordKind, TraceRecord } from "../../trace/record.ts";

/** Whoever wants to hear begins here: the machine, or the kernel, is set up, and nothing has happened yet. */
export type Begin = (subject: Machine | Kernel) => void;

/** Two histories of one rule as one short program, which breaks it or keeps it by one call. */
export interface HistoryPair {
  readonly rule: number | string;
  /** What is done, in one sentence each. */
  readonly breaks: string;
  readonly keeps: string;
  /** Rules that the breaking history breaks, too, and why it cannot be without. */
  readonly also?: readonly { readonly rule: number | string; readonly why: string }[];
  /** Kinds of records that the story needs besides those that decide it. */
  readonly tells?: readonly RecordKind[];
  /** Sets up, calls `begin`, and plays. Returns the frame that it is about, null where it is about none. */
  play(keeps: boolean, begin: Begin): number | null;
}

/** One history as plain records. */
export interface RecordedHistory {
  readonly machine: RecordedMachine;
  /** What is the case at first, the tables included. */
  readonly opening: readonly TraceRecord[];
  readonly records: readonly TraceRecord[];
  /** The frame that it is about, null where it is about none. */
  readonly pfn: number | null;
  /** What is done, in one sentence. */
  readonly what: string;
  /** Kinds of records that its story needs besides those that decide it. */
  readonly tells: readonly RecordKind[];
}
