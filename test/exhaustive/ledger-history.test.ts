import { expect, test } from "vitest";
import { compareHistories } from "../support/ledger-history.ts";

test("in 1,000,000 random operations the auditor convicts at each free whom the oracle lets use it, and nobody else", () => {
  const total = compareHistories(["intel-skylake-sp", "amd-zen3"], 100_000, 1_250, 800);
  console.log(JSON.stringify(total));
  expect(total.usable).toBeGreaterThan(20_000);
}, 900_000);
