/**
 * Gives the command line, and the reader of records, inputs that a seed decides: files of every kind, whole and damaged,
 * tables that point at themselves, adapters that answer garbage or nothing, options of all commands with values that suit
 * or do not, names that try to move the cursor. Nothing may come of them but status 0, 1 or 2, one line for what is wrong,
 * no character that a terminal acts on, within 10 s and 400 MiB.
 *
 *     npm run test:fuzz -- [--seed S] [--count N] [--from I] [--processes P]
 *
 * P of the inputs are run again as programs of their own, some of them on a full device or with their reader gone. Ends
 * with status 1 if anything was found, and says how to run it again.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { jsonText } from "../../src/text/escape.ts";
import { buildProgram } from "./program.ts";
import type { Answer, Order } from "./worker.ts";
import { WorkerProcess } from "./worker-process.ts";

const MAX_MEMORY = 400;
const MAX_SHOWN = 40;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "20000" },
    from: { type: "string", default: "0" },
    processes: { type: "string", default: "300" },
    workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
  },
});
const number = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new RangeError(`${text}: give a whole number`);
  return Number(text);
};
const seed = number(values.seed);
const from = number(values.from);
const count = number(values.count);
const processes = Math.min(count, number(values.processes));

function* tasks(program: string): Generator<Order> {
  for (let i = from; i < from + count; i++) yield { seed, number: i, program: null };
  for (let i = 0; i < processes; i++) {
    const chosen = from + Math.floor((i * count) / processes);
    yield { seed, number: chosen, program };
  }
}

/** Inputs by kind and exit status. */
const counts = new Map<string, Map<number, number>>();
const faults: string[] = [];
let peak = 0;
let cpu = 0;

function found(task: Order, what: string, fault: string): void {
  const own = task.program === null ? "" : " (own process)";
  const again = `npm run test:fuzz -- --seed ${seed} --from ${task.number} --count 1`;
  faults.push(fault);
  if (faults.length <= MAX_SHOWN) console.log(`input ${task.number}${own}: ${fault}\n  ${what}\n  ${again}`);
}

/** Works through the tasks in one process after the other: one that hangs, ends or grows is replaced. */
async function work(queue: Iterator<Order>): Promise<void> {
  // What goes wrong in a process that has done much else has to go wrong in a fresh one, too.
  let again = false;
  for (let task = queue.next(); !task.done; ) {
    const worker = new WorkerProcess(directory);
    let seconds = 0;
    let fresh = true;
    for (let usable = true; usable && !task.done; fresh = false) {
      const reply = await worker.run(task.value);
      const grown = "trial" in reply && reply.memory > MAX_MEMORY;
      usable = "trial" in reply && !grown;
      if (!usable && !fresh && !again) {
        again = true;
        break;
      }
      if ("trial" in reply) {
        tell(reply, worker.said, task.value);
        seconds = reply.cpu;
      } else found(task.value, `${reply.what}\n  ${worker.said.trim()}`, reply.died);
      again = false;
      task = queue.next();
    }
    cpu += seconds;
    worker.stop();
  }
}

function tell({ trial, memory }: Answer, said: string, task: Order): void {
  const outcomes = counts.get(trial.kind) ?? new Map<number, number>();
  counts.set(trial.kind, outcomes.set(trial.status, (outcomes.get(trial.status) ?? 0) + 1));
  peak = Math.max(peak, memory);
  if (trial.fault !== null) found(task, trial.what, trial.fault);
  else if (said !== "") found(task, trial.what, `it printed by itself: ${jsonText(said)}`);
  else if (memory > MAX_MEMORY) found(task, trial.what, `${Math.round(memory)} MiB of memory`);
}

const begun = process.hrtime.bigint();
const directory = mkdtempSync(join(tmpdir(), "ptescope-fuzz-"));
try {
  const queue = tasks(processes > 0 ? await buildProgram(join(directory, "program")) : "");
  await Promise.all(Array.from({ length: number(values.workers) }, () => work(queue)));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const wall = Number((process.hrtime.bigint() - begun) / 1_000_000n) / 1000;
console.log(`seed ${seed}, inputs ${from} to ${from + count - 1}`);
for (const [kind, outcomes] of [...counts].sort()) {
  const statuses = [...outcomes].sort().map(([status, times]) => `${times} of status ${status}`);
  console.log(`  ${kind}: ${statuses.join(", ")}`);
}
console.log(
  `${wall.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU in the workers; at most ${Math.round(peak)} MiB; ${faults.length} found`,
);
process.exitCode = faults.length > 0 ? 1 : 0;
