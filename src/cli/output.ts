import { randomUUID } from "node:crypto";
import { escapeText } from "../text/escape.ts";
import { coloured, type Paint, plain } from "../text/paint.ts";

/**
 * Where a command's words go. Whatever a line holds, it reaches the reader as one line: characters that a terminal would
 * act on are shown by number, colours of {@link Terminal.paint} excepted.
 */
export interface Terminal {
  /** Writes lines, given without their ends, to standard output. Throws OutputError when they cannot be written. */
  write(lines: readonly string[]): Promise<void>;
  /** Writes one line to standard error. */
  warn(line: string): void;
  /** Shows where long work stands, in place; nothing unless standard error is a terminal. "" wipes it. */
  progress(text: string): void;
  readonly paint: Paint;
}

/** What is below a terminal. */
export interface Streams {
  /** Takes text for standard output. Throws OutputError. */
  output(text: string): Promise<void>;
  /** Takes text for standard error, and never fails. */
  errors(text: string): void;
  /** Whether the output shows colours. */
  readonly colours: boolean;
  /** Whether standard error can be written over in place. */
  readonly live: boolean;
}

/** Characters of lines that are written at once. */
const CHUNK = 2 ** 16;
/** Lines between two looks at the progress. */
const PROGRESS_LINES = 2 ** 16;
/** Back to the first column, and erase to the end of the line (ECMA-48, 8.3.41). */
const WIPE = "\r\x1b[K";
const ESC = "\x1b";

/** A terminal that writes to these streams. */
export function terminalOn({ output, errors, colours, live }: Streams): Terminal {
  // In place of ESC: no file knows this word, so that it cannot have colours of its own.
  const mark = randomUUID();
  const painted: Paint = (tone, text) => coloured(tone, escapeText(text)).replaceAll(ESC, mark);
  const shown = colours ? (line: string) => escapeText(line).replaceAll(mark, ESC) : escapeText;
  let inPlace = false;
  const progress = (text: string): void => {
    if (!live || (text === "" && !inPlace)) return;
    errors(WIPE + escapeText(text));
    inPlace = text !== "";
  };
  return {
    write: async (lines) => {
      progress("");
      await output(`${lines.map(shown).join("\n")}\n`);
    },
    warn: (line) => {
      progress("");
      errors(`${escapeText(line)}\n`);
    },
    progress,
    paint: colours ? painted : plain,
  };
}

/** The lines of a text that ends with a newline, or without one. */
export function linesOf(text: string): string[] {
  return text.replace(/\n$/, "").split("\n");
}

/** How a listing ended: with all its lines, or at the limit with more to come. */
export type LinesEnd = "complete" | "limit";

/** Writes lines in large pieces, at most `limit` of them, with `separator` at the end of all but the last. */
export async function writeLines(
  terminal: Terminal,
  lines: Iterable<string>,
  limit: number,
  separator = "",
): Promise<LinesEnd> {
  let chunk: string[] = [];
  let length = 0;
  let count = 0;
  let end: LinesEnd = "complete";
  for (const line of lines) {
    if (count === limit) {
      end = "limit";
      break;
    }
    // Whether a line is the last is known when the next one comes.
    if (length >= CHUNK) {
      chunk[chunk.length - 1] += separator;
      await terminal.write(chunk);
      chunk = [];
      length = 0;
    } else if (chunk.length > 0) chunk[chunk.length - 1] += separator;
    chunk.push(line);
    length += line.length;
    count++;
    if (count % PROGRESS_LINES === 0) terminal.progress(`${count} lines`);
  }
  terminal.progress("");
  if (chunk.length > 0) await terminal.write(chunk);
  return end;
}
