import type { Pfn, Slot } from "../../../arch/x86/cpu/address.ts";
import { FORMS, type Form, recordWriter } from "../../../src/trace/file/forms.ts";
import { headerOf, type TraceHeader } from "../../../src/trace/file/header.ts";
import { readRecords } from "../../../src/trace/file/read-records.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";
import { Recorder } from "../../../src/trace/recorder.ts";
import { HEADER } from "./files.ts";
import { guestRun } from "./guest-run.ts";

/*
 * Measures files of records, for people. Times are CPU seconds of this process, so that other work on the machine counts
 * little.
 *
 *   npx tsx test/src/trace/measure-records.ts guest 8                     the run of a real guest, every 8th page
 *   node --import tsx --max-old-space-size=64 test/src/trace/measure-records.ts stream 10000000
 *                                                                         so many made-up records, in little memory
 */

const ROUNDS = 3;

function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** The fastest of some rounds: the first ones also compile. */
function best(work: () => void): number {
  return Math.min(...Array.from({ length: ROUNDS }, () => cpuSeconds(work)));
}

function length(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

function perSecond(count: number, seconds: number): string {
  return `${Math.round(count / seconds / 1000)}k records/s`;
}

function measure(form: Form, oneIn: number): void {
  const chunks: Uint8Array[] = [];
  const records: TraceRecord[] = [];
  let header: TraceHeader | undefined;
  let recorder: Recorder | undefined;
  let openingBytes = 0;
  const run = { protocol: "b", listeners: ["kvm", "iommu"], oneIn, judged: false } as const;
  guestRun({
    ...run,
    begin: (kernel) => {
      header = headerOf(kernel);
      recorder = new Recorder(kernel, (bytes) => chunks.push(bytes), { form });
      openingBytes = length(chunks);
      kernel.records.listen((record) => void records.push(record as TraceRecord));
    },
  });
  recorder!.stop();
  const written = best(() => {
    const writer = recordWriter(form, header!, () => {});
    for (const record of records) writer.record(record);
    writer.flush();
  });
  const read = best(() => {
    for (const _ of readRecords(chunks)) {
      // Only read.
    }
  });
  const openingRead = best(() => readRecords(chunks, { maxRecords: 0 }).next());
  const size = length(chunks);
  const each = ((size - openingBytes) / records.length).toFixed(1);
  console.log(
    `${form}: ${records.length} records, ${size} bytes (opening ${openingBytes}), ${each} bytes/record; ` +
      `written ${perSecond(records.length, written)}, read and checked ${perSecond(records.length, read - openingRead)}`,
  );
}

/** Made-up records without end: stores, calls, flushes and locks, each with an id of its own. */
function* madeUp(): Generator<TraceRecord, never, undefined> {
  const common = (seq: number) => ({ seq, agent: 0, cpu: seq & 1, space: -1 });
  for (let seq = 1; ; seq += 6) {
    const pfn = (seq % 5000) as Pfn;
    const flush = seq;
    const words = { oldLo: seq, oldHi: 0, entryLo: 0, entryHi: 0 };
    yield { kind: "entry-written", ...common(seq), slot: ((seq % 4096) * 8) as Slot, ...words };
    yield { kind: "lock-taken", ...common(seq + 1), lock: seq, lockClass: "pte", pfn };
    const linear = { linearLo: seq << 12, linearHi: 0x7f00 };
    yield { kind: "flush-begun", ...common(seq + 2), flush, ...linear, bytes: 4096, all: false, cpus: [1] };
    yield { kind: "flush-ended", ...common(seq + 3), flush };
    yield { kind: "lock-dropped", ...common(seq + 4), lock: seq, lockClass: "pte", pfn };
    yield { kind: "page-put", ...common(seq + 5), pfn, refcount: 1 };
  }
}

/** The bytes of a file, made as they are asked for. */
function* madeUpFile(form: Form): Generator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const writer = recordWriter(form, HEADER, (bytes) => ready.push(bytes));
  writer.mark("opened");
  for (const record of madeUp()) {
    writer.record(record);
    while (ready.length > 0) yield ready.shift()!;
  }
}

function stream(form: Form, count: number): void {
  const recording = readRecords(madeUpFile(form), { maxRecords: count });
  const heaps: number[] = [];
  const seconds = cpuSeconds(() => {
    for (const { seq } of recording) {
      if (seq % Math.floor(count / 5) !== 0) continue;
      heaps.push(Math.round(process.memoryUsage().heapUsed / 2 ** 20));
    }
  });
  const { records, limited } = recording;
  console.log(
    `${form}: ${records} records written and read, ${seconds.toFixed(1)} s, MiB of heap on the way: ${heaps}, limited: ${limited}`,
  );
}

const [what = "guest", number] = process.argv.slice(2);
for (const form of FORMS) {
  if (what === "stream") stream(form, Number(number ?? 10_000_000));
  else measure(form, Number(number ?? 8));
}
