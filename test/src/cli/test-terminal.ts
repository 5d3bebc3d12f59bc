import { terminalOn } from "../../../src/cli/output.ts";
import { OutputError } from "../../../src/cli/output-error.ts";
import { runCommandLine } from "../../../src/cli/run.ts";

/** What a command line left behind. */
export interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a command line here, with the terminal's own lines; the reader goes away behind `most` characters. */
export async function runHere(args: readonly string[], most = Number.POSITIVE_INFINITY): Promise<Outcome> {
  let output = "";
  let errors = "";
  const terminal = terminalOn({
    output: (text) => {
      output += text;
      if (output.length < most) return Promise.resolve();
      return Promise.reject(new OutputError("standard output", { code: "EPIPE" }));
    },
    errors: (text) => {
      errors += text;
    },
    colours: false,
    live: false,
  });
  const status = await runCommandLine(args, terminal);
  return { status, output, errors };
}
