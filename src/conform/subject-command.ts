import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { need } from "../../arch/x86/cpu/argument.ts";
import { optional, shape, text, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { answerOf, type Greeting, parseGreeting, type Reply } from "./answer.ts";
import type { CaseQuestion } from "./case.ts";
import { HEADER_LINE, questionJson } from "./case-json.ts";
import { field, parseLine, type Refuse, show } from "./json-value.ts";
import type { Asking, EndSignal, Subject } from "./subject.ts";

/** Longest line that a program may write. */
const MAX_LINE = 65_536;
/** What is kept of its standard error, to say why it ended. */
const MAX_STDERR = 400;
/** How long it may take to end after its input has. */
const MAX_GOODBYE = 2000;
/** Answers in a row that may be late: then nothing more is waited for. */
const MAX_LATE = 3;
/** A process group of its own, so that all a shell has started ends with it; Windows has none. */
const OWN_GROUP = process.platform !== "win32";

/** What came: a line, no line in time, or nothing any more. */
type Arrival = { readonly line: string } | "late" | "over";

/** How a program is started, beside its command. */
export interface StartOptions {
  /** Milliseconds that its greeting may take; as long as an answer unless given. */
  readonly startTimeout?: number;
  /** Ends the wait for the greeting. Without it, SIGINT and SIGTERM of this process end the program, too. */
  readonly signal?: EndSignal;
}

/** What ends a program with its caller. */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

const COMMAND = text("command");
const TIMEOUT = whole("timeout", 1, 2 ** 31 - 1);
const OPTIONS = optional(
  shape<StartOptions>("options", { startTimeout: optional(whole("startTimeout", 1, 2 ** 31 - 1)) }),
);

/** A line that is no answer. */
class Refused extends Error {}
const refuse: Refuse = (expected) => new Refused(expected);

/** Questions that were sent, and what came of them. */
class Round {
  readonly #questions: readonly CaseQuestion[];
  readonly #replies: (Reply | undefined)[];
  readonly #settled: () => void;
  /** Those without a reply, the oldest first. */
  readonly #open: number[];

  constructor(questions: readonly CaseQuestion[], settled: () => void) {
    this.#questions = questions;
    this.#replies = questions.map(() => undefined);
    this.#open = questions.map((_, i) => i);
    this.#settled = settled;
  }

  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  /** The question that is due, by its id. */
  get due(): string {
    return this.#questions[this.#open[0]!]!.id;
  }

  /** The question that waits for an answer with this id, or null. */
  find(id: unknown): CaseQuestion | null {
    const index = this.#open.find((one) => this.#questions[one]!.id === id);
    return index === undefined ? null : this.#questions[index]!;
  }

  settle(id: string, reply: Reply): void {
    const place = this.#open.findIndex((one) => this.#questions[one]!.id === id);
    const [index] = this.#open.splice(place, 1);
    this.#replies[index!] = reply;
    this.#settled();
  }

  /** The replies up to the last one that came. */
  replies(): readonly Reply[] {
    const count = this.#replies.findLastIndex((reply) => reply !== undefined) + 1;
    return this.#replies.slice(0, count).map((reply) => reply ?? { unanswered: true });
  }
}

/**
 * Any program that speaks the protocol of docs/conformance.md over standard input and output. An answer that is late or
 * cannot be understood is that case's; a program that ends early, is silent for long, or says what it was not asked is a
 * FormatError of {@link finish} that names the command.
 */
export class CommandSubject implements Subject {
  readonly notes: string[] = [];
  readonly #command: string;
  readonly #child: ChildProcessWithoutNullStreams;
  /** Milliseconds that each of its answers may take. */
  timeout: number;
  #greeting: Greeting = { name: "", skip: null, has: null };
  /** Whether a line is due. */
  #asked = true;
  readonly #lines: string[] = [];
  /** Cases that were given up: their answers may still come. */
  readonly #given = new Set<string>();
  #lateInARow = 0;
  #unfinished = "";
  #stderr = "";
  /** How it ended, or null. */
  #gone: string | null = null;
  #failure: FormatError | null = null;
  #wake: () => void = () => {};
  #ended: () => void = () => {};
  readonly #end: Promise<void>;
  readonly #interrupted: ((signal: NodeJS.Signals) => void) | null;

  private constructor(command: string, timeout: number, signal: EndSignal | undefined) {
    this.#command = command;
    this.timeout = timeout;
    this.#end = new Promise((resolve) => {
      this.#ended = resolve;
    });
    this.#child = spawn(command, { shell: true, detached: OWN_GROUP, stdio: ["pipe", "pipe", "pipe"] });
    this.#listen();
    this.#interrupted =
      signal === undefined
        ? (name) => {
            this.stop();
            process.kill(process.pid, name);
          }
        : null;
    if (this.#interrupted !== null) for (const name of SIGNALS) process.once(name, this.#interrupted);
  }

  /** Starts a shell command and greets it. `timeout`: milliseconds that each of its answers may take. */
  static async start(command: string, timeout: number, options: StartOptions = {}): Promise<CommandSubject> {
    need(COMMAND, command);
    need(TIMEOUT, timeout);
    need(OPTIONS, options);
    const { startTimeout = timeout, signal } = options;
    const subject = new CommandSubject(command, timeout, signal);
    try {
      subject.#send([HEADER_LINE]);
      const arrival = await subject.#next(startTimeout, signal);
      if (arrival === "late") {
        throw subject.#error(
          `a greeting within ${startTimeout / 1000} s (does it flush its output after each line?)`,
        );
      }
      if (arrival === "over") {
        throw (
          subject.#failure ?? subject.#error(`a greeting, found ${subject.#gone ?? String(signal?.reason)}`)
        );
      }
      subject.#greeting = parseGreeting(arrival.line, (expected) => subject.#error(expected));
      subject.#rest();
      return subject;
    } catch (error) {
      subject.stop();
      throw error;
    }
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

  async ask(questions: readonly CaseQuestion[], asking: Asking = {}): Promise<readonly Reply[]> {
    if (this.#failure !== null) return [];
    const round = new Round(questions, asking.settled ?? (() => {}));
    this.#asked = true;
    this.#send(questions.map((question) => JSON.stringify(questionJson(question))));
    while (round.isOpen) {
      const arrival = await this.#next(this.timeout, asking.signal);
      if (arrival === "over") {
        if (this.#gone !== null) this.#fail(`an answer to ${round.due}, found ${this.#gone}`);
        break;
      }
      if (arrival === "late") this.#giveUp(round);
      else this.#take(round, arrival.line);
    }
    if (!round.isOpen) this.#rest();
    return round.replies();
  }

  async finish(): Promise<void> {
    if (this.#failure === null) {
      this.#child.stdin.end();
      const goodbye = setTimeout(this.#ended, Math.min(this.timeout, MAX_GOODBYE));
      await this.#end;
      clearTimeout(goodbye);
      if (this.#unfinished !== "") this.#receive(this.#unfinished);
    }
    if (this.#failure !== null) throw this.#failure;
  }

  stop(): void {
    if (this.#interrupted !== null) for (const name of SIGNALS) process.off(name, this.#interrupted);
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined) return;
    try {
      if (OWN_GROUP) process.kill(-pid, "SIGKILL");
      else if (exitCode === null && signalCode === null) this.#child.kill("SIGKILL");
    } catch {
      // Nothing of the group is left.
    }
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) stream.destroy();
  }

  #listen(): void {
    const { stdin, stdout, stderr } = this.#child;
    stdout.setEncoding("utf8");
    stderr.setEncoding("utf8");
    // A program that has gone is noticed by its output.
    stdin.on("error", () => {});
    stdout.on("data", (text: string) => this.#read(text));
    stderr.on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-MAX_STDERR);
    });
    this.#child.on("error", (error) => this.#fail(`a program that can be started (${error.message})`));
    this.#child.on("close", (status, signal) => {
      const lines = this.#stderr.trim().split("\n");
      // An uncaught error in Node ends with its version; the error stands above.
      const last = lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? "";
      const said = last === "" ? "" : `; it said ${quote(last)}`;
      this.#gone = `its end (${signal ?? `exit status ${status}`}${said})`;
      this.#ended();
      this.#wake();
    });
  }

  #send(lines: readonly string[]): void {
    this.#child.stdin.write(`${lines.join("\n")}\n`);
  }

  #read(text: string): void {
    if (this.#failure !== null) return;
    const lines = (this.#unfinished + text).split("\n");
    this.#unfinished = lines.pop() ?? "";
    for (const line of lines) this.#receive(line);
    if (this.#unfinished.length > MAX_LINE) this.#fail(`lines of at most ${MAX_LINE} characters`);
  }

  #receive(line: string): void {
    if (this.#failure !== null) return;
    if (this.#asked) {
      this.#lines.push(line);
      this.#wake();
    } else if (!this.#wasGivenUp(line)) {
      this.#fail(`one line for each it is sent, found another: ${quote(line)}`);
    }
  }

  /** Everything that it was asked is settled: more lines are too many. */
  #rest(): void {
    this.#asked = false;
    for (const line of this.#lines.splice(0)) this.#receive(line);
  }

  /** The next line, within some milliseconds. */
  async #next(timeout: number, signal: EndSignal | undefined): Promise<Arrival> {
    if (!this.#hasNews(signal)) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, timeout);
        signal?.addEventListener("abort", this.#wake);
      });
      clearTimeout(timer);
      signal?.removeEventListener("abort", this.#wake);
      this.#wake = () => {};
    }
    if (signal?.aborted === true) return "over";
    const line = this.#lines.shift();
    if (line !== undefined) return { line };
    return this.#hasNews(signal) ? "over" : "late";
  }

  #hasNews(signal: EndSignal | undefined): boolean {
    return (
      this.#lines.length > 0 || this.#failure !== null || this.#gone !== null || signal?.aborted === true
    );
  }

  #take(round: Round, line: string): void {
    try {
      const fields = parseLine(line, "an answer", refuse);
      const id = field(fields, "id");
      const question = round.find(id);
      if (question === null) {
        if (this.#wasGivenUp(line)) return;
        throw refuse(`"id" to be that of a question without an answer, found ${show(id)}`);
      }
      this.#noteOrder(round.due, question.id);
      round.settle(question.id, this.#parse(fields, question));
      this.#lateInARow = 0;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#given.add(round.due);
      round.settle(round.due, { refused: error.message });
    }
  }

  #parse(fields: Parameters<typeof answerOf>[0], question: CaseQuestion): Reply {
    try {
      return answerOf(fields, question, refuse);
    } catch (error) {
      if (error instanceof Refused) return { refused: error.message };
      throw error;
    }
  }

  #noteOrder(due: string, id: string): void {
    if (due === id || this.notes.length > 0) return;
    this.notes.push(
      `${quote(this.#command)}: answers come out of order (${id} before ${due}), and are told by their ids`,
    );
  }

  /** No answer came in time. */
  #giveUp(round: Round): void {
    const seconds = `${this.timeout / 1000} s`;
    this.#given.add(round.due);
    const { due } = round;
    round.settle(due, { refused: `an answer within ${seconds}` });
    this.#lateInARow++;
    if (this.#lateInARow < MAX_LATE) return;
    this.#fail(
      `an answer to ${due} and ${MAX_LATE - 1} before it within ${seconds} each (does it flush its output after each line?)`,
    );
  }

  /** Whether a line is the answer to a case that was given up; it may come once. */
  #wasGivenUp(line: string): boolean {
    const id = /"id"\s*:\s*"([^"]*)"/.exec(line)?.[1];
    return id !== undefined && this.#given.delete(id);
  }

  #fail(expected: string): void {
    this.#failure ??= this.#error(expected);
    this.#ended();
    this.stop();
    this.#wake();
  }

  #error(expected: string): FormatError {
    return new FormatError(quote(this.#command), null, expected);
  }
}
