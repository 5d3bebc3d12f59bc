import { FormatError } from "../formats/format-error.ts";
import { openRegularFile } from "../formats/gzip.ts";
import { ReadBudget } from "../formats/read-budget.ts";
import { checkVersion } from "./answer.ts";
import type { ConformCase } from "./case.ts";
import { parseCase } from "./case-json.ts";
import { parseLine, type Refuse } from "./json-value.ts";

/** Longest line of a case file, in bytes. */
const MAX_LINE = 65_536;
/** Bytes read at once. */
const STEP = 2 ** 20;
const NEWLINE = 0x0a;

/** The cases of a file, read as they are asked for. Throws FormatError with the offset of the line at fault. */
export function* readCaseFile(file: string): Generator<ConformCase> {
  let count = 0;
  for (const { text, offset } of linesOf(file)) {
    const refuse: Refuse = (expected) => new FormatError(file, offset, expected);
    if (offset === 0) checkVersion(parseLine(text, "the header of a case file", refuse), refuse);
    else {
      yield parseCase(text, refuse);
      count++;
    }
  }
  if (count === 0) throw new FormatError(file, null, "a header and at least one case");
}

interface Line {
  readonly text: string;
  readonly offset: number;
}

function* linesOf(file: string): Generator<Line> {
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
        yield { text: decoder.decode(pending.subarray(start, end)), offset: offset + start };
        start = end + 1;
      }
      pending = pending.subarray(start);
      if (pending.length > MAX_LINE) {
        throw new FormatError(file, offset + start, `lines of at most ${MAX_LINE} bytes`);
      }
    }
    if (pending.length > 0) {
      yield { text: decoder.decode(pending), offset: source.size - pending.length };
    }
  } finally {
    source.close();
  }
}
