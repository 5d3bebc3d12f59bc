import { Auditor } from "../../src/audit/auditor.ts";
import { Random } from "../../src/sim/random.ts";
import { FORMS, type Form } from "../../src/trace/file/forms.ts";
import { judgeRecords } from "../../src/trace/file/judge-records.ts";
import { KINDS, type RecordKind } from "../../src/trace/record.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { fileOf, joined, piecesOf } from "../src/trace/files.ts";
import { randomRecord } from "../src/trace/random-record.ts";
import { AT, AuditScene, ENTRY, PFN, reclaim } from "../support/audit-scene.ts";
import type { Xorshift } from "../support/mutate.ts";
import { damaged } from "./damage.ts";

/** Most tables that a file under test may name; the memory of a run is bounded by it. */
const MAX_TABLES = 2 ** 12;

let recorded: Readonly<Record<Form, Uint8Array>> | null = null;

/** A page that a guest and a device share with two CPUs, reclaimed: in both forms. */
function recording(): Readonly<Record<Form, Uint8Array>> {
  if (recorded !== null) return recorded;
  const scene = new AuditScene({ notifiers: "b" });
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x4000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, AT, page, ENTRY);
  for (const kind of ["kvm", "iommu"] as const) scene.addListener(mm, kind, AT, 0x4000);
  const chunks: Record<Form, Uint8Array[]> = { text: [], binary: [] };
  const recorders = FORMS.map(
    (form) => new Recorder(scene.kernel, (bytes) => chunks[form].push(bytes), { form }),
  );
  for (const cpu of scene.machine.cpus) cpu.touch(AT, true);
  reclaim(scene.kernel, page);
  for (const recorder of recorders) recorder.stop();
  recorded = { text: joined(chunks.text), binary: joined(chunks.binary) };
  return recorded;
}

/** A file of records in either form: of a run, or of records of any kind in any order; damaged or not. */
export function anyRecording(random: Xorshift): Uint8Array {
  const form = random.pick(FORMS);
  if (random.below(3) > 0) return damaged(recording()[form], random);
  const numbers = new Random(random.next());
  const kinds = Object.keys(KINDS) as RecordKind[];
  const records = Array.from({ length: random.below(20) }, (_, i) =>
    randomRecord(numbers, random.pick(kinds), i),
  );
  const bytes = fileOf(form, ["opened", ...records, "ended"]);
  return random.below(2) === 0 ? bytes : damaged(bytes, random);
}

/** Judges a file of records as a program does that uses the library. Throws FormatError. */
export function judgeFile(bytes: Uint8Array, step: number): string {
  const { findings, causes } = judgeRecords(piecesOf(bytes, step), (run) => new Auditor(run), {
    file: "recording",
    maxTables: MAX_TABLES,
  });
  return [...findings.map((finding) => finding.explain()), `${causes.length} causes`].join("\n");
}
