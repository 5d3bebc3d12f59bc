import { FormatError } from "../formats/format-error.ts";
import { formatCount } from "../text/hex.ts";
import { answerOf, type Greeting, greetingOf, type Reply } from "./answer.ts";
import { type CaseQuestion, isCaseId } from "./case.ts";
import type { CaseForm } from "./forms.ts";
import { field, type JsonFields, type Refuse } from "./json-value.ts";
import { linesOf } from "./line-file.ts";
import type { Subject } from "./subject.ts";

/** What a file has for a case: an answer, or why it is none. */
type Written = { readonly fields: JsonFields } | { readonly refused: string };

/** A line that is no answer, thrown so that it ends the reading of that line alone. */
class Refused extends Error {}
const refuse: Refuse = (expected) => new Refused(expected);

/**
 * Answers that a program wrote down: to cases that were written to a file, in any order, with other lines between them. Of
 * two answers to a case the later one counts, so that the files of a run that was resumed can be one behind the other.
 */
export class AnswerFileSubject implements Subject {
  readonly notes: string[] = [];
  readonly #greeting: Greeting;
  readonly #written = new Map<string, Written>();

  /** Reads the whole file. Throws FormatError for one that cannot be read, and for a greeting of another version. */
  constructor(file: string, form: CaseForm) {
    let greeting: Greeting = { name: file, skip: null, has: null };
    let others = 0;
    for (const { text, offset, whole } of linesOf(file)) {
      try {
        const line = form.read(text, refuse);
        if (line === null) others += text.trim() === "" ? 0 : 1;
        else if ("header" in line) {
          greeting = greetingOf(line.header, (expected) => new FormatError(file, offset, expected));
        } else this.#keep(line.answer);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (whole) this.#keepRefused(text, error.message);
        else this.notes.push(`${file}: its last line is cut off: the case counts as not answered`);
      }
    }
    this.#greeting = greeting;
    if (others > 0)
      this.notes.push(`${file}: ${formatCount(others)} lines are no answers, and were passed over`);
  }

  get name(): string {
    return this.#greeting.name;
  }

  get skip(): string | null {
    return this.#greeting.skip;
  }

  get has(): ReadonlySet<string> | null {
    return this.#greeting.has;
  }

  /** Whether the file has an answer to a case. */
  answers(id: string): boolean {
    return this.#written.has(id);
  }

  ask(questions: readonly CaseQuestion[]): Promise<readonly Reply[]> {
    return Promise.resolve(questions.map((question) => this.#reply(question)));
  }

  finish(): Promise<void> {
    const left = this.#written.size;
    if (left > 0) this.notes.push(`${formatCount(left)} answers are to cases that were not asked`);
    return Promise.resolve();
  }

  stop(): void {}

  #reply(question: CaseQuestion): Reply {
    const written = this.#written.get(question.id);
    if (written === undefined) return { unanswered: true };
    this.#written.delete(question.id);
    if ("refused" in written) return written;
    try {
      return answerOf(written.fields, question, refuse);
    } catch (error) {
      if (error instanceof Refused) return { refused: error.message };
      throw error;
    }
  }

  #keep(fields: JsonFields): void {
    const id = field(fields, "id");
    if (typeof id !== "string" || !isCaseId(id)) {
      this.notes.push("an answer without the id of a case was passed over");
    } else this.#written.set(id, { fields });
  }

  /** A damaged line belongs to the case whose id can still be read. */
  #keepRefused(text: string, refused: string): void {
    const id = /[a-z0-9-]+\/[a-z0-9-]+/.exec(text)?.[0];
    if (id === undefined) this.notes.push(`a line is no answer: expected ${refused}`);
    else if (!this.#written.has(id)) this.#written.set(id, { refused });
  }
}
