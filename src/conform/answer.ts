import { parseCapabilities } from "./capabilities.ts";
import { type CaseQuestion, CONFORM_FORMAT, CONFORM_VERSION } from "./case.ts";
import {
  field,
  fieldsOf,
  type JsonFields,
  listOf,
  numberOf,
  parseLine,
  type Refuse,
  show,
  textOf,
} from "./json-value.ts";

const MAX_64 = 2n ** 64n - 1n;
const MAX_52 = 2n ** 52n - 1n;
const MAX_32 = 2n ** 32n - 1n;
const MAX_NAME = 200;
const MAX_REASON = 200;

/**
 * What a program says of one step; null where it cannot say. Error code and CR2 may be missing. "done" for an access:
 * it was done, at a physical address that the program cannot tell.
 */
export type ToldResult =
  | { readonly pa: number }
  | { readonly fault: { readonly vector: number; readonly error?: number; readonly cr2?: bigint } }
  | { readonly done: true }
  | null;

/** What a program says of one case. */
export type Answer =
  /** It has not what the case needs. */
  | { readonly unsupported: string }
  /** Null words, or no words at all: it cannot say what is in memory. */
  | { readonly results: readonly ToldResult[]; readonly after: readonly (bigint | null)[] | null };

/** What came of asking one case. */
export type Reply =
  | Answer
  /** What came is no answer, or none came in time; the text says what should have come. */
  | { readonly refused: string }
  /** Nothing was said yet. */
  | { readonly unanswered: true };

/** A program's first line. */
export interface Greeting {
  readonly name: string;
  /** What it declares to have, see docs/conformance.md; null where it declares nothing and is asked everything. */
  readonly has: ReadonlySet<string> | null;
  /** Why it cannot be run here at all, e.g. because what it needs is not installed. */
  readonly skip: string | null;
}

/** Checks format and version of a greeting, or of the first line of a case file. */
export function checkVersion(fields: JsonFields, refuse: Refuse): void {
  const format = field(fields, "format");
  const version = field(fields, "version");
  const wanted = `"format":"${CONFORM_FORMAT}","version":${CONFORM_VERSION} in the first line`;
  if (format !== CONFORM_FORMAT) throw refuse(`${wanted}, found format ${show(format)}`);
  if (version !== CONFORM_VERSION) throw refuse(`${wanted}, found version ${show(version)}`);
}

/** Parses a program's first line. Throws what `refuse` makes. */
export function parseGreeting(line: string, refuse: Refuse): Greeting {
  return greetingOf(parseLine(line, "a greeting", refuse), refuse);
}

/** The same of a line that is taken apart. */
export function greetingOf(fields: JsonFields, refuse: Refuse): Greeting {
  checkVersion(fields, refuse);
  const skip = field(fields, "skip");
  const has = field(fields, "has");
  return {
    name: textOf(field(fields, "name"), "name", MAX_NAME, refuse),
    has: has === undefined ? null : parseCapabilities(has, refuse),
    skip: skip === undefined ? null : textOf(skip, "skip", MAX_REASON, refuse),
  };
}

/** Parses the answer to one case. */
export function parseAnswer(line: string, question: CaseQuestion, refuse: Refuse): Answer {
  return answerOf(parseLine(line, "an answer", refuse), question, refuse);
}

/** The same of a line that is taken apart. */
export function answerOf(fields: JsonFields, question: CaseQuestion, refuse: Refuse): Answer {
  const id = field(fields, "id");
  if (id !== question.id) throw refuse(`"id":"${question.id}", found ${show(id)}`);
  const unsupported = field(fields, "unsupported");
  if (unsupported !== undefined) {
    return { unsupported: textOf(unsupported, "unsupported", MAX_REASON, refuse) };
  }
  const { steps, memory } = question;
  const results = listOf(field(fields, "results"), "results", [steps.length, steps.length], refuse);
  const after = field(fields, "after") ?? null;
  return {
    results: results.map((value, i) => {
      const result = parseResult(value, `results[${i}]`, refuse);
      const nothing = result !== null && "done" in result && field(value as JsonFields, "done") === undefined;
      if (!nothing || steps[i]?.op !== "access") return result;
      throw refuse(`results[${i}] of an access to have pa, fault or "done":true, found none of them`);
    }),
    after: after === null ? null : parseWords(after, memory.length, refuse),
  };
}

function parseWords(value: unknown, count: number, refuse: Refuse): (bigint | null)[] {
  return listOf(value, "after", [count, count], refuse).map((word, i) =>
    word === null ? null : numberOf(word, `after[${i}]`, MAX_64, refuse),
  );
}

/** Parses what a program says of one step. */
export function parseResult(value: unknown, path: string, refuse: Refuse): ToldResult {
  if (value === null) return null;
  const fields = fieldsOf(value, path, refuse);
  const pa = field(fields, "pa");
  const done = field(fields, "done");
  const given = ["pa", "fault", "done"].filter((name) => field(fields, name) !== undefined);
  if (given.length > 1)
    throw refuse(`${path} to have one of pa, fault and done, found ${given.join(" and ")}`);
  if (done !== undefined && done !== true) throw refuse(`${path}.done to be true, found ${show(done)}`);
  if (pa !== undefined) return { pa: Number(numberOf(pa, `${path}.pa`, MAX_52, refuse)) };
  const told = field(fields, "fault");
  if (told === undefined) return { done: true };
  const fault = fieldsOf(told, `${path}.fault`, refuse);
  const vector = Number(numberOf(field(fault, "vector"), `${path}.fault.vector`, 31n, refuse));
  const error = field(fault, "error") ?? null;
  const cr2 = field(fault, "cr2") ?? null;
  return {
    fault: {
      vector,
      ...(error === null ? {} : { error: Number(numberOf(error, `${path}.fault.error`, MAX_32, refuse)) }),
      ...(cr2 === null ? {} : { cr2: numberOf(cr2, `${path}.fault.cr2`, MAX_64, refuse) }),
    },
  };
}
