import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { beforeAll, describe, expect, test } from "vitest";
import { readGuestDirectory } from "../../../../../src/formats/guest-snapshot.ts";
import {
  type AuditReport,
  type AuditSettings,
  auditGuest,
  auditJson,
  type RunReport,
} from "../../../../../src/jobs/reclaim/audit-report.ts";
import { auditText } from "../../../../../src/jobs/reclaim/audit-text.ts";

const GUEST_A1 = "src/samples/guest-a1";
const GUEST_A2 = "test/data/guest-a2";

function settings(changes: Partial<AuditSettings> = {}): AuditSettings {
  return {
    snapshot: GUEST_A1,
    protocols: ["a0", "c", "b", "d", "e1"],
    listeners: ["kvm", "iommu"],
    cpus: 4,
    tlb: "stale",
    seed: 1,
    shuffle: false,
    ...changes,
  };
}

const validate = new Ajv({ allowUnionTypes: true, strict: false }).compile(
  JSON.parse(readFileSync("docs/audit-report.schema.json", "utf8")),
);

/** The report as somebody reads it who gets the JSON. */
function json(report: AuditReport): unknown {
  return JSON.parse(JSON.stringify(auditJson(report)));
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

describe("the audit of a real guest with the default listeners", () => {
  let report: AuditReport;
  const run = (protocol: string): RunReport => report.runs.find((each) => each.protocol === protocol)!;

  beforeAll(() => {
    report = auditGuest(readGuestDirectory(GUEST_A1), settings());
  });

  test("confirms the guest kernel's records", () => {
    expect(report.truth).toEqual({
      kpagecount: { frames: 12_578, equal: 12_578 },
      pagemap: { words: 75_853, equal: 75_853 },
      rmap: { pages: 6_983, equal: 6_983 },
      mismatches: [],
    });
  });

  test("follows its documented schema", () => {
    validate(json(report));
    expect(validate.errors).toBeNull();
  });

  test.each(["a0", "c", "d", "e1"])("finds nothing under protocol %s", (protocol) => {
    expect(run(protocol)).toMatchObject({ findings: [], causes: [], findingCount: 0, findingFrames: 0 });
  });

  test("under b, each frame that a guest still mapped at its last clear is freed with one finding of rule 2", () => {
    const b = run("b");
    const rule2 = b.rules.find(({ rule }) => rule === 2);
    expect(b.kvmMappedAtClear).toBeGreaterThan(1000);
    expect(rule2?.frames).toBe(b.kvmMappedAtClear);
    expect(rule2?.findings).toBe(b.kvmMappedAtClear);
    expect(b.findingFrames).toBeGreaterThanOrEqual(b.kvmMappedAtClear);
  });

  test("names everything about a finding", () => {
    for (const finding of run("b").findings) {
      expect(finding.agents.length).toBeGreaterThan(0);
      expect(finding.owed.call).not.toBe("");
      expect(finding.replay).toContain("ptescope audit src/samples/guest-a1 --protocol b");
    }
    const first = run("b").findings.find(({ rule }) => rule.id === 2)!;
    expect(first.stale?.to).toContain(`frame 0x${first.pfn?.toString(16)}`);
    expect(first.changed?.site).toBe("try_to_unmap_one");
    expect(first.linear).not.toBeNull();
    // Rule 9 is about writable sptes: its first must say so, in words and as a flag.
    const writable = run("b").findings.find(({ rule }) => rule.id === 9)?.stale;
    expect(writable).toMatchObject({ rights: "read, write", writable: true });
  });

  test.each(["a0", "c", "b", "d", "e1"])("accounts for every mapped frame under %s", (protocol) => {
    const { considered, eligible, skipped, freed, kept } = run(protocol);
    expect(considered).toBe(13_188);
    expect(eligible + sum(skipped)).toBe(considered);
    expect(freed + sum(kept)).toBe(eligible);
  });

  test.each(["a0", "c", "b", "d", "e1"])(
    "batches flushes under %s: fewer interrupts than entries cost",
    (protocol) => {
      const { deferred, batches, ipis, ipisUnbatched } = run(protocol);
      expect(deferred).toBeGreaterThan(1000);
      expect(batches).toBeLessThan(deferred);
      expect(ipis).toBeLessThan(ipisUnbatched);
    },
  );

  test("protocols that change nothing but who is told when do the same work, to the access", () => {
    const work = ({ freed, entriesChanged, flushes, ipis, traffic }: RunReport) => {
      return { freed, entriesChanged, flushes, ipis, traffic };
    };
    expect(work(run("a0"))).toEqual(work(run("c")));
  });

  test("tells it all to a person", () => {
    const text = auditText(report);
    expect(text).toContain("12,578 of 12,578");
    expect(text).toContain("75,853 of 75,853");
    expect(text).toContain("no stale translation found");
    expect(text).toMatch(
      /b {3}4\.13-rc with aac2fea94f7a\n +stale translations: \d,\d{3} frames, rules 2, 3, 9, 10, 11, 15,/,
    );
    expect(text.split("\n").every((line) => line.length <= 80)).toBe(true);
  });
});

test("the same seed gives the same report, to the byte", () => {
  const guest = readGuestDirectory(GUEST_A1);
  const again = () => json(auditGuest(guest, settings({ protocols: ["c"], seed: 7, shuffle: true })));
  expect(again()).toEqual(again());
});

test("no listener, no TLB, two CPUs: nothing can be stale", () => {
  const guest = readGuestDirectory(GUEST_A1);
  const report = auditGuest(guest, settings({ protocols: ["b"], listeners: [], tlb: "none", cpus: 2 }));
  const rules = report.runs[0]?.rules.map(({ rule }) => Number(rule));
  expect(rules?.filter((rule) => [1, 2, 3, 9, 10, 11].includes(rule))).toEqual([]);
  expect(report.runs[0]?.freed).toBe(report.runs[0]?.eligible);
});

test("a driver with invalidate_range alone hears nothing in c and all in d", () => {
  const guest = readGuestDirectory(GUEST_A1);
  const report = auditGuest(guest, settings({ protocols: ["c", "d"], listeners: ["iommu-range"] }));
  const [c, d] = report.runs;
  expect(c?.rules.some(({ rule, frames }) => rule === 3 && frames > 1000)).toBe(true);
  expect(d?.findings).toEqual([]);
});

test("a guest with page-table isolation is confirmed and not run", () => {
  const report = auditGuest(readGuestDirectory(GUEST_A2), settings({ snapshot: GUEST_A2 }));
  expect(report.truth.kpagecount).toEqual({ frames: 12_578, equal: 12_578 });
  expect(report.truth.pagemap).toEqual({ words: 75_854, equal: 75_854 });
  expect(report.runs).toEqual([]);
  expect(auditText(report)).toContain("isolates its page tables");
  expect(validate(json(report))).toBe(true);
});
