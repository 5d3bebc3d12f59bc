/**
 * Where a kernel thread can be interrupted by another CPU. Kernel code that somebody else can observe half-done is a
 * generator: it yields *before* each such step and names it with what it touches; the scheduler decides who goes on.
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

const STEPS: Readonly<Record<StepKind, { readonly kind: StepKind; object: number }>> = {
  lock: { kind: "lock", object: 0 },
  unlock: { kind: "unlock", object: 0 },
  blocked: { kind: "blocked", object: 0 },
  entry: { kind: "entry", object: 0 },
  flush: { kind: "flush", object: 0 },
  "ipi-wait": { kind: "ipi-wait", object: 0 },
  notify: { kind: "notify", object: 0 },
  free: { kind: "free", object: 0 },
  io: { kind: "io", object: 0 },
  access: { kind: "access", object: 0 },
};

/** The step to yield. One object of each kind is used again and again: who keeps it longer than until the next copies it. */
export function step(kind: StepKind, object: number): Step {
  const made = STEPS[kind];
  made.object = object;
  return made;
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
