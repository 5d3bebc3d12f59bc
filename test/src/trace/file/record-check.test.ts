import { describe, expect, test } from "vitest";
import { FORMS } from "../../../../src/trace/file/forms.ts";
import type { Mark } from "../../../../src/trace/file/header.ts";
import { readRecords } from "../../../../src/trace/file/read-records.ts";
import type { TraceRecord, TraceRecordOf } from "../../../../src/trace/record.ts";
import { errorOf, NOBODY, primitive } from "../bad-files.ts";
import { fileOf } from "../files.ts";

const freed = (fields: object): TraceRecord => {
  return { kind: "page-freed", seq: 1, ...NOBODY, pfn: 1, order: 0, ...fields } as TraceRecord;
};

function linked(pfn: number, seq = 1): TraceRecord {
  const words = new Int32Array(1024);
  return { kind: "table-linked", seq, ...NOBODY, pfn: pfn as never, level: 1, slot: -1 as never, words };
}

function written(fields: Partial<TraceRecordOf<"entry-written">>): TraceRecord {
  const entry = { oldLo: 0, oldHi: 0, entryLo: 1, entryHi: 0 };
  return { kind: "entry-written", seq: 1, ...NOBODY, slot: 8 as never, ...entry, ...fields };
}

describe.each(FORMS)("a record in the form of %s", (form) => {
  const opened = (...items: (TraceRecord | Mark)[]): Uint8Array => fileOf(form, ["opened", ...items]);
  const common = (fields: object): TraceRecord => ({ ...primitive(1), ...fields }) as TraceRecord;

  test.each<[string, readonly TraceRecord[], string]>([
    [
      "with a number that falls",
      [primitive(5), primitive(4)],
      "seq to be 5 or more, after the record before, found 4",
    ],
    [
      "of an agent that nobody introduced",
      [common({ agent: 7 })],
      "agent 7 to be introduced before it is named",
    ],
    ["of an address space that nobody introduced", [common({ space: 3 })], "space 3 to be introduced"],
    ["of a CPU that there is not", [common({ cpu: 2 })], "cpu to be a CPU from 0 to 1, found 2"],
    [
      "of a CPU, and of none",
      [{ kind: "halted", seq: 1, ...NOBODY }],
      "cpu to be a CPU from 0 to 1, found nothing",
    ],
    [
      "to a CPU that there is not",
      [{ kind: "ipi-sent", seq: 1, ...NOBODY, cpu: 0, to: 40, flush: 0 }],
      "to to be a CPU from 0 to 1, found 40",
    ],
    [
      "for CPUs that there are not",
      [{ kind: "batch-added", seq: 1, ...NOBODY, cpus: [0x10], dirty: false }],
      "cpus to be a CPU from 0 to 1, found 4",
    ],
    [
      "of a listener that nobody registered",
      [{ kind: "listener-unregistered", seq: 1, ...NOBODY, listener: 4 }],
      "listener 4 to be introduced",
    ],
    [
      "of a lock that nobody took",
      [{ kind: "lock-dropped", seq: 1, ...NOBODY, lock: 9, lockClass: "pte", pfn: 1 as never }],
      "lock 9 to be introduced",
    ],
    [
      "of a flush that has not begun",
      [{ kind: "flush-ended", seq: 1, ...NOBODY, flush: 2 }],
      "flush 2 to be introduced",
    ],
    ["of a task that is none", [{ kind: "task-runs", seq: 1, ...NOBODY }], "task 0 to be introduced"],
    [
      "with a name for nobody",
      [{ kind: "named", seq: 1, ...NOBODY, subject: "space", id: 1, name: "x" }],
      "subject 1 to be introduced",
    ],
    [
      "with a slot beyond memory",
      [written({ slot: (2 ** 26) as never })],
      "slot to be below the 67108864 bytes of memory",
    ],
    ["with no slot", [written({ slot: -1 as never })], "slot to be 0 or more, found -1"],
    ["with a table that is nowhere", [linked(-1)], "pfn to be 0 or more, found -1"],
    ["with a page of all memory", [freed({ order: 40 })], "order to be from 0 to 18, found 40"],
    [
      "with pages of 1 GiB, many times over",
      Array.from({ length: 65 }, () => freed({ order: 18 })),
      "at most 512 frames a record on average",
    ],
    [
      "with an spte of 1 GiB",
      [
        {
          kind: "listener-registered",
          seq: 1,
          ...NOBODY,
          listener: 1,
          listenerType: "kvm",
          ops: [],
          sleeps: [],
        },
        {
          kind: "spte-dropped",
          seq: 1,
          ...NOBODY,
          listener: 1,
          gfn: 0,
          level: 3,
          pfn: 0 as never,
          linearLo: 0,
          linearHi: 0,
          accessed: false,
          dirty: false,
          refcount: 1,
        },
      ],
      "level to be from 1 to 2, found 3",
    ],
    [
      "with a root in the middle of a page",
      [{ kind: "address-space-created", seq: 1, ...NOBODY, space: 1, root: 0x1008, userRoot: -1 }],
      "root to be the address of a page",
    ],
    [
      "with a root beyond the CPU",
      [{ kind: "cr3-loaded", seq: 1, ...NOBODY, cpu: 0, oldRoot: 0, root: 2 ** 50, pcid: 0, keep: false }],
      "root to be below 2^46",
    ],
    [
      "with a PCID without PCIDs",
      [{ kind: "cr3-loaded", seq: 1, ...NOBODY, cpu: 0, oldRoot: 0, root: 0, pcid: 9, keep: false }],
      "pcid to be 0 while CR4.PCIDE is 0",
    ],
    [
      "with a CR0 without paging",
      [{ kind: "register-loaded", seq: 1, ...NOBODY, cpu: 0, register: "CR0", valueLo: 1, valueHi: 0 }],
      "CR0 to be that of long mode with paging",
    ],
    [
      "with a feature that the CPU lacks",
      [
        {
          kind: "register-loaded",
          seq: 1,
          ...NOBODY,
          cpu: 0,
          register: "CR4",
          valueLo: 0x0080_0020,
          valueHi: 0,
        },
        primitive(2),
      ],
      "CR4 0x800020 that the CPU takes",
    ],
  ])("%s", (_name, records, expected) => {
    expect(errorOf(opened(...records))).toContain(expected);
    expect(errorOf(opened(...records, "ended"))).toContain(expected);
  });

  test("names what was introduced before, and things that ended only where they may", () => {
    const flush: TraceRecord = {
      kind: "flush-begun",
      seq: 1,
      ...NOBODY,
      flush: 2,
      linearLo: 0,
      linearHi: 0,
      bytes: 0,
      all: true,
      cpus: [3],
    };
    const ended: TraceRecord = { kind: "flush-ended", seq: 2, ...NOBODY, flush: 2 };
    const lock = { seq: 3, ...NOBODY, lock: 9, lockClass: "rwsem", pfn: -1 as never } as const;
    const taken: TraceRecord = { kind: "lock-taken", ...lock };
    const dropped: TraceRecord = { kind: "lock-dropped", ...lock };
    expect(errorOf(opened(flush, ended, taken, taken, dropped, dropped, "ended"))).toBeNull();
    expect(errorOf(opened(flush, ended, { ...ended, seq: 4 }))).toContain("flush 2 to be introduced");
    expect(errorOf(opened(taken, dropped, dropped))).toContain("lock 9 to be introduced");
  });

  test("that brings one table too many", () => {
    const file = opened(linked(1), linked(2), linked(1), linked(3));
    expect(errorOf(file, { maxTables: 2 })).toContain("expected at most 2 tables");
    expect(errorOf(file, { maxTables: 3 })).toBeNull();
  });

  test("at which the file is cut", () => {
    const file = opened(primitive(1, "a"), primitive(2, "b"));
    const whole = fileOf(form, ["opened", primitive(1, "a")]).length;
    for (let length = whole + 1; length < file.length; length++) {
      expect(errorOf(file.slice(0, length)), `${length} bytes`).toMatch(
        /the end of a (line|record), found the file's/,
      );
    }
    const recording = readRecords([file.slice(0, whole)]);
    expect([...recording].length).toBe(1);
    expect(recording.ended).toBe(false);
  });
});
