import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readCaseFile } from "../../../src/conform/case-file.ts";
import { caseFileLines } from "../../../src/conform/case-json.ts";
import { GROUPS, selectCases } from "../../../src/conform/pack.ts";
import { runHere } from "../cli/test-terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "ptescope-cases-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);
const SOME = { groups: GROUPS, sample: 100, seed: 3 };

describe("a case file", () => {
  test("holds what was written: every case comes back the same", () => {
    const file = path("all.jsonl");
    writeFileSync(file, `${[...caseFileLines(selectCases(SOME))].join("\n")}\n`);
    expect([...readCaseFile(file)]).toEqual([...selectCases(SOME)]);
  });

  test("written by the command runs against ourselves", async () => {
    const file = path("facts.jsonl");
    expect(await runHere(["conform", "--write", file, "--groups", "fact"])).toMatchObject({
      status: 0,
      output: "",
    });
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(454);
    expect(lines[0]).toBe('{"format":"ptescope-conform","version":1}');
    const { status, output } = await runHere(["conform", "--from", file]);
    expect(status).toBe(0);
    expect(output).toMatch(/^fact +453 /m);
  });

  test("on standard output is the same", async () => {
    const { output } = await runHere(["conform", "--write", "-", "--groups", "tricky"]);
    expect(output).toBe(
      `${[...caseFileLines(selectCases({ ...SOME, groups: GROUPS.slice(0, 1) }))].join("\n")}\n`,
    );
  });
});

describe("a bad case file is one line with the offset of what is wrong", () => {
  const [header = "", good = ""] = caseFileLines(selectCases(SOME));
  const change = (from: string | RegExp, to: string): string => `${header}\n${good.replace(from, to)}\n`;

  test.each<{ name: string; text: string; says: RegExp }>([
    {
      name: "another version",
      text: header.replace("1", "9"),
      says: /offset 0x0: expected .*"version":1.*found version 9/,
    },
    {
      name: "something else",
      text: "%PDF-1.4\n",
      says: /offset 0x0: expected the header of a case file as one line of JSON/,
    },
    { name: "empty", text: "", says: /expected a header and at least one case/ },
    { name: "no case", text: `${header}\n`, says: /expected a header and at least one case/ },
    {
      name: "half a line",
      text: `${header}\n${good.slice(0, 100)}`,
      says: /offset 0x2a: expected a case as one line of JSON/,
    },
    {
      name: "an unknown step",
      text: change('"access"', '"frobnicate"'),
      says: /steps\[0\]\.op to be one of access, .*found "frobnicate"/,
    },
    {
      name: "an unknown rule",
      text: change('"translate"', '"magic"'),
      says: /rule to be the name of a rule/,
    },
    {
      name: "no size",
      text: change('"size":8', '"size":3'),
      says: /steps\[0\]\.size to be one of 1, 2, 4, 8/,
    },
    {
      name: "a word too high",
      text: change('["0x1000"', '["0x40000000"'),
      says: /memory\[0\]\[0\] to be .*at most 0x3fffff8/,
    },
    {
      name: "a word between words",
      text: change('["0x1000"', '["0x1001"'),
      says: /memory\[0\]\[0\] to be a multiple of 8/,
    },
    {
      name: "a word twice",
      text: change(/"memory":\[(\[[^\]]*\]),\[[^\]]*\]/, '"memory":[$1,$1'),
      says: /words of memory at different addresses, found 0x1000 twice \(case tricky\/1\)/,
    },
    {
      name: "no MAXPHYADDR",
      text: change('"maxphyaddr":40', '"maxphyaddr":20'),
      says: /cpu\.maxphyaddr from 36 to 52, found 20/,
    },
    {
      name: "too long a line",
      text: `${header}\n${" ".repeat(2 ** 17)}`,
      says: /lines of at most 65536 bytes/,
    },
    {
      name: "a name that is none",
      text: change('"tricky/1"', '"__proto__"'),
      says: /id to be a group, a slash and a name/,
    },
  ])("$name", async ({ name, text, says }) => {
    const file = path(`${name}.jsonl`);
    writeFileSync(file, text);
    const { status, output, errors } = await runHere(["conform", "--from", file]);
    expect({ status, output }).toEqual({ status: 2, output: "" });
    expect(errors).toMatch(/^ptescope conform: [^\n]*\n$/);
    expect(errors).toMatch(says);
  });

  test("a directory, or nothing", async () => {
    for (const file of [folder, path("missing")]) {
      const { status, errors } = await runHere(["conform", "--from", file]);
      expect(status).toBe(2);
      expect(errors).toMatch(/expected a (regular|readable) file/);
    }
  });
});
