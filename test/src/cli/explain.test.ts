import { describe, expect, test } from "vitest";
import { explainJson } from "../../../src/audit/histories/explain-json.ts";
import { explainText, rulesText } from "../../../src/audit/histories/explain-text.ts";
import { explainRule } from "../../../src/audit/histories/explained-rule.ts";
import { RULES } from "../../../src/audit/rules/index.ts";
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

  const ids = RULES.map(({ id }) => id).join(", ");
  test.each([
    [["rule", "99"], `no rule "99": there are ${ids}`],
    [["rule", "3\n5"], `no rule "3\\x0a5": there are ${ids}`],
    [["rule"], "an argument is missing; usage: ptescope explain rule ID | rules [--json]"],
    [[], "an argument is missing; usage: ptescope explain rule ID | rules [--json]"],
    [["rules", "1"], 'unexpected argument "1"; usage: ptescope explain rule ID | rules [--json]'],
    [["rool", "1"], '"rool": give rule ID, or rules'],
  ])("%j is one line on stderr and status 2", async (args, message) => {
    expect(await runHere(["explain", ...args])).toEqual({
      status: 2,
      output: "",
      errors: `ptescope explain: ${message}\n`,
    });
  });
});
