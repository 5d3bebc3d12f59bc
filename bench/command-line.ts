import { parseArgs } from "node:util";
import type { BenchmarkGroup } from "./benchmark.ts";
import { BENCHMARKS, SUITES } from "./catalogue.ts";

/** What a command line asks for. */
export interface Request {
  /** Names of benchmarks, in their own order. */
  readonly benchmarks: readonly string[];
  readonly suites: readonly string[];
  readonly json: boolean;
  /** The page to write, or null. */
  readonly write: string | null;
  /** Most samples of a benchmark. */
  readonly samples: number;
  readonly help: boolean;
}

/** What a person got wrong: one line. */
export class UsageError extends Error {}

const MOST_SAMPLES = 201;

export const HELP = `npm run bench -- [NAME,...] [--only NAME,...] [--json] [--write FILE] [--samples N]

  --only NAME,...  these alone: ${names("claim").join(", ")};
                   a miss through each TLB: ${names("translate").join(", ")};
                   designs that were rejected: ${names("rejected").join(", ")};
                   prototypes in WebAssembly: ${names("prototype").join(", ")};
                   tables of their own: ${Object.keys(SUITES).join(", ")}
                   (default: all but the last, with --json the claims alone)
  --json           the results as one line of JSON, nothing else on standard output
  --write FILE     the results as a page, with the machine that they came from
  --samples N      at most N samples of each (default and most ${MOST_SAMPLES})
`;

const OPTIONS = {
  only: { type: "string", multiple: true },
  json: { type: "boolean" },
  write: { type: "string" },
  samples: { type: "string" },
  help: { type: "boolean" },
} as const;

/** Throws UsageError. */
export function parseCommandLine(args: readonly string[]): Request {
  const { values, positionals } = parse(args);
  const wanted = [...(values.only ?? []), ...positionals].flatMap((list) => list.split(","));
  checkNames(wanted);
  const { json = false, write = null, help = false } = values;
  const all = json ? names("claim") : namesOf(BENCHMARKS);
  const suites = Object.keys(SUITES).filter((name) => wanted.includes(name));
  if (json && suites.length > 0) throw new UsageError(`${suites.join(", ")}: no JSON there, drop --json`);
  if (json && write !== null) throw new UsageError("--json and --write: give one of them");
  return {
    benchmarks: wanted.length === 0 ? all : namesOf(BENCHMARKS).filter((name) => wanted.includes(name)),
    suites,
    json,
    write,
    samples: samplesOf(values.samples),
    help,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function checkNames(wanted: readonly string[]): void {
  const known = [...namesOf(BENCHMARKS), ...Object.keys(SUITES)];
  const unknown = wanted.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    const listed = unknown.map((name) => JSON.stringify(name)).join(", ");
    throw new UsageError(`unknown name ${listed}: known are ${known.join(", ")}`);
  }
}

function samplesOf(text = String(MOST_SAMPLES)): number {
  const samples = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (samples < 1 || samples > MOST_SAMPLES) {
    throw new UsageError(`--samples ${JSON.stringify(text)}: give a number from 1 to ${MOST_SAMPLES}`);
  }
  return samples;
}

function names(wanted: BenchmarkGroup): string[] {
  return namesOf(BENCHMARKS.filter(({ group }) => group === wanted));
}

function namesOf(benchmarks: readonly { readonly name: string }[]): string[] {
  return benchmarks.map(({ name }) => name);
}
