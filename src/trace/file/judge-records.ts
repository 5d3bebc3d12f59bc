import type { TraceRecord } from "../record.ts";
import type { RecordedWorld } from "../recorded-world.ts";
import type { TraceHeader } from "./header.ts";
import { type ReadOptions, type Recording, readRecords } from "./read-records.ts";

/** What somebody judges who was not there: the world of a recording, and what was the case when it began. */
export interface JudgedRun {
  readonly world: RecordedWorld;
  readonly opening: Iterable<TraceRecord>;
}

/** Who judges a run by its records; src/audit's Auditor is one. */
export interface Judge<F, C> {
  observe(record: TraceRecord): void;
  /** The run is over: what must hold at rest is judged. */
  finish(): unknown;
  readonly findings: readonly F[];
  readonly causes: readonly C[];
}

/** What came of it. */
export interface Judgement<F, C, J extends Judge<F, C>> {
  readonly judge: J;
  readonly header: TraceHeader;
  readonly findings: readonly F[];
  readonly causes: readonly C[];
  /** Records judged, the opening not counted. */
  readonly records: number;
  /** Whether the file said that it was over. If not, what is found at the end may be of a run that went on. */
  readonly ended: boolean;
  /** Whether there were more records than allowed, and the rest was left out. */
  readonly limited: boolean;
}

/**
 * Reads a file of records and judges the run. `judgeOf` makes the judge: `judgeRecords(chunks, (run) => new Auditor(run))`.
 * Throws FormatError where the file is not what it should be.
 */
export function judgeRecords<F, C, J extends Judge<F, C>>(
  chunks: Iterable<Uint8Array>,
  judgeOf: (run: JudgedRun) => J & Judge<F, C>,
  options: ReadOptions = {},
): Judgement<F, C, J> {
  const recording = readRecords(chunks, options);
  const { header, world } = recording;
  const judge = judgeOf({ world, opening: takeOpening(recording) });
  for (let record = recording.next(); record !== null; record = recording.next()) judge.observe(record);
  judge.finish();
  const { findings, causes } = judge;
  const { records, ended, limited } = recording;
  return { judge, header, findings, causes, records, ended, limited };
}

/** The opening, which is not kept. */
function takeOpening(recording: Recording): readonly TraceRecord[] {
  const { opening } = recording;
  recording.opening = [];
  return opening;
}
