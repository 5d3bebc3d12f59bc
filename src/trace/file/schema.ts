import type { Encoding, RecordClass } from "../../../arch/x86/cpu/record.ts";
import { encodingOf, FIELDS, type FieldName, KINDS, type RecordKind } from "../record.ts";
import { absentValue, checkText, isEncoding } from "./encodings.ts";
import { fieldsOf, listOf, Misfit, oneOf, refuse } from "./misfit.ts";

/*
 * The kinds and fields that a file has, by which both forms are written and read. What is in the file and not in this
 * version's tables is skipped; what has another encoding here is refused.
 */

/** A field of a kind, as a file has it. */
export interface FileField {
  readonly name: string;
  /** An encoding that this version knows, or the name of a later one. */
  readonly is: Encoding | { readonly later: string };
  /** The encoding of this version's field of that name; that of the file when there is none. */
  readonly knownAs: FileField["is"];
  /** Whether this version's kind has the field. */
  readonly known: boolean;
}

/** A kind, as a file has it. */
export interface FileKind {
  readonly name: string;
  readonly class: RecordClass;
  readonly fields: readonly FileField[];
  /** Null: a later version's. */
  readonly known: RecordKind | null;
  /** Properties of the record that the file does not have, with what they are then. */
  readonly absent: readonly (readonly [string, unknown])[];
}

/** The kinds of a file; a record's number is the place of its kind. */
export type Schema = readonly FileKind[];

const CLASSES: readonly RecordClass[] = ["hardware", "fact", "hint"];
const NAME = /^[A-Za-z][A-Za-z0-9-]{0,63}$/;
const MAX_KINDS = 1024;
const MAX_FIELDS = 4096;
const MAX_FIELDS_OF_KIND = 64;
const MAX_LIST = 256;

/** All that this version knows: what its writers write. */
export function currentSchema(): Schema {
  return (Object.keys(KINDS) as RecordKind[]).map((kind) => ({
    name: kind,
    class: KINDS[kind].class,
    fields: KINDS[kind].has.map((name) => {
      const is = encodingOf(name);
      return { name, is, knownAs: is, known: true };
    }),
    known: kind,
    absent: [],
  }));
}

/** A schema as a header has it: the encodings of its fields by name, then the kinds in order. */
export function schemaJson(schema: Schema): { fields: object; kinds: object[] } {
  const fields = new Map<string, unknown>();
  for (const kind of schema) for (const { name, is } of kind.fields) fields.set(name, laterName(is) ?? is);
  return {
    fields: Object.fromEntries(fields),
    kinds: schema.map(({ name, class: kindClass, fields: has }) => ({
      kind: name,
      class: kindClass,
      has: has.map((field) => field.name),
    })),
  };
}

/** The name of an encoding of a later version, null for one of this version. */
export function laterName(is: FileField["is"]): string | null {
  return typeof is === "object" && "later" in is ? is.later : null;
}

/** Takes a header's fields and kinds. Throws Misfit for those that are known and have another encoding here. */
export function schemaOf(fields: unknown, kinds: unknown): Schema {
  const encodings = new Map<string, FileField["is"]>();
  for (const [name, is] of fieldsOf(fields, "fields")) {
    if (encodings.size === MAX_FIELDS) throw new Misfit(`at most ${MAX_FIELDS} fields`);
    if (!NAME.test(name)) refuse("fields", "named by letters, digits and hyphens", name);
    encodings.set(name, encodingIn(name, is));
  }
  const names = new Set<string>();
  return listOf(kinds, "kinds", 1, MAX_KINDS).map((kind, i) => {
    const row = kindOf(kind, `kinds[${i}]`, encodings);
    if (names.has(row.name)) throw new Misfit(`kind ${row.name} once, found it twice`);
    names.add(row.name);
    return row;
  });
}

function encodingIn(name: string, is: unknown): FileField["is"] {
  const own = Object.hasOwn(FIELDS, name) ? encodingOf(name as FieldName) : null;
  const what = `encoding of field ${name}`;
  if (Array.isArray(is)) {
    // Lists grow from version to version: each record says whether its text is known here.
    if (own !== null && typeof own === "string") refuse(what, own, is);
    return listOf(is, what, 1, MAX_LIST).map((text) => checkText(text, what));
  }
  if (typeof is !== "string" || !NAME.test(is)) refuse(what, "a name or a list of texts", is);
  if (own !== null && own !== is) refuse(what, typeof own === "string" ? own : "a list of texts", is);
  return isEncoding(is) ? is : { later: is };
}

function kindOf(json: unknown, what: string, encodings: ReadonlyMap<string, FileField["is"]>): FileKind {
  const row = fieldsOf(json, what);
  const name = row.get("kind");
  if (typeof name !== "string" || !NAME.test(name)) return refuse(`${what}.kind`, "a name", name);
  const kindClass = oneOf(row.get("class"), `class of kind ${name}`, CLASSES);
  const known = Object.hasOwn(KINDS, name) ? (name as RecordKind) : null;
  const own: readonly string[] = known === null ? [] : KINDS[known].has;
  const seen = new Set<string>();
  const fields = listOf(row.get("has"), `fields of kind ${name}`, 0, MAX_FIELDS_OF_KIND).map((field) => {
    const is = typeof field === "string" ? encodings.get(field) : undefined;
    if (is === undefined) return refuse(`fields of kind ${name}`, "among those that the header has", field);
    if (seen.has(field as string)) return refuse(`fields of kind ${name}`, "each there once", field);
    seen.add(field as string);
    const knownAs = Object.hasOwn(FIELDS, field as string) ? encodingOf(field as FieldName) : is;
    return { name: field as string, is, knownAs, known: own.includes(field as string) };
  });
  const absent = own.filter((field) => !seen.has(field)).map((field) => absentOf(name, field as FieldName));
  return { name, class: kindClass, fields, known, absent };
}

function absentOf(kind: string, field: FieldName): readonly [string, unknown] {
  const value = absentValue(encodingOf(field));
  if (value === undefined) throw new Misfit(`kind ${kind} to have the field ${field}`);
  return [field, value];
}
