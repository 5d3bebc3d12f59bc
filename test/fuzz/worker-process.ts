import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Answer, Order } from "./worker.ts";

/** Milliseconds of CPU after which an input hangs. */
const PATIENCE = 10_000;
/** So many times its patience a worker may do nothing: it waits for a program, or for its turn on a busy machine. */
const IDLE = 12;
/** Milliseconds between two looks at a worker. */
const LOOK = 500;
/** Milliseconds of a clock tick of /proc/PID/stat (proc(5)): USER_HZ is 100 on x86. */
const TICK = 10;
/** The heap of a worker, MiB: an input that needs more ends it. */
const HEAP = 256;
/** Characters kept of what it prints. */
const MOST_SAID = 2000;

/** What became of an order: an answer, or why there is none and what was being run. */
export type Reply = Answer | { readonly what: string; readonly died: string };

/** A process that runs one input after the other. */
export class WorkerProcess {
  /** What it has printed, which nothing should: the commands are given a terminal. */
  said = "";
  readonly #child: ChildProcess;
  readonly #messages: unknown[] = [];
  #end: string | null = null;
  #wake: () => void = () => {};

  /** Starts one whose files go below a directory. */
  constructor(directory: string) {
    this.#child = fork(join(import.meta.dirname, "worker.ts"), {
      execArgv: ["--import", import.meta.resolve("tsx"), `--max-old-space-size=${HEAP}`],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, TMPDIR: directory },
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on("data", (bytes: Buffer) => {
        this.said = (this.said + bytes.toString()).slice(-MOST_SAID);
      });
    }
    this.#child.on("message", (message) => {
      this.#messages.push(message);
      this.#wake();
    });
    this.#child.on("exit", (status, signal) => {
      this.#end = `the process ended (${signal ?? status})`;
      this.#wake();
    });
  }

  /** Has an input run. After anything but an answer the process is of no more use. */
  async run(order: Order): Promise<Reply> {
    this.said = "";
    this.#child.send(order, () => {});
    let what = "a worker that starts";
    for (;;) {
      const message = await this.#next();
      if (message === null) return { what, died: this.#end ?? `no end within ${PATIENCE / 1000} s` };
      if (typeof message === "object") return message as Answer;
      what = String(message);
    }
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }

  /** The next message; null when it has ended, or hangs. */
  async #next(): Promise<unknown> {
    const before = this.#cpu();
    for (let waited = 0; this.#messages.length === 0; waited += LOOK) {
      if (this.#end !== null || waited > IDLE * PATIENCE || this.#cpu() - before > PATIENCE) return null;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#messages.shift();
  }

  /** Milliseconds of CPU that it has had; NaN where the system does not say. */
  #cpu(): number {
    try {
      const stat = readFileSync(`/proc/${this.#child.pid}/stat`, "latin1");
      const fields = stat.replace(/^.*\) /s, "").split(" ");
      return (Number(fields[11]) + Number(fields[12])) * TICK;
    } catch {
      return Number.NaN;
    }
  }
}
