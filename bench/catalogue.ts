import type { Benchmark } from "./benchmark.ts";
import { decodeBenchmark } from "./decode.ts";
import { dumpBenchmark, scatteredDumpBenchmark } from "./dump.ts";
import { m1Benchmark } from "./m1.ts";
import { bigintWalkBenchmark } from "./rejected/bigint-walk.ts";
import { dataviewWalkBenchmark } from "./rejected/dataview-walk.ts";
import { doubleWalkBenchmark } from "./rejected/double-walk.ts";
import { tlbHitBenchmark } from "./tlb-hit.ts";
import { storeBenchmark, tlbMissBenchmark } from "./tlb-miss.ts";
import { walkBenchmark } from "./walk.ts";

/** The claims in the order in which they run, then the designs that were rejected. */
export const BENCHMARKS: readonly Benchmark[] = [
  walkBenchmark,
  tlbHitBenchmark,
  tlbMissBenchmark,
  storeBenchmark,
  m1Benchmark,
  dumpBenchmark,
  scatteredDumpBenchmark,
  decodeBenchmark,
  dataviewWalkBenchmark,
  doubleWalkBenchmark,
  bigintWalkBenchmark,
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
