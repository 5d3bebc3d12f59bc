import { describe, expect, test } from "vitest";
import { Auditor } from "../../../src/audit/auditor.ts";
import {
  ACCESS_READ,
  type HardwareRecord,
  type HardwareRecordOf,
  OutcomeOracle,
  SparseMemory,
} from "../../../src/package/cpu.ts";
import { Recorder } from "../../../src/trace/recorder.ts";
import { Fixture, PAGE_A, PAGE_B, PDE, PTE, T } from "../../arch/x86/cpu/fixture.ts";

/** Where the page table of T is mapped, too. */
const TABLE = T + 0x1000;
const SLOT = TABLE + (PTE % 4096);

function scene(): { f: Fixture; records: HardwareRecord[] } {
  const f = new Fixture();
  f.set(PTE + 8, 0x10_2007n);
  return { f, records: [] };
}

function written(records: readonly HardwareRecord[]): HardwareRecordOf<"entry-written">[] {
  return records.filter((record) => record.kind === "entry-written");
}

describe("a CPU's store into a page table", () => {
  test("is an entry written for whoever says that the frame is a table", () => {
    const { f, records } = scene();
    const end = f.machine.records.listen((record) => records.push(record));
    f.cpu.store(SLOT, 0x11_1007n);
    expect(written(records)).toEqual([]);
    end();
    f.machine.records.listen(
      (record) => records.push(record),
      (pfn) => pfn === 0x102,
    );
    f.cpu.store(SLOT + 2, 0x12n, 1);
    f.cpu.store(T, 1n);
    expect(written(records)).toMatchObject([
      { cpu: 0, slot: PTE, oldLo: 0x11_1007, oldHi: 0, entryLo: 0x12_1007, entryHi: 0 },
    ]);
    expect(f.get(PTE)).toBe(0x12_1067n);
  });

  test("is one for each entry, as wide or crooked as it may be", () => {
    const { f, records } = scene();
    f.machine.records.listen(
      (record) => records.push(record),
      () => true,
    );
    f.cpu.store(TABLE + 0x800, (0x1111_0067n << 64n) | 0x2222_0067n, 16);
    f.cpu.store(TABLE + 0x806, 0xaabb_ccddn, 4);
    f.cpu.readModifyWrite(TABLE + 0x808, (old) => old + 1n, 2);
    expect(f.cpu.touch(TABLE + 0x810, true)).toBeNull();
    const base = PTE - (PTE % 4096) + 0x800;
    expect(written(records).map(({ slot, entryLo, entryHi }) => [slot - base, entryLo, entryHi])).toEqual([
      [0, 0x2222_0067, 0],
      [8, 0x1111_0067, 0],
      [0, 0x2222_0067, 0xccdd_0000 | 0],
      [8, 0x1111_aabb, 0],
      [8, 0x1111_aabc, 0],
      [16, 1, 0],
    ]);
    const last = records.slice(-2).map(({ kind }) => kind);
    expect(last).toEqual(["entry-written", "access"]);
  });

  test("is seen by the oracle", () => {
    const { f } = scene();
    const oracle = new OutcomeOracle(f.machine);
    f.machine.records.listen(oracle.observe, oracle.isTable);
    f.cpu.load(T);
    f.cpu.store(SLOT, BigInt(PAGE_B | 7));
    const allowed = () =>
      oracle.allowed(0, ACCESS_READ, T | 0, (T / 2 ** 32) | 0).map((each) => each.physical);
    expect(allowed()).toEqual([PAGE_B, PAGE_A]);
    f.cpu.invlpg(T);
    expect(allowed()).toEqual([PAGE_B]);
  });

  test("is written by a recorder", () => {
    const { f } = scene();
    const chunks: Uint8Array[] = [];
    const recorder = new Recorder(f.machine, (bytes) => chunks.push(bytes.slice()), { form: "text" });
    f.cpu.store(SLOT, BigInt(PAGE_B | 7));
    f.cpu.store(T, 1n);
    recorder.stop();
    const lines = Buffer.concat(chunks).toString().split("\n").slice(1);
    expect(lines.filter((line) => line.includes('"entry-written"'))).toHaveLength(1);
  });

  test("is seen by the auditor", () => {
    const { f } = scene();
    const auditor = new Auditor(f.machine);
    f.cpu.load(T);
    f.cpu.store(SLOT, BigInt(PAGE_B | 7));
    auditor.pageFreed((PAGE_A / 4096) as never);
    expect(auditor.findings.length).toBeGreaterThan(0);
    const kept = scene().f;
    const silent = new Auditor(kept.machine);
    kept.cpu.load(T);
    kept.cpu.store(SLOT, BigInt(PAGE_B | 7));
    kept.cpu.invlpg(T);
    silent.pageFreed((PAGE_A / 4096) as never);
    expect(silent.findings).toEqual([]);
  });
});

describe("tables beyond the buffer", () => {
  /** The last gibibyte below 2^40, which is all that the fixture's model has. */
  const HIGH = 2 ** 40 - 2 ** 30;

  test("are the auditor's, too, where the bus says that they are memory", () => {
    const f = new Fixture({ bus: new SparseMemory(HIGH) });
    const table = BigInt(HIGH);
    f.set(PDE, table | 7n).set(PDE + 8, table | 7n);
    f.set(HIGH + (PTE % 4096), BigInt(PAGE_A | 7)).set(HIGH + (PTE % 4096) + 8, table | 7n);
    const auditor = new Auditor(f.machine);
    f.cpu.load(T);
    expect(f.cpu.store(SLOT, BigInt(PAGE_B | 7))).toMatchObject({ ok: true, physical: HIGH + (PTE % 4096) });
    auditor.pageFreed((PAGE_A / 4096) as never);
    expect(auditor.findings.length).toBeGreaterThan(0);
  });

  test("are not looked for in devices", () => {
    const log: number[] = [];
    const read = (at: number): bigint => BigInt(log.push(at));
    const f = new Fixture({ bus: { read, write: () => {} } });
    f.set(PDE, BigInt(HIGH) | 7n);
    const auditor = new Auditor(f.machine);
    const recorder = new Recorder(f.machine, () => {});
    f.machine.storeEntry(PDE + 8, 0xc000_0007 | 0, 0xff, 0);
    recorder.stop();
    expect([log, auditor.findings]).toEqual([[], []]);
  });
});
