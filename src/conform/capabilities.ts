import { ACCESS_KINDS, type CaseQuestion } from "./case.ts";
import { SWITCH_NAMES, switchNamesOn } from "./fixture.ts";
import { listOf, type Refuse, show } from "./json-value.ts";

/** Switches that every CPU has on from the start, or can leave off. */
const ALWAYS: readonly string[] = ["wp", "nxe"];
const OPS = ["write_entry", "mov_cr3", "invlpg", "invpcid", "control"] as const;
const MAXPHYADDR = "maxphyaddr";
/** What a program may declare; `maxphyaddr:40` says that it has that width alone. */
const WORDS: ReadonlySet<string> = new Set([
  "intel",
  "amd",
  MAXPHYADDR,
  "page1gb",
  "no-page1gb",
  ...SWITCH_NAMES.filter((name) => !ALWAYS.includes(name)),
  ...ACCESS_KINDS,
  "stack",
  "two-pages",
  ...OPS,
]);
const MAX_WORDS = 200;

/** What a case needs of a program, by the words of {@link parseCapabilities}. */
export function needsOf({ cpu, registers, steps }: CaseQuestion): string[] {
  const needs = new Set<string>([
    cpu.vendor,
    `${MAXPHYADDR}:${cpu.maxphyaddr}`,
    cpu.page1gb ? "page1gb" : "no-page1gb",
  ]);
  const switches = (values: Partial<CaseQuestion["registers"]>): void => {
    for (const name of switchNamesOn(values)) if (!ALWAYS.includes(name)) needs.add(name);
  };
  switches(registers);
  for (const step of steps) {
    if (step.op === "control") switches(step);
    if (step.op !== "access") {
      needs.add(step.op);
      continue;
    }
    needs.add(step.kind);
    if (step.stack) needs.add("stack");
    if ((step.la & 0xfffn) + BigInt(step.size) > 0x1000n) needs.add("two-pages");
  }
  return [...needs];
}

/** Whether a program that declares these words is to be asked a case. Null declares everything. */
export function isDeclared(has: ReadonlySet<string> | null, question: CaseQuestion): boolean {
  if (has === null) return true;
  return needsOf(question).every(
    (need) => has.has(need) || (need.startsWith(MAXPHYADDR) && has.has(MAXPHYADDR)),
  );
}

/** Parses the words of a greeting. Throws what `refuse` makes for one that is not known. */
export function parseCapabilities(value: unknown, refuse: Refuse): ReadonlySet<string> {
  const words = listOf(value, "has", [1, MAX_WORDS], refuse);
  const declared = words.map((word, i) => {
    if (typeof word === "string" && (WORDS.has(word) || isWidth(word))) return word;
    throw refuse(`has[${i}] to be one of ${[...WORDS].join(", ")}, or maxphyaddr:N, found ${show(word)}`);
  });
  return new Set(declared);
}

function isWidth(word: string): boolean {
  const width = /^maxphyaddr:(\d\d)$/.exec(word)?.[1];
  return width !== undefined && Number(width) >= 36 && Number(width) <= 52;
}
