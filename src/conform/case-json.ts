import { jsonText } from "../text/escape.ts";
import { hex } from "../text/hex.ts";
import { parseResult } from "./answer.ts";
import {
  ACCESS_KINDS,
  type CaseCpu,
  type CaseQuestion,
  CONFORM_FORMAT,
  CONFORM_VERSION,
  CONTROL_REGISTERS,
  type ConformCase,
  type ExpectedResult,
  type ExpectedWord,
  isCaseId,
  MEMORY_LIMIT,
  type Outcome,
  type Registers,
  RMW_FORMS,
  type Step,
  VENDORS,
  type Word,
} from "./case.ts";
import {
  booleanOf,
  field,
  fieldsOf,
  type JsonFields,
  listOf,
  numberOf,
  parseLine,
  type Refuse,
  textOf,
  wordOf,
} from "./json-value.ts";
import { isRule } from "./rules.ts";

/** The first line that a program is sent, and that a case file begins with. */
export const HEADER_LINE = JSON.stringify({ format: CONFORM_FORMAT, version: CONFORM_VERSION });

const MAX_64 = 2n ** 64n - 1n;
/** Bounds of one case in a file. */
const MAX_WORDS = 64;
const MAX_STEPS = 32;
const MAX_TITLE = 200;
const REGISTERS = ["cr0", "cr3", "cr4", "efer", "pkru", "pkrs"] as const;
const OPS = ["access", "write_entry", "mov_cr3", "invlpg", "invpcid", "control"] as const;
const SIZES = [1, 2, 4, 8] as const;

/** What a program under test is sent: the case without its answer. */
export function questionJson({ id, title, cpu, needs, registers, memory, steps }: CaseQuestion): object {
  return {
    id,
    ...(title === undefined ? {} : { title }),
    cpu,
    ...(needs === undefined ? {} : { needs }),
    registers: hexFields(registers),
    memory: memory.map(({ pa, value }) => [hex(pa), hex(value)]),
    steps: steps.map(hexFields),
  };
}

/** A line of a case file, before it is text. */
export function caseJson(conformCase: ConformCase): object {
  const { results, after } = conformCase.expect;
  return {
    ...questionJson(conformCase),
    expect: {
      results: results.map(({ allow, rule }) => ({ allow: allow.map(outcomeJson), rule })),
      after: after.map(({ value, ignore }) => (ignore === 0n ? [hex(value)] : [hex(value), hex(ignore)])),
    },
  };
}

/** The lines of a case file, without their ends. Throws RangeError for a case that no program could be asked. */
export function* caseFileLines(cases: Iterable<ConformCase>): Generator<string> {
  yield HEADER_LINE;
  for (const conformCase of cases) yield caseLine(conformCase);
}

/** A line of a case file. Throws RangeError as {@link caseFileLines}. */
export function caseLine(conformCase: ConformCase): string {
  const twice = repeatedWord(conformCase.memory);
  if (twice !== null) throw new RangeError(`${conformCase.id} has the word at ${hex(twice)} twice`);
  return jsonText(caseJson(conformCase));
}

/** The address of a word that is given twice, or null. */
export function repeatedWord(memory: readonly Word[]): number | null {
  const seen = new Set<number>();
  for (const { pa } of memory) {
    if (seen.has(pa)) return pa;
    seen.add(pa);
  }
  return null;
}

/** An outcome as programs write it. */
export function outcomeJson(outcome: Outcome): object {
  if ("pa" in outcome) return { pa: hex(outcome.pa) };
  if ("done" in outcome) return {};
  const { vector, error, cr2 } = outcome.fault;
  return { fault: { vector, error, ...(cr2 === undefined ? {} : { cr2: hex(cr2) }) } };
}

/** Addresses and register values are written in hexadecimal, what counts is not. */
function hexFields(values: object): object {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      return [name, typeof value === "bigint" || name === "pa" ? hex(value) : value];
    }),
  );
}

/** Parses a line of a case file. */
export function parseCase(line: string, refuseLine: Refuse): ConformCase {
  const fields = parseLine(line, "a case", refuseLine);
  const id = textOf(field(fields, "id"), "id", MAX_TITLE, refuseLine);
  if (!isCaseId(id)) throw refuseLine('id to be a group, a slash and a name, such as "m1/000123"');
  const refuse: Refuse = (expected) => refuseLine(`${expected} (case ${id})`);
  const title = field(fields, "title");
  const memory = listOf(field(fields, "memory"), "memory", [1, MAX_WORDS], refuse).map((word, i) =>
    parseWord(word, `memory[${i}]`, refuse),
  );
  const twice = repeatedWord(memory);
  if (twice !== null) throw refuse(`words of memory at different addresses, found ${hex(twice)} twice`);
  const needs = field(fields, "needs");
  const steps = listOf(field(fields, "steps"), "steps", [1, MAX_STEPS], refuse).map((step, i) =>
    parseStep(fieldsOf(step, `steps[${i}]`, refuse), `steps[${i}]`, refuse),
  );
  for (const step of steps) {
    if (step.op === "write_entry" && !memory.some(({ pa }) => pa === step.pa)) {
      throw refuse(`write_entry to a word of memory, found ${hex(step.pa)}`);
    }
  }
  const expect = fieldsOf(field(fields, "expect"), "expect", refuse);
  const results = listOf(field(expect, "results"), "expect.results", [steps.length, steps.length], refuse);
  const after = listOf(field(expect, "after"), "expect.after", [memory.length, memory.length], refuse);
  return {
    id,
    ...(title === undefined ? {} : { title: textOf(title, "title", MAX_TITLE, refuse) }),
    cpu: parseCpu(fieldsOf(field(fields, "cpu"), "cpu", refuse), refuse),
    ...(needs === undefined ? {} : { needs: parseNeeds(needs, refuse) }),
    registers: parseRegisters(fieldsOf(field(fields, "registers"), "registers", refuse), refuse),
    memory,
    steps,
    expect: {
      results: results.map((result, i) => parseExpected(result, `expect.results[${i}]`, refuse)),
      after: after.map((word, i) => parseExpectedWord(word, `expect.after[${i}]`, refuse)),
    },
  };
}

function parseCpu(cpu: JsonFields, refuse: Refuse): ConformCase["cpu"] {
  const maxphyaddr = Number(numberOf(field(cpu, "maxphyaddr"), "cpu.maxphyaddr", 52n, refuse));
  if (maxphyaddr < 36) throw refuse(`cpu.maxphyaddr from 36 to 52, found ${maxphyaddr}`);
  return {
    vendor: wordOf(field(cpu, "vendor"), "cpu.vendor", VENDORS, refuse),
    maxphyaddr,
    page1gb: booleanOf(field(cpu, "page1gb"), "cpu.page1gb", refuse),
  };
}

function parseNeeds(value: unknown, refuse: Refuse): CaseCpu["vendor"][] {
  return listOf(value, "needs", [1, VENDORS.length], refuse).map((one, i) =>
    wordOf(one, `needs[${i}]`, VENDORS, refuse),
  );
}

function parseRegisters(fields: JsonFields, refuse: Refuse): Registers {
  const values = REGISTERS.map((name) => {
    return [name, numberOf(field(fields, name), `registers.${name}`, MAX_64, refuse)] as const;
  });
  return Object.fromEntries(values) as unknown as Registers;
}

function parseWordAddress(value: unknown, path: string, refuse: Refuse): number {
  const pa = Number(numberOf(value, path, BigInt(MEMORY_LIMIT - 8), refuse));
  if (pa % 8 !== 0) throw refuse(`${path} to be a multiple of 8, found ${hex(pa)}`);
  return pa;
}

function parseWord(value: unknown, path: string, refuse: Refuse): Word {
  const [pa, word] = listOf(value, path, [2, 2], refuse);
  return {
    pa: parseWordAddress(pa, `${path}[0]`, refuse),
    value: numberOf(word, `${path}[1]`, MAX_64, refuse),
  };
}

function parseStep(fields: JsonFields, path: string, refuse: Refuse): Step {
  const number = (name: string, most = MAX_64): bigint =>
    numberOf(field(fields, name), `${path}.${name}`, most, refuse);
  const op = wordOf(field(fields, "op"), `${path}.op`, OPS, refuse);
  switch (op) {
    case "access": {
      const size = SIZES.find((one) => one === field(fields, "size"));
      if (size === undefined) throw refuse(`${path}.size to be one of ${SIZES.join(", ")}`);
      const by = field(fields, "by");
      return {
        op,
        kind: wordOf(field(fields, "kind"), `${path}.kind`, ACCESS_KINDS, refuse),
        la: number("la"),
        size,
        cpl: Number(number("cpl", 3n)) as 0 | 1 | 2 | 3,
        ac: booleanOf(field(fields, "ac"), `${path}.ac`, refuse),
        stack: booleanOf(field(fields, "stack"), `${path}.stack`, refuse),
        ...(by === undefined ? {} : { by: wordOf(by, `${path}.by`, RMW_FORMS, refuse) }),
      };
    }
    case "write_entry":
      return { op, pa: parseWordAddress(field(fields, "pa"), `${path}.pa`, refuse), value: number("value") };
    case "mov_cr3":
      return { op, value: number("value") };
    case "invlpg":
      return { op, la: number("la") };
    case "invpcid":
      return { op, type: Number(number("type", 0xffff_ffffn)), pcid: number("pcid"), la: number("la") };
    case "control": {
      const given = CONTROL_REGISTERS.filter((name) => field(fields, name) !== undefined);
      return { op, ...Object.fromEntries(given.map((name) => [name, number(name)])) };
    }
  }
}

function parseExpected(value: unknown, path: string, refuse: Refuse): ExpectedResult {
  const fields = fieldsOf(value, path, refuse);
  const allow = listOf(field(fields, "allow"), `${path}.allow`, [1, 8], refuse);
  const rule = textOf(field(fields, "rule"), `${path}.rule`, MAX_TITLE, refuse);
  if (!isRule(rule)) throw refuse(`${path}.rule to be the name of a rule of this version`);
  return { allow: allow.map((outcome, i) => parseOutcome(outcome, `${path}.allow[${i}]`, refuse)), rule };
}

/** An expected outcome is written as an answer is, with nothing left out. */
function parseOutcome(value: unknown, path: string, refuse: Refuse): Outcome {
  const result = parseResult(value, path, refuse);
  if (result === null) throw refuse(`${path} to be an object, found null`);
  if (!("fault" in result)) return result;
  const { vector, error, cr2 } = result.fault;
  if (error === undefined) throw refuse(`${path}.fault.error, found nothing`);
  return { fault: { vector, error, ...(cr2 === undefined ? {} : { cr2 }) } };
}

function parseExpectedWord(value: unknown, path: string, refuse: Refuse): ExpectedWord {
  const [word, ignore] = listOf(value, path, [1, 2], refuse);
  return {
    value: numberOf(word, `${path}[0]`, MAX_64, refuse),
    ignore: ignore === undefined ? 0n : numberOf(ignore, `${path}[1]`, MAX_64, refuse),
  };
}
