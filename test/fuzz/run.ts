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
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildProgram } from "./program.ts";
import type { Answer, Order } from "./worker.ts";

const MAX_MEMORY = 400;
/** Milliseconds of CPU after which an input hangs. */
const PATIENCE = 10_000;
const MAX_SHOWN = 40;
/** Milliseconds between two looks at a worker. */
const LOOK = 500;
/** So many times its patience a worker may do nothing. */
const IDLE = 12;
/** Milliseconds of a clock tick of /proc/PID/stat (proc(5)): USER_HZ is 100 on x86. */
const TICK = 10;
/** The heap of a worker, MiB: an input that needs more ends it. */
const HEAP = 256;

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

const counts = new Map<string, number>();
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
  for (let task = queue.next(); !task.done; ) {
    const child = fork(join(import.meta.dirname, "worker.ts"), {
      execArgv: ["--import", import.meta.resolve("tsx"), `--max-old-space-size=${HEAP}`],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, TMPDIR: directory },
    });
    let said = "";
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on("data", (bytes: Buffer) => {
        said = (said + bytes.toString()).slice(-2000);
      });
    }
    await reply(child);
    let seconds = 0;
    while (!task.done) {
      said = "";
      child.send({ seed, number: task.value.number, program: task.value.program } satisfies Order);
      const what = await reply(child);
      const answer = await reply(child);
      if (!isAnswer(answer)) {
        found(task.value, `${what}\n  ${said.trim()}`, String(answer));
        task = queue.next();
        break;
      }
      const { trial, memory } = answer;
      counts.set(trial.kind, (counts.get(trial.kind) ?? 0) + 1);
      peak = Math.max(peak, memory);
      seconds = answer.cpu;
      if (trial.fault !== null) found(task.value, trial.what, trial.fault);
      else if (said !== "") found(task.value, trial.what, `it printed by itself: ${JSON.stringify(said)}`);
      else if (memory > MAX_MEMORY) found(task.value, trial.what, `${Math.round(memory)} MiB of memory`);
      const grown = memory > MAX_MEMORY && task.value.program === null;
      task = queue.next();
      if (grown) break;
    }
    cpu += seconds;
    child.kill("SIGKILL");
  }
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === "object" && value !== null && "trial" in value;
}

/** The next message of a worker, or what came instead. */
function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => {
    const before = cpuOf(child);
    const settle = (value: unknown): void => {
      clearInterval(timer);
      child.off("message", settle);
      child.off("exit", ended);
      resolve(value);
    };
    const ended = (status: number | null, signal: string | null): void =>
      settle(`the process ended (${signal ?? status})`);
    let waited = 0;
    const timer = setInterval(() => {
      waited += LOOK;
      // On a busy machine an input may wait for its turn: what it has used counts, while that is known.
      const used = cpuOf(child) - before;
      if (used > PATIENCE || waited > IDLE * PATIENCE) settle(`no end within ${PATIENCE / 1000} s`);
    }, LOOK);
    child.on("message", settle);
    child.on("exit", ended);
  });
}

/** Milliseconds of CPU that a process has had; NaN where the system does not say. */
function cpuOf({ pid }: ChildProcess): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK;
  } catch {
    return Number.NaN;
  }
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
const kinds = [...counts].sort().map(([kind, times]) => `${kind} ${times}`);
console.log(`seed ${seed}, inputs ${from} to ${from + count - 1}: ${kinds.join(", ")}`);
console.log(
  `${wall.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU in the workers; at most ${Math.round(peak)} MiB; ${faults.length} found`,
);
process.exitCode = faults.length > 0 ? 1 : 0;
