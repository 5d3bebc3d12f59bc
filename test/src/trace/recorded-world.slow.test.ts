import { describe, expect, test } from "vitest";
import type { Slot } from "../../../arch/x86/cpu/address.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import { Auditor } from "../../../src/audit/auditor.ts";
import { Random } from "../../../src/sim/random.ts";
import { readRecords } from "../../../src/trace/file/read-records.ts";
import { machineOpening } from "../../../src/trace/opening.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";
import { RecordedWorld } from "../../../src/trace/recorded-world.ts";
import { Recorder } from "../../../src/trace/recorder.ts";
import { BareMachine } from "./bare-machine.ts";
import { HEADER } from "./files.ts";
import { registersText, tablesText } from "./world-text.ts";

const NOBODY = { seq: 1, agent: 0, cpu: -1, space: -1 };

function table(...entries: readonly [index: number, lo: number][]): Int32Array {
  const words = new Int32Array(1024);
  for (const [index, lo] of entries) words[2 * index] = lo;
  return words;
}

function linked(pfn: number, words: Int32Array): TraceRecord {
  return { kind: "table-linked", ...NOBODY, pfn: pfn as never, level: 1, slot: -1 as never, words };
}

function written(slot: number, entryLo: number): TraceRecord {
  return { kind: "entry-written", ...NOBODY, slot: slot as never, oldLo: 0, oldHi: 0, entryLo, entryHi: 0 };
}

describe("entries", () => {
  test("are those of the tables told of, 0 elsewhere in memory, all ones beyond it", () => {
    const world = new RecordedWorld(HEADER);
    const words = table([3, 0x67]);
    world.take(linked(5, words));
    words[6] = 0;
    world.take(written(0x5008, 0x27));
    world.take(written(0x6008, 0x27));
    const at = (slot: number) => world.entry(slot as Slot).toString();
    expect([0x5018, 0x5008, 0x6008, 2 ** 26 - 8, 2 ** 26].map(at)).toEqual([
      "0x0000000000000067",
      "0x0000000000000027",
      "0x0000000000000000",
      "0x0000000000000000",
      "0xffffffffffffffff",
    ]);
    expect(world.tables).toBe(1);
  });

  test("come back store by store, with the tables that were told of between", () => {
    const world = new RecordedWorld(HEADER);
    world.take(linked(5, table([1, 0x11])));
    world.mark();
    world.take(written(0x5008, 0x22));
    world.take(written(0x7008, 0x33));
    world.take(linked(7, table([1, 0x44])));
    world.take(linked(5, table([1, 0x55])));
    world.take(written(0x5008, 0x66));
    const now = () => [0x5008, 0x7008].map((slot) => world.entry(slot as Slot).lo);
    expect(now()).toEqual([0x66, 0x44]);
    world.restore(0x5008 as Slot, 0x55, 0);
    expect(now()).toEqual([0x55, 0x44]);
    world.restore(0x7008 as Slot, 0, 0);
    expect(now()).toEqual([0x22, 0x44]);
    world.restore(0x5008 as Slot, 0x11, 0);
    expect(now()).toEqual([0x11, 0x44]);
    world.take(written(0x5008, 0x77));
    world.take(linked(7, table([1, 0x88])));
    world.reset();
    expect(now()).toEqual([0x11, 0]);
    world.restore(0x5008 as Slot, 0x99, 0);
    expect(now()).toEqual([0x99, 0]);
  });
});

describe("registers", () => {
  const load = (register: "CR0" | "CR4" | "EFER" | "PAT" | "PKRU", value: number, cpu = 0): TraceRecord => {
    return { kind: "register-loaded", ...NOBODY, cpu, register, valueLo: value | 0, valueHi: 0 };
  };

  test("that are written together are told one by one, and count when they are legal", () => {
    const machine = new Machine({ memory: "1MiB", model: "intel-sapphire-rapids" });
    const cpu = machine.cpu(0);
    cpu.setControl({ cet: true });
    const world = new RecordedWorld({ ...HEADER, model: cpuModel("intel-sapphire-rapids") });
    for (const record of machineOpening(machine)) world.take(record);
    expect(registersText(world.cpu(0))).toBe(registersText(cpu.control));
    machine.records.listen((record) => world.take(record as TraceRecord));
    // Told as CR0, CR4: shadow stacks without write protection would be no legal state between the two.
    cpu.setControl({ wp: false, cet: false });
    expect(registersText(world.cpu(0))).toBe(registersText(cpu.control));
    expect(world.cpu(0).wp).toBe(false);
  });

  test("and stay out of effect, with an error, when the rest does not come", () => {
    const world = new RecordedWorld({ ...HEADER, model: cpuModel("intel-sapphire-rapids") });
    world.take(load("CR4", 0x0080_0020));
    world.take(load("CR0", 0x8000_0011));
    expect(world.cpu(0).wp).toBe(true);
    expect(() => world.take(load("CR0", 0x8000_0011, 1))).toThrow(
      "CR0 0x80000011 that the CPU takes: CR4.CET",
    );
  });

  test("that a recording opens with have a memory-type table other than reset's", () => {
    const machine = new Machine({ memory: "1MiB" });
    machine.cpu(0).setPat(0x0000_0000_0000_0001n);
    const world = new RecordedWorld(HEADER);
    for (const record of machineOpening(machine)) world.take(record);
    expect(world.cpu(0).pat).toEqual(machine.cpu(0).control.pat);
  });

  test("of a CPU that there is not cannot be asked for", () => {
    expect(() => new RecordedWorld(HEADER).cpu(2)).toThrow(RangeError);
  });
});

describe("going back", () => {
  /** A recorded run of a machine that keeps no rule. */
  function recorded(seed: number) {
    // An auditor's index of frames does not come back where both halves share tables.
    const bare = new BareMachine(new Random(seed), { sharesTables: false });
    const chunks: Uint8Array[] = [];
    bare.auditor = new Auditor(bare.machine);
    const recorder = new Recorder(bare.machine, (bytes) => chunks.push(bytes));
    for (let step = 0; step < 150; step++) bare.step();
    recorder.stop();
    return readRecords(chunks);
  }

  test("leads to the world of the mark, and an auditor judges the same again", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { world, opening } = recorded(seed);
      const all = [...recorded(seed)];
      const auditor = new Auditor({ world, opening }, { rewinds: true });
      world.mark();
      const text = () =>
        [0, 1].map((cpu) => registersText(world.cpu(cpu))) + tablesText(world, [0x1000, 0x2000, 0x3000], 4);
      const before = text();
      const judge = () => {
        for (const record of all) {
          world.take(record);
          auditor.observe(record);
        }
        return JSON.stringify(auditor.findings);
      };
      const first = judge();
      expect(text()).not.toBe(before);
      auditor.rewind();
      world.reset();
      expect(text(), `seed ${seed}`).toBe(before);
      expect(judge() === first, `seed ${seed}`).toBe(true);
    }
  });
});
