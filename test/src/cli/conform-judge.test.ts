import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { questionJson } from "../../../src/conform/case-json.ts";
import { GROUPS } from "../../../src/conform/pack.ts";
import { Walker, type WireCase } from "../../support/conform-subject/walker.ts";
import { runHere } from "./test-terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "ptescope-judge-"));
afterAll(() => rmSync(folder, { recursive: true }));

const TRICKY = GROUPS.find(({ name }) => name === "tricky")!;
const GREETING = '{"format":"ptescope-conform","version":1,"name":"far away"}';

/** What a walker answers to the tricky entries, a line each. */
function answers(walker = new Walker()): string[] {
  return Array.from({ length: TRICKY.size }, (_, i) => {
    const question = JSON.parse(JSON.stringify(questionJson(TRICKY.at(i)))) as WireCase;
    return JSON.stringify(walker.answer(question));
  });
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function judge(text: string, ...more: readonly string[]) {
  return await runHere(["conform", "--groups", "tricky", "--judge", file("answers", text), ...more]);
}

test("answers that were written down are judged, in any order and between other lines", async () => {
  const lines = ["SeaBIOS", GREETING, ...answers().reverse(), "bye"];
  const { status, output, errors } = await judge(lines.join("\r\n"));
  expect(output).toMatch(/^far away, pack version 1\n/);
  expect(output).toMatch(/22 of 22 compared: every answer is what the manual says\n$/);
  expect(errors).toMatch(/^ptescope conform: .*answers: 2 lines are no answers, and were passed over\n$/);
  expect(status).toBe(0);
});

test("a run that was cut off loses nothing, and what is left can be written", async () => {
  const some = answers().slice(0, 5).join("\n");
  const cut = some.slice(0, -20);
  const { status, output, errors } = await judge(cut);
  expect(output).toMatch(/^tricky +22 +4 +0 +0 +18$/m);
  expect(output).toMatch(/4 of 22 compared: every answer/);
  expect(errors).toMatch(/its last line is cut off: the case counts as not answered\n$/);
  expect(status).toBe(0);
  expect((await judge(cut, "--require", "80%")).status).toBe(1);
  const rest = join(folder, "rest.jsonl");
  await judge(cut, "--write", rest);
  const left = readFileSync(rest, "utf8").trimEnd().split("\n").slice(1);
  expect(left.map((line) => (JSON.parse(line) as { id: string }).id)).toHaveLength(18);
});

test("coverage is told, and below --require the run fails", async () => {
  const two = answers().map((line, i) => {
    return i < 2 ? line : JSON.stringify({ id: (JSON.parse(line) as WireCase).id, unsupported: "x" });
  });
  const { status, output, errors } = await judge(two.join("\n"), "--require", "80%");
  expect(output).toContain("2 of 22 compared: every answer is what the manual says\nunsupported: x: 20\n");
  expect(errors).toBe("ptescope conform: 2 of 22, 9.1% could be compared, --require asks for 80%\n");
  expect(status).toBe(1);
  expect((await judge(two.join("\n"), "--require", "9%")).status).toBe(0);
});

test("--expect-failures fails on new ones only, and names those that are right again", async () => {
  const wrong = answers(new Walker("large-leaf-bits-free")).join("\n");
  const report = JSON.parse((await judge(wrong, "--json")).output) as {
    failures: string[];
    causes: { ids: string[]; rule: { basis: string; where: string } }[];
  };
  expect(report.failures).toEqual(report.causes.flatMap(({ ids }) => ids));
  expect(report.causes[0]?.rule).toMatchObject({
    basis: "text",
    where: expect.stringContaining("SDM vol. 3 (September 2016), 4.5 4-Level Paging") as string,
  });
  const known = file("known", `# a comment\n${report.failures.join("  # why\n")}\ntricky/1\n`);
  const { status, output } = await judge(wrong, "--expect-failures", known);
  expect(output).toMatch(
    /\n1 failures were expected, 0 were not\n1 cases were expected to fail and are right: tricky\/1\n$/,
  );
  expect(status).toBe(0);
  const none = file("none", "");
  expect((await judge(wrong, "--expect-failures", none)).status).toBe(1);
  const tap = (await judge(wrong, "--tap", "--expect-failures", known)).output;
  expect(tap).toMatch(/^TAP version 14\n1\.\.22\nok 1 - tricky\/1 /);
  expect(tap).toMatch(/^not ok \d+ - tricky\/\d+ .* # TODO expected to fail$/m);
  const bad = await judge(wrong, "--expect-failures", file("bad", "what?\n"));
  expect(bad).toMatchObject({ status: 2, output: "" });
});

test("--junit says the same, with nothing raw in it", async () => {
  const wrong = answers(new Walker("large-leaf-bits-free"));
  const greeting = GREETING.replace("far away", '<a>&\\"\\u001b');
  const { status, output } = await judge([greeting, ...wrong].join("\n"), "--junit");
  expect(output).toContain(
    '<testsuite name="&lt;a&gt;&amp;&quot;\\x1b" tests="22" failures="1" errors="0" skipped="0">',
  );
  expect(output.match(/<failure message="reserved bit not checked/g)).toHaveLength(1);
  expect(status).toBe(1);
});

test("an access that was done at an address nobody can tell is an answer, and a part of one", async () => {
  const done = answers().map((line) => line.replaceAll(/\{"pa":"0x[0-9a-f]+"\}/g, '{"done":true}'));
  const { status, output } = await judge(done.join("\n"));
  expect(output).toMatch(/22 of 22 compared: every answer.*\n\d+ of them left something out/);
  expect(status).toBe(0);
});

test("--only repeats cases", async () => {
  const { status, output } = await runHere(["conform", "--only", "fact/29,m1/001931,fact/29"]);
  expect(output).toMatch(/^fact +1 +1 +0 +0\nm1 +1 +1 +0 +0$/m);
  expect(status).toBe(0);
});
