import { describe, expect, test } from "vitest";
import { NONE } from "../../../arch/x86/cpu/address.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { RecordStream } from "../../../arch/x86/cpu/record-stream.ts";
import { Auditor } from "../../../src/audit/auditor.ts";
import { unlock_page } from "../../../src/mm/locks.ts";
import { Random } from "../../../src/sim/random.ts";
import { FORMS, type Form } from "../../../src/trace/file/forms.ts";
import { judgeRecords } from "../../../src/trace/file/judge-records.ts";
import { readRecords } from "../../../src/trace/file/read-records.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";
import { Recorder } from "../../../src/trace/recorder.ts";
import { LiveWorld } from "../../../src/trace/world.ts";
import { Scene } from "../../support/scene.ts";
import { BareMachine } from "./bare-machine.ts";
import { registersText, tablesText } from "./world-text.ts";

const SEEDS = 16;
const STEPS = 250;

/** A random run of a bare machine, with what a live auditor finds and, after each record, what a live world shows. */
function randomRun(seed: number, form: Form, options: { levels?: 4 | 5; model?: string } = {}) {
  const bare = new BareMachine(new Random(seed), options);
  const { machine } = bare;
  const chunks: Uint8Array[] = [];
  const auditor = new Auditor(machine);
  const recorder = new Recorder(machine, (bytes) => chunks.push(bytes), { form });
  bare.auditor = auditor;
  const live = new LiveWorld(machine);
  const seen: { seq: number; kind: string; world: string }[] = [];
  const stop = machine.records.listen(({ seq, kind }) => {
    seen.push({ seq, kind, world: worldText(live) });
  });
  for (let step = 0; step < STEPS; step++) bare.step();
  stop();
  recorder.stop();
  auditor.finish();
  return { chunks, auditor, seen };
}

function worldText(world: LiveWorld | ReturnType<typeof readRecords>["world"]): string {
  const cpus = [world.cpu(0), world.cpu(1)];
  const roots = [...new Set(cpus.map(({ root }) => root))];
  return [...cpus.map(registersText), tablesText(world, roots, cpus[0]!.levels)].join("\n");
}

describe("a bare machine that keeps no rule", () => {
  test("is judged from a file as it was live, and breaks G1, G2 and G3 on the way", () => {
    const broken = new Set<number | string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      for (const form of FORMS) {
        const { chunks, auditor } = randomRun(seed, form);
        const judged = judgeRecords(chunks, (run) => new Auditor(run));
        expect(JSON.stringify(judged.findings), `seed ${seed}, ${form}`).toBe(
          JSON.stringify(auditor.findings),
        );
        expect(judged).toMatchObject({ ended: true, limited: false });
        for (const { rule } of judged.findings) broken.add(rule.id);
      }
    }
    expect([...broken].sort()).toEqual(["G1", "G2", "G3"]);
  });

  test("shows the same world at every record", () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { chunks, seen } = randomRun(seed, seed % 2 === 0 ? "text" : "binary");
      let at = 0;
      const recording = readRecords(chunks);
      for (const { seq, kind } of recording) {
        // What the recorder has added stands before the record that made it necessary.
        if (kind === "table-linked") continue;
        const { world, ...record } = seen[at++]!;
        expect({ seq, kind }).toEqual(record);
        expect(worldText(recording.world), `seed ${seed}, record ${seq}, ${kind}`).toBe(world);
      }
      expect(at).toBe(seen.length);
    }
  });
});

test.each([
  ["intel-sapphire-rapids", 5],
  ["amd-zen3", 4],
  ["bochs-2.7", 4],
  ["qemu-7.2", 4],
] as const)("%s with %i levels is judged from a file as it was live", (model, levels) => {
  for (let seed = 1; seed <= 3; seed++) {
    const { chunks, auditor, seen } = randomRun(seed, "binary", { model, levels });
    const { header, findings } = judgeRecords(chunks, (run) => new Auditor(run));
    expect(header).toMatchObject({ levels, model: { name: model } });
    expect(JSON.stringify(findings) === JSON.stringify(auditor.findings), `seed ${seed}`).toBe(true);
    const recording = readRecords(chunks);
    for (const _ of recording) {
      // Up to the end.
    }
    expect(worldText(recording.world)).toBe(seen.at(-1)!.world);
  }
});

describe("what a recorder adds", () => {
  /** A machine whose table at 0x3000 hangs nowhere yet, and has one entry. */
  function looseTable() {
    const machine = new Machine({ memory: "1MiB" });
    machine.memory.write(0x3008, 0x4067, 0);
    machine.cpu(0).loadCr3(0x1000);
    const chunks: Uint8Array[] = [];
    const recorder = new Recorder(machine, (bytes) => chunks.push(bytes), { form: "text" });
    const kinds = () => {
      recorder.stop();
      return [...readRecords(chunks)].map((record) =>
        record.kind === "table-linked"
          ? `table ${record.pfn} of ${record.level} at ${record.slot}`
          : record.kind,
      );
    };
    return { machine, kinds };
  }

  test("is a table that a stored entry makes reachable, and those below it, once", () => {
    const { machine, kinds } = looseTable();
    machine.memory.write(0x2000, 0x3067, 0);
    machine.storeEntry(0x1000, 0x2067, 0, 0);
    machine.storeEntry(0x1008, 0x2067, 0, 0);
    expect(kinds()).toEqual([
      "table 2 of 3 at 4096",
      "table 3 of 2 at 8192",
      "table 4 of 1 at 12296",
      "entry-written",
      "entry-written",
    ]);
  });

  test("is such a table again if it has changed unseen meanwhile", () => {
    const { machine, kinds } = looseTable();
    machine.storeEntry(0x1000, 0x4067, 0, 0);
    machine.storeEntry(0x1000, 0, 0, 0);
    machine.memory.write(0x4ff8, 1, 0);
    machine.storeEntry(0x1000, 0x4067, 0, 0);
    expect(kinds()).toEqual([
      "table 4 of 3 at 4096",
      "entry-written",
      "entry-written",
      "table 4 of 3 at 4096",
      "table 0 of 2 at 20472",
      "entry-written",
    ]);
  });

  test("is what a root has that was never loaded", () => {
    const { machine, kinds } = looseTable();
    machine.cpu(0).loadCr3(0x3000);
    machine.cpu(0).loadCr3(0x1000);
    machine.cpu(0).loadCr3(0x3000);
    expect(kinds().filter((kind) => kind !== "invalidated")).toEqual([
      "table 3 of 4 at -1",
      "table 4 of 3 at 12296",
      "cr3-loaded",
      "cr3-loaded",
      "cr3-loaded",
    ]);
  });

  test("is nothing for a root that leads to itself", () => {
    const { machine, kinds } = looseTable();
    machine.storeEntry(0x1ff0, 0x1067, 0, 0);
    machine.storeEntry(0x1fe8, 0x10_0067, 0, 0);
    expect(kinds()).toEqual(["entry-written", "entry-written"]);
  });

  test("is that a lock was taken, and nothing else, of what was under way before", () => {
    const scene = new Scene();
    const gone = scene.mm("gone");
    const page = scene.page(0x1234);
    const chunks: Uint8Array[] = [];
    const recorder = new Recorder(scene.kernel, (bytes) => chunks.push(bytes));
    const records = scene.machine.records as unknown as RecordStream<TraceRecord>;
    unlock_page(scene.kernel, page);
    const common = { seq: records.seq, agent: 0, cpu: 0, space: gone.id + 1 };
    records.emit({ kind: "flush-ended", ...common, flush: 9 });
    records.emit({ kind: "ipi-handled", ...common, from: 1, flush: 9 });
    records.emit({ kind: "guest-fault-retried", ...common, listener: 3, linearLo: 0, linearHi: 0 });
    records.emit({ kind: "named", ...common, space: NONE, subject: "listener", id: 3, name: "kvm" });
    recorder.stop();
    const [taken, dropped, handled, retried, ...rest] = [...readRecords(chunks)];
    expect(dropped).toMatchObject({ kind: "lock-dropped", lockClass: "page", pfn: page });
    expect(taken).toEqual({ ...dropped, kind: "lock-taken" });
    expect(handled).toMatchObject({ kind: "ipi-handled", space: NONE, flush: 0 });
    expect(retried).toMatchObject({ kind: "guest-fault-retried", space: NONE, listener: NONE });
    expect(rest).toEqual([]);
  });

  test("is what the root of a new address space holds, if the file has something else there", () => {
    const scene = new Scene();
    const chunks: Uint8Array[] = [];
    const recorder = new Recorder(scene.kernel, (bytes) => chunks.push(bytes));
    const mm = scene.kernel.createMm("new");
    recorder.stop();
    const [linked, created] = [...readRecords(chunks)];
    expect(created).toMatchObject({ kind: "address-space-created", root: mm.pgd, space: mm.id });
    expect(linked).toMatchObject({
      kind: "table-linked",
      pfn: mm.pgd / 4096,
      level: 4,
      slot: NONE,
      space: NONE,
    });
  });

  test("is an introduction of an agent who acts without one", () => {
    const { machine, kinds } = looseTable();
    machine.records.agent = 99;
    machine.cpu(0).invlpg(0);
    machine.records.agent = 0;
    machine.records.flush = 5;
    machine.cpu(0).invlpg(0);
    expect(kinds()).toEqual(["agent-introduced", "invalidated", "invalidated"]);
  });
});

test("a recorder that has stopped hears nothing, and says nothing twice", () => {
  const machine = new Machine({ memory: "1MiB" });
  const chunks: Uint8Array[] = [];
  const recorder = new Recorder(machine, (bytes) => chunks.push(bytes));
  machine.cpu(0).invlpg(0);
  recorder.stop();
  const { length } = chunks;
  machine.cpu(0).invlpg(0);
  recorder.stop();
  expect(chunks.length).toBe(length);
  expect(machine.records.live).toBe(false);
  expect([...readRecords(chunks)].map(({ kind }) => kind)).toEqual(["invalidated"]);
});
