import { describe, expect, test } from "vitest";
import { explainJson } from "../../../src/audit/histories/explain-json.ts";
import { explainText, rulesText } from "../../../src/audit/histories/explain-text.ts";
import { explainRule } from "../../../src/audit/histories/explained-rule.ts";
import { RULES } from "../../../src/audit/rules/index.ts";
import { ERROR_CODE_CONFLICTS, errorCodeConflicts } from "../../../src/inspect/error-code.ts";
import { causesOf } from "../../../src/inspect/fault-text.ts";
import { runHere } from "./test-terminal.ts";

describe("ptescope explain", () => {
  test("rule ID prints the rule and its two histories", async () => {
    expect(await runHere(["explain", "rule", "35"])).toEqual({
      status: 0,
      output: explainText(explainRule(35)),
      errors: "",
    });
  });

  test("the case of a name does not matter", async () => {
    const { status, output } = await runHere(["explain", "rule", "g2"]);
    expect(status).toBe(0);
    expect(output).toMatch(/^rule G2: /);
  });

  test("rules lists all of them", async () => {
    expect(await runHere(["explain", "rules"])).toEqual({ status: 0, output: rulesText(), errors: "" });
  });

  test("--json gives the same as data", async () => {
    const rule = await runHere(["explain", "rule", "36", "--json"]);
    expect(rule).toMatchObject({ status: 0, errors: "" });
    expect(JSON.parse(rule.output)).toEqual(explainJson(explainRule(36)));
    const list = await runHere(["explain", "rules", "--json"]);
    expect(JSON.parse(list.output)).toHaveLength(RULES.length);
  });

  test("fault CODE spells the bits and the causes", async () => {
    const { output, status } = await runHere(["explain", "fault", "0x15"]);
    expect(status).toBe(0);
    expect(output.split("\n")).toEqual([
      "#PF 0x15: user fetch",
      "   0  P     1  page present",
      "   1  W/R   0  a read or a fetch",
      "   2  U/S   1  user mode",
      "   3  RSVD  0  no reserved bit",
      "   4  I/D   1  instruction fetch",
      "   5  PK    0  no protection key denies it",
      "   6  SS    0  no shadow-stack access",
      "  cause: U/S=0 in some entry: the page is the supervisor's",
      "  cause: XD=1 in some entry",
      "  cause: an older translation in the TLB: memory may allow it by now (a spurious fault)",
      "",
    ]);
    expect((await runHere(["explain", "fault", "0b10101"])).output).toBe(output);
    const { output: json } = await runHere(["explain", "fault", "80000003", "--json"]);
    expect(JSON.parse(json)).toMatchObject({ code: "0x80000003", access: "supervisor write", conflicts: [] });
  });

  test.each(ERROR_CODE_CONFLICTS)("fault: $why", async ({ set, clear, why }) => {
    const code = set | (clear === 0 && (set & 0x10) === 0 ? 1 : 0);
    const { output } = await runHere(["explain", "fault", code.toString(16)]);
    expect(output).toContain(`cannot be: ${why}`);
    expect(output).not.toContain("cause:");
  });

  test("fault: every code that a walk can give is free of conflicts", () => {
    for (let code = 0; code < 0x80; code++) {
      const [p, w, , rsvd, i, pk, ss] = [0, 1, 2, 3, 4, 5, 6].map((bit) => ((code >> bit) & 1) === 1);
      const possible = !(w && i) && !(ss && i) && !(rsvd && !p) && !(pk && (!p || rsvd || i));
      expect(errorCodeConflicts(code).length === 0, `0x${code.toString(16)}`).toBe(possible);
      expect(causesOf(code).length).toBeGreaterThan(0);
    }
    expect(errorCodeConflicts(0x80)).toEqual(["bits 0x80: the manuals do not define them"]);
  });

  const ids = RULES.map(({ id }) => id).join(", ");
  test.each([
    [["rule", "99"], `no rule "99": there are ${ids}`],
    [["rule", "3\n5"], `no rule "3\\x0a5": there are ${ids}`],
    [["rule"], "an argument is missing; usage: ptescope explain rule ID | rules | fault CODE [--json]"],
    [[], "an argument is missing; usage: ptescope explain rule ID | rules | fault CODE [--json]"],
    [["fault"], "an argument is missing; usage: ptescope explain rule ID | rules | fault CODE [--json]"],
    [
      ["fault", "15\x1b"],
      'error code "15\\x1b": give up to 16 hexadecimal digits, or 0b and up to 64 binary ones',
    ],
    [["fault", "100000000"], 'error code "100000000": it has 32 bits'],
    [
      ["rules", "1"],
      'unexpected argument "1"; usage: ptescope explain rule ID | rules | fault CODE [--json]',
    ],
    [["rool", "1"], '"rool": give rule ID, rules, or fault CODE'],
  ])("%j is one line on stderr and status 2", async (args, message) => {
    expect(await runHere(["explain", ...args])).toEqual({
      status: 2,
      output: "",
      errors: `ptescope explain: ${message}\n`,
    });
  });
});
