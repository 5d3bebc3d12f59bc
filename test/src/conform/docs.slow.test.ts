import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CAPABILITIES } from "../../../src/conform/capabilities.ts";
import { questionJson } from "../../../src/conform/case-json.ts";
import { OPTIONAL_FEATURES } from "../../../src/conform/cpu-model.ts";
import { GROUPS } from "../../../src/conform/pack.ts";
import { runHere } from "../cli/test-terminal.ts";

const PAGE = readFileSync("docs/conformance.md", "utf8");
const NODE = `"${process.execPath}"`;

describe("docs/conformance.md", () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-conform-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  test("its adapter, copied as it stands, answers nothing wrong", async () => {
    const code = /```js\n(.*?)```/s.exec(PAGE)?.[1];
    const file = join(folder, "my-adapter.mjs");
    writeFileSync(file, code ?? "");
    const args = [
      "conform",
      "--timeout",
      "3600",
      "--start-timeout",
      "3600",
      "--against",
      `${NODE} ${file}`,
      "--json",
    ];
    const { status, output, errors } = await runHere(args);
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    const { subject, mismatches, groups } = JSON.parse(output) as {
      subject: string;
      mismatches: unknown[];
      groups: { group: string; matched: number }[];
    };
    expect({ subject, mismatches }).toEqual({ subject: "my MMU", mismatches: [] });
    const matched = Object.fromEntries(groups.map(({ group, matched }) => [group, matched]));
    expect(matched).toMatchObject({ tricky: 22, m1: 1000, m2: 1000 });
    expect(matched.fact).toBeGreaterThan(75);
  });

  test("its question is the one that is sent", () => {
    const shown = /## A question\n\n```json\n(.*?)```/s.exec(PAGE)?.[1] ?? "";
    const facts = GROUPS.find(({ name }) => name === "fact");
    const cases = Array.from({ length: facts?.size ?? 0 }, (_, i) => facts?.at(i));
    const fact13 = cases.find((one) => one?.id === "fact/13");
    if (fact13 === undefined) throw new Error("no fact/13");
    expect(JSON.parse(shown)).toEqual(questionJson(fact13));
  });

  test("it names every group with its size", () => {
    for (const { name, size } of GROUPS) {
      expect(PAGE).toContain(`| \`${name}\` | ${size.toLocaleString("en")} |`);
    }
  });
});

test("docs/conformance.md has a row for every option that takes a feature away", () => {
  for (const name of OPTIONAL_FEATURES) {
    const { cpuid, means, needed } = CAPABILITIES[name];
    expect(PAGE).toContain(`| \`--no-${name}\` | ${cpuid} | ${means}: ${needed} |\n`);
  }
});

describe("docs/adapters/qemu-monitor.mjs", () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-qemu-"));
  const adapter = `${NODE} docs/adapters/qemu-monitor.mjs`;
  const path = process.env.PATH;
  beforeAll(() => {
    const file = join(folder, "qemu-system-x86_64");
    const program = resolve("test/support/conform-subject/gdb-stub.ts");
    writeFileSync(file, `#!/bin/sh\nexec ${NODE} --import tsx "${program}"\n`);
    chmodSync(file, 0o755);
  });
  afterAll(() => {
    process.env.PATH = path;
    rmSync(folder, { recursive: true });
  });

  test("without QEMU it says so, and nothing is judged", async () => {
    process.env.PATH = join(folder, "empty");
    expect(
      await runHere(["conform", "--timeout", "3600", "--start-timeout", "3600", "--against", adapter]),
    ).toEqual({
      status: 0,
      output: "skipped: QEMU monitor, gva2gpa: qemu-system-x86_64 is not installed\n",
      errors: "",
    });
  });

  test("it brings tables and registers to a GDB stub, and addresses back", async () => {
    process.env.PATH = `${folder}:${path}`;
    const args = [
      "conform",
      "--timeout",
      "3600",
      "--start-timeout",
      "3600",
      "--groups",
      "tricky,fact",
      "--against",
      adapter,
    ];
    const { status, output } = await runHere(args);
    expect(output).toMatch(/^tricky +22 +21 +0 +1$/m);
    expect(output).toMatch(/^fact +453 +62 +0 +391$/m);
    expect(status).toBe(0);
  });
});
