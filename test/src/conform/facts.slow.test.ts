import { describe, expect, it } from "vitest";
import type { ConformCase, Outcome } from "../../../src/conform/case.ts";
import { factCase, parseOutcomes } from "../../../src/conform/fact.ts";
import { FACTS } from "../../../src/conform/pack.ts";
import { COLUMNS, type Column } from "./fact-columns.ts";
import { runCase } from "./fact-machine.ts";

/* The facts, one access or a short sequence each, on silicon; the first hundred also on two emulators. */

const SILICON = "intel-sapphire-rapids";

function same(a: Outcome, b: Outcome): boolean {
  if ("fault" in a && "fault" in b) {
    const { vector, error, cr2 } = a.fault;
    return vector === b.fault.vector && error === b.fault.error && cr2 === b.fault.cr2;
  }
  return "pa" in a && "pa" in b ? a.pa === b.pa : "done" in a && "done" in b;
}

/** Every way in which a model's answer is not what the architecture, or the measured column, has. */
function differences(question: ConformCase, model: string, column: Exclude<Column, string>): string[] {
  const { results, after } = runCase(question, model);
  const measured = column.steps ?? {};
  const words = new Map(column.words);
  const found: string[] = [];
  for (const [i, { allow }] of question.expect.results.entries()) {
    const text = measured[i];
    const wanted = text === undefined ? allow : parseOutcomes(text, question.steps[i]!);
    if (!wanted.some((outcome) => same(results[i]!, outcome))) {
      found.push(`step ${i}: ${show(results[i]!)} instead of ${wanted.map(show).join(" or ")}`);
    }
  }
  for (const [i, { value, ignore }] of question.expect.after.entries()) {
    const { pa } = question.memory[i]!;
    const exact = words.get(pa);
    const wrong = exact === undefined ? (after[i]! ^ value) & ~ignore : after[i]! ^ exact;
    if (wrong !== 0n) found.push(`word 0x${pa.toString(16)}: 0x${after[i]!.toString(16)}`);
  }
  return found;
}

function show(outcome: Outcome): string {
  return JSON.stringify(outcome, (_, value: unknown) =>
    typeof value === "bigint" ? `0x${value.toString(16)}` : value,
  );
}

/** Whether the architecture says otherwise than the column: then the emulator's profile must differ from silicon. */
function contradicts(
  { expect: { results, after }, steps, memory }: ConformCase,
  column: Exclude<Column, string>,
) {
  const outcome = Object.entries(column.steps ?? {}).some(([i, text]) => {
    const [measured] = parseOutcomes(text, steps[Number(i)]!);
    return !results[Number(i)]!.allow.some((allowed) => same(allowed, measured!));
  });
  return (
    outcome ||
    (column.words ?? []).some(([pa, value]) => {
      const i = memory.findIndex((word) => word.pa === pa);
      return ((value ^ after[i]!.value) & ~after[i]!.ignore) !== 0n;
    })
  );
}

describe("fact", () => {
  it("1 to 100 and 106 to 112 are all here", () => {
    const numbers = new Set(FACTS.map(({ id }) => Number.parseInt(id, 10)));
    const from = (first: number, last: number) =>
      Array.from({ length: last - first + 1 }, (_, i) => first + i);
    expect([...numbers].sort((a, b) => a - b)).toEqual([...from(1, 100), ...from(106, 112)]);
    console.log(`${FACTS.length} cases of ${numbers.size} facts`);
  });

  it.each(FACTS.map((fact) => [fact.id, fact.title, fact] as const))("%s: %s", (id, _title, fact) => {
    const question = factCase(fact);
    expect(differences(question, SILICON, {})).toEqual([]);
    const [qemu, bochs] = COLUMNS[id] ?? ["=", "="];
    for (const [model, column] of [
      ["qemu-7.2", qemu],
      ["bochs-2.7", bochs],
    ] as const) {
      if (column === "n/a" || column === ".") continue;
      const measured = column === "=" ? {} : column;
      expect([model, differences(question, model, measured)]).toEqual([model, []]);
      const asExpected = differences(question, model, {}).length === 0;
      expect([model, asExpected]).toEqual([model, !contradicts(question, measured)]);
    }
  });
});
