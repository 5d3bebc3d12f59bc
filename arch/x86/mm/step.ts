/**
 * Where a kernel thread can be interrupted by another CPU. Kernel code that somebody else can observe half-done is a
 * generator: it names each such step *before* it with what it touches, and the scheduler decides who goes on. Where that is
 * somebody else, it yields.
 */
export type StepKind =
  /** About to take a lock, or to let one go. The object is the lock. */
  | "lock"
  | "unlock"
  /** The lock is taken by another thread; yielded again until it is free. */
  | "blocked"
  /** About to store or exchange a page-table entry: its slot. */
  | "entry"
  /** About to flush: the address space, or NONE for a batch. */
  | "flush"
  /** Waiting until other CPUs have run the flush handler: the flush. */
  | "ipi-wait"
  /** About to tell listeners: the address space. */
  | "notify"
  /** About to free a page, or to hand one to a device: its frame. */
  | "free"
  | "io"
  /** About to load or store in user mode, in a guest or by a device: the frame or address, NONE when not chosen yet. */
  | "access";

/** What a thread is about to do, and to what, by the id that records have for it. */
export interface Step {
  readonly kind: StepKind;
  readonly object: number;
}

/** A kernel function that can be interleaved with others: runs when resumed, returns T. */
export type KernelThread<T> = Generator<Step, T, void>;

const named: { kind: StepKind; object: number } = { kind: "access", object: 0 };

/** The step that was named last, the one to yield. It is one object for all: who keeps it longer than until the next copies it. */
export const NEXT_STEP: Step = named;

/** Names the step to yield. */
export function step(kind: StepKind, object: number): Step {
  named.kind = kind;
  named.object = object;
  return named;
}

/** Decides in front of each step who goes on. */
export interface Interleaver {
  /** Whether it is the thread that runs: then the thread need not stop to be resumed at once. */
  goesOn(step: Step): boolean;
}

/** What tells a thread whether others may run. */
export interface Interleaved {
  /** Whether anything else could run: only then do threads stop. */
  readonly contended: boolean;
  /** Who is asked before; null: every thread stops at each step. */
  readonly interleaver: Interleaver | null;
}

/**
 * Whether a thread must stop in front of a step, for others to go first: it names the step, and yields it where it must.
 *
 *     if (stops(k, "entry", pte)) yield NEXT_STEP;
 */
export function stops(kernel: Interleaved, kind: StepKind, object: number): boolean {
  if (!kernel.contended) return false;
  const next = step(kind, object);
  return kernel.interleaver === null || !kernel.interleaver.goesOn(next);
}

/** A thread at its end, which holds what it came to. */
class Finished<T> {
  readonly done = true;
  readonly value: T;

  constructor(value: T) {
    this.value = value;
  }

  next(): this {
    return this;
  }

  return(): this {
    return this;
  }

  throw(error: unknown): never {
    throw error;
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** A thread that has nothing left to do: what a function returns that could finish its work at once. */
export function finished<T>(value: T): KernelThread<T> {
  return new Finished(value) as unknown as KernelThread<T>;
}

/** A thread that has nothing left to do, and no result. */
export const FINISHED: KernelThread<void> = finished(undefined);
