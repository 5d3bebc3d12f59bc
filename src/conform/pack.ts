import { Random } from "../sim/random.ts";
import type { CaseQuestion, ConformCase, Word } from "./case.ts";
import { type PackCpu, questionFor } from "./cpu-model.ts";
import { type Fact, factCase, factCaseOn } from "./fact.ts";
import { ACCESS_FACTS } from "./facts.ts";
import { accessStep, registersWith } from "./fixture.ts";
import { KEY_FACTS } from "./key-facts.ts";
import { M1_SIZE, M2_SIZE, M3_SIZE, m1, m2, m3 } from "./matrices.ts";
import { expectationOf } from "./oracle.ts";
import { RESERVED_FACTS } from "./reserved-facts.ts";
import { RMW_FACTS } from "./rmw-facts.ts";
import { SEQUENCE_FACTS } from "./sequence-facts.ts";
import {
  TRICKY_ENTRIES,
  TRICKY_MAXPHYADDR,
  TRICKY_ROOT,
  TRICKY_WORDS,
  type TrickyEntry,
} from "./tricky-entries.ts";
import { VENDOR_FACTS } from "./vendor-facts.ts";

/** Cases that belong together; an id is the group's name, a slash, and what names the case within it. */
export interface CaseGroup {
  readonly name: string;
  readonly about: string;
  readonly size: number;
  /** Whether --sample takes a part of it. */
  readonly sampled: boolean;
  /** The case at an index from 0 to size - 1, made when asked for. */
  at(index: number): ConformCase;
  /** The same for a CPU; null if it cannot be asked there. */
  on(index: number, cpu: PackCpu): ConformCase | null;
}

const LARGE = 1n << 7n;
const FRAME = 0xf_ffff_ffff_f000n;
/** All facts. */
export const FACTS: readonly Fact[] = [
  ...ACCESS_FACTS,
  ...SEQUENCE_FACTS,
  ...VENDOR_FACTS,
  ...RESERVED_FACTS,
  ...RMW_FACTS,
  ...KEY_FACTS,
];

function withOracle(question: CaseQuestion): ConformCase {
  return { ...question, expect: expectationOf(question) };
}

function withOracleOn(question: CaseQuestion, cpu: PackCpu): ConformCase | null {
  const asked = questionFor(question, cpu);
  return asked === null ? null : withOracle(asked);
}

/** A tricky entry as a question: a read by the kernel, and every kind of access by a user. */
function trickyQuestion({ id, name, la }: TrickyEntry): CaseQuestion {
  const steps = [
    accessStep("read", "sup", { la }),
    accessStep("read", "user", { la }),
    accessStep("write", "user", { la }),
    accessStep("fetch", "user", { la }),
  ];
  return {
    id: `tricky/${id}`,
    title: name,
    cpu: { vendor: "intel", maxphyaddr: TRICKY_MAXPHYADDR, page1gb: true },
    registers: registersWith({ pge: true }, { cr3: BigInt(TRICKY_ROOT) }),
    memory: trickyPath(la),
    steps,
  };
}

/** The words of the image that a program which checks nothing reads on its way to an address, each once. */
function trickyPath(la: bigint): Word[] {
  const path = new Set<Word>();
  let table = TRICKY_ROOT;
  for (let level = 4; level >= 1; level--) {
    const index = Number((la >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
    const word = TRICKY_WORDS.find(({ pa }) => pa === table + 8 * index);
    if (word === undefined) break;
    path.add(word);
    if (level < 4 && (word.value & LARGE) !== 0n) break;
    table = Number(word.value & FRAME);
  }
  return [...path];
}

function matrix(name: string, about: string, size: number, at: (index: number) => CaseQuestion): CaseGroup {
  return {
    name,
    about,
    size,
    sampled: true,
    at: (index) => withOracle(at(index)),
    on: (index, cpu) => withOracleOn(at(index), cpu),
  };
}

/** The pack, in the order in which it is run. */
export const GROUPS: readonly CaseGroup[] = [
  {
    name: "tricky",
    about: "entries that programs which read page tables get wrong",
    size: TRICKY_ENTRIES.length,
    sampled: false,
    at: (index) => withOracle(trickyQuestion(TRICKY_ENTRIES[index]!)),
    on: (index, cpu) => withOracleOn(trickyQuestion(TRICKY_ENTRIES[index]!), cpu),
  },
  {
    name: "fact",
    about:
      "one rule each: walk, bits, modes, keys, TLB, page-crossing accesses, shadow stacks, control registers",
    size: FACTS.length,
    sampled: false,
    at: (index) => factCase(FACTS[index]!),
    on: (index, cpu) => factCaseOn(FACTS[index]!, cpu),
  },
  matrix("m1", "a 4-KiB page: rights, reserved bits, control bits and accesses, all together", M1_SIZE, m1),
  matrix("m2", "pages of 2 MiB and 1 GiB: the same, and their low reserved bits", M2_SIZE, m2),
  matrix("m3", "protection keys: PKRU and IA32_PKRS against pages and accesses", M3_SIZE, m3),
];

/** Which cases to run. */
export interface Selection {
  readonly groups: readonly CaseGroup[];
  /** Cases of each matrix; Infinity for all of them. */
  readonly sample: number;
  readonly seed: number;
  /** The CPU that they are for: only what can be asked there. Without it, each case has the CPU it is written for. */
  readonly cpu?: PackCpu;
}

/** How many cases a group contributes; with a CPU, at most. */
export function countOf(group: CaseGroup, { sample }: Selection): number {
  return group.sampled ? Math.min(group.size, sample) : group.size;
}

/** The selected cases, one after the other; the same selection gives the same cases. */
export function* selectCases(selection: Selection): Generator<ConformCase> {
  for (const group of selection.groups) {
    const count = countOf(group, selection);
    const chosen = count === group.size ? indices(count) : sampleOf(group, count, selection);
    for (const index of chosen) {
      const found = caseAt(group, index, selection);
      if (found !== null) yield found;
    }
  }
}

function caseAt(group: CaseGroup, index: number, { cpu }: Selection): ConformCase | null {
  return cpu === undefined ? group.at(index) : group.on(index, cpu);
}

function* indices(count: number): Generator<number> {
  for (let index = 0; index < count; index++) yield index;
}

/** `count` different indices of cases that there are, or all of them, ascending. */
function sampleOf(group: CaseGroup, count: number, selection: Selection): number[] {
  const random = new Random(selection.seed);
  const drawn = new Set<number>();
  const chosen: number[] = [];
  while (chosen.length < count && drawn.size < group.size) {
    const index = random.below(group.size);
    if (drawn.has(index)) continue;
    drawn.add(index);
    if (selection.cpu === undefined || caseAt(group, index, selection) !== null) chosen.push(index);
  }
  return chosen.sort((a, b) => a - b);
}
