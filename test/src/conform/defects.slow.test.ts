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

describe("a walker with one of twenty mistakes", () => {
  test("without any it answers everything, and everything right", async () => {
    const result = await run(null, selectCases({ ...USUAL, sample: 3000, seed: 7 }));
    expect(result.mismatches).toEqual([]);
    expect(totalOf(result)).toMatchObject({ matched: 9_475, mismatched: 0, unsupported: 0, partial: 0 });
  });

  test("there are twenty", () => {
    expect(NAMES).toHaveLength(20);
  });

  test.each<[DefectName, RegExp]>([
    ["high-bits-free", /^reserved bit not checked: bits 51:40 of an entry.*physical-address width$/],
    ["large-leaf-bits-free", /^reserved bit not checked: bits 20:13 of a PDE.*2-MiB page$/],
    ["pml4e-ps-free", /^reserved bit not checked: bit 7 \(PS\) of a PML4E/],
    ["rights-too-early", /^error code bit 0 \(P\): said 1, is 0: an entry has P=0$/],
    ["rsvd-without-p", /^error code bit 0 \(P\): said 0, is 1: a reserved bit is set$/],
    ["leaf-rights-only", /^right not enforced: U\/S=0 above the leaf does not stop a user read$/],
    ["pte-bit-12-is-pat", /^physical address, bit 12: bits 39:12 are those of the PTE/],
    ["a-on-fault", /^A \(bit 5\) of the leaf: said 1, is 0: the read is denied$/],
    ["d-on-read", /^D \(bit 6\) of the leaf: said 1, is 0: a read sets no D$/],
    ["pcid-ignored", /^TLB: .*a translation serves the PCID it was made under/],
    ["wp-ignored", /^right not enforced: R\/W=0 in the leaf while WP=1 does not stop a supervisor write$/],
    ["xd-without-nxe", /^reserved bit not checked: bit 63 \(XD\) of an entry, reserved while NXE=0$/],
    ["ac-ignored", /^supervisor read is allowed, but the answer claims SMAP: RFLAGS\.AC=1 lifts it$/],
    ["fetch-always-told", /^error code bit 4 \(I\/D\): said 1, is 0: a fetch, but NXE=0 and SMEP=0$/],
    ["cr2-of-page", /^CR2: its low 12 bits are missing$/],
    ["keys-for-users-only", /^right not enforced: PKRU\.AD of a user page's key.*supervisor read$/],
    ["keys-by-upper-levels", /^error code bit 5 \(PK\): said 1, is 0: U\/S=0 in the leaf: PKRU does not/],
    ["canonical-unchecked", /^exception: said #PF, is #SS: through SS, an address that is not canonical$/],
    ["invlpg-spares-globals", /^TLB: .*INVLPG drops the page's translations, global ones too/],
    ["clean-write-hits", /^TLB: no fault instead of #PF: a write through a cached translation with D=0/],
  ])("%s is found alone by the facts, and its cause says what kind it is", async (defect, says) => {
    const { causes, groups } = await run(defect, USUAL_CASES);
    const found = causes.find((cause) => says.test(cause.says));
    expect(found?.ids.some((id) => id.startsWith("fact/"))).toBe(true);
    expect(groups.find(({ group }) => group === "fact")?.mismatched).toBeGreaterThan(0);
  });

  test.each<{ defect: DefectName; first: string; detail: RegExp; basis: string }>([
    {
      defect: "rsvd-without-p",
      first: "fact/37",
      detail: /^error code bit 0 \(P\): said 0, is 1: PTE at 0x102200, bit 63 \(XD\): reserved while NXE=0$/,
      basis: "text",
    },
    {
      defect: "leaf-rights-only",
      first: "fact/11",
      detail: /^no fault in a user read: denied by PML4E at 0x70008: U\/S=0$/,
      basis: "text",
    },
    {
      defect: "a-on-fault",
      first: "fact/10",
      detail: /^PTE at 0x102200, A \(bit 5\): said 1, is 0: the read is denied$/,
      basis: "practice",
    },
    {
      defect: "clean-write-hits",
      first: "fact/63",
      detail: /in memory the PTE at 0x102200 is 0x0{16}$/,
      basis: "inferred",
    },
  ])("$defect is explained with the entry of $first", async ({ defect, first, detail, basis }) => {
    const one = FACTS.filter(({ id }) => id === first);
    const [mismatch] = (await run(defect, one)).mismatches;
    expect(mismatch?.points[0]?.detail).toMatch(detail);
    expect(mismatch?.points[0]?.rule.basis).toBe(basis);
  });
});

describe("as a program of its own", () => {
  /** No clock decides: a program may take long to start on a busy machine. */
  const PATIENT = ["--timeout", "3600", "--start-timeout", "3600"];
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
    expect(output).toMatch(/1,075 of 1,075 compared: every answer is what the manual says\n$/);
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
