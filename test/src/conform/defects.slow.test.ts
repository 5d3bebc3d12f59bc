import { describe, expect, test } from "vitest";
import type { ConformCase } from "../../../src/conform/case.ts";
import { GROUPS, type Selection, selectCases } from "../../../src/conform/pack.ts";
import { type ConformResult, runConform, totalOf } from "../../../src/conform/runner.ts";
import { DEFECTS, type DefectName } from "../../support/conform-subject/defects.ts";
import { runHere } from "../cli/test-terminal.ts";
import { WalkerSubject } from "./walker-subject.ts";

/** What `ptescope conform --against` runs when nobody says otherwise. */
const USUAL: Selection = { groups: GROUPS, sample: 1000, seed: 1 };
const USUAL_CASES = [...selectCases(USUAL)];
const FACTS = USUAL_CASES.filter(({ id }) => id.startsWith("fact/"));
const NAMES = Object.keys(DEFECTS) as DefectName[];

function run(defect: DefectName | null, cases: Iterable<ConformCase>): Promise<ConformResult> {
  return runConform(new WalkerSubject(defect), cases, 2, () => {});
}

/** Groups in which something was found. */
function groupsWith(result: ConformResult): string[] {
  return result.groups.filter(({ mismatched }) => mismatched > 0).map(({ group }) => group);
}

describe("a walker with one of twenty mistakes", () => {
  test("without any it answers everything, and everything right", async () => {
    const result = await run(null, selectCases({ ...USUAL, sample: 3000, seed: 7 }));
    expect(result.mismatches).toEqual([]);
    expect(totalOf(result)).toMatchObject({ matched: 9_475, mismatched: 0, unsupported: 0, partial: 0 });
  });

  test("there are twenty", () => {
    expect(NAMES).toHaveLength(20);
  });

  test.each(NAMES)("%s is found", async (defect) => {
    const result = await run(defect, USUAL_CASES);
    expect(groupsWith(result)).toContain("fact");
  });

  test.each<{ defect: DefectName; first: string; because: RegExp }>([
    { defect: "rights-too-early", first: "fact/12", because: /P=0.*no right is judged/ },
    { defect: "leaf-rights-only", first: "fact/11", because: /U\/S=1 in every entry/ },
    { defect: "pcid-ignored", first: "fact/73", because: /PCID it was made under/ },
    { defect: "clean-write-hits", first: "fact/63", because: /sets D in the entry as it is now/ },
    { defect: "a-on-fault", first: "fact/10", because: /leaves its last entry alone/ },
    { defect: "d-on-read", first: "fact/1", because: /D is set by a write/ },
  ])("$defect is explained by the rule it breaks", async ({ defect, first, because }) => {
    const { mismatches } = await run(defect, FACTS);
    expect(mismatches[0]?.conformCase.id).toBe(first);
    expect(mismatches[0]?.differences[0]?.rule.says).toMatch(because);
  });
});

describe("as a program of its own", () => {
  /** No clock decides: a program may take long to start on a busy machine. */
  const PATIENT = ["--timeout", "3600"];
  const command = `"${process.execPath}" --import tsx test/support/conform-subject/main.ts`;

  test("the walker is right: status 0", async () => {
    const { status, output, errors } = await runHere([
      "conform",
      ...PATIENT,
      "--against",
      command,
      "--sample",
      "200",
    ]);
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output).toMatch(/^test walker, pack version 1\n/);
    expect(output).toMatch(/^fact +453 +453 +0 +0$/m);
    expect(output).toMatch(/all 1,075 answers are what the manual says\n$/);
  });

  test.each<{ defect: DefectName; says: RegExp }>([
    { defect: "rsvd-without-p", says: /^ {2}got +#PF, error 0x08 \(RSVD\), CR2 0x8000040000$/m },
    { defect: "pte-bit-12-is-pat", says: /^ {2}expected +physical 0x111000$/m },
    { defect: "cr2-of-page", says: /^fact\/6 +P=0 in the PTE; CR2 has the low bits$/m },
  ])("$defect: status 1", async ({ defect, says }) => {
    const args = ["conform", ...PATIENT, "--groups", "tricky,fact", "--show", "40"];
    const { status, output } = await runHere([...args, "--against", `${command} --defect ${defect}`]);
    expect(status).toBe(1);
    expect(output).toMatch(says);
  });
});
