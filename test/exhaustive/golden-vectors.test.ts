import { describe, expect, it } from "vitest";
import { type AccessVector, vectorsOf } from "./vector-file.ts";
import { VectorMachine } from "./vector-machine.ts";

/**
 * Single accesses recorded on QEMU 7.2 and Bochs and checked against a model written from the manual (SCHEMA.md beside
 * them). Each is run on three CPUs: silicon must do what `expect` says, the emulators' profiles must differ from it in
 * the vectors where the emulator did, and in no other.
 */
const FILES = [
  ["matrix4k", 68_839],
  ["matrix2m", 23_351],
  ["matrix1g", 23_547],
  ["upper", 9_748],
  ["bitflip", 3_453],
  ["random", 34_025],
  ["random-himem", 9_328],
  ["canonical", 1_318],
  ["la57-random", 9_532],
  ["la57-canonical", 1_094],
  ["cross", 7_723],
  ["implicit", 3_441],
  ["recursive", 2_798],
  ["pku", 11_741],
  ["pks", 4_440],
  ["no1g", 2_924],
  ["maxphy36", 6_044],
  ["maxphy46", 5_731],
  ["two-of-three", 9_900],
] as const;

interface Profile {
  readonly model: string;
  /** Whether a vector was recorded there at all; left out: every one was. */
  readonly ran?: (vector: AccessVector) => boolean;
  /** What the emulator got wrong, by the marks of the recording: `norm`, and who is missing in `sources`. */
  readonly differs: (vector: AccessVector) => boolean;
}

const PROFILES: readonly Profile[] = [
  { model: "intel-sapphire-rapids", differs: () => false },
  {
    model: "qemu-7.2",
    // Q1 to Q4 are named in `norm`; what QEMU is missing for in `sources` is Q7.
    differs: ({ norm, sources }) =>
      norm !== undefined || (sources !== undefined && !sources.includes("qemu")),
  },
  {
    model: "bochs-3.0",
    // Bochs did not start with MAXPHYADDR 52.
    ran: ({ maxphyaddr }) => maxphyaddr !== 52,
    differs: ({ sources }) => sources !== undefined && !sources.includes("bochs"),
  },
];

/** Every single access of the set: what COUNTS.md says, less its two files of sequences. */
const ALL = 238_977;

describe("golden vectors of single accesses", () => {
  const machines = PROFILES.map((profile) => ({
    ran: () => true,
    ...profile,
    runner: new VectorMachine(profile.model),
  }));

  it.each(FILES)("%s: %i", (name, count) => {
    const wrong: string[] = [];
    let cases = 0;
    const differing = machines.map(() => 0);
    for (const vector of vectorsOf<AccessVector>(name)) {
      cases++;
      for (const [i, { runner, model, ran, differs }] of machines.entries()) {
        if (!ran(vector)) continue;
        const difference = runner.difference(vector);
        if (difference !== null) differing[i]!++;
        if ((difference !== null) === differs(vector)) continue;
        if (wrong.length < 10) wrong.push(`${vector.id} on ${model}: ${difference ?? "as expected"}`);
      }
    }
    const line = machines.map(({ model }, i) => `${model} differs in ${differing[i]}`).join(", ");
    console.log(`${name}: ${cases} vectors; ${line}`);
    expect(wrong).toEqual([]);
    expect(cases).toBe(count);
  });

  it(`are ${ALL}`, () => {
    expect(FILES.reduce((sum, [, count]) => sum + count, 0)).toBe(ALL);
  });
});
