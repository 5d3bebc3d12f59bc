import { describe, expect, test } from "vitest";
import { Auditor } from "../../../../src/audit/auditor.ts";
import type { Kernel } from "../../../../src/mm/mm_types.ts";
import { FORMS, type Form } from "../../../../src/trace/file/forms.ts";
import { judgeRecords } from "../../../../src/trace/file/judge-records.ts";
import { readRecords } from "../../../../src/trace/file/read-records.ts";
import { Recorder } from "../../../../src/trace/recorder.ts";
import { LiveWorld } from "../../../../src/trace/world.ts";
import { AT, AuditScene, ENTRY, PFN, type ReclaimSlips, reclaim } from "../../../support/audit-scene.ts";
import { itemsOf, joined, piecesOf } from "../files.ts";
import { guestRun } from "../guest-run.ts";
import { registersText } from "../world-text.ts";

const judgeOf = (run: ConstructorParameters<typeof Auditor>[0]) => new Auditor(run);

/** Records a kernel in both forms at once. */
function recordBoth(kernel: Kernel) {
  const chunks: Record<Form, Uint8Array[]> = { text: [], binary: [] };
  const recorders = FORMS.map((form) => new Recorder(kernel, (bytes) => chunks[form].push(bytes), { form }));
  return () => {
    for (const recorder of recorders) recorder.stop();
    return { text: joined(chunks.text), binary: joined(chunks.binary) };
  };
}

function expectSameFindings(live: Auditor, files: Record<Form, Uint8Array>): void {
  for (const form of FORMS) {
    const { findings, causes, ended } = judgeRecords([files[form]], judgeOf);
    expect(ended).toBe(true);
    expect(JSON.stringify(findings) === JSON.stringify(live.findings), `findings from ${form}`).toBe(true);
    expect(causes.map(({ count }) => count)).toEqual(live.causes.map(({ count }) => count));
  }
}

/** Pages that a guest and a device share with two CPUs, reclaimed with or without a step left out. */
function sceneRun(notifiers: string, slips: ReclaimSlips) {
  const scene = new AuditScene({ notifiers });
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x4000 });
  const pages = [0, 1, 2].map((i) => {
    const page = scene.page(PFN + i);
    scene.mapAnon(vma, AT + i * 4096, page, ENTRY + BigInt(i * 4096));
    return page;
  });
  for (const kind of ["kvm", "iommu"] as const) scene.addListener(mm, kind, AT, 0x4000);
  scene.storeFromListener(AT, 0x1000);
  const live = scene.audit({ replay: () => "" });
  const stop = recordBoth(scene.kernel);
  scene.storeFromListener(AT, 0x3000);
  for (const cpu of scene.machine.cpus) cpu.touch(AT, true);
  for (const page of pages) reclaim(scene.kernel, page, slips);
  scene.mm("later");
  live.finish();
  return { live, files: stop() };
}

describe.each(["b", "d"])("a kernel under protocol %s, with a guest and a device", (notifiers) => {
  test.each([
    ["all steps", {}],
    ["no flush of dirty pages before they are written", { withoutDirtyFlush: true }],
    ["no flush before they are freed", { withoutFlush: true, withoutDirtyFlush: true }],
  ])("reclaims, %s: live and from files the findings are the same", (_name, slips) => {
    const { live, files } = sceneRun(notifiers, slips);
    expectSameFindings(live, files);
    expect(itemsOf(files.text)).toStrictEqual(itemsOf(files.binary));
    if ("withoutFlush" in slips) expect(live.findings.length).toBeGreaterThan(0);
  });
});

describe("a real guest", () => {
  test.each(["b", "d"])(
    "under protocol %s: the same findings, and the same world at every record",
    (protocol) => {
      let stop: (() => Record<Form, Uint8Array>) | undefined;
      const seen: { seq: number; state: string }[] = [];
      const live = guestRun({
        protocol,
        listeners: ["kvm", "iommu"],
        oneIn: 35,
        begin: (kernel) => {
          stop = recordBoth(kernel);
          const world = new LiveWorld(kernel.machine, kernel.format);
          kernel.machine.records.listen((record) => {
            const { seq, kind } = record;
            const slot =
              kind === "entry-written" || kind === "accessed-dirty-set" ? `${world.entry(record.slot)}` : "";
            seen.push({ seq, state: slot + [0, 1, 2].map((cpu) => registersText(world.cpu(cpu))) });
          });
        },
      })!;
      const files = stop!();
      expect(seen.length).toBeGreaterThan(50_000);
      expect(seen.length).toBeLessThan(200_000);
      expectSameFindings(live, files);

      const recording = readRecords(piecesOf(files.binary, 50_000));
      const { world } = recording;
      let at = 0;
      for (const record of recording) {
        const { seq, kind } = record;
        const slot =
          kind === "entry-written" || kind === "accessed-dirty-set" ? `${world.entry(record.slot)}` : "";
        const { seq: seenSeq, state } = seen[at++]!;
        if (seq !== seenSeq || state !== slot + [0, 1, 2].map((cpu) => registersText(world.cpu(cpu)))) {
          expect.fail(`record ${seq}, ${kind}: another world than the live one`);
        }
      }
      expect(at).toBe(seen.length);
      expect(recording.ended).toBe(true);
    },
  );
});

test("a limit stops in good order, whatever comes after", () => {
  const { files, live } = sceneRun("b", { withoutFlush: true, withoutDirtyFlush: true });
  const whole = judgeRecords([files.binary], judgeOf);
  expect(whole).toMatchObject({ limited: false, ended: true });
  const part = judgeRecords([files.binary], judgeOf, { maxRecords: 20 });
  expect(part).toMatchObject({ records: 20, limited: true, ended: false });
  const exact = judgeRecords([files.binary], judgeOf, { maxRecords: whole.records });
  expect(exact).toMatchObject({ records: whole.records, limited: false, ended: true });
  expect(JSON.stringify(exact.findings) === JSON.stringify(live.findings)).toBe(true);
});
