import { escapeText } from "../text/escape.ts";

/** Longest piece of a bad file that an error message repeats. */
const MAX_QUOTED = 48;

/**
 * An outside file that is not what its format says. The message is one line: the file, the byte
 * offset when there is one, and what should have stood there. Offsets into a gzip file count decompressed
 * bytes; a member of an archive is named ARCHIVE:MEMBER and its offsets count from the member's first byte.
 */
export class FormatError extends Error {
  readonly file: string;
  /** Byte offset of the bad value, or null when the whole file or a value without a place is at fault. */
  readonly offset: number | null;
  /** What the format demands at that place, and what was found if that says more. */
  readonly expected: string;

  constructor(file: string, offset: number | null, expected: string) {
    const place = offset === null ? "" : ` offset 0x${offset.toString(16)}:`;
    super(escapeText(`${file}:${place} expected ${expected}`));
    this.name = "FormatError";
    this.file = file;
    this.offset = offset;
    this.expected = escapeText(expected);
  }
}

/** A piece of a file for a message: quoted, shortened, nothing unprintable. */
export function quote(text: string): string {
  const short = text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}...` : text;
  return `"${escapeText(short)}"`;
}
