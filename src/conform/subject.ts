import type { Reply } from "./answer.ts";
import type { CaseQuestion } from "./case.ts";

/** What ends a run early: an AbortSignal of Node or of a browser is one. */
export interface EndSignal {
  readonly aborted: boolean;
  /** Why, as a text. */
  readonly reason: unknown;
  addEventListener(type: "abort", heard: () => void): void;
  removeEventListener(type: "abort", heard: () => void): void;
}

/** What a subject is told while it is asked. */
export interface Asking {
  /** Answers are not waited for any longer once it is aborted. */
  readonly signal?: EndSignal | undefined;
  /** Called when a question is settled. */
  readonly settled?: () => void;
}

/** An MMU that is asked cases. */
export interface Subject {
  /** What it calls itself. */
  readonly name: string;
  /** Why it cannot be asked anything here, or null. */
  readonly skip: string | null;
  /** Words of what it has, see docs/conformance.md: it is asked nothing else. Null or left out: it is asked everything. */
  readonly has?: ReadonlySet<string> | null;
  /** What is to be said of how it answers, a line each. */
  readonly notes?: readonly string[];
  /** One reply for each question, in their order. Fewer when it has ended: {@link finish} then says why. */
  ask(questions: readonly CaseQuestion[], asking?: Asking): Promise<readonly Reply[]>;
  /** There are no more questions. Throws FormatError when it ended early, or said more than it was asked. */
  finish(): Promise<void>;
  /** Ends it at once, whatever it does. */
  stop(): void;
}
