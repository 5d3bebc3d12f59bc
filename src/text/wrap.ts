/** A word, or a range with what adheres to it: "[0x1000, +4 KiB)". */
const WORD = /\[0x[^)]*\)\S*|\S+/g;

/** Folds a sentence between words, so that no line is longer than `width` unless a word is. */
export function wrap(text: string, width: number, first: string, rest: string): string[] {
  const lines: string[] = [];
  let line = first;
  let empty = true;
  for (const word of text.match(WORD) ?? []) {
    if (!empty && line.length + word.length > width) {
      lines.push(line.trimEnd());
      line = rest;
    }
    line += `${word} `;
    empty = false;
  }
  lines.push(line.trimEnd());
  return lines;
}
