import { TABLE_ENTRIES, TABLE_WORDS } from "./encodings.ts";
import { HexReader, shortHex } from "./hex-words.ts";
import { Misfit, refuse } from "./misfit.ts";

/*
 * A table as text: its entries in order, hexadecimal without 0x, `*N` after one that stands N times in a row. So an entry
 * can be searched for, and the empty part of a table takes no room:
 *
 *   "0*5 8000000001234867 8000000001235867 0*505"
 */

/** A table's words as text. */
export function tableText(words: Int32Array): string {
  let text = "";
  for (let i = 0; i < TABLE_WORDS; ) {
    const end = runEnd(words, i);
    if (i > 0) text += " ";
    text += shortHex(words[i]!, words[i + 1]!).slice(2);
    if (end > i + 2) text += `*${(end - i) / 2}`;
    i = end;
  }
  return text;
}

/** Index of the first word that does not repeat the entry whose words begin at `start`. */
export function runEnd(words: Int32Array, start: number): number {
  const lo = words[start];
  const hi = words[start + 1];
  let end = start + 2;
  while (end < TABLE_WORDS && words[end] === lo && words[end + 1] === hi) end += 2;
  return end;
}

const hex = new HexReader();

/** The words of a table's text. Throws Misfit unless it has 512 entries. */
export function tableOf(text: unknown, what: string): Int32Array {
  if (typeof text !== "string") return refuse(what, "a table's entries as text", text);
  const words = new Int32Array(TABLE_WORDS);
  let at = 0;
  for (let start = 0; start <= text.length; ) {
    const space = text.indexOf(" ", start);
    const end = space < 0 ? text.length : space;
    const star = text.indexOf("*", start);
    const digits = star < 0 || star > end ? end : star;
    if (!hex.take(text, start, digits)) refuse(what, "entries of 1 to 16 hexadecimal digits", text);
    const count = digits === end ? 1 : countOf(text.slice(digits + 1, end), what);
    if (at + 2 * count > TABLE_WORDS)
      throw new Misfit(`${what} to have ${TABLE_ENTRIES} entries, found more`);
    for (const stop = at + 2 * count; at < stop; at += 2) {
      words[at] = hex.lo;
      words[at + 1] = hex.hi;
    }
    start = end + 1;
  }
  if (at < TABLE_WORDS) throw new Misfit(`${what} to have ${TABLE_ENTRIES} entries, found ${at / 2}`);
  return words;
}

function countOf(text: string, what: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) refuse(what, "counts after a star", text);
  return Number(text);
}
