import { FormatError } from "../formats/format-error.ts";
import { openRegularFile } from "../formats/gzip.ts";
import { ReadBudget } from "../formats/read-budget.ts";

/** Longest line of a file of cases or answers, in bytes. */
const MAX_LINE = 65_536;
/** Bytes read at once. */
const STEP = 2 ** 20;
const NEWLINE = 0x0a;

/** A line of a file, without its end. */
export interface Line {
  readonly text: string;
  /** Of its first byte in the file. */
  readonly offset: number;
  /** Whether it has an end: the last line of a file that is cut off has none. */
  readonly whole: boolean;
}

/** The lines of a file, read as they are asked for. Throws FormatError. */
export function* linesOf(file: string): Generator<Line> {
  const source = openRegularFile(file);
  try {
    const decoder = new TextDecoder();
    const budget = new ReadBudget();
    let pending = Buffer.alloc(0);
    for (let at = 0; at < source.size; ) {
      const chunk = source.read(at, Math.min(STEP, source.size - at), budget);
      pending = Buffer.concat([pending, chunk]);
      at += chunk.length;
      // Of the first pending byte.
      const offset = at - pending.length;
      let start = 0;
      for (let end = pending.indexOf(NEWLINE); end >= 0; end = pending.indexOf(NEWLINE, start)) {
        yield { text: decoder.decode(pending.subarray(start, end)), offset: offset + start, whole: true };
        start = end + 1;
      }
      pending = pending.subarray(start);
      if (pending.length > MAX_LINE) {
        throw new FormatError(file, offset + start, `lines of at most ${MAX_LINE} bytes`);
      }
    }
    if (pending.length > 0) {
      yield { text: decoder.decode(pending), offset: source.size - pending.length, whole: false };
    }
  } finally {
    source.close();
  }
}
