import { describe, expect, test } from "vitest";
import { Random } from "../../../../src/sim/random.ts";
import { FORMS } from "../../../../src/trace/file/forms.ts";
import { KINDS, type RecordKind, type TraceRecord } from "../../../../src/trace/record.ts";
import { fileOf, itemsOf, linesOf } from "../files.ts";
import { randomRecord } from "../random-record.ts";

const ALL = Object.keys(KINDS) as RecordKind[];
const EACH = 60;

describe.each(FORMS)("%s", (form) => {
  test.each(ALL)("a record of kind %s comes back as it was", (kind) => {
    const random = new Random(ALL.indexOf(kind) + 1);
    const records = Array.from({ length: EACH }, (_, i) => randomRecord(random, kind, i));
    expect(itemsOf(fileOf(form, records))).toStrictEqual(records);
  });

  test("records of all kinds in any order do, however the bytes come", () => {
    const random = new Random(77);
    const records = Array.from({ length: 400 }, (_, i) =>
      randomRecord(random, ALL[random.below(ALL.length)]!, i),
    );
    const file = fileOf(form, ["opened", ...records, "ended"]);
    for (const step of [1, 7, 4096, file.length]) {
      expect(itemsOf(file, step)).toStrictEqual(["opened", ...records, "ended"]);
    }
  });
});

test("texts are numbered in the binary form, those beyond the table's room come back, too", () => {
  const names = Array.from({ length: 5000 }, (_, i) => `name ${i % 4500}`);
  const records = names.map((name, seq): TraceRecord => {
    return { kind: "primitive", seq, agent: 0, cpu: -1, space: -1, name };
  });
  expect(itemsOf(fileOf("binary", records))).toStrictEqual(records);
});

test("a text with control characters is written without them", () => {
  const record: TraceRecord = {
    kind: "primitive",
    seq: 1,
    agent: 0,
    cpu: -1,
    space: -1,
    name: "a\x1b[31m\u202eb\ud800",
  };
  for (const form of FORMS) {
    const [read] = itemsOf(fileOf(form, [record]));
    expect(read).toStrictEqual({ ...record, name: "a\\x1b[31m\\u202eb\\ud800" });
  }
});

test("lines can be searched for what people search for", () => {
  const words = new Int32Array(1024);
  words.set([0x0123_4867, 0x8000_0000 | 0], 10);
  const header = { seq: 3, agent: 0, cpu: 1, space: -1 };
  const file = fileOf("text", [
    { kind: "table-linked", ...header, pfn: 0x1000 as never, level: 1, slot: 0x2008 as never, words },
    {
      kind: "flush-begun",
      ...header,
      flush: 7,
      linearLo: 0x1000,
      linearHi: 0x7f00,
      bytes: 4096,
      all: false,
      cpus: [-1],
    },
  ]);
  expect(linesOf(file).slice(1)).toEqual([
    '{"kind":"table-linked","seq":3,"agent":0,"cpu":1,"space":null,"pfn":"0x1000","level":1,"slot":"0x2008","words":"0*5 8000000001234867 0*506"}',
    '{"kind":"flush-begun","seq":3,"agent":0,"cpu":1,"space":null,"flush":7,"linear":"0x7f0000001000","bytes":4096,"all":false,"cpus":[4294967295]}',
  ]);
});

test.each([
  [{ pfn: 2 ** 40 }, "expected"],
  [{ pfn: 0.5 }, "a frame number below 2^40"],
  [{ order: Infinity }, "a whole number of at most 52 bits"],
  [{ order: Number.NaN }, "a whole number"],
])("a writer refuses what its encoding cannot hold: %o", (wrong, _why) => {
  const record = { kind: "page-freed", seq: 1, agent: 0, cpu: -1, space: -1, pfn: 1, order: 0, ...wrong };
  for (const form of FORMS) expect(() => fileOf(form, [record as never])).toThrow();
});
