import { page_mkclean } from "../src/mm/page_mkclean.ts";
import { FORMS, type Form, recordWriter } from "../src/trace/file/forms.ts";
import { headerOf, type TraceHeader } from "../src/trace/file/header.ts";
import { readRecords } from "../src/trace/file/read-records.ts";
import type { TraceRecord } from "../src/trace/record.ts";
import { Recorder } from "../src/trace/recorder.ts";
import { guestRun } from "../test/src/trace/guest-run.ts";
import { cpuSeconds } from "./cpu-seconds.ts";
import { PAGES, remap, sharedFileScene } from "./scene.ts";

const ROUNDS = 5;
/** Every so-manieth page of the bundled guest. */
const ONE_IN = 8;

/** The fastest of some rounds: the first ones also compile. */
function best(work: () => void): number {
  return Math.min(...Array.from({ length: ROUNDS }, () => cpuSeconds(work)));
}

/** page_mkclean of every page of the scene, mapped again beforehand, which is not counted. */
function cleanAll({ kernel, pages }: ReturnType<typeof sharedFileScene>, again: () => void): number {
  return Math.min(
    ...Array.from({ length: ROUNDS }, () => {
      again();
      return cpuSeconds(() => {
        for (const page of pages) kernel.run(page_mkclean(kernel, page));
      });
    }),
  );
}

/** The same work without a listener and with one, two and three that keep nothing: what a record costs. */
function emission(): void {
  const scene = sharedFileScene();
  const { kernel } = scene;
  const again = () => remap(scene);
  let heard = 0;
  const hear = () => {
    heard++;
  };
  const alone = cleanAll(scene, again);
  console.log(`\nrecords of page_mkclean over ${PAGES} pages, CPU seconds, the best of ${ROUNDS}`);
  console.log(`  without a listener  ${alone.toFixed(3)} s, ${((alone * 1e9) / PAGES).toFixed(0)} ns a page`);
  for (let listeners = 1; listeners <= 3; listeners++) {
    kernel.records.listen(hear);
    heard = 0;
    const seconds = cleanAll(scene, () => {
      again();
      heard = 0;
    });
    const records = heard / listeners;
    const each = ((seconds - alone) * 1e9) / records;
    const s = listeners === 1 ? " " : "s";
    console.log(
      `  with ${listeners} listener${s}      ${seconds.toFixed(3)} s, ${records} records, ${each.toFixed(0)} ns each more`,
    );
  }
}

function length(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

function perSecond(count: number, seconds: number): string {
  return `${Math.round(count / seconds / 1000)}k/s`;
}

/** Size and speed of a run's file of records, in one of its forms. */
function file(form: Form): void {
  const chunks: Uint8Array[] = [];
  const records: TraceRecord[] = [];
  let header: TraceHeader | undefined;
  let recorder: Recorder | undefined;
  let openingBytes = 0;
  guestRun({
    protocol: "b",
    listeners: ["kvm", "iommu"],
    oneIn: ONE_IN,
    judged: false,
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
  const each = ((length(chunks) - openingBytes) / records.length).toFixed(1);
  console.log(
    `  ${form.padEnd(7)} ${records.length} records, ${each} bytes each, written ${perSecond(records.length, written)}, ` +
      `read and checked ${perSecond(records.length, read - openingRead)}`,
  );
}

/** What records cost: to make, to write to a file, to read back. */
export default async function recordsBench(): Promise<void> {
  emission();
  console.log(`\nfiles of records, every ${ONE_IN}th page of the bundled guest under protocol b`);
  for (const form of FORMS) file(form);
}
