import { expect, test } from "vitest";
import { compareHistories } from "../../../support/ledger-history.ts";

test("in 6,000 random operations the auditor convicts at each free whom the oracle lets use it, and nobody else", () => {
  const { freed, usable, foundLater } = compareHistories(["intel-skylake-sp", "amd-zen3"], 1, 20, 300);
  expect(freed).toBeGreaterThan(500);
  expect(usable).toBeGreaterThan(100);
  expect(foundLater).toBeGreaterThan(10);
});
