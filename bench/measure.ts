import type { Benchmark, Cost, Workload } from "./benchmark.ts";
import { ReferenceProcess } from "./reference.ts";

/** What a process that measures one benchmark is asked, as JSON in its argument. */
export interface Order {
  readonly name: string;
  /** The compiled reference, or null. */
  readonly program: string | null;
  readonly samples: number;
}

/** What it answers. */
export interface Measured {
  readonly ours: Cost;
  readonly samples: number;
  readonly reference: Cost | null;
}

/** One sample takes about this long, so that few are interrupted; less where one pass takes longer anyway. */
const SAMPLE_MS = 3;
const WARM_UP_MS = 500;
const MIN_WARM_UP_PASSES = 2;
/** No new sample begins behind this, once there are a few. */
const BUDGET_MS = 5000;
const MIN_SAMPLES = 5;

/**
 * Sets up a benchmark, warms it up, and takes samples of it and of the reference in turns: what slows the machine down
 * meanwhile slows both. Throws when the reference finds something else.
 */
export async function measure(benchmark: Benchmark, order: Order): Promise<Measured> {
  const workload = benchmark.prepare();
  const { checksum, passMs } = await warmUp(workload);
  const passes = Math.max(1, Math.round(SAMPLE_MS / passMs));
  const { reference } = benchmark;
  const other = order.program !== null && reference !== null ? new ReferenceProcess(order.program) : null;
  const ours: number[] = [];
  const theirs: number[] = [];
  try {
    const end = performance.now() + BUDGET_MS;
    while (ours.length < order.samples && (ours.length < MIN_SAMPLES || performance.now() < end)) {
      ours.push(await sample(workload, passes));
      if (other === null || reference === null) continue;
      const theirsNow = await other.sample(reference, passes);
      theirs.push(theirsNow.nsPerOp);
      if (theirsNow.checksum !== checksum >>> 0) {
        throw new Error(`${benchmark.name}: found ${checksum >>> 0}, the reference ${theirsNow.checksum}`);
      }
    }
  } finally {
    await other?.stop();
  }
  return { ours: costOf(ours), samples: ours.length, reference: other === null ? null : costOf(theirs) };
}

function costOf(samples: readonly number[]): Cost {
  return { nsPerOp: Math.min(...samples), medianNsPerOp: median(samples) };
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  if (low === undefined || high === undefined) throw new RangeError("median of no values");
  return (low + high) / 2;
}

async function warmUp(workload: Workload): Promise<{ checksum: number; passMs: number }> {
  const times: number[] = [];
  const end = performance.now() + WARM_UP_MS;
  let checksum = 0;
  while (times.length < MIN_WARM_UP_PASSES || performance.now() < end) {
    const begin = performance.now();
    checksum = await workload.run();
    times.push(performance.now() - begin);
  }
  return { checksum, passMs: Math.max(median(times), 1e-3) };
}

/**
 * Nanoseconds of CPU time, all threads of the process. One pass before they count: the other program has just had the
 * caches to itself.
 */
async function sample(workload: Workload, passes: number): Promise<number> {
  if (passes > 1) await workload.run();
  const begin = process.cpuUsage();
  for (let pass = 0; pass < passes; pass++) {
    const done = workload.run();
    if (typeof done !== "number") await done;
  }
  const { user, system } = process.cpuUsage(begin);
  return ((user + system) * 1e3) / (workload.operations * passes);
}
