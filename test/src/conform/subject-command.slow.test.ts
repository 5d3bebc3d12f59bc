import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { GROUPS, selectCases } from "../../../src/conform/pack.ts";
import { runConform } from "../../../src/conform/runner.ts";
import { CommandSubject } from "../../../src/conform/subject-command.ts";
import { runHere } from "../cli/test-terminal.ts";

const GREETING = '{"format":"ptescope-conform","version":1,"name":"test"}';
/** Reads lines; the body is called with each one and its number, the greeting's being 0. */
const adapter = (body: string): string => `
  const lines = require("node:readline").createInterface({ input: process.stdin });
  const say = (text) => process.stdout.write(text + "\\n");
  let n = -1;
  lines.on("line", (line) => { n++; if (n === 0) { say('${GREETING}'); return; } ${body} });`;
const UNSUPPORTED = "say(JSON.stringify({ id: JSON.parse(line).id, unsupported: 'all' }));";
/** Milliseconds: long enough for a program on the busiest machine, where nothing waits for them to pass. */
const PATIENT = 600_000;

describe("an adapter that does not keep to the protocol is one clear line", () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-adapter-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  let files = 0;

  /** Runs a program, given as its source, against the tricky entries. */
  async function run(source: string, greeting = PATIENT, answer = PATIENT): Promise<string> {
    const file = join(folder, `${files++}.cjs`);
    writeFileSync(file, source);
    return await runCommand(`"${process.execPath}" ${file}`, greeting, answer);
  }

  /** `greeting` and `answer`: milliseconds that these may take. */
  async function runCommand(command: string, greeting = PATIENT, answer = PATIENT): Promise<string> {
    try {
      const subject = await CommandSubject.start(command, answer, { startTimeout: greeting });
      const cases = selectCases({ groups: GROUPS.slice(0, 1), sample: 1, seed: 1 });
      const { groups, causes, ended, notes } = await runConform(subject, cases, 1, () => {});
      const { matched, mismatched, unsupported, undeclared, unanswered } = groups[0]!;
      const counts = { matched, mismatched, unsupported, undeclared, unanswered };
      expect(ended ?? "").not.toContain("\n");
      return [
        JSON.stringify(counts),
        ...causes.map(({ says, ids }) => `${ids.join(",")}: ${says}`),
        ...notes,
        ...(ended === null ? [] : [ended]),
      ].join("\n");
    } catch (error) {
      const { message } = error as Error;
      expect(message).not.toContain("\n");
      return message;
    }
  }

  test.each<{ name: string; source: string; says: RegExp; timeout?: number }>([
    { name: "silence", source: "process.stdin.resume()", timeout: 500, says: /a greeting within 0.5 s/ },
    { name: "an end without a word", source: "", says: /a greeting, found its end \(exit status 0\)/ },
    {
      name: "an end with a word",
      source: 'console.error("no MMU here"); process.exit(3)',
      says: /found its end \(exit status 3; it said "no MMU here"\)/,
    },
    {
      name: "garbage",
      source: 'console.log("hello")',
      says: /a greeting as one line of JSON, found "hello"/,
    },
    {
      name: "another version",
      source: `console.log('${GREETING.replace("1", "2")}')`,
      says: /"version":1 in the first line, found version 2/,
    },
    {
      name: "another format",
      source: "console.log('{}')",
      says: /"format":"ptescope-conform".*found format/,
    },
    {
      name: "garbage for an answer",
      source: adapter("say('[]');"),
      says: /"mismatched":22.*\ntricky\/1,.*tricky\/22: no answer: expected an answer to be an object$/,
    },
    {
      name: "no id",
      source: adapter("say('{}');"),
      says: /tricky\/1,.*: no answer: expected "id" to be that of a question without an answer$/,
    },
    {
      name: "another id",
      source: adapter('say(\'{"id":"m1/0"}\');'),
      says: /tricky\/1,.*: no answer: expected "id" to be that of a question without an answer$/,
    },
    {
      name: "too few results",
      source: adapter("say(JSON.stringify({ id: JSON.parse(line).id, results: [{}] }));"),
      says: /tricky\/1,.*: no answer: expected results to have 4 elements$/,
    },
    {
      name: "a number that is none",
      source: adapter(
        "say(JSON.stringify({ id: JSON.parse(line).id, results: [{ pa: '12' }, {}, {}, {}] }));",
      ),
      says: /tricky\/1,.*: no answer: expected results\[0\]\.pa to be "0x\.\.\." or an integer/,
    },
    {
      name: "an answer too many",
      // In one write: the line too many must not come late.
      source: adapter(
        "const last = n === 22 ? '\\n{}' : ''; say(JSON.stringify({ id: JSON.parse(line).id, unsupported: 'all' }) + last);",
      ),
      says: /"unsupported":22.*\n.*one line for each it is sent, found another: "\{\}"/,
    },
    {
      name: "an end in the middle",
      source: adapter(`${UNSUPPORTED} if (n === 5) process.exit();`),
      says: /^\{.*"unsupported":5,.*"unanswered":17\}\n.*expected an answer to tricky\/6, found its end \(exit status 0\)$/,
    },
    {
      name: "an end with the last answer",
      source: adapter(`${UNSUPPORTED} if (n === 22) process.exit();`),
      says: /^\{.*"unsupported":22,.*"unanswered":0\}$/,
    },
    {
      name: "two answers in one",
      source: adapter(
        "say(JSON.stringify({ id: JSON.parse(line).id, results: [{ pa: 1, fault: { vector: 14 } }, null, null, null] }));",
      ),
      says: /no answer: expected results\[0\] to have one of pa, fault and done$/,
    },
    {
      name: "an access that came to nothing",
      source: adapter("say(JSON.stringify({ id: JSON.parse(line).id, results: [{}, null, null, null] }));"),
      says: /no answer: expected results\[0\] of an access to have pa, fault or "done":true$/,
    },
    {
      name: "one malformed answer alone",
      source: adapter(`if (n === 3) say("{"); else { ${UNSUPPORTED} }`),
      says: /^\{"matched":0,"mismatched":1,"unsupported":21,.*\ntricky\/3: no answer: expected an answer as one line of JSON$/,
    },
    {
      name: "answers out of order",
      source: adapter(
        "(globalThis.ids ??= []).unshift(JSON.parse(line).id); if (n === 22) for (const id of ids) say(JSON.stringify({ id, unsupported: 'all' }));",
      ),
      says: /"unsupported":22.*\n.*answers come out of order \(tricky\/22 before tricky\/1\), and are told by their ids$/,
    },
    {
      name: "a declaration that is not kept",
      source: adapter(UNSUPPORTED).replace(
        '"test"}',
        '"test","has":["intel","maxphyaddr","page1gb","nx","pge","read","write","fetch"]}',
      ),
      says: /"mismatched":22.*\n.*: declared in the greeting, but unsupported: all$/,
    },
    {
      name: "a declaration that leaves out what is needed",
      source: adapter(UNSUPPORTED).replace('"test"}', '"test","has":["amd"]}'),
      says: /"undeclared":22/,
    },
    {
      name: "a declaration of something unknown",
      source: adapter(UNSUPPORTED).replace('"test"}', '"test","has":["magic"]}'),
      says: /has\[0\] to be one of intel, amd, .*found "magic"/,
    },
    {
      name: "terminal escapes",
      source: adapter("say('\\x1b[2J\\x07');"),
      says: /tricky\/1,.*: no answer: expected an answer as one line of JSON$/,
    },
    {
      name: "a line without an end",
      source: 'const more = () => process.stdout.write("x".repeat(10000), more); more();',
      says: /lines of at most 65536 characters/,
    },
    {
      name: "an endless stream of lines",
      source: `const more = () => process.stdout.write('${GREETING}\\n'.repeat(100), more); more();`,
      says: /one line for each it is sent, found another|"id" to be that of a question/,
    },
  ])("$name", async ({ source, says, timeout }) => {
    expect(await run(source, timeout)).toMatch(says);
  });

  test("silence after the greeting", async () => {
    const command = `read line; echo '${GREETING}'; exec sleep 60`;
    const said = await runCommand(command, PATIENT, 200);
    expect(said).toMatch(/"mismatched":3,.*"unanswered":19/);
    expect(said).toMatch(/\ntricky\/1,tricky\/2,tricky\/3: no answer: expected an answer within 0\.2 s\n/);
    expect(said).toMatch(/an answer to tricky\/3 and 2 before it within 0\.2 s each \(does it flush/);
  });

  test("a late answer is that of its case, and no line too many", async () => {
    const file = join(folder, "late.cjs");
    const late = `globalThis.id = JSON.parse(line).id;
      lines.on("close", () => say(JSON.stringify({ id, unsupported: "all" })));`;
    writeFileSync(file, adapter(late));
    const subject = await CommandSubject.start(`"${process.execPath}" ${file}`, 200, {
      startTimeout: PATIENT,
    });
    const [one] = selectCases({ groups: GROUPS.slice(0, 1), sample: 1, seed: 1 });
    const { failures, ended } = await runConform(subject, [one!], 1, () => {});
    expect({ failures, ended }).toEqual({ failures: ["tricky/1"], ended: null });
  });

  test("an end of the wait reports what was answered", async () => {
    const end = new AbortController();
    const command = `read line; echo '${GREETING}'; read line; echo '{"id":"tricky/1","unsupported":"x"}'; exec sleep 60`;
    const subject = await CommandSubject.start(command, PATIENT, { signal: end.signal });
    const cases = selectCases({ groups: GROUPS.slice(0, 1), sample: 1, seed: 1 });
    const progress = (asked: number): void => {
      if (asked === 1) end.abort("enough");
    };
    const { groups, ended } = await runConform(subject, cases, 1, progress, { signal: end.signal });
    expect(groups[0]).toMatchObject({ unsupported: 1, unanswered: 21 });
    expect(ended).toBe("enough");
  });

  test("a command that is not there", async () => {
    expect(await runCommand("/nowhere/at/all")).toMatch(
      /^"\/nowhere\/at\/all": expected a greeting, found its end/,
    );
  });

  test("one that goes on after its input has ended is stopped", async () => {
    const source = adapter(`${UNSUPPORTED}`);
    expect(await run(`${source}\nsetInterval(() => {}, 1000);`)).toContain('"unsupported":22');
  });
});

test("an adapter that answers nothing at all is no success", async () => {
  const source = adapter(UNSUPPORTED).replaceAll("\n", " ").replaceAll('"', "'").replaceAll("$", "");
  const program = source.replaceAll(
    `'${GREETING.replaceAll('"', "'")}'`,
    "JSON.stringify({format:'ptescope-conform',version:1,name:'none'})",
  );
  const { status, errors } = await runHere([
    "conform",
    "--groups",
    "tricky",
    "--against",
    `"${process.execPath}" -e "${program.replaceAll("\\", "\\\\")}"`,
  ]);
  expect(status).toBe(2);
  expect(errors).toMatch(
    /^ptescope conform: "none": expected an answer that can be compared, found 22 without\n$/,
  );
});
