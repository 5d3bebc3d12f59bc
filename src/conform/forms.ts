import type { ConformCase } from "./case.ts";
import { caseLine, HEADER_LINE } from "./case-json.ts";
import { field, type JsonFields, parseLine, type Refuse } from "./json-value.ts";

/** What a line of a file of answers is. */
export type AnswerLine =
  /** The program's greeting. */
  | { readonly header: JsonFields }
  /** An answer, as it would be in JSON. */
  | { readonly answer: JsonFields }
  /** Nothing of ours: a boot message, an empty line. */
  | null;

/** How cases and answers are written in files. */
export interface CaseForm {
  /** The first line of a file of cases. */
  readonly header: string;
  /** A case as lines without their ends. */
  readonly write: (conformCase: ConformCase) => readonly string[];
  /** Reads a line of answers. Throws what `refuse` makes for one that begins as an answer does and is none. */
  readonly read: (line: string, refuse: Refuse) => AnswerLine;
}

/** The forms by the name that --form has for them. */
export const FORMS = {
  jsonl: {
    header: HEADER_LINE,
    write: (conformCase) => [caseLine(conformCase)],
    read: (line, refuse) => {
      if (!line.trimStart().startsWith("{")) return null;
      const fields = parseLine(line, "an answer", refuse);
      return field(fields, "format") === undefined ? { answer: fields } : { header: fields };
    },
  },
} as const satisfies Record<string, CaseForm>;

/** Name of a form. */
export type FormName = keyof typeof FORMS;
/** The names, the usual one first. */
export const FORM_NAMES: readonly [FormName, ...FormName[]] = ["jsonl"];

/** The lines of a file of cases. Throws RangeError for a case that no program could be asked. */
export function* formLines(form: CaseForm, cases: Iterable<ConformCase>): Generator<string> {
  yield form.header;
  for (const conformCase of cases) yield* form.write(conformCase);
}
