import { coloured, type Paint, plain } from "../text/paint.ts";

/** Where a command's words go. */
export interface Terminal {
  /** Writes to standard output. False when nobody reads any more: stop. */
  write(text: string): Promise<boolean>;
  /** Writes one line to standard error. */
  warn(line: string): void;
  /** Shows where long work stands, in place; nothing unless standard error is a terminal. "" wipes it. */
  progress(text: string): void;
  readonly paint: Paint;
}

/** Longest piece written at once. */
const CHUNK = 2 ** 16;
/** Lines between two looks at the progress. */
const PROGRESS_LINES = 2 ** 16;
/** Back to the first column, and erase to the end of the line (ECMA-48, 8.3.41). */
const WIPE = "\r\x1b[K";

/** Colour only on a terminal that does not say no (https://no-color.org). */
function wantsColour(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv): boolean {
  const refused = (environment.NO_COLOR ?? "") !== "" || environment.TERM === "dumb";
  return stream.isTTY === true && !refused;
}

/** The terminal of this process. A reader that goes away is no error: `ptescope dump ... | head`. */
export function processTerminal(): Terminal {
  const { stdout, stderr, env } = process;
  let open = true;
  let shown = false;
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    open = false;
  });
  const progress = (text: string): void => {
    if (stderr.isTTY !== true || (text === "" && !shown)) return;
    stderr.write(WIPE + text);
    shown = text !== "";
  };
  return {
    write: (text) => {
      if (!open) return Promise.resolve(false);
      progress("");
      return new Promise((resolve) => {
        stdout.write(text, (error) => resolve(error === null || error === undefined));
      });
    },
    warn: (line) => {
      progress("");
      stderr.write(`${line}\n`);
    },
    progress,
    paint: wantsColour(stdout, env) ? coloured : plain,
  };
}

/** How a stream of lines ended. */
export type LinesEnd = "complete" | "limit" | "closed";

/**
 * Writes lines in large pieces, at most `limit` of them, with `separator` between (and `last` behind the last one).
 * Says whether the lines ended, the limit was reached with more to come, or the reader went away.
 */
export async function writeLines(
  terminal: Terminal,
  lines: Iterable<string>,
  limit: number,
  separator = "\n",
  last = separator,
): Promise<LinesEnd> {
  let chunk = "";
  let count = 0;
  let end: LinesEnd = "complete";
  for (const line of lines) {
    if (count === limit) {
      end = "limit";
      break;
    }
    if (count > 0) chunk += separator;
    chunk += line;
    count++;
    if (count % PROGRESS_LINES === 0) terminal.progress(`${count} lines`);
    if (chunk.length < CHUNK) continue;
    if (!(await terminal.write(chunk))) return "closed";
    chunk = "";
  }
  terminal.progress("");
  if (count > 0) chunk += last;
  if (chunk !== "" && !(await terminal.write(chunk))) return "closed";
  return end;
}
