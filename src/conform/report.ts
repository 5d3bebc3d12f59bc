import { pathSteps, stepLines } from "../inspect/path-steps.ts";
import { formatCount, hex } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { CONFORM_FORMAT, CONFORM_VERSION, type ConformCase } from "./case.ts";
import { caseJson } from "./case-json.ts";
import { walkOfStep } from "./case-walk.ts";
import type { Cause } from "./causes.ts";
import type { Difference } from "./compare.ts";
import type { Point } from "./explain.ts";
import { switchesOn } from "./fixture.ts";
import { BASIS_WORDS, type Rule } from "./rules.ts";
import { type ConformResult, type GroupTally, type Mismatch, totalOf } from "./runner.ts";
import { describeStep } from "./step-text.ts";

interface Column {
  readonly name: string;
  readonly of: (tally: GroupTally) => number;
  /** Left out where it is zero in every row. */
  readonly optional?: boolean;
}

const COLUMNS: readonly Column[] = [
  { name: "cases", of: ({ cases }) => cases },
  { name: "matched", of: ({ matched }) => matched },
  { name: "mismatched", of: ({ mismatched }) => mismatched },
  { name: "unsupported", of: ({ unsupported }) => unsupported },
  { name: "not declared", of: ({ undeclared }) => undeclared, optional: true },
  { name: "unanswered", of: ({ unanswered }) => unanswered, optional: true },
];
const NAME_WIDTH = 8;
const COLUMN_WIDTH = 12;
const COUNT_WIDTH = 9;
const ID_WIDTH = 12;
/** Differences of one case that are printed. */
const MAX_DIFFERENCES = 3;
/** Causes that are printed; a program that gets everything wrong has more. */
const MAX_CAUSES = 50;

/** The report for a person, line by line: the table, the causes, an example of each. */
export function* reportLines(result: ConformResult, paint: Paint): Generator<string> {
  if (result.skip !== null) {
    yield `skipped: ${result.subject}: ${result.skip}`;
    return;
  }
  yield `${result.subject}, pack version ${CONFORM_VERSION}`;
  yield "";
  yield* table(result, paint);
  yield* causeLines(result.causes, paint);
  for (const mismatch of result.mismatches.slice(0, MAX_CAUSES)) yield* explain(mismatch, paint);
  yield "";
  yield* summary(result);
}

/** The report for a program; it names every case that was answered wrongly. */
export function reportObject(result: ConformResult): object {
  return {
    format: `${CONFORM_FORMAT}-report`,
    version: 2,
    pack: CONFORM_VERSION,
    subject: result.subject,
    skipped: result.skip,
    ended: result.ended,
    notes: result.notes,
    groups: result.groups,
    compared: comparedOf(result),
    unsupported: Object.fromEntries(result.reasons),
    causes: result.causes.map(({ says, levels, rule, ids }) => ({
      says,
      levels: Object.fromEntries(levels),
      rule,
      count: ids.length,
      ids,
    })),
    failures: result.failures,
    mismatches: result.mismatches.map(({ conformCase, differences, points }) => ({
      case: caseJson(conformCase),
      points,
      differences,
    })),
  };
}

/** How many answers could be compared, of how many cases that the subject declares to have: all, if it declares none. */
export function comparedOf(result: ConformResult): { readonly compared: number; readonly of: number } {
  const { cases, matched, mismatched, undeclared } = totalOf(result);
  return { compared: matched + mismatched, of: cases - undeclared };
}

/** "SDM vol. 3 (September 2016), 4.7 Page-Fault Exceptions; the manual's text". */
export function ruleSource({ where, basis }: Rule): string {
  return where === "" ? "" : `${where}; ${BASIS_WORDS[basis]}`;
}

function* table(result: ConformResult, paint: Paint): Generator<string> {
  const columns = COLUMNS.filter(
    ({ optional, of }) => optional !== true || result.groups.some((one) => of(one) > 0),
  );
  const head = columns.map(({ name }) => name.padStart(COLUMN_WIDTH + 1)).join("");
  yield paint("heading", `${"group".padEnd(NAME_WIDTH)}${head}`);
  for (const tally of result.groups) {
    const cells = columns.map(({ name, of }) => {
      const cell = formatCount(of(tally)).padStart(COLUMN_WIDTH + 1);
      return name === "mismatched" && of(tally) > 0 ? paint("danger", cell) : cell;
    });
    yield `${tally.group.padEnd(NAME_WIDTH)}${cells.join("")}`;
  }
}

function* causeLines(causes: readonly Cause[], paint: Paint): Generator<string> {
  if (causes.length === 0) return;
  yield "";
  yield paint("heading", `${"cases".padStart(COUNT_WIDTH)}  ${"such as".padEnd(ID_WIDTH)}  cause`);
  for (const { says, levels, ids } of causes.slice(0, MAX_CAUSES)) {
    const count = paint("danger", formatCount(ids.length).padStart(COUNT_WIDTH));
    const at = [...levels].map(([level, times]) => `${level} ${formatCount(times)}`).join(", ");
    yield `${count}  ${(ids[0] ?? "").padEnd(ID_WIDTH)}  ${says}${at === "" ? "" : ` (${at})`}`;
  }
  const more = causes.length - MAX_CAUSES;
  if (more > 0) yield `and ${formatCount(more)} more causes: --json has them all`;
}

function* summary(result: ConformResult): Generator<string> {
  const { partial, mismatched } = totalOf(result);
  const { compared, of } = comparedOf(result);
  const coverage = `${formatCount(compared)} of ${formatCount(of)} compared`;
  if (compared === 0) yield coverage;
  else if (mismatched > 0)
    yield `${coverage}: ${formatCount(mismatched)} answers are not what the manual says`;
  else yield `${coverage}: every answer is what the manual says`;
  if (partial > 0) {
    yield `${formatCount(partial)} of them left something out (steps, addresses, error code, CR2, memory), which was not compared`;
  }
  for (const [reason, count] of result.reasons) yield `unsupported: ${reason}: ${formatCount(count)}`;
}

function* explain({ conformCase, differences, points }: Mismatch, paint: Paint): Generator<string> {
  const { id, title, cpu, registers } = conformCase;
  const keys =
    registers.pkru === 0n && registers.pkrs === 0n
      ? ""
      : `, PKRU ${hex(registers.pkru)}, PKRS ${hex(registers.pkrs)}`;
  const huge = cpu.page1gb ? "" : ", no 1-GiB pages";
  yield "";
  yield paint("heading", `${id}${title === undefined ? "" : `  ${title}`}`);
  yield `  CPU       ${cpu.vendor}, MAXPHYADDR ${cpu.maxphyaddr}${huge}; on: ${switchesOn(registers).join(" ")}; CR3 ${hex(registers.cr3)}${keys}`;
  let shown = -1;
  for (const difference of differences.slice(0, MAX_DIFFERENCES)) {
    const last = "step" in difference.at ? difference.at.step : conformCase.steps.length - 1;
    if (last !== shown) yield* askedLines(conformCase, last, paint);
    shown = last;
    yield* differenceLines(conformCase, difference, paint);
  }
  const more = differences.length - MAX_DIFFERENCES;
  if (more > 0) yield `  and ${more} more`;
  // An answer that is none has no differences.
  if (differences.length === 0) for (const one of points) yield* because(one);
}

/** The steps up to one, and the walk of the last access among them. */
function* askedLines(conformCase: ConformCase, last: number, paint: Paint): Generator<string> {
  const steps = conformCase.steps.slice(0, last + 1);
  yield `  asked     ${steps.map(describeStep).join("; then ")}`;
  const walk = walkOfStep(
    conformCase,
    steps.findLastIndex(({ op }) => op === "access"),
  );
  if (walk === null) return;
  for (const line of stepLines(pathSteps(walk.path, walk.layout), paint)) yield `  ${line}`;
}

function* differenceLines(
  { memory }: ConformCase,
  { at, expected, got, points }: Difference,
  paint: Paint,
): Generator<string> {
  const place = "word" in at ? `${hex(memory[at.word]!.pa)}: ` : "";
  yield `  expected  ${paint("good", `${place}${expected}`)}`;
  yield `  got       ${paint("danger", `${place}${got}`)}`;
  for (const one of points) yield* because(one);
}

function* because({ detail, rule }: Point): Generator<string> {
  yield `  because   ${detail}`;
  const source = ruleSource(rule);
  yield `  rule      ${rule.says}${source === "" ? "" : ` (${source})`}`;
}
