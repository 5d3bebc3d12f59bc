/** Makes the error for a value that is not what it should be; the text says what was expected. */
export type Refuse = (expected: string) => Error;

export type JsonFields = Readonly<Record<string, unknown>>;

/** The fields of an object. */
export function fieldsOf(value: unknown, path: string, refuse: Refuse): JsonFields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refuse(`${path} to be an object, found ${show(value)}`);
  }
  return value as JsonFields;
}

/** An own field, or undefined: "__proto__" and its like are ordinary names. */
export function field(fields: JsonFields, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

/** An array of `least` to `most` elements. */
export function listOf(
  value: unknown,
  path: string,
  [least, most]: readonly [number, number],
  refuse: Refuse,
): readonly unknown[] {
  const count = least === most ? `${least}` : `${least} to ${most}`;
  if (!Array.isArray(value)) throw refuse(`${path} to be an array of ${count}, found ${show(value)}`);
  if (value.length < least || value.length > most) {
    throw refuse(`${path} to have ${count} elements, found ${value.length}`);
  }
  return value;
}

/** A number up to `most`, written as "0x..." or as a JSON integer. */
export function numberOf(value: unknown, path: string, most: bigint, refuse: Refuse): bigint {
  let number = -1n;
  if (typeof value === "string" && /^0x[0-9a-f]{1,16}$/i.test(value)) number = BigInt(value);
  else if (typeof value === "number" && Number.isSafeInteger(value)) number = BigInt(value);
  if (number < 0n || number > most) {
    throw refuse(`${path} to be "0x..." or an integer, at most 0x${most.toString(16)}, found ${show(value)}`);
  }
  return number;
}

/** One of some words. */
export function wordOf<T extends string>(
  value: unknown,
  path: string,
  words: readonly T[],
  refuse: Refuse,
): T {
  const found = words.find((word) => word === value);
  if (found === undefined) throw refuse(`${path} to be one of ${words.join(", ")}, found ${show(value)}`);
  return found;
}

export function booleanOf(value: unknown, path: string, refuse: Refuse): boolean {
  if (typeof value !== "boolean") throw refuse(`${path} to be true or false, found ${show(value)}`);
  return value;
}

/** A string of at most `most` characters. */
export function textOf(value: unknown, path: string, most: number, refuse: Refuse): string {
  if (typeof value !== "string" || value.length > most) {
    throw refuse(`${path} to be a string of at most ${most} characters, found ${show(value)}`);
  }
  return value;
}

/** Parses one line. */
export function parseLine(text: string, what: string, refuse: Refuse): JsonFields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse(`${what} as one line of JSON, found ${show(text)}`);
  }
  return fieldsOf(value, what, refuse);
}

/** A value for a message, shortened. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return `"${value.length > 60 ? `${value.slice(0, 60)}...` : value}"`;
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}
