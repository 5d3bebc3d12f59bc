import { describe, expect, test } from "vitest";
import { Auditor } from "../../../../src/audit/auditor.ts";
import { FormatError } from "../../../../src/formats/format-error.ts";
import { Random } from "../../../../src/sim/random.ts";
import { FORMS, type Form } from "../../../../src/trace/file/forms.ts";
import { judgeRecords } from "../../../../src/trace/file/judge-records.ts";
import { type ReadOptions, readRecords } from "../../../../src/trace/file/read-records.ts";
import { Recorder } from "../../../../src/trace/recorder.ts";
import { AT, AuditScene, ENTRY, PFN, reclaim } from "../../../support/audit-scene.ts";
import { mutations } from "../../../support/mutate.ts";
import { errorOf, primitive } from "../bad-files.ts";
import { BareMachine } from "../bare-machine.ts";
import { fileOf, joined, piecesOf } from "../files.ts";

test("a binary file with bytes too many, or too few, in a record", () => {
  const file = fileOf("binary", ["opened", primitive(1, "abc")]);
  const longer = joined([file, Uint8Array.of(0)]);
  // The last record's length stands before kind, bits of what differs, 0 for a new text, its length, three letters.
  longer[file.length - 8]! += 1;
  expect(errorOf(longer)).toContain("a record's end, found 1 bytes more");
  const shorter = file.slice(0, -1);
  shorter[file.length - 8]! -= 1;
  expect(errorOf(shorter)).toContain("3 bytes more in a record");
});

test("a binary record that claims more bytes than allowed is refused before they come", () => {
  const file = joined([fileOf("binary", ["opened"]), Uint8Array.of(0xff, 0xff, 0xff, 0x7f)]);
  expect(errorOf(file)).toContain("records of at most 1048576 bytes");
});

test("the file is let go of when reading ends, whatever the reason", () => {
  const file = fileOf("text", ["opened", primitive(1), primitive(2), "ended"]);
  const run = (bytes: Uint8Array, options: ReadOptions = {}) => {
    let closed = false;
    const chunks = (function* () {
      try {
        yield* piecesOf(bytes, 100);
        yield new Uint8Array(0);
      } finally {
        closed = true;
      }
    })();
    try {
      for (const _ of readRecords(chunks, options)) {
        // Only read.
      }
    } catch {
      // Of no interest here.
    }
    return closed;
  };
  expect([run(file), run(file, { maxRecords: 1 }), run(file.slice(0, -3)), run(file.slice(5))]).toEqual([
    true,
    true,
    true,
    true,
  ]);
});

describe("a damaged file", () => {
  /** The runs of a small machine, and of a kernel with a guest and a device, that break rules. */
  function smallFile(form: Form, subject: "machine" | "kernel"): Uint8Array {
    const chunks: Uint8Array[] = [];
    const sink = (bytes: Uint8Array) => void chunks.push(bytes);
    if (subject === "machine") {
      const bare = new BareMachine(new Random(3));
      bare.auditor = new Auditor(bare.machine);
      const recorder = new Recorder(bare.machine, sink, { form });
      for (let step = 0; step < 60; step++) bare.step();
      recorder.stop();
      return joined(chunks);
    }
    const scene = new AuditScene({ notifiers: "b" });
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x4000 });
    const page = scene.page(PFN);
    scene.mapAnon(vma, AT, page, ENTRY);
    for (const kind of ["kvm", "iommu"] as const) scene.addListener(mm, kind, AT, 0x4000);
    const recorder = new Recorder(scene.kernel, sink, { form });
    scene.storeFromListener(AT, 0x1000);
    reclaim(scene.kernel, page, { withoutFlush: true });
    recorder.stop();
    return joined(chunks);
  }

  /** Where the first record stands. */
  function headerEnd(file: Uint8Array, form: Form): number {
    if (form === "text") return file.indexOf(10) + 1;
    // After the magic, a length of two bytes, then the header.
    return 10 + (file[8]! & 0x7f) + 128 * file[9]!;
  }

  function outcome(label: string, bytes: Uint8Array): "judged" | "refused" {
    try {
      judgeRecords(piecesOf(bytes, 5000), (run) => new Auditor(run), { file: "f" });
      return "judged";
    } catch (error) {
      if (!(error instanceof FormatError)) throw new Error(label, { cause: error });
      expect(error.message, label).toMatch(
        /^f:( offset 0x[0-9a-f]+:)? expected [^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u,
      );
      return "refused";
    }
  }

  describe.each(FORMS)("as %s is judged or refused, and nothing else happens", (form) => {
    test.each(["machine", "kernel"] as const)("of a %s", (subject) => {
      const file = smallFile(form, subject);
      const end = headerEnd(file, form);
      const seen = { judged: 0, refused: 0 };
      for (const { label, bytes } of mutations(file, 11, 200)) seen[outcome(label, bytes)]++;
      for (const { label, bytes } of mutations(file.slice(end), 12, 500)) {
        seen[outcome(`behind the header, ${label}`, joined([file.subarray(0, end), bytes]))]++;
      }
      expect(seen.refused).toBeGreaterThan(500);
      expect(seen.judged).toBeGreaterThan(0);
    });
  });
});
