import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { terminalOn } from "../../src/cli/output.ts";
import { OutputError } from "../../src/cli/output-error.ts";
import { runCommandLine } from "../../src/cli/run.ts";
import { FormatError } from "../../src/formats/format-error.ts";
import { jsonText } from "../../src/text/escape.ts";
import { type Commands, type Input, inputOf } from "./inputs.ts";
import { judgeFile } from "./records.ts";
import { faultOf, type Result } from "./verdict.ts";

/** Characters of output that somebody reads. */
const MOST_OUTPUT = 2 ** 20;

/** An input, and what was wrong with what it came to. */
export interface Trial {
  readonly kind: string;
  /** What was run, for a person. */
  readonly what: string;
  readonly status: number;
  readonly fault: string | null;
}

/** A directory of one input's own; the process stands in it meanwhile. */
export async function inScratch<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const before = process.cwd();
  const directory = mkdtempSync(join(tmpdir(), "ptescope-fuzz-"));
  process.chdir(directory);
  try {
    return await work(directory);
  } finally {
    process.chdir(before);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs one input in this process; `begin` is told what, before. */
export async function runInput(
  seed: number,
  number: number,
  commands: Commands,
  begin: (what: string) => void,
): Promise<Trial> {
  return await inScratch(async (directory) => {
    const input = inputOf(seed, number, directory, commands);
    const what = describeInput(input);
    begin(what);
    const colours = number % 2 === 1;
    const result = await resultOf(input, colours);
    return { kind: input.kind, what, status: result.status, fault: judge(input, result, colours, directory) };
  });
}

/** What an input runs. */
export function describeInput(input: Input): string {
  return "args" in input
    ? `ptescope ${input.args.map((word) => jsonText(word)).join(" ")}`
    : `${input.recording.length} bytes of records`;
}

/** What is wrong with what an input came to, its files included. */
export function judge(input: Input, result: Result, colours: boolean, directory: string): string | null {
  const args = "args" in input ? input.args : [];
  const json =
    args.includes("--json") && !args.some((word) => word === "--help" || word === "-h" || word === "--list");
  const left = readdirSync(directory).filter((name) => name.endsWith(".part"));
  if (left.length > 0) return `${left[0]} is left behind`;
  return faultOf(result, colours, json && args[0] !== "help");
}

async function resultOf(input: Input, colours: boolean): Promise<Result> {
  if (!("args" in input)) return recordsResult(input.recording, input.step);
  let output = "";
  let errors = "";
  const terminal = terminalOn({
    output: (text) => {
      output += text;
      if (output.length < MOST_OUTPUT) return Promise.resolve();
      return Promise.reject(new OutputError("standard output", { code: "EPIPE" }));
    },
    errors: (text) => {
      errors += text;
    },
    colours,
    live: false,
  });
  const status = await runCommandLine(input.args, terminal);
  return { status, output, errors };
}

function recordsResult(recording: Uint8Array, step: number): Result {
  try {
    return { status: 0, output: judgeFile(recording, step), errors: "" };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { status: 2, output: "", errors: `ptescope: ${error.message}\n` };
  }
}
