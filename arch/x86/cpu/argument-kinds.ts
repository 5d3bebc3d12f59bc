import type { Argument } from "./argument.ts";
import { misuse, wordsOf } from "./argument.ts";

/* Kinds of arguments, and what kinds are made of. */

const NUMBER = ["number"];
const OBJECT = ["object"];

/** A whole number from `first` to `last`. */
export function whole<T extends number = number>(noun: string, first: number, last: number): Argument<T> {
  const accepts = (value: unknown) =>
    typeof value === "number" && Number.isInteger(value) && value >= first && value <= last;
  return { noun, words: `a whole number from ${first} to ${last}`, types: NUMBER, accepts };
}

/** A number that passes a test. */
export function numeral<T extends number>(
  noun: string,
  words: string,
  test: (value: number) => boolean,
): Argument<T> {
  return { noun, words, types: NUMBER, accepts: (value) => typeof value === "number" && test(value) };
}

/** A bigint of so many bits. */
export function unsigned(noun: string, bits: number): Argument<bigint> {
  const end = 1n << BigInt(bits);
  const accepts = (value: unknown) => typeof value === "bigint" && value >= 0n && value < end;
  return { noun, words: `a bigint from 0 to 2^${bits}-1`, types: ["bigint"], accepts };
}

/** True or false. */
export function flag(noun: string): Argument<boolean> {
  return { noun, words: "true or false", types: [], accepts: (value) => typeof value === "boolean" };
}

/** A string. */
export function text(noun: string): Argument<string> {
  return { noun, words: "a string", types: [], accepts: (value) => typeof value === "string" };
}

/** One of a few values, mostly names. */
export function oneOf<const T extends string | number | boolean>(
  noun: string,
  values: readonly T[],
): Argument<T> {
  const words = values.length === 1 ? String(values[0]) : `one of ${values.join(", ")}`;
  const types = [...new Set(values.map((value) => typeof value))];
  return { noun, words, types, accepts: (value) => (values as readonly unknown[]).includes(value) };
}

/** A function. */
export function callable<T>(noun: string): Argument<T> {
  return { noun, words: "a function", types: [], accepts: (value) => typeof value === "function" };
}

/** An object that a class made. */
export function instance<T extends object>(
  noun: string,
  made: abstract new (...args: never[]) => T,
  more: Pick<Argument<T>, "ownerOf"> = {},
): Argument<T> {
  return { noun, words: `one of class ${made.name}`, types: [], accepts: (v) => v instanceof made, ...more };
}

/** An object with parts of these kinds; other parts are its own affair. */
export function shape<T extends object>(
  noun: string,
  parts: { readonly [K in keyof T]?: Argument<T[K] | undefined> },
  more: Pick<Argument<T>, "ownerOf"> = {},
): Argument<T> {
  const entries = Object.entries(parts) as [string, Argument<unknown>][];
  const names = entries.map(([key]) => key);
  const words = names.length === 0 ? "an object" : `an object with ${names.join(", ")}`;
  const isObject = (value: unknown): value is Record<string, unknown> =>
    (typeof value === "object" || typeof value === "function") && value !== null;
  return {
    noun,
    words,
    types: OBJECT,
    accepts: (value, owner) =>
      isObject(value) && entries.every(([key, kind]) => kind.accepts(value[key], owner)),
    blame(value, owner) {
      if (!isObject(value)) return null;
      const wrong = entries.find(([key, kind]) => !kind.accepts(value[key], owner));
      return wrong === undefined ? null : misuse(wrong[1], value[wrong[0]], owner, `${wrong[0]} of ${noun}`);
    },
    ...more,
  };
}

/** An array of a kind. */
export function list<T>(noun: string, kind: Argument<T>): Argument<readonly T[]> {
  return {
    noun,
    words: "an array",
    types: OBJECT,
    accepts: (value, owner) => Array.isArray(value) && value.every((each) => kind.accepts(each, owner)),
    blame(value, owner) {
      if (!Array.isArray(value)) return null;
      const at = value.findIndex((each) => !kind.accepts(each, owner));
      return at < 0 ? null : misuse(kind, value[at], owner, `${noun}[${at}]`);
    },
  };
}

/** Anything that can be iterated. */
export function iterable<T>(noun: string): Argument<Iterable<T>> {
  const accepts = (value: unknown) => typeof value === "object" && value !== null && Symbol.iterator in value;
  return { noun, words: "an iterable object", types: [], accepts };
}

/** A value of one kind or of another. */
export function either<A, B>(one: Argument<A>, other: Argument<B>): Argument<A | B> {
  return {
    noun: one.noun,
    words: (owner) => `${wordsOf(one, owner)}, or ${wordsOf(other, owner)}`,
    types: [...one.types, ...other.types],
    accepts: (value, owner) => one.accepts(value, owner) || other.accepts(value, owner),
  };
}

/** A value of the kind, or this one. */
function or<T, E>(kind: Argument<T>, else_: E, words: string): Argument<T | E> {
  const ownerOf = kind.ownerOf;
  return {
    ...kind,
    words: (owner) => `${wordsOf(kind, owner)}, or ${words}`,
    accepts: (value, owner) => value === else_ || kind.accepts(value, owner),
    ...(ownerOf === undefined
      ? {}
      : { ownerOf: (value: T | E) => (value === else_ ? null : ownerOf(value as T)) }),
  } as Argument<T | E>;
}

/** A value of the kind, or none: a parameter with a default. */
export function optional<T>(kind: Argument<T>): Argument<T | undefined> {
  return or(kind, undefined, "nothing");
}

/** A value of the kind, or null. */
export function nullable<T>(kind: Argument<T>): Argument<T | null> {
  return or(kind, null, "null");
}
