import { fork } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Result } from "./benchmark.ts";
import { BENCHMARKS, SUITES } from "./catalogue.ts";
import { HELP, parseCommandLine, type Request, UsageError } from "./command-line.ts";
import type { Measured, Order } from "./measure.ts";
import { performancePage } from "./performance-page.ts";
import { compileReference, type Reference } from "./reference.ts";
import { resultHeader, resultLine } from "./result-line.ts";

const ONE = fileURLToPath(new URL("./one.ts", import.meta.url));

/** Measures one benchmark in a process of its own, whose standard output is ours for errors. */
async function measureApart(name: string, reference: Reference | null, samples: number): Promise<Result> {
  const order: Order = { name, program: reference?.program ?? null, samples };
  const child = fork(ONE, [JSON.stringify(order)], { stdio: ["ignore", 2, 2, "ipc"] });
  let measured: Measured | undefined;
  child.on("message", (message) => {
    measured = message as Measured;
  });
  const [status] = (await once(child, "close")) as [number | null];
  if (status !== 0 || measured === undefined) throw new Error(`${name} failed`);
  const { ours, samples: taken } = measured;
  const beside =
    reference === null || measured.reference === null
      ? null
      : { ...measured.reference, compiler: reference.compiler };
  return { name, ...ours, opsPerSecond: 1e9 / ours.nsPerOp, samples: taken, reference: beside };
}

async function measureAll(request: Request, reference: Reference | null): Promise<Result[]> {
  const results: Result[] = [];
  if (!request.json) console.log(resultHeader(request.benchmarks));
  for (const name of request.benchmarks) {
    const result = await measureApart(name, reference, request.samples);
    results.push(result);
    if (!request.json) console.log(resultLine(result, request.benchmarks));
  }
  return results;
}

async function run(request: Request): Promise<void> {
  if (request.help) {
    console.log(HELP);
    return;
  }
  if (!request.json) console.log(`Node ${process.version}, ${process.platform} ${process.arch}`);
  for (const name of request.suites) await (await SUITES[name]?.())?.default();
  if (request.benchmarks.length === 0) return;
  const reference = compileReference();
  try {
    const results = await measureAll(request, reference);
    if (request.json) console.log(JSON.stringify({ version: 1, results }));
    if (request.write !== null) {
      writeFileSync(request.write, performancePage(BENCHMARKS, results, reference?.compiler ?? null));
    }
  } finally {
    reference?.remove();
  }
}

try {
  await run(parseCommandLine(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 2;
}
