/** Work that is set up and can be repeated: every `run` does the same `operations`, at least a thousand accesses. */
export interface Workload {
  readonly operations: number;
  /**
   * Does the work once. What it returns is made of what the operations found, so none of them can be left out; once
   * the first run has set A and D it is the same each time, and the reference must return it too.
   */
  run(): number | Promise<number>;
}

/**
 * What a benchmark is for: a claim; a miss through one TLB; a design that was rejected for a claim; a prototype that stands
 * beside one.
 */
export type BenchmarkGroup = "claim" | "translate" | "rejected" | "prototype";

/** One claim, or what stands beside one. */
export interface Benchmark {
  readonly name: string;
  readonly group: BenchmarkGroup;
  /** What one operation is. */
  readonly operation: string;
  /** The work of that name in the reference program; null when it has none. */
  readonly reference: string | null;
  /** The name of the claim that this is another form of; null for what stands for itself. */
  readonly insteadOf: string | null;
  prepare(): Workload;
}

/** Nanoseconds of CPU time that one operation takes. */
export interface Cost {
  /** The least of the samples: what else the machine does only adds to it. */
  readonly nsPerOp: number;
  readonly medianNsPerOp: number;
}

/** What our program and the reference need, in samples taken in turns. */
export interface Result extends Cost {
  readonly name: string;
  readonly opsPerSecond: number;
  readonly samples: number;
  readonly reference: (Cost & { readonly compiler: string }) | null;
}
