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

/**
 * A kernel function that can be interleaved with others: runs when resumed, returns T. Functions that are parts of others
 * may do what comes before their first stop when they are called, and return what is {@link finished} if they have none: they
 * are called where they are to run.
 */
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

/** A thread that comes to this instead of to its own result. */
export function comingTo<T>(thread: KernelThread<unknown>, value: T): KernelThread<T> {
  return thread instanceof Finished ? finished(value) : afterAll(thread, value);
}

function* afterAll<T>(thread: KernelThread<unknown>, value: T): KernelThread<T> {
  yield* thread;
  return value;
}

/**
 * A thread that goes through other threads, its parts, and has its place in fields: for what every page of reclaim goes
 * through, since a generator costs some 300 bytes. As with a generator nothing happens before it is first resumed.
 */
export abstract class PartByPart<T> {
  done = false;
  value: T | undefined = undefined;
  #part: KernelThread<unknown> | null = null;

  /** The first part, or null if nothing is to be done; {@link value} is set then. */
  protected abstract begin(): KernelThread<unknown> | null;
  /** The part after one that came to a result, or null at the end, with {@link value} set. */
  protected abstract follow(result: unknown): KernelThread<unknown> | null;
  /** It is over: it came to its end, or it threw or was stopped, in its beginning, too. */
  protected abstract leave(ended: boolean): void;

  get thread(): KernelThread<T> {
    return this as unknown as KernelThread<T>;
  }

  next(): IteratorResult<Step, T> {
    if (this.done) return this as IteratorResult<Step, T>;
    try {
      let part = this.#part ?? this.begin();
      while (part !== null) {
        this.#part = part;
        const came = part.next();
        if (!came.done) return came;
        part = this.follow(came.value);
      }
    } catch (error) {
      this.#end(false);
      throw error;
    }
    this.#end(true);
    return this as IteratorResult<Step, T>;
  }

  return(value: T): IteratorResult<Step, T> {
    if (this.done) return { done: true, value };
    try {
      const came = this.#part?.return(undefined);
      if (came?.done === false) return came;
    } catch (error) {
      this.#end(false);
      throw error;
    }
    if (this.#part !== null) this.#end(false);
    this.done = true;
    return { done: true, value };
  }

  throw(error: unknown): never {
    this.return(undefined as T);
    throw error;
  }

  [Symbol.iterator](): this {
    return this;
  }

  #end(ended: boolean): void {
    this.done = true;
    this.leave(ended);
  }
}

/** A thread that has nothing left to do, and no result. */
export const FINISHED: KernelThread<void> = finished(undefined);
