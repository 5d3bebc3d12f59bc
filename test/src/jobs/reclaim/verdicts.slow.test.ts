import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import type { AuditReport } from "../../../../src/jobs/reclaim/audit-report.ts";

/*
 * What `npm start` says of the bundled guest. The numbers were the same before the auditor judged by records, but those of
 * b, whose draws changed since: it had 35,616 findings.
 */

test("protocols that are right are found right, b wrong in three ways, each over the same work", () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "src/cli/main.ts", "audit", "--json"],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const { truth, runs } = JSON.parse(stdout) as AuditReport;
  expect(truth).toEqual({
    kpagecount: { frames: 12_578, equal: 12_578 },
    pagemap: { words: 75_853, equal: 75_853 },
    rmap: { pages: 6_983, equal: 6_983 },
    mismatches: [],
  });
  const rows = runs.map(
    ({ protocol, eligible, freed, entriesChanged, findingCount, findingFrames, rules }) => [
      protocol,
      eligible,
      freed,
      entriesChanged,
      findingCount,
      findingFrames,
      rules.map(({ rule }) => rule).join(" "),
    ],
  );
  expect(rows).toEqual([
    ["a0", 10_411, 10_411, 83_791, 0, 0, ""],
    ["c", 10_411, 10_411, 83_791, 0, 0, ""],
    ["b", 10_411, 10_411, 82_903, 35_623, 7_714, "2 3 9 10 11 15 16 35"],
    ["d", 10_411, 10_411, 83_977, 0, 0, ""],
    ["e1", 10_411, 10_411, 83_908, 0, 0, ""],
  ]);
});
