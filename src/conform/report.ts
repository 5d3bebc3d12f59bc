import { formatCount, hex } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { CONFORM_FORMAT, CONFORM_VERSION, type ConformCase, type Step } from "./case.ts";
import { caseJson } from "./case-json.ts";
import type { Difference } from "./compare.ts";
import { switchesOn } from "./fixture.ts";
import { type ConformResult, type GroupTally, type Mismatch, totalOf } from "./runner.ts";

const COLUMNS = ["cases", "matched", "mismatched", "unsupported"] as const;
const NAME_WIDTH = 8;
const COLUMN_WIDTH = 12;
/** Differences of one case that are printed. */
const MAX_DIFFERENCES = 3;
const KIND_NAMES = {
  read: "read",
  write: "write",
  rmw: "read-modify-write",
  fetch: "fetch",
  implicit_read: "read by the CPU itself",
  wruss: "WRUSS",
} as const;

/** The report for a person, line by line. */
export function* reportLines(result: ConformResult, paint: Paint): Generator<string> {
  if (result.skip !== null) {
    yield `skipped: ${result.subject}: ${result.skip}`;
    return;
  }
  yield `${result.subject}, pack version ${CONFORM_VERSION}`;
  yield "";
  yield paint("heading", `${"group".padEnd(NAME_WIDTH)}${COLUMNS.map(column).join("")}`);
  for (const tally of result.groups) yield tallyLine(tally, paint);
  for (const mismatch of result.mismatches) yield* explain(mismatch, paint);
  yield "";
  yield* summary(result);
}

/** The report for a program. */
export function reportObject(result: ConformResult): object {
  return {
    format: `${CONFORM_FORMAT}-report`,
    version: 1,
    pack: CONFORM_VERSION,
    subject: result.subject,
    skipped: result.skip,
    groups: result.groups,
    unsupported: Object.fromEntries(result.reasons),
    mismatches: result.mismatches.map(({ conformCase, differences }) => ({
      case: caseJson(conformCase),
      differences,
    })),
  };
}

function column(text: string): string {
  return text.padStart(COLUMN_WIDTH);
}

function tallyLine(tally: GroupTally, paint: Paint): string {
  const cells = COLUMNS.map((name) => {
    const cell = column(formatCount(tally[name]));
    return name === "mismatched" && tally[name] > 0 ? paint("danger", cell) : cell;
  });
  return `${tally.group.padEnd(NAME_WIDTH)}${cells.join("")}`;
}

function* summary(result: ConformResult): Generator<string> {
  const total = totalOf(result);
  const compared = total.matched + total.mismatched;
  if (total.mismatched > 0) {
    yield `${formatCount(total.mismatched)} of ${formatCount(compared)} answers are not what the manual says`;
  } else if (compared === 0) {
    yield "no answer could be compared";
  } else {
    yield `all ${formatCount(compared)} answers are what the manual says`;
  }
  if (total.partial > 0) {
    yield `${formatCount(total.partial)} of them left something out (steps, error code, CR2, memory), which was not compared`;
  }
  for (const [reason, count] of result.reasons) yield `unsupported: ${reason}: ${formatCount(count)}`;
}

function* explain({ conformCase, differences }: Mismatch, paint: Paint): Generator<string> {
  const { id, title, cpu, registers, memory } = conformCase;
  const keys =
    registers.pkru === 0n && registers.pkrs === 0n
      ? ""
      : `, PKRU ${hex(registers.pkru)}, PKRS ${hex(registers.pkrs)}`;
  const huge = cpu.page1gb ? "" : ", no 1-GiB pages";
  yield "";
  yield paint("heading", `${id}${title === undefined ? "" : `  ${title}`}`);
  yield `  CPU       ${cpu.vendor}, MAXPHYADDR ${cpu.maxphyaddr}${huge}; on: ${switchesOn(registers).join(" ")}; CR3 ${hex(registers.cr3)}${keys}`;
  yield `  memory    ${memory.map(({ pa, value }) => `${hex(pa)}: ${hex(value)}`).join(", ")}`;
  for (const difference of differences.slice(0, MAX_DIFFERENCES)) {
    yield* explainDifference(conformCase, difference, paint);
  }
  const more = differences.length - MAX_DIFFERENCES;
  if (more > 0) yield `  and ${more} more`;
}

function* explainDifference(
  { steps, memory }: ConformCase,
  { at, expected, got, rule }: Difference,
  paint: Paint,
): Generator<string> {
  const last = "step" in at ? at.step : steps.length - 1;
  const asked = steps
    .slice(0, last + 1)
    .map(describeStep)
    .join("; then ");
  yield `  asked     ${asked}`;
  const place = "word" in at ? `${hex(memory[at.word]!.pa)}: ` : "";
  yield `  expected  ${paint("good", `${place}${expected}`)}`;
  yield `  got       ${paint("danger", `${place}${got}`)}`;
  yield `  because   ${rule.says}${rule.where === "" ? "" : ` (${rule.where})`}`;
}

/** A step in words. */
export function describeStep(step: Step): string {
  switch (step.op) {
    case "access": {
      const who = step.cpl === 3 ? "user" : step.ac ? "supervisor (AC=1)" : "supervisor";
      const through = step.stack ? " through SS" : "";
      return `${who} ${KIND_NAMES[step.kind]} of ${step.size} at ${hex(step.la)}${through}`;
    }
    case "write_entry":
      return `${hex(step.pa)} := ${hex(step.value)}`;
    case "mov_cr3":
      return `MOV ${hex(step.value)} to CR3`;
    case "invlpg":
      return `INVLPG ${hex(step.la)}`;
    case "invpcid":
      return `INVPCID ${step.type}, PCID ${hex(step.pcid)}, ${hex(step.la)}`;
    case "control": {
      const { op: _, ...values } = step;
      return Object.entries(values)
        .map(([name, value]) => `${name.toUpperCase()} := ${hex(value)}`)
        .join(", ");
    }
  }
}
