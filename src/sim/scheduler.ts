import { need, printed } from "../../arch/x86/cpu/argument.ts";
import {
  callable,
  flag,
  instance,
  numeral,
  optional,
  shape,
  text,
} from "../../arch/x86/cpu/argument-kinds.ts";
import type { Interleaver, KernelThread, Step } from "../../arch/x86/mm/step.ts";
import { Kernel as RunningKernel } from "../mm/kernel.ts";
import type { Kernel, Task } from "../mm/mm_types.ts";
import type { Dice } from "./draws.ts";

/** How a {@link Scheduler} treats a thread. */
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

const KERNEL = instance<Kernel>("kernel", RunningKernel);
const DICE = shape<Dice>("dice", { below: callable("below") });
const TASK = shape<Task>("task", { kernel: KERNEL, name: text("name") });
const THREAD = shape<KernelThread<unknown>>("thread", { next: callable("next"), return: callable("return") });
const OPTIONS = shape<ThreadOptions>("options of a thread", {
  weight: optional(
    numeral("weight", "a whole number from 1 on", (weight) => weight >= 1 && weight % 1 === 0),
  ),
  daemon: optional(flag("daemon")),
});

/**
 * Interleaves threads at their steps, and interrupts at the same places, in an order that dice decide: the
 * one owner of everything that could happen in another order.
 */
export class Scheduler implements Interleaver {
  readonly kernel: Kernel;
  readonly dice: Dice;
  readonly #threads: SimThread[] = [];
  /** Threads that the run waits for. */
  #awaited = 0;
  /** Threads that wait for a lock, and the weight of all others. */
  #blocked = 0;
  #readyWeight = 0;
  #idleSteps = 0;
  /** The thread that is being resumed, and who was chosen to go on after its step. */
  #running: SimThread | null = null;
  #next: SimThread | null = null;

  constructor(kernel: Kernel, dice: Dice) {
    this.kernel = need(KERNEL, kernel);
    this.dice = need(DICE, dice);
  }

  /** Adds a thread; it first runs when chosen. */
  spawn(task: Task, body: KernelThread<unknown>, options: ThreadOptions = {}): void {
    if (task?.kernel !== this.kernel) {
      need(TASK, task);
      throw new TypeError(`task ${printed(task)}: it is another kernel's`);
    }
    if (typeof body?.next !== "function") need(THREAD, body);
    const { weight = 1, daemon = false } = need(OPTIONS, options);
    this.#threads.push({ task, body, weight, daemon, blocked: false });
    this.#readyWeight += weight;
    if (!daemon) this.#awaited++;
  }

  /** Runs until every thread but the daemons has ended; the daemons are stopped. Throws on a deadlock. */
  run(): void {
    const { kernel } = this;
    const { current, interleaver } = kernel;
    kernel.contended = true;
    kernel.interleaver = this;
    try {
      while (this.#awaited > 0) {
        const thread = this.#next ?? this.#choose();
        this.#next = null;
        this.#resume(thread);
      }
    } finally {
      kernel.contended = false;
      kernel.interleaver = interleaver;
      for (const thread of this.#threads) thread.body.return(undefined);
      this.#threads.length = 0;
      this.#awaited = 0;
      this.#blocked = 0;
      this.#readyWeight = 0;
      this.#running = null;
      this.#next = null;
      kernel.current = current;
    }
    for (const cpu of kernel.machine.cpus) cpu.handleIpis();
  }

  /** The thread that runs has moved; who moves next is decided now, and it need not stop if it is the one. */
  goesOn(_step: Step): boolean {
    const running = this.#running;
    if (running === null) return false;
    this.#moved(running);
    const next = this.#choose();
    if (next === running) return true;
    this.#next = next;
    return false;
  }

  /** Lets interrupts be taken until a thread is chosen. */
  #choose(): SimThread {
    const { cpus } = this.kernel.machine;
    for (;;) {
      let interrupted = 0;
      for (let i = 0; i < cpus.length; i++) if (cpus[i]!.pendingIpis > 0) interrupted++;
      const total = interrupted + this.#readyWeight;
      if (total === 0 || ++this.#idleSteps > STALLED) this.#stalled();
      const choice = this.dice.below(total);
      if (choice >= interrupted) return this.#threadAt(choice - interrupted);
      const due = cpus.filter((cpu) => cpu.pendingIpis > 0);
      due[choice]!.handleIpis();
      this.#unblock();
    }
  }

  /** The thread at a place of the line in which each that is ready takes as many places as it weighs. */
  #threadAt(place: number): SimThread {
    let before = place;
    for (let i = 0; ; i++) {
      const thread = this.#threads[i]!;
      if (thread.blocked) continue;
      before -= thread.weight;
      if (before < 0) return thread;
    }
  }

  #resume(thread: SimThread): void {
    this.kernel.current = thread.task;
    this.#running = thread;
    const step = thread.body.next();
    this.#running = null;
    if (step.done) this.#ended(thread);
    else if (step.value.kind === "blocked") {
      thread.blocked = true;
      this.#blocked++;
      this.#readyWeight -= thread.weight;
      // With everyone waiting, one more round tells whether a lock is free again.
      if (this.#blocked === this.#threads.length) this.#unblock();
      return;
    }
    // Whoever stopped because another was chosen has been counted.
    if (this.#next === null) this.#moved(thread);
  }

  #moved(thread: SimThread): void {
    if (!thread.daemon) this.#idleSteps = 0;
    this.#unblock();
  }

  #ended(thread: SimThread): void {
    this.#threads.splice(this.#threads.indexOf(thread), 1);
    this.#readyWeight -= thread.weight;
    if (!thread.daemon) this.#awaited--;
  }

  /** Something moved: a lock may be free now. */
  #unblock(): void {
    if (this.#blocked === 0) return;
    for (const thread of this.#threads) {
      if (thread.blocked) this.#readyWeight += thread.weight;
      thread.blocked = false;
    }
    this.#blocked = 0;
  }

  #stalled(): never {
    const names = this.#threads
      .filter((thread) => !thread.daemon)
      .map((thread) => thread.task.name)
      .join(", ");
    const verb = names.includes(",") ? "wait for each other" : "waits for ever";
    throw new Error(`deadlock: ${names} ${verb} (seed ${this.dice.seed})`);
  }
}
