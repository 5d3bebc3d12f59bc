import benny from "benny";

/** One thing to measure: `run` does `operations` of it. */
export interface Case {
  readonly name: string;
  readonly operations: number;
  run(): void;
}

/** Measures the cases with benny, one after another, and prints nanoseconds per operation: median, and spread. */
export async function suite(title: string, cases: readonly Case[]): Promise<void> {
  console.log(`\n${title}`);
  const width = Math.max(...cases.map(({ name }) => name.length));
  for (const { name, operations, run } of cases) {
    const summary = await benny.suite(name, benny.add(name, run, { minSamples: 10 }));
    const result = summary.results[0];
    if (result === undefined) continue;
    const perOperation = (seconds: number) => ((seconds * 1e9) / operations).toFixed(1);
    const { median, standardDeviation } = result.details;
    console.log(
      `  ${name.padEnd(width)}  ${perOperation(median).padStart(9)} ns  (s.d. ${perOperation(standardDeviation)})`,
    );
  }
}
