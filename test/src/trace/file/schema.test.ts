import { describe, expect, test } from "vitest";
import { FORMS, type Form } from "../../../../src/trace/file/forms.ts";
import type { TraceHeader } from "../../../../src/trace/file/header.ts";
import { readRecords } from "../../../../src/trace/file/read-records.ts";
import {
  currentSchema,
  type FileField,
  type FileKind,
  schemaJson,
  schemaOf,
} from "../../../../src/trace/file/schema.ts";
import { FIELDS, KINDS, type RecordKind, type TraceRecord } from "../../../../src/trace/record.ts";
import { fileOf, HEADER, linesFile, linesOf } from "../files.ts";

const NOBODY = { agent: 0, cpu: -1, space: -1 };
const primitive = (seq: number, fields: object = {}): TraceRecord => {
  return { kind: "primitive", seq, ...NOBODY, name: "x", ...fields } as TraceRecord;
};
const later = (name: string, is: FileField["is"]): FileField => ({ name, is, knownAs: is, known: false });

/** This version's schema with another one's kinds. */
function schemaWith(change: (kind: FileKind) => FileKind, ...more: FileKind[]): TraceHeader {
  return { ...HEADER, schema: [...more, ...currentSchema().map(change)] };
}

const read = (file: Uint8Array) => [...readRecords([file])];

test("this version's schema comes back from its JSON, field by field", () => {
  const { fields, kinds } = schemaJson(currentSchema());
  expect(schemaOf(fields, kinds)).toEqual(currentSchema());
  expect(kinds.length).toBe(Object.keys(KINDS).length);
  expect(Object.keys(fields).every((name) => Object.hasOwn(FIELDS, name))).toBe(true);
});

describe.each(FORMS)("a file of a later version as %s", (form: Form) => {
  test("is read without the kinds and the fields that are not known here", () => {
    const moved: FileKind = {
      name: "page-moved",
      class: "fact",
      known: null,
      absent: [],
      fields: [
        later("cause", FIELDS.cause.is),
        later("distance", "int"),
        later("pfn", "pfn"),
        later("why", "text"),
        later("oldWords", "words"),
      ],
    };
    const header = schemaWith(
      (kind) =>
        kind.name === "primitive"
          ? { ...kind, fields: [later("depth", "int"), ...kind.fields, later("tags", "names")] }
          : kind,
      moved,
    );
    const words = new Int32Array(1024);
    const unknown = (seq: number) => ({
      kind: "page-moved",
      seq,
      ...NOBODY,
      cause: "#PF",
      distance: seq,
      pfn: 7 * seq,
      why: "why not",
      oldWords: words,
    });
    const file = fileOf(
      form,
      [
        "opened",
        unknown(1) as unknown as TraceRecord,
        primitive(2, { depth: 3, tags: ["a", "b"] }),
        { kind: "page-put", seq: 3, ...NOBODY, pfn: 20 as never, refcount: 1 },
        unknown(4) as unknown as TraceRecord,
        primitive(5, { depth: 4, tags: ["b"], name: "why not" }),
      ],
      header,
    );
    expect(read(file)).toStrictEqual([
      primitive(2),
      { kind: "page-put", seq: 3, ...NOBODY, pfn: 20, refcount: 1 },
      primitive(5, { name: "why not" }),
    ]);
  });

  test("may know more texts of a list; one that is not known here is refused where it is used", () => {
    const longer = ["new", ...FIELDS.function.is, "newer"] as const;
    const header = schemaWith((kind) => ({
      ...kind,
      fields: kind.fields.map((field) => (field.name === "function" ? { ...field, is: longer } : field)),
    }));
    const call = (seq: number, name: string) =>
      ({ kind: "call-entered", seq, ...NOBODY, function: name, pfn: 1 }) as TraceRecord;
    expect(read(fileOf(form, ["opened", call(1, "pageout")], header))).toStrictEqual([call(1, "pageout")]);
    expect(() => read(fileOf(form, ["opened", call(1, "newer")], header))).toThrow(
      "function to be one of page_mkclean",
    );
  });
});

test("a later encoding is skipped: any JSON, or a block of bytes", () => {
  const lines = linesOf(fileOf("text", ["opened", primitive(1), "ended"]));
  const header = JSON.parse(lines[0]!);
  header.fields.heat = "float";
  header.kinds.find(({ kind }: { kind: string }) => kind === "primitive").has.push("heat");
  const record = `${lines[2]!.slice(0, -1)},"heat":{"celsius":[1,2]}}`;
  expect(read(linesFile([JSON.stringify(header), lines[1]!, record, lines[3]!]))).toStrictEqual([
    primitive(1),
  ]);

  // The same in the binary form, put together by hand.
  const bytes = fileOf("binary", ["opened", primitive(1)]);
  const text = new TextEncoder().encode(JSON.stringify(header));
  const tail = bytes.slice(-3 - 6);
  expect([...tail.slice(0, 3)]).toEqual([2, 0, 0]);
  const entry = [...tail.slice(4), 2, 0xaa, 0xbb];
  const file = [
    ...bytes.slice(0, 8),
    (text.length & 0x7f) | 0x80,
    text.length >>> 7,
    ...text,
    ...tail.slice(0, 3),
    entry.length,
    ...entry,
  ];
  expect(text.length).toBeLessThan(2 ** 14);
  expect(read(Uint8Array.from(file))).toStrictEqual([primitive(1)]);
});

describe("a file of an earlier version", () => {
  const without = (kindName: RecordKind, field: string): Uint8Array => {
    const header = schemaWith((kind) =>
      kind.name === kindName ? { ...kind, fields: kind.fields.filter(({ name }) => name !== field) } : kind,
    );
    const record = {
      kind: kindName,
      seq: 1,
      ...NOBODY,
      pfn: 1,
      order: 0,
      refcount: 3,
      dirty: true,
      cpus: [1],
    };
    return fileOf("binary", ["opened", record as unknown as TraceRecord], header);
  };

  test("does not tell what it does not have: none, false", () => {
    expect(read(without("page-put", "refcount"))).toStrictEqual([
      { kind: "page-put", seq: 1, ...NOBODY, pfn: 1, refcount: -1 },
    ]);
    expect(read(without("batch-added", "dirty"))).toStrictEqual([
      { kind: "batch-added", seq: 1, ...NOBODY, cpus: [1], dirty: false },
    ]);
  });

  test("is refused where nothing can stand for that", () => {
    expect(() => read(without("batch-added", "cpus"))).toThrow("kind batch-added to have the field cpus");
  });
});
