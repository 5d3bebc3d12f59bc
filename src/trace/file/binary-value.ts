import type { Encoding } from "../../../arch/x86/cpu/record.ts";
import type { ByteInput } from "./byte-input.ts";
import type { ByteOutput } from "./byte-output.ts";
import {
  checkText,
  checkWhole,
  fileText,
  isPair,
  isWhole,
  MAX_CPU_WORDS,
  MAX_NAMES,
  TABLE_ENTRIES,
  TABLE_WORDS,
  type WholeEncoding,
} from "./encodings.ts";
import { Misfit, oneOf, refuse } from "./misfit.ts";
import { runEnd } from "./table-text.ts";
import { type Loose, SCRAP } from "./text-value.ts";

/*
 * How each encoding is held in the binary form:
 *
 *   int, bytes, pfn, physical   signed: the difference to the field's last value, whatever the kind
 *   slot                        the same, in entries: divided by 8; NONE is -1 entries
 *   linear, entry               words: the exclusive or with the field's last value
 *   flag                        a byte, 0 or 1
 *   text                        whole: 0 and a block of UTF-8, or 1 + the number of an earlier text; a file's first 4096
 *                               different texts have numbers, in order
 *   names                       whole: how many; texts
 *   cpus                        whole: how many; words of 32 bits as wholes
 *   words                       whole: how many entries; then runs: whole, how many; words, the exclusive or with the
 *                               entry before
 *   a list of texts             whole: the place in the list
 *   one of a later version      a block
 */

/** Writes and reads a field of records, with what it remembers of its last value. */
export interface FieldCodec {
  write(record: Loose, out: ByteOutput): void;
  /** Throws Misfit. */
  read(input: ByteInput, record: Loose): void;
}

const MAX_NUMBERED = 4096;

/** The texts of a file that have numbers. */
export class TextTable {
  readonly #texts: string[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  write(text: string, out: ByteOutput): void {
    const number = this.#numbers.get(text);
    if (number !== undefined) {
      out.whole(1 + number);
      return;
    }
    out.whole(0);
    out.block(this.#encoder.encode(text));
    this.#add(text);
  }

  read(input: ByteInput, what: string): string {
    const number = input.whole();
    if (number > 0) {
      return this.#texts[number - 1] ?? refuse(what, `a text's number up to ${this.#texts.length}`, number);
    }
    let text = "";
    try {
      text = this.#decoder.decode(input.block());
    } catch (error) {
      if (error instanceof Misfit) throw error;
      throw new Misfit(`${what} in UTF-8`);
    }
    checkText(text, what);
    this.#add(text);
    return text;
  }

  #add(text: string): void {
    if (this.#texts.length === MAX_NUMBERED || this.#numbers.has(text)) return;
    this.#numbers.set(text, this.#texts.length);
    this.#texts.push(text);
  }
}

/** The codec of a field; `known` are the texts of a list that this version knows. */
export function fieldCodec(is: Encoding, name: string, known: Encoding, texts: TextTable): FieldCodec {
  if (isPair(is)) return pairCodec(name);
  if (isWhole(is)) return wholeCodec(is, name);
  switch (is) {
    case "flag":
      return flagCodec(name);
    case "text":
      return {
        write: (record, out) => texts.write(fileText(record[name] as string), out),
        read: (input, record) => {
          record[name] = texts.read(input, name);
        },
      };
    case "names":
      return namesCodec(name, texts);
    case "cpus":
      return cpusCodec(name);
    case "words":
      return {
        write: (record, out) => writeTable(record[name] as Int32Array, out),
        read: (input, record) => {
          record[name] = readTable(input, name);
        },
      };
    default:
      return listCodec(is as readonly string[], name, known as readonly string[]);
  }
}

function wholeCodec(is: WholeEncoding, name: string): FieldCodec {
  const unit = is === "slot" ? 8 : 1;
  let last = 0;
  return {
    write: (record, out) => {
      const value = checkWhole(is, record[name], name);
      const units = value < 0 ? value : value / unit;
      out.signed(units - last);
      last = units;
    },
    read: (input, record) => {
      const units = last + input.signed();
      record[name] = checkWhole(is, units < 0 ? units : units * unit, name);
      last = units;
    },
  };
}

function pairCodec(name: string): FieldCodec {
  const loName = `${name}Lo`;
  const hiName = `${name}Hi`;
  let lastLo = 0;
  let lastHi = 0;
  return {
    write: (record, out) => {
      const lo = (record[loName] as number) | 0;
      const hi = (record[hiName] as number) | 0;
      out.words(lo ^ lastLo, hi ^ lastHi);
      lastLo = lo;
      lastHi = hi;
    },
    read: (input, record) => {
      input.words();
      lastLo ^= input.lo;
      lastHi ^= input.hi;
      record[loName] = lastLo;
      record[hiName] = lastHi;
    },
  };
}

function flagCodec(name: string): FieldCodec {
  return {
    write: (record, out) => out.byte(record[name] === true ? 1 : 0),
    read: (input, record) => {
      const byte = input.byte();
      if (byte > 1) refuse(name, "0 or 1", byte);
      record[name] = byte === 1;
    },
  };
}

function namesCodec(name: string, texts: TextTable): FieldCodec {
  return {
    write: (record, out) => {
      const names = record[name] as readonly string[];
      out.whole(names.length);
      for (const text of names) texts.write(fileText(text), out);
    },
    read: (input, record) => {
      const count = input.whole();
      if (count > MAX_NAMES) refuse(name, `at most ${MAX_NAMES} texts`, count);
      record[name] = Array.from({ length: count }, () => texts.read(input, name));
    },
  };
}

function cpusCodec(name: string): FieldCodec {
  return {
    write: (record, out) => {
      const words = record[name] as readonly number[];
      out.whole(words.length);
      for (const word of words) out.whole(word >>> 0);
    },
    read: (input, record) => {
      const count = input.whole();
      if (count > MAX_CPU_WORDS) refuse(name, `at most ${MAX_CPU_WORDS} words`, count);
      record[name] = Array.from({ length: count }, () => {
        const word = input.whole();
        return word === word >>> 0 ? word | 0 : refuse(name, "words of 32 bits", word);
      });
    },
  };
}

function listCodec(list: readonly string[], name: string, known: readonly string[]): FieldCodec {
  const places = new Map(list.map((text, place) => [text, place]));
  const texts = new Set(known);
  return {
    write: (record, out) => {
      const place = places.get(record[name] as string);
      out.whole(place ?? refuse(name, "a text of its list", record[name]));
    },
    read: (input, record) => {
      const place = input.whole();
      const text = list[place] ?? refuse(name, `a place below ${list.length}`, place);
      record[name] = record === SCRAP || texts.has(text) ? text : oneOf(text, name, known);
    },
  };
}

function writeTable(words: Int32Array, out: ByteOutput): void {
  out.whole(TABLE_ENTRIES);
  let lo = 0;
  let hi = 0;
  for (let i = 0; i < TABLE_WORDS; ) {
    const end = runEnd(words, i);
    out.whole((end - i) / 2);
    out.words(words[i]! ^ lo, words[i + 1]! ^ hi);
    lo = words[i]!;
    hi = words[i + 1]!;
    i = end;
  }
}

function readTable(input: ByteInput, name: string): Int32Array {
  const entries = input.whole();
  if (entries !== TABLE_ENTRIES) refuse(name, `a table of ${TABLE_ENTRIES} entries`, entries);
  const words = new Int32Array(TABLE_WORDS);
  let lo = 0;
  let hi = 0;
  for (let at = 0; at < TABLE_WORDS; ) {
    const count = input.whole();
    if (count < 1 || at + 2 * count > TABLE_WORDS)
      refuse(name, `runs that add up to ${TABLE_ENTRIES}`, count);
    input.words();
    lo ^= input.lo;
    hi ^= input.hi;
    for (const end = at + 2 * count; at < end; at += 2) {
      words[at] = lo;
      words[at + 1] = hi;
    }
  }
  return words;
}
