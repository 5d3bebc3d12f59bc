import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { need } from "../../arch/x86/cpu/argument.ts";
import { text, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { type Answer, type Greeting, parseAnswer, parseGreeting } from "./answer.ts";
import type { CaseQuestion } from "./case.ts";
import { HEADER_LINE, questionJson } from "./case-json.ts";
import type { Subject } from "./subject.ts";

/** Longest line that a program may write. */
const MAX_LINE = 65_536;
/** What is kept of its standard error, to say why it ended. */
const MAX_STDERR = 400;
/** How long it may take to end after its input has. */
const MAX_GOODBYE = 2000;
/** A process group of its own, so that all a shell has started ends with it; Windows has none. */
const OWN_GROUP = process.platform !== "win32";

/** A line, or what came instead. */
interface Waiting {
  resolve(line: string): void;
  reject(error: Error): void;
}

const COMMAND = text("command");
const TIMEOUT = whole("timeout", 1, 2 ** 31 - 1);

/**
 * Any program that speaks the protocol of docs/conformance.md over standard input and output. What it does wrong is a
 * FormatError that names the command: no answer in time, one that cannot be understood, one too many, an early end.
 */
export class CommandSubject implements Subject {
  readonly #command: string;
  readonly #child: ChildProcessWithoutNullStreams;
  /** Milliseconds that each of its lines may take. */
  timeout: number;
  #greeting: Greeting = { name: "", skip: null };
  /** Lines that it owes. */
  #owed = 0;
  readonly #lines: string[] = [];
  #unfinished = "";
  #stderr = "";
  #failure: FormatError | null = null;
  #waiting: Waiting | null = null;
  #ended: () => void = () => {};
  readonly #end: Promise<void>;
  readonly #interrupted: (signal: NodeJS.Signals) => void;

  private constructor(command: string, timeout: number) {
    this.#command = command;
    this.timeout = timeout;
    this.#end = new Promise((resolve) => {
      this.#ended = resolve;
    });
    this.#child = spawn(command, { shell: true, detached: OWN_GROUP, stdio: ["pipe", "pipe", "pipe"] });
    this.#listen();
    this.#interrupted = (signal) => {
      this.stop();
      process.kill(process.pid, signal);
    };
    process.once("SIGINT", this.#interrupted);
    process.once("SIGTERM", this.#interrupted);
  }

  /** Starts a shell command and greets it. `timeout`: milliseconds that each of its lines may take. */
  static async start(command: string, timeout: number): Promise<CommandSubject> {
    need(COMMAND, command);
    need(TIMEOUT, timeout);
    const subject = new CommandSubject(command, timeout);
    try {
      subject.#send([HEADER_LINE]);
      const line = await subject.#nextLine("a greeting");
      subject.#greeting = parseGreeting(line, (expected) => subject.#error(expected));
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

  async ask(questions: readonly CaseQuestion[]): Promise<readonly Answer[]> {
    this.#send(questions.map((question) => JSON.stringify(questionJson(question))));
    const answers: Answer[] = [];
    for (const question of questions) {
      const line = await this.#nextLine(`an answer to ${question.id}`);
      answers.push(parseAnswer(line, question, (expected) => this.#error(expected)));
    }
    return answers;
  }

  async finish(): Promise<void> {
    this.#child.stdin.end();
    const goodbye = setTimeout(this.#ended, Math.min(this.timeout, MAX_GOODBYE));
    await this.#end;
    clearTimeout(goodbye);
    if (this.#unfinished !== "") this.#receive(this.#unfinished);
    if (this.#failure !== null) throw this.#failure;
  }

  stop(): void {
    process.off("SIGINT", this.#interrupted);
    process.off("SIGTERM", this.#interrupted);
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
      this.#ended();
      if (this.#owed === 0) return;
      const lines = this.#stderr.trim().split("\n");
      // An uncaught error in Node ends with its version; the error stands above.
      const last = lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? "";
      const said = last === "" ? "" : `; it said ${quote(last)}`;
      const wanted =
        this.#greeting.name === "" && this.#greeting.skip === null ? "a greeting" : "more answers";
      this.#fail(`${wanted}, found its end (${signal ?? `exit status ${status}`}${said})`);
    });
  }

  #send(lines: readonly string[]): void {
    this.#owed += lines.length;
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
    if (this.#owed === 0) {
      this.#fail(`one line for each it is sent, found another: ${quote(line)}`);
      return;
    }
    this.#owed--;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) this.#lines.push(line);
    else waiting.resolve(line);
  }

  #nextLine(what: string): Promise<string> {
    const line = this.#lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const seconds = this.timeout / 1000;
        this.#fail(`${what} within ${seconds} s (does it flush its output after each line?)`);
      }, this.timeout);
      this.#waiting = {
        resolve: (text) => {
          clearTimeout(timer);
          resolve(text);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  #fail(expected: string): void {
    this.#failure ??= this.#error(expected);
    this.#ended();
    this.stop();
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
  }

  #error(expected: string): FormatError {
    return new FormatError(quote(this.#command), null, expected);
  }
}
