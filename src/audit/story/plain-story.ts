import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { RecordKind, TraceRecord } from "../../trace/record.ts";
import type { RecordedRun } from "../auditor.ts";
import { Ledger } from "../ledger/ledger.ts";
import { plainSentenceOf } from "./plain-sentences.ts";
import type { Story, StoryLine } from "./story.ts";

/** What accompanies everything else: told by the records around. */
const UNTOLD: ReadonlySet<RecordKind> = new Set([
  "ipi-sent",
  "interrupt-taken",
  "ipi-handled",
  "privilege-changed",
  "agent-introduced",
  "named",
  "table-linked",
  "task-runs",
  "primitive",
  "cache-flushed",
  "flush-ended",
]);

/** A story of no frame: all that happens in a recording, with nobody's lane. */
export function plainStoryOf({ world, opening }: RecordedRun, records: Iterable<TraceRecord>): Story {
  const ledger = new Ledger(world);
  ledger.open(opening);
  const lines: StoryLine[] = [];
  for (const record of records) {
    const text = plainSentenceOf(record, ledger);
    ledger.take(record);
    if (!UNTOLD.has(record.kind)) lines.push(lineOf(record.seq, text));
  }
  return { pfn: NONE, lanes: [], lines, left: 0, gapAt: lines.length };
}

function lineOf(seq: number, text: string): StoryLine {
  return { seq, step: null, text, actor: null, holds: new Map(), held: null, unheard: [], ends: false };
}
