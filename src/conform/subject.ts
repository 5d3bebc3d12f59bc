import type { Answer } from "./answer.ts";
import type { CaseQuestion } from "./case.ts";

/** An MMU that is asked cases. */
export interface Subject {
  /** What it calls itself. */
  readonly name: string;
  /** Why it cannot be asked anything here, or null. */
  readonly skip: string | null;
  /** One answer for each question, in their order. Throws FormatError for answers that cannot be understood. */
  ask(questions: readonly CaseQuestion[]): Promise<readonly Answer[]>;
  /** There are no more questions. Throws FormatError when it says more than it was asked. */
  finish(): Promise<void>;
  /** Ends it at once, whatever it does. */
  stop(): void;
}
