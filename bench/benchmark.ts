/** Work that is set up and can be repeated: every `run` does the same `operations`, at least a thousand accesses. */
export interface Workload {
  readonly operations: number;
  /**
   * Does the work once. What it returns is made of what the operations found, so none of them can be left out; once
   * the first run has set A and D it is the same each time, and the reference must return it too.
   */
  run(): number | Promise<number>;
}

/** One claim, or a design that was rejected for it. */
export interface Benchmark {
  readonly name: string;
  /** What one operation is. */
  readonly operation: string;
  /** The work of that name in the reference program; null when it has none. */
  readonly reference: string | null;
  /** The name of the claim that this design was rejected for; null for a claim itself. */
  readonly rejectedFor: string | null;
  prepare(): Workload;
}

/** Nanoseconds by our program and by the reference, medians of samples taken in turns. */
export interface Result {
  readonly name: string;
  readonly nsPerOp: number;
  readonly opsPerSecond: number;
  /** How many samples the medians are of. */
  readonly samples: number;
  readonly reference: { readonly nsPerOp: number; readonly compiler: string } | null;
}
