import type { KernelThread } from "../../arch/x86/mm/events.ts";
import type { Kernel, Task } from "../mm/kernel.ts";
import type { Random } from "./random.ts";

export interface ThreadOptions {
  /** How often the thread is chosen compared with others (default 1). */
  readonly weight?: number;
  /** A background actor: the run ends without waiting for it. */
  readonly daemon?: boolean;
}

interface SimThread {
  readonly task: Task;
  readonly body: KernelThread<unknown>;
  readonly weight: number;
  readonly daemon: boolean;
  /** Waited for a lock when it last ran, and nothing has moved since. */
  blocked: boolean;
}

/** Steps in which no thread but daemons moved, after which a run is called a deadlock. */
const STALLED = 200_000;

/**
 * Interleaves threads at their yields, and interrupts at the same places, in an order that the seed decides: the
 * one owner of everything that could happen in another order (design D7).
 */
export class Scheduler {
  readonly kernel: Kernel;
  readonly random: Random;
  readonly #threads: SimThread[] = [];
  #idleSteps = 0;

  constructor(kernel: Kernel, random: Random) {
    this.kernel = kernel;
    this.random = random;
  }

  /** Adds a thread; it first runs when chosen. */
  spawn(task: Task, body: KernelThread<unknown>, options: ThreadOptions = {}): void {
    this.#threads.push({
      task,
      body,
      weight: options.weight ?? 1,
      daemon: options.daemon ?? false,
      blocked: false,
    });
  }

  /** Runs until every thread but the daemons has ended; the daemons are stopped. Throws on a deadlock. */
  run(): void {
    const { kernel } = this;
    const before = kernel.current;
    kernel.contended = true;
    try {
      while (this.#threads.some((thread) => !thread.daemon)) this.#step();
    } finally {
      kernel.contended = false;
      kernel.current = before;
    }
    for (const thread of this.#threads) thread.body.return(undefined);
    this.#threads.length = 0;
    for (const cpu of kernel.machine.cpus) cpu.handleIpis();
  }

  #step(): void {
    const interrupted = this.kernel.machine.cpus.filter((cpu) => cpu.pendingIpis > 0);
    let total = interrupted.length;
    for (const thread of this.#threads) if (!thread.blocked) total += thread.weight;
    if (total === 0 || ++this.#idleSteps > STALLED) this.#stalled();
    let choice = this.random.below(total);
    for (const cpu of interrupted) {
      if (choice-- > 0) continue;
      cpu.handleIpis();
      this.#unblock();
      return;
    }
    for (const thread of this.#threads) {
      if (thread.blocked) continue;
      choice -= thread.weight;
      if (choice < 0) {
        this.#resume(thread);
        return;
      }
    }
  }

  #resume(thread: SimThread): void {
    this.kernel.current = thread.task;
    const step = thread.body.next();
    if (step.done) this.#threads.splice(this.#threads.indexOf(thread), 1);
    if (!step.done && step.value === "blocked") {
      thread.blocked = true;
      // With everyone waiting, one more round tells whether a lock is free again.
      if (this.#threads.every((each) => each.blocked)) this.#unblock();
      return;
    }
    if (!thread.daemon) this.#idleSteps = 0;
    this.#unblock();
  }

  /** Something moved: a lock may be free now. */
  #unblock(): void {
    for (const thread of this.#threads) thread.blocked = false;
  }

  #stalled(): never {
    const names = this.#threads
      .filter((thread) => !thread.daemon)
      .map((thread) => thread.task.name)
      .join(", ");
    const verb = names.includes(",") ? "wait for each other" : "waits for ever";
    throw new Error(`deadlock: ${names} ${verb} (seed ${this.random.seed})`);
  }
}
