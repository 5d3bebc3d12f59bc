import { recordDecoder } from "../../trace/file/forms.ts";
import type { TraceRecord } from "../../trace/record.ts";
import { RecordedWorld } from "../../trace/recorded-world.ts";
import { Recorder } from "../../trace/recorder.ts";
import type { RecordedRun } from "../auditor.ts";
import type { HistoryPair, RecordedHistory } from "./history.ts";

const NAME = "history";

/** A history as a file of records, with the frame that it is about. */
function fileOf(
  pair: HistoryPair,
  keeps: boolean,
): { readonly chunks: readonly Uint8Array[]; readonly pfn: number | null } {
  const chunks: Uint8Array[] = [];
  let recorder: Recorder | null = null;
  const pfn = pair.play(keeps, (subject) => {
    // The writer may use its buffer again.
    recorder = new Recorder(subject, (bytes) => void chunks.push(bytes.slice()));
  });
  (recorder as Recorder | null)?.stop();
  return { chunks, pfn };
}

/**
 * Plays a history and returns its records. They go through a file, so that they hold all that a judge needs who was not
 * there: every table, too.
 */
export function recordHistory(pair: HistoryPair, keeps: boolean): RecordedHistory {
  const { chunks, pfn } = fileOf(pair, keeps);
  const decoder = recordDecoder(chunks[0]?.[0] ?? 0, NAME, Infinity);
  if (decoder === null) throw new TypeError(`rule ${pair.rule}: nothing was recorded`);
  for (const chunk of chunks) decoder.feed(chunk);
  const opening: TraceRecord[] = [];
  const records: TraceRecord[] = [];
  let into = opening;
  for (let item = decoder.next(); item !== null; item = decoder.next()) {
    if (item === "opened") into = records;
    else if (typeof item !== "string") into.push(item);
  }
  const { header } = decoder;
  if (header === null) throw new TypeError(`rule ${pair.rule}: the recording has no header`);
  const what = keeps ? pair.keeps : pair.breaks;
  return { machine: header, opening, records, pfn, what, tells: pair.tells ?? [] };
}

/** A recorded history from its beginning, for whoever judges or tells it: each record is in the world when it is given out. */
export function replay({ machine, opening, records }: RecordedHistory): {
  readonly run: RecordedRun;
  readonly records: Iterable<TraceRecord>;
} {
  const world = new RecordedWorld(machine);
  for (const record of opening) world.take(record);
  function* taken(): Iterable<TraceRecord> {
    for (const record of records) {
      world.take(record);
      yield record;
    }
  }
  return { run: { world, opening }, records: taken() };
}
