import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { describeInput, inScratch, judge, type Trial } from "./execute.ts";
import { type Commands, inputOf } from "./inputs.ts";

const ROOT = resolve(import.meta.dirname, "../..");
/** Seconds of CPU after which a program hangs (ulimit -t), and milliseconds after which it does even without any. */
const MOST_CPU = 10;
const PATIENCE = 120_000;
const MEBIBYTE = 1024;
const MAX_BUFFER = 2 ** 26;
/** Writes the program's peak of memory to descriptor 3 when it ends. */
const METER = `data:text/javascript,${encodeURIComponent(
  'import { writeSync } from "node:fs"; process.on("exit", () => writeSync(3, String(process.resourceUsage().maxRSS)));',
)}`;

/** Where standard output goes: somebody reads it, there is no room, or whoever read it has gone. */
const READ = 'exec "$@"';
const FULL = 'exec "$@" >/dev/full';
const CLOSED = 'set -o pipefail; "$@" | true';
const OUTPUTS = [READ, READ, READ, FULL, CLOSED] as const;

/** Makes the program as a package has it, in a directory; returns its main file. */
export async function buildProgram(directory: string): Promise<string> {
  const out = join(directory, "src/cli");
  mkdirSync(out, { recursive: true });
  cpSync(join(ROOT, "package.json"), join(directory, "package.json"));
  await build({
    entryPoints: [join(ROOT, "src/cli/main.ts")],
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    outdir: out,
    logLevel: "error",
  });
  return join(out, "main.js");
}

/** Runs one input as a process of its own, with its output read, closed too early, or on a full device. */
export async function runProgram(
  seed: number,
  number: number,
  commands: Commands,
  program: string,
  begin: (what: string) => void,
): Promise<{ readonly trial: Trial; readonly memory: number }> {
  return await inScratch(async (directory) => {
    const input = inputOf(seed, number, directory, commands);
    const shell = OUTPUTS[number % OUTPUTS.length]!;
    const what = `${describeInput(input)}  [${shell}]`;
    begin(what);
    if (!("args" in input)) return { trial: { kind: input.kind, what, status: 0, fault: null }, memory: 0 };
    const node = [process.execPath, "--import", METER, program, ...input.args];
    const meter = join(directory, "meter");
    const { status, signal, stdout, stderr, error } = spawnSync(
      "bash",
      ["-c", `ulimit -t ${MOST_CPU}; exec 3>${JSON.stringify(meter)}; ${shell}`, "sh", ...node],
      {
        timeout: PATIENCE,
        killSignal: "SIGKILL",
        maxBuffer: MAX_BUFFER,
        stdio: ["ignore", "pipe", "pipe"],
        encoding: "utf8",
      },
    );
    const memory = Number(readFileSync(meter, "utf8")) / MEBIBYTE;
    const fault =
      error !== undefined || signal !== null
        ? `the process ended by ${signal ?? error?.message}`
        : judge(input, { status: status ?? -1, output: stdout, errors: stderr }, false, directory);
    return { trial: { kind: `${input.kind}, own process`, what, status: status ?? -1, fault }, memory };
  });
}
