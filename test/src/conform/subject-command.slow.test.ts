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
  async function run(source: string, timeout = PATIENT): Promise<string> {
    const file = join(folder, `${files++}.cjs`);
    writeFileSync(file, source);
    return await runCommand(`"${process.execPath}" ${file}`, timeout);
  }

  /** `greeting` and `answer`: milliseconds that these may take. */
  async function runCommand(command: string, greeting = PATIENT, answer = PATIENT): Promise<string> {
    try {
      const subject = await CommandSubject.start(command, greeting);
      subject.timeout = answer;
      const cases = selectCases({ groups: GROUPS.slice(0, 1), sample: 1, seed: 1 });
      const { groups } = await runConform(subject, cases, 1, () => {});
      return JSON.stringify(groups);
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
      says: /an answer to be an object, found an array/,
    },
    {
      name: "no id",
      source: adapter("say('{}');"),
      says: /"id":"tricky\/1", found nothing/,
    },
    {
      name: "another id",
      source: adapter('say(\'{"id":"m1/0"}\');'),
      says: /"id":"tricky\/1", found "m1\/0"/,
    },
    {
      name: "too few results",
      source: adapter("say(JSON.stringify({ id: JSON.parse(line).id, results: [{}] }));"),
      says: /results to have 4 elements, found 1/,
    },
    {
      name: "a number that is none",
      source: adapter(
        "say(JSON.stringify({ id: JSON.parse(line).id, results: [{ pa: '12' }, {}, {}, {}] }));",
      ),
      says: /results\[0\]\.pa to be "0x\.\.\." or an integer.*found "12"/,
    },
    {
      name: "an answer too many",
      // In one write: the line too many must not come late.
      source: adapter(
        "const last = n === 22 ? '\\n{}' : ''; say(JSON.stringify({ id: JSON.parse(line).id, unsupported: 'all' }) + last);",
      ),
      says: /one line for each it is sent, found another: "\{\}"/,
    },
    {
      name: "an end in the middle",
      source: adapter(`${UNSUPPORTED} if (n === 5) process.exit();`),
      says: /more answers, found its end \(exit status 0\)/,
    },
    {
      name: "a line without an end",
      source: 'const more = () => process.stdout.write("x".repeat(10000), more); more();',
      says: /lines of at most 65536 characters/,
    },
    {
      name: "an endless stream of lines",
      source: `const more = () => process.stdout.write('${GREETING}\\n'.repeat(100), more); more();`,
      says: /one line for each it is sent, found another|an answer as one line|"id":"tricky\/1"/,
    },
  ])("$name", async ({ source, says, timeout }) => {
    expect(await run(source, timeout)).toMatch(says);
  });

  test("silence after the greeting", async () => {
    const command = `read line; echo '${GREETING}'; exec sleep 60`;
    expect(await runCommand(command, PATIENT, 1000)).toMatch(
      /an answer to tricky\/1 within 1 s \(does it flush/,
    );
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
