import { expect, test } from "vitest";
import { INVARIANTS, invariant } from "../../../src/audit/invariants.ts";

test("every rule is data: numbers ascend, and an unknown one is refused", () => {
  const ids = INVARIANTS.map(({ id }) => id);
  expect(ids).toEqual([...ids].sort((a, b) => a - b));
  expect(invariant(36).title).toContain("written out");
  expect(() => invariant(99)).toThrow("rule 99: judged are 1, 2");
});
