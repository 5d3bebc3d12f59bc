import { parentPort, workerData } from "node:worker_threads";
import { Entry, Machine } from "../../../../src/package/cpu.ts";

/*
 * One of two threads over the same memory. Each round waits until both are there; then both write the same pages through
 * TLBs of their own, so that both set A and D, and one of them stores software bits into the entries at the same time.
 */

export interface Task {
  readonly memory: SharedArrayBuffer;
  readonly gate: SharedArrayBuffer;
  readonly thread: number;
  readonly rounds: number;
  readonly pages: number;
  readonly root: number;
  readonly table: number;
  readonly linear: number;
  readonly counter: number;
}

/** Software bits that thread 1 counts in: 63:52. */
const COUNT = 0x10_0000;
/** How often it does in each entry and round. */
const COUNTS = 16;

const task = workerData as Task;
const machine = new Machine({ memory: task.memory, tlb: "none" });
const cpu = machine.cpu(0);
const gate = new Int32Array(task.gate);
cpu.loadCr3(task.root);

function meet(round: number): void {
  Atomics.add(gate, 0, 1);
  Atomics.notify(gate, 0);
  for (let here = 0; here < 2 * (round + 1); here = Atomics.load(gate, 0)) Atomics.wait(gate, 0, here, 1);
}

/** Software's own locked cycle: counts, and clears A and D. */
function count(slot: number): void {
  for (;;) {
    const old = machine.memory.read(slot);
    const next = new Entry(old.lo & ~0x60, old.hi + COUNT);
    if (machine.compareExchangeEntry(slot, old, next, 0)) return;
  }
}

let lost = 0;
for (let round = 0; round < task.rounds; round++) {
  meet(2 * round);
  for (let i = 0; i < task.pages; i++) {
    const slot = task.table + 8 * i;
    for (let n = 0; n < COUNTS; n++) {
      if (task.thread === 1) count(slot);
      // The byte next to the other thread's.
      if (!cpu.store(task.linear + i * 4096 + task.thread, (round & 0x7f) + 1, 1).ok) lost++;
    }
    cpu.readModifyWrite(task.counter, (old) => old + 1n);
  }
  meet(2 * round + 1);
  for (let i = 0; i < task.pages; i++) {
    const { lo, hi } = machine.memory.read(task.table + 8 * i);
    // The last store of both came after the last count: D is set, and no count was undone.
    if ((lo & 0x61) !== 0x61 || hi >>> 20 !== (COUNTS * (round + 1)) % 0x1000) lost++;
    const at = 0x20_0000 + i * 4096;
    if (machine.memory.readByte(at) !== (round & 0x7f) + 1) lost++;
    if (machine.memory.readByte(at + 1) !== (round & 0x7f) + 1) lost++;
  }
}
parentPort!.postMessage(lost);
