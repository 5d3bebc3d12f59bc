import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { BARS } from "../bench/bars.ts";
import { BENCHMARKS } from "../bench/catalogue.ts";
import { parseCommandLine } from "../bench/command-line.ts";
import { bytesPerOperation } from "../bench/garbage.ts";
import { median } from "../bench/measure.ts";
import { exponentOf, GROWTHS } from "../bench/scale.ts";

/** Runs the bench as npm does; an empty PATH has no C compiler. */
function bench(args: readonly string[], path = process.env.PATH) {
  return spawnSync(process.execPath, ["--import", "tsx", "bench/run.ts", ...args], {
    encoding: "utf8",
    env: { ...process.env, PATH: path },
  });
}

describe("npm run bench", () => {
  test("--json prints the results asked for, and nothing else", () => {
    const { status, stdout, stderr } = bench(["--json", "--only", "decode,walk", "--samples", "2"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const report = JSON.parse(stdout);
    expect(report.version).toBe(1);
    expect(report.results.map(({ name }: { name: string }) => name)).toEqual(["walk", "decode"]);
    for (const result of report.results) {
      expect(Object.keys(result)).toEqual([
        "name",
        "nsPerOp",
        "medianNsPerOp",
        "opsPerSecond",
        "samples",
        "reference",
      ]);
      expect(result.nsPerOp).toBeLessThanOrEqual(result.medianNsPerOp);
      expect(result.opsPerSecond * result.nsPerOp).toBeCloseTo(1e9, -3);
      expect(result.samples).toBe(2);
    }
    const [walk, decode] = report.results;
    expect(decode.reference).toBeNull();
    if (walk.reference !== null)
      expect(Object.keys(walk.reference)).toEqual(["nsPerOp", "medianNsPerOp", "compiler"]);
  });

  test("without a C compiler there is no reference", () => {
    const { status, stdout } = bench(["--json", "--only", "tlb-hit", "--samples", "1"], "/nowhere");
    expect(status).toBe(0);
    expect(JSON.parse(stdout).results[0].reference).toBeNull();
  });

  test.each([
    { args: ["--only", "wlak"], says: /unknown name "wlak": known are walk, tlb-hit, hit-store, tlb-miss/ },
    { args: ["--frob"], says: /--frob/ },
    { args: ["--samples", "0"], says: /--samples "0": give a number from 1 to 201/ },
    { args: ["--json", "--only", "entry"], says: /entry: no JSON there/ },
  ])("$args is one line on standard error and exit status 2", ({ args, says }) => {
    const { status, stdout, stderr } = bench(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(says);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });
});

test("by default --json has the claims alone", () => {
  expect(parseCommandLine(["--json"]).benchmarks).toEqual([
    "walk",
    "tlb-hit",
    "hit-store",
    "tlb-miss",
    "store",
    "m1",
    "dump",
    "dump-scattered",
    "decode",
  ]);
  expect(parseCommandLine([]).benchmarks).toHaveLength(BENCHMARKS.length);
});

test.each([
  ["walk", 6],
  ["tlb-miss", 2],
])("the other forms of %s find what the chosen one finds", async (chosen, forms) => {
  const found: number[] = [];
  for (const { prepare, name, insteadOf } of BENCHMARKS) {
    if (name !== chosen && insteadOf !== chosen) continue;
    const workload = prepare();
    await workload.run();
    found.push(await workload.run());
  }
  expect(found).toHaveLength(forms);
  expect(new Set(found).size).toBe(1);
});

test.each(["m1", "switch-stale", "miss-amd-zen2"])("%s does what it says", async (name) => {
  const { operations, run } = BENCHMARKS.find((benchmark) => benchmark.name === name)!.prepare();
  await run();
  expect(operations).toBeGreaterThan(1000);
});

test.each(["core", "hostile", "kdump"])("what the bar %s measures can be done", async (name) => {
  const { operations, run, remove } = BARS.find((bar) => bar.name === name)!.prepare();
  try {
    await run();
  } finally {
    remove?.();
  }
  expect(operations).toBeGreaterThan(0);
});

test("a median is the middle value, or the mean of the two in the middle", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 2, 9])).toBe(3);
  expect(() => median([])).toThrow("median of no values");
});

test.each(GROWTHS.map(({ name }) => name))("what the bench of growth measures can be done: %s", (name) => {
  const { prepare, per } = GROWTHS.find((each) => each.name === name)!;
  prepare(per === "CPU" ? 2 : 16)();
});

test("an exponent is the power of the size that times follow", () => {
  expect(exponentOf([10, 100, 1000], [3, 30, 300])).toBeCloseTo(1, 9);
  expect(exponentOf([10, 20, 40], [1, 4, 16])).toBeCloseTo(2, 9);
});

test("allocated bytes are those of the operation", () => {
  let kept: unknown;
  const bytes = bytesPerOperation((number) => {
    kept = new Array(1000).fill(number);
  });
  expect(kept).toHaveLength(1000);
  expect(bytes).toBeGreaterThan(7000);
  expect(bytes).toBeLessThan(40_000);
});
