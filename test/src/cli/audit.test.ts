import { beforeAll, describe, expect, test } from "vitest";
import type { AuditReport } from "../../../src/jobs/reclaim/audit-report.ts";
import { type Outcome, runHere } from "./test-terminal.ts";

const GUEST = "src/samples/guest-a1";

describe("ptescope audit", () => {
  let outcome: Outcome;
  let report: AuditReport;

  beforeAll(async () => {
    outcome = await runHere(["audit", GUEST, "--protocol", "b", "--json"]);
    report = JSON.parse(outcome.output) as AuditReport;
  });

  test("exits 1 for one protocol with findings, and says nothing on standard error", () => {
    expect(outcome).toMatchObject({ status: 1, errors: "" });
    expect(report.version).toBe(1);
  });

  test("exits 0 for one protocol without findings", async () => {
    expect(await runHere(["audit", GUEST, "--protocol", "c"])).toMatchObject({ status: 0, errors: "" });
  });

  test("a finding's command replays it: the same finding, and the story of its frame", async () => {
    const finding = report.runs[0]!.findings.find(({ rule }) => rule === 2)!.first;
    const prefix = "npm run --silent ptescope -- ";
    expect(finding.replay.startsWith(`${prefix}audit ${GUEST} --protocol b`)).toBe(true);
    const replayed = await runHere(finding.replay.slice(prefix.length).split(" "));
    expect(replayed.status).toBe(1);
    const story = replayed.output.slice(replayed.output.indexOf("What happened to the frame"));
    expect(story).toContain(`${String(finding.event).padStart(9)}  freed`);
    expect(story).toContain("rule 2 broken: no spte points to a freed page");
    expect(story).toContain(`event ${finding.event}: frame 0x${finding.frame!.toString(16)}`);
  });

  test("a1 is another name of c", async () => {
    const { output } = await runHere(["audit", GUEST, "--protocol", "a1", "--listeners", "none", "--json"]);
    expect((JSON.parse(output) as AuditReport).runs.map(({ protocol }) => protocol)).toEqual(["c"]);
  });

  test("confirms a guest with page-table isolation and runs nothing on it", async () => {
    const { status, output } = await runHere(["audit", "test/data/guest-a2"]);
    expect(status).toBe(0);
    expect(output).toContain("75,854 of 75,854");
    expect(output).toContain("nothing is run on them");
    expect(output).not.toContain("Verdict");
  });

  test.each<{ args: readonly string[]; says: RegExp }>([
    { args: ["--protocol", "z"], says: /--protocol "z": give one of a0, a1 \(= c\), c, b, d, e1, or all/ },
    {
      args: ["--listeners", "kvm,gpu"],
      says: /--listeners "gpu": give some of kvm, kvm-4k, iommu, iommu-range, or none/,
    },
    { args: ["--cpus", "1"], says: /--cpus "1": give a whole number from 2 to 32/ },
    { args: ["--cpus", "two"], says: /--cpus "two": give a whole number from 2 to 32/ },
    { args: ["--tlb", "big"], says: /--tlb "big": give one of stale, none/ },
    { args: ["--seed", "-1"], says: /--seed/ },
    { args: ["--page", "0x10"], says: /--page explains one run: give --protocol/ },
    { args: ["--page", "x", "--protocol", "c"], says: /--page "x": give up to 16 hexadecimal digits/ },
    {
      args: ["--page", "0x10000", "--protocol", "c"],
      says: /--page 0x10000: the guest's frames end at 0xffff/,
    },
    { args: ["test/data/guest-a2", "--protocol", "b"], says: /isolates its page tables/ },
    { args: ["--frob"], says: /unknown option --frob: known are --protocol, --listeners/ },
    { args: ["one", "two"], says: /unexpected argument "two"; usage: ptescope audit/ },
    { args: ["test/data/README.md"], says: /README\.md: .*expected a guest directory/ },
    { args: ["no/such/folder"], says: /no\/such\/folder: .*expected a guest directory/ },
  ])("audit $args is one line and exit status 2", async ({ args, says }) => {
    const { status, output, errors } = await runHere(["audit", ...args]);
    expect({ status, output }).toEqual({ status: 2, output: "" });
    expect(errors).toMatch(says);
    expect(errors.trimEnd().split("\n")).toHaveLength(1);
  });
});
