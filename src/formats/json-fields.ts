import { FormatError, quote } from "./format-error.ts";

/**
 * A JSON object whose fields are read with the type they must have. Anything else is a FormatError that names
 * the field's path. Only own properties count, so that "__proto__" and its like are ordinary names.
 */
export class JsonObject {
  readonly file: string;
  /** Where the JSON text begins in the file, or null when it is the whole file. */
  readonly offset: number | null;
  readonly path: string;
  readonly #fields: ReadonlyMap<string, unknown>;

  constructor(file: string, offset: number | null, path: string, value: unknown) {
    this.file = file;
    this.offset = offset;
    this.path = path;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw this.error(`${path === "" ? "the JSON text" : path} to be an object, found ${show(value)}`);
    }
    this.#fields = new Map(Object.entries(value));
  }

  names(): string[] {
    return [...this.#fields.keys()];
  }

  /** Whether the field is there with a value other than null. */
  has(name: string): boolean {
    return (this.#fields.get(name) ?? null) !== null;
  }

  /** A number written as a string of hexadecimal digits with 0x, at most `maximum`. */
  hex(name: string, maximum: number): number {
    const value = this.#fields.get(name);
    const form = `hexadecimal digits with 0x, at most 0x${maximum.toString(16)}`;
    if (typeof value !== "string" || !/^0x[0-9a-f]{1,16}$/i.test(value)) {
      throw this.wrong(name, form, value);
    }
    const number = Number(value);
    if (number > maximum) throw this.wrong(name, form, value);
    return number;
  }

  integer(name: string, minimum: number, maximum: number): number {
    const value = this.#fields.get(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < minimum || value > maximum) {
      throw this.wrong(name, `an integer from ${minimum} to ${maximum}`, value);
    }
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#fields.get(name);
    if (typeof value !== "boolean") throw this.wrong(name, "true or false", value);
    return value;
  }

  /** A string that matches; `form` says in words what the pattern means. */
  text(name: string, pattern: RegExp, form: string): string {
    const value = this.#fields.get(name);
    if (typeof value !== "string" || !pattern.test(value)) throw this.wrong(name, form, value);
    return value;
  }

  object(name: string): JsonObject {
    return new JsonObject(this.file, this.offset, this.#pathOf(name), this.#fields.get(name));
  }

  wrong(name: string, form: string, found: unknown): FormatError {
    return this.error(`${this.#pathOf(name)} to be ${form}, found ${show(found)}`);
  }

  error(expected: string): FormatError {
    return new FormatError(this.file, this.offset, expected);
  }

  #pathOf(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }
}

/** Parses UTF-8 JSON text that must be an object. Throws FormatError. */
export function parseJsonObject(file: string, offset: number | null, bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError(file, offset, `JSON text in UTF-8 (${quote(reason)})`);
  }
  return new JsonObject(file, offset, "", value);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}
