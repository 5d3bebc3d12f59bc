import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { buildSync } from "esbuild";
import { describe, expect, test } from "vitest";
import { Entry, Machine } from "../../../../src/package/cpu.ts";
import type { Task } from "./shared-memory-worker.ts";

const LINEAR = 0x7f00_0000_0000;
const PAGES = 64;
const ROUNDS = 60;

/** Two levels of tables and a page table, with PAGES pages at 2 MiB and one more for a counter. */
function shared(): { machine: Machine; memory: SharedArrayBuffer } {
  const memory = new SharedArrayBuffer(0x40_0000);
  const machine = new Machine({ memory });
  machine.storeEntry(0x1000 + 8 * 0xfe, 0x2007, 0, null);
  machine.storeEntry(0x2000, 0x3007, 0, null);
  machine.storeEntry(0x3000, 0x4007, 0, null);
  for (let i = 0; i <= PAGES; i++) machine.storeEntry(0x4000 + 8 * i, (0x20_0000 + i * 4096) | 7, 0, null);
  machine.cpu(0).loadCr3(0x1000);
  return { machine, memory };
}

describe("memory that threads share", () => {
  test("two threads set A and D in entries that one of them changes: no store is lost", async () => {
    const { machine, memory } = shared();
    const gate = new SharedArrayBuffer(8);
    const place = { root: 0x1000, table: 0x4000, linear: LINEAR, counter: LINEAR + PAGES * 4096 };
    const entryPoints = [join(import.meta.dirname, "shared-memory-worker.ts")];
    const built = buildSync({ entryPoints, bundle: true, write: false, platform: "node" });
    const code = built.outputFiles[0]!.text;
    const workers = [0, 1].map((thread) => {
      const workerData: Task = { memory, gate, thread, rounds: ROUNDS, pages: PAGES, ...place };
      return new Worker(code, { workerData, eval: true });
    });
    const lost = await Promise.all(workers.map(async (worker) => (await once(worker, "message"))[0]));
    expect(lost).toEqual([0, 0]);
    expect(machine.memory.read(0x20_0000 + PAGES * 4096).toBigInt()).toBe(BigInt(2 * ROUNDS * PAGES));
  });

  test("what is set already is not stored again", () => {
    const { machine } = shared();
    const cpu = machine.cpu(0);
    let updates = 0;
    cpu.walkOptions = { ...cpu.walkOptions, updated: () => updates++ };
    cpu.store(LINEAR, 1n);
    expect(updates).toBe(4);
    cpu.invlpg(LINEAR);
    cpu.store(LINEAR, 2n);
    expect([updates, cpu.tlbHit]).toEqual([4, false]);
  });

  test("behaves as memory of one's own", () => {
    const { machine } = shared();
    const cpu = machine.cpu(0);
    const { memory } = machine;
    cpu.store(LINEAR + 1, 0x1122_3344_5566_7788n);
    expect(cpu.load(LINEAR + 1)).toMatchObject({ value: 0x1122_3344_5566_7788n });
    expect(cpu.load(LINEAR, 16)).toMatchObject({ value: 0x11_2233_4455_6677_8800n });
    expect(cpu.readModifyWrite(LINEAR + 2, (old) => old + 0x1_0001n, 2)).toMatchObject({ value: 0x6677n });
    expect(cpu.load(LINEAR + 2, 2)).toMatchObject({ value: 0x6678n });
    expect(machine.exchangeEntry(0x4000, 0x5007, 1, 0).lo).toBe(0x20_0067);
    expect(machine.compareExchangeEntry(0x4000, new Entry(0x5007, 0), new Entry(0, 0), 0)).toBe(false);
    expect(memory.read(0x4000).toString()).toBe("0x0000000100005007");
    memory.clear(0x4000, 8);
    expect([memory.readLo(0x4000), memory.readHi(0x4000)]).toEqual([0, 0]);
    expect(memory.tableWords(4 as never)[2]).toBe(0x20_1007);
  });
});
