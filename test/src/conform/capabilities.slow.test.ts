import { describe, expect, test } from "vitest";
import { CAPABILITIES, isDeclared, needsOf, parseCapabilities } from "../../../src/conform/capabilities.ts";
import type { ConformCase } from "../../../src/conform/case.ts";
import { compareAnswer } from "../../../src/conform/compare.ts";
import { OPTIONAL_FEATURES, packCpu } from "../../../src/conform/cpu-model.ts";
import { FACTS, GROUPS, selectCases } from "../../../src/conform/pack.ts";
import { SelfSubject } from "../../../src/conform/subject-self.ts";

const ALL = new Map(
  [...selectCases({ groups: GROUPS, sample: 30, seed: 1 })].map((one) => [one.id, one] as const),
);
const HAND_WRITTEN = GROUPS.filter(({ sampled }) => !sampled);
const find = (id: string): ConformCase => ALL.get(id)!;
const refuse = (expected: string) => new Error(expected);

describe("what a case needs", () => {
  test.each<[id: string, needs: readonly string[]]>([
    ["fact/1", ["nx", "read"]],
    ["fact/5", ["page1gb", "nx", "read"]],
    ["fact/16", ["nx", "write"]],
    ["fact/22", ["intel", "nx", "read"]],
    ["fact/22-amd", ["amd", "nx", "read"]],
    ["fact/32", ["maxphyaddr:40", "nx", "read"]],
    ["fact/34", ["nx", "read"]],
    ["fact/40", ["smep", "fetch"]],
    ["fact/48", ["nx", "smap", "implicit_read"]],
    ["fact/60", ["nx", "pks", "read"]],
    ["fact/68-amd", ["amd", "amd-stale", "nx", "read", "write", "write_entry"]],
    ["fact/71-pke", ["intel", "nx", "pge", "pku", "read", "write_entry", "control"]],
    ["fact/80", ["nx", "write", "two-pages"]],
    ["fact/83", ["nx", "write", "stack"]],
    ["fact/86", ["nx", "la57", "read"]],
    ["fact/90", ["nx", "cet-ss", "wruss"]],
    ["fact/99", ["nx", "invpcid"]],
    ["fact/112-read", ["no-page1gb", "nx", "read"]],
  ])("%s", (id, needs) => {
    expect(needsOf(find(id))).toEqual(needs);
    expect(isDeclared(new Set(needs), find(id))).toBe(true);
    for (const need of needs) {
      expect(isDeclared(new Set(needs.filter((one) => one !== need)), find(id))).toBe(false);
    }
  });

  test("every capability is needed by some case", () => {
    const needed = new Set([...ALL.values()].flatMap(needsOf).map((need) => need.split(":")[0]));
    expect([...needed].sort()).toEqual(Object.keys(CAPABILITIES).sort());
  });

  test("any width serves for one, null for everything", () => {
    const one = find("fact/32");
    expect(isDeclared(new Set(["maxphyaddr", "nx", "read"]), one)).toBe(true);
    expect(isDeclared(new Set(["maxphyaddr:39", "nx", "read"]), one)).toBe(false);
    expect(isDeclared(null, one)).toBe(true);
  });

  test("what a program declares is words that there are", () => {
    const words = ["intel", "la57", "maxphyaddr:46", "rmw"];
    expect(parseCapabilities(words, refuse)).toEqual(new Set(words));
    for (const bad of [["la58"], ["maxphyaddr:53"], ["toString"], [3], "la57", []]) {
      expect(() => parseCapabilities(bad, refuse)).toThrow(/^has/);
    }
  });
});

describe("the pack for a CPU", () => {
  const on = (...cpu: Parameters<typeof packCpu>): ConformCase[] => [
    ...selectCases({ groups: HAND_WRITTEN, sample: 0, seed: 1, cpu: packCpu(...cpu) }),
  ];
  const usual = on("intel", 40);
  const idsOf = (cases: readonly ConformCase[]): string[] => cases.map(({ id }) => id);

  test("has its vendor, width and 1-GiB pages in every case", () => {
    for (const { cpu } of on("amd", 46, ["page1gb"])) {
      expect(cpu).toEqual({ vendor: "amd", maxphyaddr: 46, page1gb: false });
    }
  });

  test("for the CPU that the cases are written for is those cases", () => {
    const cases = usual;
    expect(cases.length).toBeGreaterThan(400);
    for (const one of cases) expect(one).toEqual(find(one.id));
    const left = [...ALL.values()].filter(({ id }) => !id.startsWith("m") && !idsOf(cases).includes(id));
    for (const { id } of left) expect(id).toMatch(/-amd$|^fact\/112-/);
  });

  test("of one vendor has nothing of the other's, and no PKS on AMD", () => {
    const amd = idsOf(on("amd"));
    expect(amd).toContain("fact/22-amd");
    expect(amd).toContain("fact/1");
    for (const id of ["fact/22", "fact/68", "fact/71-pke", "fact/60"]) expect(amd).not.toContain(id);
    expect(idsOf(on("intel")).filter((id) => id.endsWith("-amd"))).toEqual([]);
  });

  test.each(OPTIONAL_FEATURES)("without %s has no case that needs it", (name) => {
    const cases = on("intel", 40, [name]);
    expect(cases.flatMap(needsOf)).not.toContain(name);
    expect(cases.length).toBeLessThan(usual.length + (name === "page1gb" ? 3 : 0));
  });

  test("without 1-GiB pages has the cases that need their absence", () => {
    expect(idsOf(on("intel", 40, ["page1gb"]))).toContain("fact/112-read");
  });

  test.each([36, 39, 41, 46, 51])("MAXPHYADDR %i: reserved bits are reserved there", (width) => {
    const cases = on("intel", width);
    expect(idsOf(cases)).toEqual(idsOf(usual));
    for (const { id, expect: told } of cases) expect(told.results).toEqual(find(id).expect.results);
    const word = (id: string, i: number) => cases.find((one) => one.id === id)!.memory[i]!.value;
    expect(word("fact/33", 2)).toBe((1n << BigInt(width)) | 0x10_2007n);
    expect(word("fact/32", 3)).toBe((1n << 51n) | 0x11_0007n);
    expect(word("fact/34", 3)).toBe((1n << 51n) | 0x11_0006n);
  });

  test("MAXPHYADDR 52: nothing about reserved address bits", () => {
    const ids = idsOf(on("intel", 52));
    for (const id of ["fact/32", "fact/33", "tricky/12", "fact/106-pte-sup-read"])
      expect(ids).not.toContain(id);
    for (const id of ["fact/34", "fact/26", "tricky/8"]) expect(ids).toContain(id);
  });

  test("is what our own CPU answers, matrices, too", () => {
    const self = new SelfSubject();
    for (const cpu of [
      packCpu("amd", 48, ["la57"]),
      packCpu("intel", 36, ["page1gb", "pku"]),
      packCpu("intel", 52),
    ]) {
      const cases = [...selectCases({ groups: GROUPS, sample: 40, seed: 3, cpu })];
      expect(cases.filter(({ id }) => id.startsWith("m"))).toHaveLength(120);
      for (const one of cases) {
        const answer = self.answer(one);
        if ("unsupported" in answer) throw new Error(`${one.id}: ${answer.unsupported}`);
        expect([one.id, compareAnswer(one, answer).differences]).toEqual([one.id, []]);
      }
    }
  });

  test("there must be such a CPU", () => {
    expect(() => packCpu("cyrix" as never)).toThrow("vendor cyrix: one of intel, amd");
    for (const width of [35, 53, 40.5, Number.NaN])
      expect(() => packCpu("intel", width)).toThrow(`MAXPHYADDR ${width}`);
  });
});

test("the numbers of the first hundred facts stay what they are", () => {
  const titles = ["29", "54", "67", "83", "100"].map((id) => FACTS.find((fact) => fact.id === id)!.title);
  expect(titles).toEqual([
    "bit 13 of a 1-GiB leaf is reserved",
    "key denies writes",
    "D cleared in memory comes back after INVLPG",
    "non-canonical through SS",
    "INVPCID 0 of a non-canonical address",
  ]);
});
