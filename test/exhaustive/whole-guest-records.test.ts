import { expect, test } from "vitest";
import { Auditor } from "../../src/audit/auditor.ts";
import { FORMS, type Form } from "../../src/trace/file/forms.ts";
import { judgeRecords } from "../../src/trace/file/judge-records.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { guestRun } from "../src/trace/guest-run.ts";

test("every page of the bundled guest reclaimed under protocol b: judged live and from files, the same findings", () => {
  const chunks: Record<Form, Uint8Array[]> = { text: [], binary: [] };
  const recorders: Recorder[] = [];
  const live = guestRun({
    protocol: "b",
    listeners: ["kvm", "iommu"],
    oneIn: 1,
    begin: (kernel) => {
      for (const form of FORMS) {
        recorders.push(new Recorder(kernel, (bytes) => chunks[form].push(bytes), { form }));
      }
    },
  })!;
  for (const recorder of recorders) recorder.stop();
  expect(live.findings.length).toBeGreaterThan(30_000);
  for (const form of FORMS) {
    const told = judgeRecords(chunks[form], (run) => new Auditor(run));
    console.log(`${form}: ${told.records} records, ${told.findings.length} findings`);
    expect(told.ended).toBe(true);
    expect(told.findings.length).toBe(live.findings.length);
    for (const [i, finding] of told.findings.entries()) {
      const same = JSON.stringify(finding) === JSON.stringify(live.findings[i]);
      if (!same)
        expect.fail(`${form}: finding ${i}, rule ${finding.rule.id} at record ${finding.seq}, differs`);
    }
    expect(told.causes.map(({ count }) => count)).toEqual(live.causes.map(({ count }) => count));
  }
});
