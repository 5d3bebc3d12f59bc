import { type ConformCase, isCaseId } from "../conform/case.ts";
import { caseById } from "../conform/case-by-id.ts";
import { readCaseFile } from "../conform/case-file.ts";
import { type CaseGroup, countOf, GROUPS, type Selection, selectCases } from "../conform/pack.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";
import { CPU_OPTIONS, cpuOf } from "./conform-cpu.ts";

const NAMES = GROUPS.map(({ name }) => name);
const SAMPLE = 1000;
const SEED = 1;
/** Seconds for an answer, and for the greeting: programs that start an emulator take longer to greet. */
export const TIMEOUT = 10;
export const START_TIMEOUT = 60;
/** Mismatches explained for each cause. */
export const SHOW = 1;

/** The options of `conform` that choose cases. */
export const CASE_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  groups: { value: "LIST", help: `some of ${NAMES.join(",")} (default: all)` },
  sample: {
    value: "N",
    help: `cases of each of m1, m2, m3, or all (default: all for ptescope itself, else ${SAMPLE})`,
  },
  seed: { value: "N", help: `chooses the sample (default ${SEED})` },
  ...CPU_OPTIONS,
  only: { value: "IDS", help: "these cases alone, such as fact/29,m1/001931" },
  from: { value: "FILE", help: "the cases of a file instead of the built-in ones" },
};

/** Options that contradict each other. */
const APART: readonly (readonly [string, string])[] = [
  ...Object.keys(CPU_OPTIONS).flatMap((name) => [["from", name] as const, ["only", name] as const]),
  ["from", "groups"],
  ["from", "sample"],
  ["from", "seed"],
  ["from", "list"],
  ["from", "write"],
  ["only", "groups"],
  ["only", "sample"],
  ["only", "seed"],
  ["only", "list"],
  ["write", "against"],
  ["write", "json"],
  ["write", "list"],
  ["write", "tap"],
  ["write", "junit"],
  ["judge", "against"],
  ["judge", "list"],
  ["against", "list"],
  ["json", "tap"],
  ["json", "junit"],
  ["tap", "junit"],
];

/** Throws UsageError for options of which only one can be meant, and for one that means nothing alone. */
export function checkTogether(parsed: ParsedArguments): void {
  for (const [one, other] of APART) {
    if (parsed.has(one) && parsed.has(other)) {
      throw new UsageError(`--${one} and --${other} do not go together: give one of them`);
    }
  }
  if (parsed.has("form") && !parsed.has("write") && !parsed.has("judge")) {
    throw new UsageError("--form is how files are written and read: give --write or --judge with it");
  }
}

/** The cases that a command line means, and how many; null for those of a file. */
export interface ChosenCases {
  readonly cases: Iterable<ConformCase>;
  readonly total: number | null;
}

/** Chooses the cases. Throws UsageError. */
export function chooseCases(parsed: ParsedArguments, selection: Selection): ChosenCases {
  const only = onlyOf(parsed.text("only"));
  const file = parsed.text("from");
  if (file !== undefined) {
    const cases = readCaseFile(file);
    return { cases: only === null ? cases : someOf(cases, only, file), total: null };
  }
  if (only === null) {
    const sum = selection.groups.reduce((before, group) => before + countOf(group, selection), 0);
    return { cases: selectCases(selection), total: selection.cpu === undefined ? sum : null };
  }
  const cases = only.map((id) => {
    const found = caseById(GROUPS, id);
    if (found === null) throw new UsageError(`--only ${quote(id)}: the pack has no such case`);
    return found;
  });
  return { cases, total: cases.length };
}

function onlyOf(text: string | undefined): readonly string[] | null {
  if (text === undefined) return null;
  const ids = [...new Set(text.split(","))];
  const wrong = ids.find((id) => !isCaseId(id));
  if (wrong === undefined) return ids;
  throw new UsageError(`--only ${quote(wrong)}: give ids of cases, such as fact/29,m1/001931`);
}

function* someOf(cases: Iterable<ConformCase>, ids: readonly string[], file: string): Generator<ConformCase> {
  const missing = new Set(ids);
  for (const one of cases) {
    if (!ids.includes(one.id)) continue;
    missing.delete(one.id);
    yield one;
  }
  const [first] = missing;
  if (first !== undefined) throw new FormatError(file, null, `the case ${first}`);
}

/** Which cases of the pack are meant. Throws UsageError. */
export function selectionOf(parsed: ParsedArguments): Selection {
  const ofOurselves = !["against", "write", "judge"].some((name) => parsed.has(name));
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

/** The value of an option that is a whole number. Throws UsageError. */
export function wholeNumber(
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

/** The part of the cases that must be compared, from 0 to 1. Throws UsageError. */
export function requiredOf(parsed: ParsedArguments): number {
  const text = parsed.text("require");
  if (text === undefined) return 0;
  const percent = /^\d{1,3}(\.\d{1,6})?%?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (!(percent <= 100)) throw new UsageError(`--require ${quote(text)}: give a percentage, such as 80%`);
  return percent / 100;
}
