import { setImmediate } from "node:timers/promises";
import type { ConformCase } from "../conform/case.ts";
import { junitLines, tapLines } from "../conform/ci-results.ts";
import { changeOf, type FailureChange, readExpectedFailures } from "../conform/expected-failures.ts";
import { type CaseForm, FORM_NAMES, FORMS, formLines } from "../conform/forms.ts";
import type { CaseGroup } from "../conform/pack.ts";
import { comparedOf, reportLines, reportObject } from "../conform/report.ts";
import { type ConformResult, runConform, type Verdict } from "../conform/runner.ts";
import type { Subject } from "../conform/subject.ts";
import { AnswerFileSubject } from "../conform/subject-answers.ts";
import { CommandSubject } from "../conform/subject-command.ts";
import { SelfSubject } from "../conform/subject-self.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { WholeFile } from "../formats/whole-file.ts";
import { jsonText } from "../text/escape.ts";
import { formatCount } from "../text/hex.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import {
  CASE_OPTIONS,
  checkTogether,
  chooseCases,
  requiredOf,
  SHOW,
  START_TIMEOUT,
  selectionOf,
  TIMEOUT,
  wholeNumber,
} from "./conform-options.ts";
import { type Terminal, writeLines } from "./output.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** Ids that a line names. */
const MAX_IDS = 10;

export const conformCommand: Command = {
  name: "conform",
  summary: "is an MMU right: the conformance pack, against ptescope or any program",
  usage:
    '[--against "COMMAND" | --judge ANSWERS] [--groups LIST] [--sample N|all] [--from FILE | --write FILE]',
  options: {
    against: {
      value: "COMMAND",
      help: "a program to ask, over its standard input and output (default: ptescope)",
    },
    judge: { value: "FILE", help: "answers that a program wrote down, to cases of --write" },
    ...CASE_OPTIONS,
    write: {
      value: "FILE",
      help: "write the cases with their answers, - is standard output; with --judge those left",
    },
    form: { value: "FORM", help: `of the files of --write and --judge: ${FORM_NAMES.join(", ")}` },
    list: { help: "the groups and how many cases they have" },
    show: { value: "N", help: `mismatches explained for each cause (default ${SHOW})` },
    timeout: { value: "SECONDS", help: `how long the program may take for an answer (default ${TIMEOUT})` },
    "start-timeout": { value: "SECONDS", help: `and for its greeting (default ${START_TIMEOUT})` },
    "max-time": { value: "SECONDS", help: "end the run then, and report what there is" },
    require: { value: "N%", help: "fail if fewer of the cases could be compared" },
    "expect-failures": { value: "FILE", help: "ids of cases, one a line: fail on others only" },
    json: { help: "the report as JSON, with the id of every case that failed" },
    tap: { help: "results as TAP" },
    junit: { help: "results as JUnit's XML" },
  },
  notes: [
    "docs/conformance.md says how a program is asked and what it answers; an adapter takes under 70 lines.",
    "SIGINT and SIGTERM end a run: what was answered is reported.",
    "Exit status: 0 every answer is right, 1 some are wrong or too few were compared, 2 the program cannot be",
    "understood, ended early, or answered nothing.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(conformCommand, args);
    requirePositionals(conformCommand, parsed, 0);
    checkTogether(parsed);
    const selection = selectionOf(parsed);
    if (parsed.has("list")) return await list(selection.groups, parsed.has("json"), terminal);
    const form = FORMS[parsed.choice("form", FORM_NAMES)];
    const { cases, total } = chooseCases(parsed, selection);
    const target = parsed.text("write");
    if (target !== undefined)
      return await writeCases(target, form, unanswered(cases, parsed, form), terminal);
    return await runCases(cases, total, form, parsed, terminal);
  },
};

async function runCases(
  cases: Iterable<ConformCase>,
  total: number | null,
  form: CaseForm,
  parsed: ParsedArguments,
  terminal: Terminal,
): Promise<number> {
  const show = wholeNumber(parsed, "show", SHOW, 0, 1000);
  const seconds = wholeNumber(parsed, "max-time", 0, 1, 1_000_000);
  const required = requiredOf(parsed);
  const file = parsed.text("expect-failures");
  const expected = file === undefined ? null : readExpectedFailures(file);
  const verdicts: Verdict[] = [];
  const right = new Set<string>();
  const listed = parsed.has("tap") || parsed.has("junit");
  const verdict = (one: Verdict): void => {
    if (listed) verdicts.push(one);
    if (expected?.has(one.conformCase.id) === true && one.state === "matched") right.add(one.conformCase.id);
  };
  const of = total === null ? "" : ` of ${formatCount(total)}`;
  const progress = (asked: number): void => {
    terminal.progress(asked === 0 ? "" : `${formatCount(asked)}${of} cases`);
  };
  const result = await untilEnd(seconds, async (signal) => {
    const subject = await subjectOf(parsed, form, signal);
    return await runConform(subject, cases, show, progress, { signal, verdict });
  });
  const change = expected === null ? null : changeOf(result, right, expected);
  if (listed) {
    const lines = parsed.has("tap") ? tapLines : junitLines;
    await writeLines(terminal, lines(result, verdicts, expected ?? new Set()), Number.POSITIVE_INFINITY);
  } else await report(result, change, parsed.has("json"), terminal);
  return statusOf(result, change, required, terminal);
}

/** Works until SIGINT, SIGTERM or the end of time; 0 seconds are no end. */
async function untilEnd<T>(seconds: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const interrupted = (name: string): void => end.abort(`interrupted by ${name}`);
  for (const name of SIGNALS) process.once(name, interrupted);
  const timer =
    seconds === 0
      ? undefined
      : setTimeout(() => end.abort(`the ${formatCount(seconds)} s of --max-time are over`), seconds * 1000);
  try {
    return await work(end.signal);
  } finally {
    clearTimeout(timer);
    for (const name of SIGNALS) process.off(name, interrupted);
  }
}

async function subjectOf(parsed: ParsedArguments, form: CaseForm, signal: AbortSignal): Promise<Subject> {
  const command = parsed.text("against");
  const answers = parsed.text("judge");
  const seconds = wholeNumber(parsed, "timeout", TIMEOUT, 1, 3600);
  const start = wholeNumber(parsed, "start-timeout", START_TIMEOUT, 1, 3600);
  if (answers !== undefined) return breathing(new AnswerFileSubject(answers, form));
  if (command === undefined) return breathing(new SelfSubject());
  if (command.trim() === "") throw new UsageError("--against: give the command that starts the program");
  return await CommandSubject.start(command, seconds * 1000, { startTimeout: start * 1000, signal });
}

/** The subject, which lets signals and timers through before it answers at once. */
function breathing<S extends Subject>(subject: S): S {
  const ask = subject.ask.bind(subject);
  subject.ask = async (questions, asking) => {
    await setImmediate();
    return await ask(questions, asking);
  };
  return subject;
}

/** The cases to which a file has no answer yet; all, where none is judged. */
function* unanswered(
  cases: Iterable<ConformCase>,
  parsed: ParsedArguments,
  form: CaseForm,
): Generator<ConformCase> {
  const file = parsed.text("judge");
  const answers = file === undefined ? null : new AnswerFileSubject(file, form);
  for (const one of cases) if (answers === null || !answers.answers(one.id)) yield one;
}

async function list(groups: readonly CaseGroup[], json: boolean, terminal: Terminal): Promise<number> {
  const lines = groups.map(({ name, size, about }) =>
    json ? jsonText({ name, size, about }) : `${name.padEnd(8)}${formatCount(size).padStart(8)}  ${about}`,
  );
  await terminal.write(lines);
  return 0;
}

async function writeCases(
  target: string,
  form: CaseForm,
  cases: Iterable<ConformCase>,
  terminal: Terminal,
): Promise<number> {
  const lines = formLines(form, cases);
  if (target === "-") {
    await writeLines(terminal, lines, Number.POSITIVE_INFINITY);
    return 0;
  }
  const file = new WholeFile(target);
  try {
    for (const line of lines) file.write(`${line}\n`);
    file.commit();
  } finally {
    file.discard();
  }
  return 0;
}

async function report(
  result: ConformResult,
  change: FailureChange | null,
  json: boolean,
  terminal: Terminal,
): Promise<void> {
  if (json) {
    const changed = change === null ? {} : { newFailures: change.fresh, mendedFailures: change.mended };
    await terminal.write([jsonText({ ...reportObject(result), ...changed })]);
    return;
  }
  await writeLines(terminal, reportLines(result, terminal.paint), Number.POSITIVE_INFINITY);
  if (change !== null) await terminal.write(changeLines(result, change));
}

function changeLines({ failures }: ConformResult, { fresh, mended }: FailureChange): string[] {
  const known = failures.length - fresh.length;
  return [
    `${formatCount(known)} failures were expected, ${formatCount(fresh.length)} were not${idList(fresh)}`,
    ...(mended.length === 0
      ? []
      : [`${formatCount(mended.length)} cases were expected to fail and are right${idList(mended)}`]),
  ];
}

function idList(ids: readonly string[]): string {
  if (ids.length === 0) return "";
  return `: ${ids.slice(0, MAX_IDS).join(", ")}${ids.length > MAX_IDS ? ", ..." : ""}`;
}

/** The exit status; what makes it other than the report says is a line on standard error. */
function statusOf(
  result: ConformResult,
  change: FailureChange | null,
  required: number,
  terminal: Terminal,
): number {
  for (const note of result.notes) terminal.warn(`ptescope conform: ${note}`);
  if (result.ended !== null) {
    terminal.warn(`ptescope conform: ${result.ended}`);
    return 2;
  }
  if (result.skip !== null) return 0;
  const { compared, of } = comparedOf(result);
  if (compared === 0) {
    throw new FormatError(quote(result.subject), null, `an answer that can be compared, found ${of} without`);
  }
  const enough = compared >= required * of;
  if (!enough) {
    const part = `${formatCount(compared)} of ${formatCount(of)}, ${((100 * compared) / of).toFixed(1)}%`;
    terminal.warn(`ptescope conform: ${part} could be compared, --require asks for ${100 * required}%`);
  }
  return (change?.fresh ?? result.failures).length > 0 || !enough ? 1 : 0;
}
