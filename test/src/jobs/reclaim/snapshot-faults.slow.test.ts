import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { describe, expect, test } from "vitest";
import type { UserMapping } from "../../../../src/guest/guest-mappings.ts";
import { scanGuest } from "../../../../src/guest/scan-guest.ts";
import { SNAPSHOT_FAULTS, SnapshotFaults } from "../../../../src/guest/snapshot-faults.ts";
import { type AuditReport, auditGuest, auditJson } from "../../../../src/jobs/reclaim/audit-report.ts";
import { auditText } from "../../../../src/jobs/reclaim/audit-text.ts";
import { realGuest, realScan, withEntry } from "../../../support/guests.ts";

/** Anonymous pages of one entry each, and the bits that Linux never sets in the entry of such a page. */
const GLOBAL = { pfn: 0x8d1c, bit: 1n << 8n };
const SPECIAL = { pfn: 0x8228, bit: 1n << 9n };
const SOUND = 0x8229;
/** And file pages that protocol b leaves in guests. */
const FRAMES = [
  { first: GLOBAL.pfn, last: GLOBAL.pfn },
  { first: SPECIAL.pfn, last: SPECIAL.pfn },
  { first: 0x1e00, last: 0x1e0f },
];

/** The sound guest's entry of a page. */
function entryOf(pfn: number): UserMapping {
  return realScan("guest-a1").mappings.find((mapping) => mapping.pfn === pfn)!;
}

const damaged = [GLOBAL, SPECIAL].reduce((guest, { pfn, bit }) => {
  return withEntry(guest, entryOf(pfn).slot, (entry) => entry | bit);
}, realGuest("guest-a1"));

describe("a guest with a global and a special entry of anonymous pages", () => {
  const report: AuditReport = auditGuest(damaged, {
    snapshot: "damaged",
    protocols: ["c", "b"],
    listeners: ["kvm", "iommu"],
    cpus: 4,
    tlb: "stale",
    seed: 1,
    shuffle: false,
    frames: FRAMES,
  });
  const [c, b] = report.runs;
  const text = auditText(report);

  test("is not held against the protocol", () => {
    expect(c).toMatchObject({ findingCount: 0, findingFrames: 0, rules: [], causes: [] });
    expect(text).toMatch(/^ {2}c .* no stale translation found$/m);
    expect(b!.findingCount).toBeGreaterThan(0);
    expect(b!.rules.map(({ rule }) => rule)).toEqual([2, 9, 10, 11, 15, 35]);
  });

  test.each([0, 1])("is told under protocol %i, with the rules that found it and the frame", (run) => {
    const { brought, findings } = report.runs[run]!;
    expect(brought.map(({ why, frames, first }) => [why, frames, first.pfn])).toEqual(
      expect.arrayContaining([
        [SNAPSHOT_FAULTS.global, 1, GLOBAL.pfn],
        [SNAPSHOT_FAULTS.uncounted, 1, SPECIAL.pfn],
      ]),
    );
    const ids = new Map(brought.map(({ why, rules }) => [why, rules.map(({ rule }) => rule)]));
    expect(ids.get(SNAPSHOT_FAULTS.global)).toContain(46);
    expect(ids.get(SNAPSHOT_FAULTS.uncounted)).toEqual([1, 2, 3, 62]);
    const counted = brought.reduce((sum, fault) => sum + fault.findings, 0);
    expect(findings.filter((finding) => finding.brought !== null)).toHaveLength(counted);
    expect(findings.find(({ pfn }) => pfn === SPECIAL.pfn)!.explain()).toContain(
      `\n  brought  ${SNAPSHOT_FAULTS.uncounted}`,
    );
  });

  test("has a paragraph of its own, once for all protocols", () => {
    const [, paragraph] = /^(Brought by the snapshot.*?)\n\n/ms.exec(text) ?? [];
    expect(paragraph!.split("\n")[0]).toBe(
      "Brought by the snapshot, and not counted as findings of these runs",
    );
    expect(paragraph!.match(/^ {2}- /gm)).toHaveLength(2);
    expect(paragraph!.match(/^ {4}[bc] .*--page 0x8(d1c|228)$/gm)).toHaveLength(4);
    expect(paragraph!.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  test("is in the JSON as the schema has it", () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(
      JSON.parse(readFileSync("docs/audit-report.schema.json", "utf8")),
    );
    validate(JSON.parse(JSON.stringify(auditJson(report))));
    expect(validate.errors).toBe(null);
  });
});

describe("what a finding is blamed on", () => {
  const faults = new SnapshotFaults(scanGuest(damaged));
  const { process, address } = entryOf(GLOBAL.pfn);
  const mm = damaged.processes[process]!.name;
  const at = { mm, linear: address as number, pfn: GLOBAL.pfn, agents: ["CPU 1"], changed: {} };
  const special = { mm: "x", linear: 0, pfn: SPECIAL.pfn, agents: ["x"], changed: null };

  test.each([
    ["a CPU's translation by a global entry", at, "global"],
    ["a guest's of the same page", { ...at, agents: ["kvm@x"] }, null],
    ["another process's at the same address", { ...at, mm: "none" }, null],
    ["the page behind it", { ...at, linear: at.linear + 4096 }, null],
    ["an entry that is still there, of a page with a special one", special, "uncounted"],
    ["a change of the run's to the same page", { ...special, changed: {} }, null],
    ["the frame beside it", { ...special, pfn: SOUND }, null],
    ["a finding without frame and address", { ...special, pfn: null, linear: null }, null],
  ])("%s: %#", (_, finding, fault) => {
    expect(faults.behind(finding)).toBe(fault);
  });

  test("a sound guest has none: its zero pages and special entries belong to no page of rmap", () => {
    const sound = new SnapshotFaults(realScan("guest-a1"));
    const blamed = realScan("guest-a1").pages.filter(({ head, reason }) => {
      return reason === null && sound.behind({ ...special, pfn: head }) !== null;
    });
    expect(blamed).toEqual([]);
  });
});
