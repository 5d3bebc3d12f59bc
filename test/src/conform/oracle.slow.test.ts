import { describe, expect, test } from "vitest";
import {
  type CaseQuestion,
  type ConformCase,
  type Outcome,
  VECTOR_GP,
  VECTOR_PF,
} from "../../../src/conform/case.ts";
import { factCase } from "../../../src/conform/fact.ts";
import { PDE, PDPTE, PML4E, PTE } from "../../../src/conform/fixture.ts";
import { M1_SIZE, M2_SIZE, M3_SIZE, m1, m2, m3 } from "../../../src/conform/matrices.ts";
import { expectationOf } from "../../../src/conform/oracle.ts";
import { FACTS, GROUPS } from "../../../src/conform/pack.ts";
import { TRICKY_ENTRIES, type TrickyEnd } from "../../../src/conform/tricky-entries.ts";
import { isInFreeMemory, slotsTaken, usesOfFreeSpace } from "./free-space.ts";

/** Of every twelve cases the last six are the first six again, with a read before them. */
const COLD = 6;

/**
 * How often each outcome of the last step occurs in a matrix. Only the cases without a read before are run, and each
 * counts twice: the other one's outcome is the same. On the way every case is held to what the pack leaves free.
 */
function histogram(size: number, at: (index: number) => CaseQuestion): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let index = 0; index < size; index++) {
    if (index % 12 >= COLD) continue;
    const question = at(index);
    // Twelve cases differ in their accesses alone.
    const uses = index % 12 === 0 ? usesOfFreeSpace(question) : slotsTaken(question);
    if (uses.length > 0) throw new Error(`${question.id} uses ${uses.join(", ")}`);
    const outcome = expectationOf(question).results.at(-1)?.allow[0];
    if (outcome !== undefined && isInFreeMemory(outcome))
      throw new Error(`${question.id} reaches free memory`);
    const name = outcome === undefined ? "none" : nameOf(outcome);
    counts[name] = (counts[name] ?? 0) + 2;
  }
  return counts;
}

function nameOf(outcome: Outcome): string {
  if (!("fault" in outcome)) return "ok";
  return `0x${outcome.fault.error.toString(16).padStart(2, "0")}`;
}

describe("the matrices have the histograms that were measured on Bochs 2.7", () => {
  test("M1, 940,032 cases", () => {
    expect(M1_SIZE).toBe(940_032);
    expect(histogram(M1_SIZE, m1)).toEqual({
      ok: 24_392,
      "0x00": 118_656,
      "0x01": 640,
      "0x02": 103_680,
      "0x03": 5_160,
      "0x04": 118_656,
      "0x05": 10_560,
      "0x06": 103_680,
      "0x07": 11_280,
      "0x09": 48_384,
      "0x0b": 41_472,
      "0x0d": 48_384,
      "0x0f": 41_472,
      "0x10": 88_704,
      "0x11": 7_296,
      "0x14": 88_704,
      "0x15": 9_792,
      "0x19": 34_560,
      "0x1d": 34_560,
    });
  });

  test("M2, 59,904 cases", () => {
    expect(M2_SIZE).toBe(59_904);
    expect(histogram(M2_SIZE, m2)).toEqual({
      ok: 3_424,
      "0x00": 6_912,
      "0x02": 4_992,
      "0x03": 384,
      "0x04": 6_912,
      "0x05": 1_024,
      "0x06": 4_992,
      "0x07": 1_056,
      "0x09": 5_376,
      "0x0b": 3_840,
      "0x0d": 5_376,
      "0x0f": 3_840,
      "0x10": 3_072,
      "0x11": 384,
      "0x14": 3_072,
      "0x15": 640,
      "0x19": 2_304,
      "0x1d": 2_304,
    });
  });

  test("M3, 6,144 cases, of which 2,984 fault", () => {
    const counts = histogram(M3_SIZE, m3);
    expect(M3_SIZE - (counts.ok ?? 0)).toBe(2_984);
  });
});

test("tricky entries and facts give each word once, and leave free what the matrices do", () => {
  for (const group of GROUPS.filter(({ sampled }) => !sampled)) {
    for (let index = 0; index < group.size; index++) {
      const one = group.at(index);
      expect([one.id, usesOfFreeSpace(one)]).toEqual([one.id, []]);
      const reached = one.expect.results.flatMap(({ allow }) => allow.filter(isInFreeMemory));
      expect([one.id, reached]).toEqual([one.id, []]);
    }
  }
});

test("a read before changes no outcome: every case of M3, and some of M1 and M2", () => {
  const last = (question: CaseQuestion) => expectationOf(question).results.at(-1)?.allow;
  for (const { at, size, stride } of [
    { at: m1, size: M1_SIZE, stride: 12 * 97 },
    { at: m2, size: M2_SIZE, stride: 12 * 13 },
    { at: m3, size: M3_SIZE, stride: 12 },
  ]) {
    for (let index = 0; index + 12 <= size; index += stride) {
      for (let n = index; n < index + COLD; n++) {
        expect(at(n + COLD).steps.length).toBe(at(n).steps.length + 1);
        expect(last(at(n + COLD))).toEqual(last(at(n)));
      }
    }
  }
});

describe("the facts", () => {
  test("have 107 numbers and no id twice", () => {
    const ids = FACTS.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(ids.map((id) => id.split("-")[0])).size).toBe(107);
  });

  test("allow what the oracle says, and nothing else where nothing is cached", () => {
    for (const fact of FACTS) {
      const { expect: allowed, ...question } = factCase(fact);
      expectationOf(question).results.forEach(({ allow }, i) => {
        for (const outcome of allow) expect(allowed.results[i]?.allow, question.id).toContainEqual(outcome);
        if (fact.run[i]?.[2] === undefined) expect(allowed.results[i]?.allow, question.id).toEqual(allow);
      });
    }
  });

  test.each<{ id: string; words: readonly (readonly [number, bigint])[] }>([
    {
      id: "1",
      words: [
        [PML4E, 0x10_0027n],
        [PDPTE, 0x10_1027n],
        [PDE, 0x10_2027n],
        [PTE, 0x11_0027n],
      ],
    },
    {
      id: "2",
      words: [
        [PDE, 0x10_2027n],
        [PTE, 0x11_0067n],
      ],
    },
    { id: "4", words: [[PDE, 0x20_00e7n]] },
    { id: "5", words: [[PDPTE, 0xa7n]] },
    { id: "16", words: [[PTE, 0x11_0065n]] },
    { id: "20", words: [[PTE, 0x11_0067n]] },
    { id: "26", words: [[PDE, 0x20_2087n]] },
    { id: "62", words: [[PTE, 0n]] },
    {
      id: "63",
      words: [
        [PTE, 0n],
        [0x11_0000, 0x1122_3344_5566_7788n],
      ],
    },
    { id: "64", words: [[PTE, 0n]] },
    { id: "65", words: [[PTE, 0x11_0025n]] },
    { id: "66", words: [[PTE, 0x11_1067n]] },
    { id: "67", words: [[PTE, 0x11_0067n]] },
    { id: "78", words: [[PTE, 0x11_0067n]] },
    { id: "88", words: [[0x7_0018, 0x7_0023n]] },
    { id: "89", words: [[0x7_0018, 0x7_0063n]] },
  ])("fact/$id leaves in memory what the list of facts says", ({ id, words }) => {
    const fact = FACTS.find((one) => one.id === id);
    if (fact === undefined) throw new Error(`no fact/${id}`);
    const { memory, expect: expected } = factCase(fact);
    for (const [pa, value] of words) {
      expect(expected.after[memory.findIndex((word) => word.pa === pa)]).toEqual({ value, ignore: 0n });
    }
  });

  test("leave A of upper entries open after a fault, and D of a first page", () => {
    const [six, eighty] = ["6", "80"].map((id) => factCase(FACTS.find((one) => one.id === id)!));
    expect(six?.expect.after.map(({ ignore }) => ignore)).toEqual([0x20n, 0x20n, 0x20n, 0n]);
    expect(eighty?.expect.after.map(({ ignore }) => ignore)).toEqual([0x20n, 0x20n, 0x20n, 0x60n, 0n, 0n]);
  });
});

describe("the tricky entries", () => {
  const tricky = GROUPS.find(({ name }) => name === "tricky");

  /** What a step must come to, by what the table says of the entry. */
  function wanted(end: TrickyEnd, { steps }: ConformCase, step: number): string {
    const access = steps[step];
    if (access?.op !== "access") throw new Error("a tricky entry has accesses only");
    const user = access.cpl === 3;
    if (end.kind === "non-canonical") return `${VECTOR_GP}`;
    const write = access.kind === "write" ? 2 : 0;
    const base = write | (user ? 4 : 0) | (access.kind === "fetch" ? 0x10 : 0);
    if (end.kind !== "page") return `${VECTOR_PF} ${base | (end.kind === "reserved-bit" ? 9 : 0)}`;
    const denied =
      (user && !end.user) || (write !== 0 && !end.write) || (access.kind === "fetch" && !end.execute);
    return denied ? `${VECTOR_PF} ${base | 1}` : `pa ${end.pa}`;
  }

  test.each(TRICKY_ENTRIES)("$id: $name", ({ id, end }) => {
    const conformCase = tricky?.at(id - 1);
    if (conformCase === undefined) throw new Error("no such case");
    expect(conformCase.id).toBe(`tricky/${id}`);
    conformCase.expect.results.forEach(({ allow }, step) => {
      const told = allow.map((outcome) => {
        if ("pa" in outcome) return `pa ${outcome.pa}`;
        if (!("fault" in outcome)) return "done";
        const { vector, error } = outcome.fault;
        return vector === VECTOR_PF ? `${vector} ${error}` : `${vector}`;
      });
      expect(told).toEqual([wanted(end, conformCase, step)]);
    });
  });
});
