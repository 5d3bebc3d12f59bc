import type { Terminal } from "../../../src/cli/output.ts";
import { runCommandLine } from "../../../src/cli/run.ts";
import { plain } from "../../../src/text/paint.ts";

/** What a command line left behind. */
export interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a command line here; the reader goes away behind `most` characters. */
export async function runHere(args: readonly string[], most = Number.POSITIVE_INFINITY): Promise<Outcome> {
  let output = "";
  let errors = "";
  const terminal: Terminal = {
    write: (text) => {
      output += text;
      return Promise.resolve(output.length < most);
    },
    warn: (line) => {
      errors += `${line}\n`;
    },
    progress: () => {},
    paint: plain,
  };
  const status = await runCommandLine(args, terminal);
  return { status, output, errors };
}
