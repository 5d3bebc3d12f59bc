import { type Answer, parseAnswer } from "../../../src/conform/answer.ts";
import type { CaseQuestion } from "../../../src/conform/case.ts";
import { questionJson } from "../../../src/conform/case-json.ts";
import type { Subject } from "../../../src/conform/subject.ts";
import type { DefectName } from "../../support/conform-subject/defects.ts";
import { Walker, type WireCase } from "../../support/conform-subject/walker.ts";

/** The walker of test/support/conform-subject in this process, spoken to in the protocol's JSON all the same. */
export class WalkerSubject implements Subject {
  readonly name = "test walker";
  readonly skip = null;
  readonly #walker: Walker;

  constructor(defect: DefectName | null) {
    this.#walker = new Walker(defect);
  }

  ask(questions: readonly CaseQuestion[]): Promise<readonly Answer[]> {
    return Promise.resolve(
      questions.map((question) => {
        const sent = JSON.parse(JSON.stringify(questionJson(question))) as WireCase;
        const answer = JSON.stringify(this.#walker.answer(sent));
        return parseAnswer(answer, question, (expected) => new Error(`expected ${expected}`));
      }),
    );
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  stop(): void {}
}
