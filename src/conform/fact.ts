import {
  type CaseCpu,
  type CaseQuestion,
  type ConformCase,
  type ExpectedResult,
  type Outcome,
  type Registers,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
} from "./case.ts";
import { type PackCpu, questionFor } from "./cpu-model.ts";
import {
  FIXTURE_CPU,
  FIXTURE_WORDS,
  PDE,
  PDPTE,
  PML4E,
  PTE,
  registersWith,
  type Switches,
  wordsWith,
} from "./fixture.ts";
import { expectationOf } from "./oracle.ts";
import type { RuleName } from "./rules.ts";

/**
 * One step with what it must come to: "done", "pa 0x110000", "#GP", "#SS", "#PF 0x07" with CR2 the address of the
 * access, "#PF 0x02 at 0x8000041000" with another CR2; several that are all allowed are joined by " or ". Outcome and
 * rule are the oracle's unless said.
 */
export type FactStep = readonly [step: Step, expect?: string, rule?: RuleName];

/** A fact: what differs from the fixture, and a short sequence of steps. */
export interface Fact {
  /** Behind "fact/". */
  readonly id: string;
  readonly title: string;
  /** With a vendor, the fact is about that vendor's CPUs alone. */
  readonly cpu?: Partial<CaseCpu>;
  readonly on?: Switches;
  readonly registers?: Partial<Registers>;
  readonly pml4e?: bigint;
  readonly pdpte?: bigint;
  readonly pde?: bigint;
  readonly pte?: bigint;
  /** Further words of memory. */
  readonly words?: readonly (readonly [pa: number, value: bigint])[];
  readonly run: readonly FactStep[];
  /** Bits of words that may have any value afterwards, because a cached translation may have been used. */
  readonly open?: readonly (readonly [pa: number, bits: bigint])[];
}

/** The outcomes that a text allows; see {@link FactStep}. */
export function parseOutcomes(text: string, step: Step): Outcome[] {
  return text.split(" or ").map((one) => {
    const [word, first, , second] = one.split(" ");
    if (word === "done") return { done: true };
    if (word === "pa") return { pa: Number(first) };
    if (word === "#GP") return { fault: { vector: VECTOR_GP, error: 0 } };
    if (word === "#SS") return { fault: { vector: VECTOR_SS, error: 0 } };
    if (word !== "#PF" || step.op !== "access") throw new RangeError(`outcome "${one}" of a ${step.op} step`);
    const cr2 = second === undefined ? step.la : BigInt(second);
    return { fault: { vector: VECTOR_PF, error: Number(first), cr2 } };
  });
}

/** The case of a fact: results as the fact says, words afterwards as the oracle says. */
export function factCase(fact: Fact): ConformCase {
  return answered(fact, questionOf(fact));
}

/** The case that a fact is on a CPU, or null if it cannot be asked there. */
export function factCaseOn(fact: Fact, cpu: PackCpu): ConformCase | null {
  const question = questionFor(questionOf(fact), cpu);
  return question === null ? null : answered(fact, question);
}

function questionOf(fact: Fact): CaseQuestion {
  const { pml4e, pdpte, pde, pte, words = [] } = fact;
  const entries = [
    [PML4E, pml4e],
    [PDPTE, pdpte],
    [PDE, pde],
    [PTE, pte],
  ] as const;
  const changes = entries.flatMap(([pa, value]) => (value === undefined ? [] : [[pa, value] as const]));
  const vendor = fact.cpu?.vendor;
  return {
    id: `fact/${fact.id}`,
    title: fact.title,
    cpu: { ...FIXTURE_CPU, ...fact.cpu },
    ...(vendor === undefined ? {} : { needs: [vendor] }),
    registers: registersWith(fact.on ?? {}, fact.registers),
    memory: wordsWith(FIXTURE_WORDS, [...changes, ...words]),
    steps: fact.run.map(([step]) => step),
  };
}

function answered({ run, open = [] }: Fact, question: CaseQuestion): ConformCase {
  const told = expectationOf(question);
  const results = run.map(([step, text, rule], i): ExpectedResult => {
    const oracles = told.results[i]!;
    const allow = text === undefined ? oracles.allow : parseOutcomes(text, step);
    return { allow, rule: rule ?? oracles.rule };
  });
  const left = new Map(open);
  const after = question.memory.map(({ pa }, i) => {
    const { value, ignore } = told.after[i]!;
    return { value, ignore: ignore | (left.get(pa) ?? 0n) };
  });
  return { ...question, expect: { results, after } };
}
