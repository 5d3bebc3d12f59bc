import { quote } from "../../formats/format-error.ts";

/** What a recording should have had and has not. Whoever knows the place in the file makes a FormatError of it. */
export class Misfit extends Error {}

/** A value out of a recording, for a message: quoted and shortened, every character printable. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}

/** Throws the Misfit of a value that is not what it should be. */
export function refuse(what: string, form: string, found: unknown): never {
  throw new Misfit(`${what} to be ${form}, found ${shown(found)}`);
}

/** The fields of a JSON object; only its own count, so that "__proto__" and its like are ordinary names. */
export function fieldsOf(value: unknown, what: string): ReadonlyMap<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(what, "an object", value);
  return new Map(Object.entries(value));
}

/** A whole number from `least` to `most`. */
export function wholeOf(value: unknown, what: string, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  return refuse(what, `a whole number from ${least} to ${most}`, value);
}

/** One of some values. */
export function oneOf<T>(value: unknown, what: string, values: readonly T[]): T {
  const found = values.find((each) => each === value);
  return found === undefined ? refuse(what, `one of ${values.join(", ")}`, value) : found;
}

/** An array of `least` to `most` elements. */
export function listOf(value: unknown, what: string, least: number, most: number): readonly unknown[] {
  if (Array.isArray(value) && value.length >= least && value.length <= most) return value;
  const found = Array.isArray(value) ? value.length : value;
  return refuse(what, `an array of ${least} to ${most} elements`, found);
}
