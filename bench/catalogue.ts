import type { Benchmark } from "./benchmark.ts";
import { decodeBenchmark } from "./decode.ts";
import { dumpBenchmark, scatteredDumpBenchmark } from "./dump.ts";
import { m1Benchmark } from "./m1.ts";
import { wasmMissBenchmark, wasmWalkBenchmark } from "./prototype/wasm.ts";
import { bigintWalkBenchmark } from "./rejected/bigint-walk.ts";
import { dataviewWalkBenchmark } from "./rejected/dataview-walk.ts";
import { doubleWalkBenchmark } from "./rejected/double-walk.ts";
import { loopWalkBenchmark } from "./rejected/loop-walk.ts";
import { hitStoreBenchmark, tlbHitBenchmark } from "./tlb-hit.ts";
import { storeBenchmark, tlbMissBenchmark } from "./tlb-miss.ts";
import { TRANSLATE_BENCHMARKS } from "./translate.ts";
import { walkBenchmark } from "./walk.ts";

/** The claims in the order in which they run, misses through every TLB, the designs that were rejected, the prototypes. */
export const BENCHMARKS: readonly Benchmark[] = [
  walkBenchmark,
  tlbHitBenchmark,
  hitStoreBenchmark,
  tlbMissBenchmark,
  storeBenchmark,
  m1Benchmark,
  dumpBenchmark,
  scatteredDumpBenchmark,
  decodeBenchmark,
  ...TRANSLATE_BENCHMARKS,
  loopWalkBenchmark,
  dataviewWalkBenchmark,
  doubleWalkBenchmark,
  bigintWalkBenchmark,
  wasmWalkBenchmark,
  wasmMissBenchmark,
];

/** Suites that print tables of their own. */
export const SUITES: Readonly<Record<string, () => Promise<{ default(): Promise<void> }>>> = {
  audit: () => import("./audit.bench.ts"),
  bars: () => import("./bars.bench.ts"),
  entry: () => import("./entry.bench.ts"),
  cpu: () => import("./cpu.bench.ts"),
  records: () => import("./records.bench.ts"),
  rmap: () => import("./rmap.bench.ts"),
  scale: () => import("./scale.bench.ts"),
};
