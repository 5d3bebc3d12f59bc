import type { ConformCase } from "../conform/case.ts";
import { readCaseFile } from "../conform/case-file.ts";
import { caseFileLines } from "../conform/case-json.ts";
import { type CaseGroup, countOf, GROUPS, type Selection, selectCases } from "../conform/pack.ts";
import { reportLines, reportObject } from "../conform/report.ts";
import { type ConformResult, runConform, totalOf } from "../conform/runner.ts";
import type { Subject } from "../conform/subject.ts";
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
import { CPU_OPTIONS, cpuOf } from "./conform-cpu.ts";
import { type Terminal, writeLines } from "./output.ts";

const NAMES = GROUPS.map(({ name }) => name);
const SAMPLE = 1000;
const SEED = 1;
const TIMEOUT = 10;
const SHOW = 2;

export const conformCommand: Command = {
  name: "conform",
  summary: "is an MMU right: the conformance pack, against ptescope or any program",
  usage: '[--against "COMMAND"] [--groups LIST] [--sample N|all] [--from FILE | --write FILE] [--json]',
  options: {
    against: {
      value: "COMMAND",
      help: "a program to ask, over its standard input and output (default: ptescope)",
    },
    groups: { value: "LIST", help: `some of ${NAMES.join(",")} (default: all)` },
    sample: {
      value: "N",
      help: `cases of each of m1, m2, m3, or all (default: all for ptescope itself, else ${SAMPLE})`,
    },
    seed: { value: "N", help: `chooses the sample (default ${SEED})` },
    ...CPU_OPTIONS,
    from: { value: "FILE", help: "the cases of a file instead of the built-in ones" },
    write: { value: "FILE", help: "write the cases with their answers as JSON lines, - is standard output" },
    list: { help: "the groups and how many cases they have" },
    show: { value: "N", help: `mismatches explained in each group (default ${SHOW})` },
    timeout: { value: "SECONDS", help: `how long the program may take for an answer (default ${TIMEOUT})` },
    json: { help: "the report as JSON" },
  },
  notes: [
    "docs/conformance.md says how a program is asked and what it answers; an adapter takes under 70 lines.",
    "Exit status: 0 every answer is right, 1 some are wrong, 2 the program cannot be understood or answered nothing.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(conformCommand, args);
    requirePositionals(conformCommand, parsed, 0);
    checkTogether(parsed);
    const selection = selectionOf(parsed);
    if (parsed.has("list")) return await list(selection.groups, parsed.has("json"), terminal);
    const file = parsed.text("from");
    const cases = file === undefined ? selectCases(selection) : readCaseFile(file);
    const target = parsed.text("write");
    if (target !== undefined) return await writeCases(target, cases, terminal);

    const show = wholeNumber(parsed, "show", SHOW, 0, 1000);
    const subject = await subjectOf(parsed);
    const total = file === undefined && selection.cpu === undefined ? countCases(selection) : null;
    const of = total === null ? "" : ` of ${formatCount(total)}`;
    const result = await runConform(subject, cases, show, (asked) => {
      terminal.progress(asked === 0 ? "" : `${formatCount(asked)}${of} cases`);
    });
    return await report(result, parsed.has("json"), terminal);
  },
};

function checkTogether(parsed: ParsedArguments): void {
  const pairs = [
    ...Object.keys(CPU_OPTIONS).map((name) => ["from", name] as const),
    ["from", "groups"],
    ["from", "sample"],
    ["from", "seed"],
    ["from", "list"],
    ["from", "write"],
    ["write", "against"],
    ["write", "json"],
    ["write", "list"],
    ["against", "list"],
  ] as const;
  for (const [one, other] of pairs) {
    if (parsed.has(one) && parsed.has(other)) {
      throw new UsageError(`--${one} and --${other} do not go together: give one of them`);
    }
  }
}

function selectionOf(parsed: ParsedArguments): Selection {
  const ofOurselves = !parsed.has("against") && !parsed.has("write");
  const all = parsed.has("sample") ? parsed.text("sample") === "all" : ofOurselves;
  const sample = all ? Number.POSITIVE_INFINITY : wholeNumber(parsed, "sample", SAMPLE, 1, 1_000_000);
  return {
    groups: groupsOf(parsed.text("groups")),
    sample,
    seed: wholeNumber(parsed, "seed", SEED, 0, 2 ** 31 - 1),
    ...cpuOf(parsed),
  };
}

function groupsOf(text: string | undefined): readonly CaseGroup[] {
  if (text === undefined) return GROUPS;
  const wanted = text.split(",");
  const unknown = wanted.find((name) => !NAMES.includes(name));
  if (unknown !== undefined)
    throw new UsageError(`--groups ${quote(unknown)}: groups are ${NAMES.join(", ")}`);
  return GROUPS.filter(({ name }) => wanted.includes(name));
}

function wholeNumber(
  parsed: ParsedArguments,
  name: string,
  usual: number,
  least: number,
  most: number,
): number {
  const text = parsed.text(name);
  if (text === undefined) return usual;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    const orAll = name === "sample" ? ", or all" : "";
    throw new UsageError(`--${name} ${quote(text)}: give a number from ${least} to ${most}${orAll}`);
  }
  return value;
}

async function subjectOf(parsed: ParsedArguments): Promise<Subject> {
  const command = parsed.text("against");
  const seconds = wholeNumber(parsed, "timeout", TIMEOUT, 1, 3600);
  if (command === undefined) return new SelfSubject();
  if (command.trim() === "") throw new UsageError("--against: give the command that starts the program");
  return await CommandSubject.start(command, seconds * 1000);
}

function countCases(selection: Selection): number {
  return selection.groups.reduce((sum, group) => sum + countOf(group, selection), 0);
}

async function list(groups: readonly CaseGroup[], json: boolean, terminal: Terminal): Promise<number> {
  const lines = groups.map(({ name, size, about }) =>
    json ? jsonText({ name, size, about }) : `${name.padEnd(8)}${formatCount(size).padStart(8)}  ${about}`,
  );
  await terminal.write(lines);
  return 0;
}

async function writeCases(target: string, cases: Iterable<ConformCase>, terminal: Terminal): Promise<number> {
  if (target === "-") {
    await writeLines(terminal, caseFileLines(cases), Number.POSITIVE_INFINITY);
    return 0;
  }
  const file = new WholeFile(target);
  try {
    for (const line of caseFileLines(cases)) file.write(`${line}\n`);
    file.commit();
  } finally {
    file.discard();
  }
  return 0;
}

async function report(result: ConformResult, json: boolean, terminal: Terminal): Promise<number> {
  if (json) await terminal.write([jsonText(reportObject(result))]);
  else await writeLines(terminal, reportLines(result, terminal.paint), Number.POSITIVE_INFINITY);
  if (result.skip !== null) return 0;
  const { matched, mismatched, unsupported } = totalOf(result);
  if (matched + mismatched === 0) {
    throw new FormatError(
      quote(result.subject),
      null,
      `an answer that can be compared, found ${unsupported} without`,
    );
  }
  return mismatched > 0 ? 1 : 0;
}
