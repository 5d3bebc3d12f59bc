import { describe, expect, it } from "vitest";
import type { MachineOptions } from "../../arch/x86/cpu/machine.ts";
import { TLB_POLICIES } from "../../arch/x86/cpu/tlb.ts";
import { type AccessReport, type Sequence, SequenceMachine, textOf } from "./sequence-machine.ts";
import { vectorsOf } from "./vector-file.ts";

/**
 * Histories of entry writes, invalidations and accesses, run on QEMU and Bochs and judged by a model written from the
 * manual: each access lists every outcome that the manual allows (SCHEMA.md beside the vectors).
 */
const SEQUENCES = [...vectorsOf<Sequence>("seq"), ...vectorsOf<Sequence>("seq-bochs-only")];
const ACCESSES = 27_230;

const CACHES: readonly Partial<MachineOptions>[] = [
  ...TLB_POLICIES.map((tlb) => ({ tlb })),
  { tlb: "stale", pagingStructureCaches: true },
  { tlb: "none", pagingStructureCaches: true },
  { tlb: "stale", fractureLargePages: true },
  {
    tlb: "amd-zen4",
    replacement: "random",
    tlbSeed: 7,
    fractureLargePages: true,
    pagingStructureCaches: true,
  },
];

describe("golden sequences", () => {
  it("are 4,934 that both emulators ran, and 1,627 that only Bochs could", () => {
    const accesses = SEQUENCES.map(({ steps }) => steps.filter(({ op }) => op === "access").length);
    expect(SEQUENCES).toHaveLength(4_934 + 1_627);
    expect(accesses.reduce((sum, count) => sum + count, 0)).toBe(ACCESSES);
  });

  it.each(CACHES)("every access ends as the manual allows with %o", (options) => {
    const machine = new SequenceMachine(options);
    const outside: string[] = [];
    let accesses = 0;
    let notFresh = 0;
    for (const sequence of SEQUENCES) {
      for (const { step, result } of machine.run(sequence, null)) {
        accesses++;
        const found = step.allowed.find((outcome) => textOf(outcome) === result);
        if (found === undefined) outside.push(`${sequence.id} ${step.la} ${step.access}: ${result}`);
        else if (found.src === "stale") notFresh++;
      }
    }
    console.log(`${JSON.stringify(options)}: ${accesses} accesses, ${notFresh} of them stale`);
    expect(outside).toEqual([]);
    expect(accesses).toBe(ACCESSES);
  });
});

/** Which outcomes of a file the oracle lacks, and which it has beyond them. */
function compare({ step, oracle }: AccessReport): { missing: string[]; extra: string[] } {
  const wanted = new Set<string>(step.allowed.map(textOf));
  const found = new Set<string>((oracle ?? []).map(textOf));
  return {
    missing: [...wanted].filter((outcome) => !found.has(outcome)),
    extra: [...found].filter((outcome) => !wanted.has(outcome)),
  };
}

describe("the oracle of allowed outcomes on them", () => {
  /**
   * The files' model differs from the oracle's default in three things. It lets a store through a clean cached leaf go
   * where the leaf says as long as the leaf's own entry has P=1 (`cleanStore: "present"`). It does not count on a page
   * fault that may not have happened to drop anything, where the oracle is told that it did. And it goes on from every
   * outcome that an earlier access might have had, where the oracle sees which entry got D: that is what is left.
   */
  it.each([
    ["none", { "seq-random-08027": 1 }],
    ["stale", { "seq-random-06220": 1, "seq-random-08027": 1 }],
  ] as const)("reads as they do, it equals their sets: TLB %s", (tlb, differing) => {
    const machine = new SequenceMachine({ tlb });
    const missing: Record<string, number> = {};
    let equal = 0;
    for (const sequence of SEQUENCES) {
      for (const report of machine.run(sequence, { cleanStore: "present", faultsDrop: "certain" })) {
        const difference = compare(report);
        expect(difference.extra).toEqual([]);
        if (difference.missing.length === 0) equal++;
        else missing[sequence.id] = (missing[sequence.id] ?? 0) + difference.missing.length;
      }
    }
    console.log(`TLB ${tlb}: ${equal} of ${ACCESSES} sets equal`);
    expect(missing).toEqual(differing);
    expect(equal).toBe(ACCESSES - Object.keys(differing).length);
  });

  it.each([
    [{ tlb: "none" }, 1_484],
    [{ tlb: "stale" }, 1_225],
    [{ tlb: "stale", pagingStructureCaches: true }, 1_026],
  ] as const)(
    "by default it allows what the CPU does and nothing beyond the files: %o",
    (options, smaller) => {
      const machine = new SequenceMachine(options);
      let narrower = 0;
      for (const sequence of SEQUENCES) {
        for (const report of machine.run(sequence, { cleanStore: "walks", faultsDrop: "always" })) {
          const difference = compare(report);
          expect(difference.extra).toEqual([]);
          if (difference.missing.length > 0) narrower++;
          expect(report.oracle?.map(textOf)).toContain(report.result);
        }
      }
      console.log(
        `${JSON.stringify(options)}: ${ACCESSES - narrower} of ${ACCESSES} sets equal, the others smaller`,
      );
      expect(narrower).toBe(smaller);
    },
  );
});
