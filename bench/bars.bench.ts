import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { BARS, type Bar } from "./bars.ts";

const ONE = fileURLToPath(new URL("./one-bar.ts", import.meta.url));
/** The least of some runs: what else the machine does only adds to it. */
const ROUNDS = 3;

/** What one run cost: CPU seconds of an operation, and the most memory of the whole process. */
interface Cost {
  readonly seconds: number;
  readonly mebibytes: number;
}

/** The program as users run it: built, not by way of a TypeScript loader, which names every closure as it is made. */
function build(folder: string): string {
  const outfile = join(folder, "one-bar.mjs");
  // Of the libraries some are CommonJS, and ask for Node's own modules by require.
  const js = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';
  buildSync({ entryPoints: [ONE], bundle: true, platform: "node", format: "esm", outfile, banner: { js } });
  return outfile;
}

async function costOf(program: string, { name }: Bar): Promise<Cost> {
  const child = fork(program, [name], { execArgv: [], stdio: ["ignore", 2, 2, "ipc"] });
  let cost: Cost | undefined;
  child.on("message", (message) => {
    cost = message as Cost;
  });
  const [status] = (await once(child, "close")) as [number | null];
  if (status !== 0 || cost === undefined) throw new Error(`${name} failed`);
  return cost;
}

function time(seconds: number): string {
  return seconds < 1e-3 ? `${(seconds * 1e6).toFixed(1)} us` : `${seconds.toFixed(2)} s`;
}

function bars({ seconds, mebibytes }: Bar): string {
  const promised = [
    ...(seconds === null ? [] : [time(seconds)]),
    ...(mebibytes === null ? [] : [`${mebibytes} MiB`]),
  ];
  return promised.length === 0 ? "nothing promised" : `at most ${promised.join(", ")}`;
}

/** What single pieces of work cost from a cold start, beside what they may. */
export default async function barsBench(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bars-"));
  try {
    const program = build(folder);
    await measureAll(program);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function measureAll(program: string): Promise<void> {
  console.log(`\nCPU time from a cold start, the least of ${ROUNDS}, and peak memory`);
  const width = Math.max(...BARS.map(({ what }) => what.length));
  for (const bar of BARS) {
    const costs: Cost[] = [];
    for (let round = 0; round < ROUNDS; round++) costs.push(await costOf(program, bar));
    const seconds = Math.min(...costs.map((cost) => cost.seconds));
    const mebibytes = Math.min(...costs.map((cost) => cost.mebibytes));
    const over =
      seconds > (bar.seconds ?? Number.POSITIVE_INFINITY) ||
      mebibytes > (bar.mebibytes ?? Number.POSITIVE_INFINITY);
    const verdict = over ? ": MISSED" : "";
    console.log(
      `  ${bar.what.padEnd(width)}  ${time(seconds).padStart(9)}  ${mebibytes.toFixed(0).padStart(4)} MiB  ${bars(bar)}${verdict}`,
    );
  }
}
