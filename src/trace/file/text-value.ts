import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { Encoding } from "../../../arch/x86/cpu/record.ts";
import {
  checkText,
  checkWhole,
  fileText,
  isPair,
  isWhole,
  MAX_CPU_WORDS,
  MAX_NAMES,
  type WholeEncoding,
} from "./encodings.ts";
import { HexReader, shortHex } from "./hex-words.ts";
import { listOf, oneOf, refuse } from "./misfit.ts";
import { tableOf, tableText } from "./table-text.ts";

/** A record by its properties. */
export type Loose = Record<string, unknown>;

/** A record for what is read and not wanted: any text of a list will do there. */
export const SCRAP: Loose = {};

/** Gives a field of a record as JSON text. */
export type FieldText = (record: Loose) => string;
/** Puts a JSON value into a record as a field. Throws Misfit. */
export type FieldTaker = (record: Loose, value: unknown) => void;

const TWO_32 = 2 ** 32;

/** How a field of that encoding is written. */
export function fieldText(is: Encoding, name: string): FieldText {
  if (isPair(is)) {
    const lo = `${name}Lo`;
    const hi = `${name}Hi`;
    return (record) => `"${shortHex((record[lo] as number) | 0, (record[hi] as number) | 0)}"`;
  }
  if (isWhole(is)) return wholeText(is, name);
  switch (is) {
    case "flag":
      return (record) => (record[name] === true ? "true" : "false");
    case "text":
      return (record) => JSON.stringify(fileText(record[name] as string));
    case "names":
      return (record) => JSON.stringify((record[name] as readonly string[]).map(fileText));
    case "cpus":
      return (record) => `[${(record[name] as readonly number[]).map((word) => word >>> 0).join(",")}]`;
    case "words":
      return (record) => `"${tableText(record[name] as Int32Array)}"`;
    default: {
      const texts = new Map((is as readonly string[]).map((text) => [text, JSON.stringify(text)]));
      return (record) =>
        texts.get(record[name] as string) ?? refuse(name, "a text of its list", record[name]);
    }
  }
}

/** Encodings that files have as numbers. */
const DECIMAL: ReadonlySet<WholeEncoding> = new Set(["int", "difference", "bytes"]);

function wholeText(is: WholeEncoding, name: string): FieldText {
  const isHex = !DECIMAL.has(is);
  const canBeNone = is !== "difference";
  return (record) => {
    const value = checkWhole(is, record[name], name);
    if (value === NONE && canBeNone) return "null";
    return isHex ? `"${shortHex(value | 0, Math.floor(value / TWO_32))}"` : `${value}`;
  };
}

const hex = new HexReader();

/** How a field of that encoding is read; `known` are the texts of a list that this version knows. */
export function fieldTaker(is: Encoding, name: string, known: Encoding): FieldTaker {
  if (isPair(is)) {
    const lo = `${name}Lo`;
    const hi = `${name}Hi`;
    return (record, value) => {
      hex.takeJson(value, name);
      record[lo] = hex.lo;
      record[hi] = hex.hi;
    };
  }
  if (isWhole(is)) return wholeTaker(is, name);
  switch (is) {
    case "flag":
      return (record, value) => {
        if (typeof value !== "boolean") refuse(name, "true or false", value);
        record[name] = value;
      };
    case "text":
      return (record, value) => {
        record[name] = checkText(value, name);
      };
    case "names":
      return (record, value) => {
        record[name] = listOf(value, name, 0, MAX_NAMES).map((text) => checkText(text, name));
      };
    case "cpus":
      return (record, value) => {
        record[name] = listOf(value, name, 0, MAX_CPU_WORDS).map((word) => wordOf(word, name));
      };
    case "words":
      return (record, value) => {
        record[name] = tableOf(value, name);
      };
    default: {
      const texts = new Set<unknown>(known as readonly string[]);
      return (record, value) => {
        record[name] = texts.has(value) ? value : oneOf(value, name, [...texts]);
      };
    }
  }
}

function wholeTaker(is: WholeEncoding, name: string): FieldTaker {
  if (DECIMAL.has(is)) {
    return (record, value) => {
      record[name] = value === null && is !== "difference" ? NONE : checkWhole(is, value, name);
    };
  }
  return (record, value) => {
    if (value === null) {
      record[name] = NONE;
      return;
    }
    hex.takeJson(value, name);
    const high = hex.hi >>> 0;
    // Beyond 52 bits a Number would be rounded: such a value is refused as it stands.
    if (high >= 2 ** 20) refuse(name, "at most 52 bits", value);
    record[name] = checkWhole(is, high * TWO_32 + (hex.lo >>> 0), name);
  };
}

/** A word of a set of CPUs, as a signed one. */
function wordOf(value: unknown, name: string): number {
  if (typeof value !== "number" || value !== value >>> 0) {
    return refuse(name, "words of 32 bits", value);
  }
  return value | 0;
}
