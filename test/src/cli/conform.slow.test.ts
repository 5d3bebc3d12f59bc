import { describe, expect, test } from "vitest";
import { runHere } from "./test-terminal.ts";

interface Report {
  readonly format: string;
  readonly version: number;
  readonly pack: number;
  readonly subject: string;
  readonly groups: readonly { group: string; cases: number; mismatched: number }[];
  readonly unsupported: Readonly<Record<string, number>>;
  readonly mismatches: readonly unknown[];
}

describe("ptescope conform", () => {
  test("finds nothing wrong with ourselves", async () => {
    const { status, output } = await runHere(["conform", "--sample", "5000", "--seed", "5", "--json"]);
    const report = JSON.parse(output) as Report;
    expect(report).toMatchObject({
      format: "ptescope-conform-report",
      version: 2,
      pack: 1,
      subject: "ptescope",
    });
    expect(report.mismatches).toEqual([]);
    const cases = Object.fromEntries(report.groups.map(({ group, cases }) => [group, cases]));
    expect(cases).toEqual({ tricky: 22, fact: 453, m1: 5000, m2: 5000, m3: 5000 });
    expect(status).toBe(0);
  });

  test("--list names the groups", async () => {
    const { output } = await runHere(["conform", "--list"]);
    expect(output.split("\n").map((line) => line.split(/\s+/).slice(0, 2))).toEqual([
      ["tricky", "22"],
      ["fact", "453"],
      ["m1", "940,032"],
      ["m2", "59,904"],
      ["m3", "6,144"],
      [""],
    ]);
  });

  test("a CPU's cases have its features, and are right", async () => {
    const cpu = ["--vendor", "amd", "--maxphyaddr", "48", "--no-page1gb", "--no-la57", "--sample", "20"];
    const { output } = await runHere(["conform", "--write", "-", ...cpu]);
    const [, ...cases] = output.trimEnd().split("\n");
    expect(cases.length).toBeGreaterThan(400);
    for (const line of cases) {
      expect(line).toContain('"cpu":{"vendor":"amd","maxphyaddr":48,"page1gb":false}');
    }
    expect(await runHere(["conform", ...cpu])).toMatchObject({ status: 0 });
  });

  test("the same seed chooses the same cases, another one others", async () => {
    const written = (seed: string) =>
      runHere(["conform", "--write", "-", "--groups", "m1", "--sample", "50", "--seed", seed]);
    const [one, again, other] = [await written("4"), await written("4"), await written("5")];
    expect(one.output.split("\n")).toHaveLength(52);
    expect(again).toEqual(one);
    expect(other.output).not.toBe(one.output);
  });

  test.each<{ args: readonly string[]; says: RegExp }>([
    { args: ["--groups", "m9"], says: /--groups "m9": groups are tricky, fact, m1, m2, m3/ },
    { args: ["--sample", "none"], says: /--sample "none": give a number from 1 to 1000000, or all/ },
    { args: ["--seed", "-1"], says: /seed/ },
    { args: ["--vendor", "via"], says: /--vendor "via": one of intel, amd/ },
    { args: ["--maxphyaddr", "35"], says: /--maxphyaddr "35": give a number from 36 to 52/ },
    { args: ["--maxphyaddr", "4e1"], says: /--maxphyaddr "4e1": give a number from 36 to 52/ },
    { args: ["--from", "x", "--no-la57"], says: /--from and --no-la57 do not go together/ },
    { args: ["--show", "1e9"], says: /--show "1e9": give a number from 0 to 1000/ },
    { args: ["--timeout", "0", "--against", "true"], says: /--timeout "0": give a number from 1 to 3600/ },
    { args: ["--against", " "], says: /--against: give the command/ },
    { args: ["--against", "true", "--write", "x"], says: /--write and --against do not go together/ },
    { args: ["--from", "x", "--sample", "3"], says: /--from and --sample do not go together/ },
    {
      args: ["--write", "/nowhere/at/all", "--groups", "tricky"],
      says: /expected a place to write to \(ENOENT\)/,
    },
    { args: ["--only", "m9/1"], says: /--only "m9\/1": the pack has no such case/ },
    { args: ["--only", "x"], says: /--only "x": give ids of cases/ },
    { args: ["--only", "fact/1", "--groups", "m1"], says: /--only and --groups do not go together/ },
    { args: ["--require", "200%"], says: /--require "200%": give a percentage/ },
    { args: ["--form", "jsonl"], says: /give --write or --judge with it/ },
    { args: ["--judge", "/nowhere/at/all"], says: /expected a (regular|readable) file/ },
    { args: ["extra"], says: /unexpected argument "extra"/ },
  ])("$args is a mistake", async ({ args, says }) => {
    const { status, output, errors } = await runHere(["conform", ...args]);
    expect({ status, output }).toEqual({ status: 2, output: "" });
    expect(errors).toMatch(/^ptescope conform: [^\n]*\n$/);
    expect(errors).toMatch(says);
  });

  test("its help fits a wide terminal", async () => {
    const { output } = await runHere(["conform", "--help"]);
    expect(Math.max(...output.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
  });
});
