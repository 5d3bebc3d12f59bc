import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Outcome, runHere } from "./test-terminal.ts";

const GUEST = "src/samples/guest-a1";
/** Some file pages and a huge page: enough for everything that can go wrong. */
const FEW = ["--frames", "0x1e00-0x1e0f,0x7a00-0x7a70"];

/** What the tests read of the JSON; docs/audit-report.schema.json has it all. */
interface PrintedReport {
  readonly version: number;
  readonly runs: readonly {
    readonly protocol: string;
    readonly findingCount: number;
    readonly rules: readonly { readonly rule: number | string }[];
  }[];
}

interface PrintedFinding {
  readonly protocol: string;
  readonly rule: number | string;
  readonly event: number;
  readonly pfn: string | null;
  readonly replay: string;
}

describe("ptescope audit", () => {
  let outcome: Outcome;
  let report: PrintedReport;
  let findings: PrintedFinding[];
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "ptescope-audit-"));
    const file = join(folder, "findings.jsonl");
    outcome = await runHere(["audit", GUEST, "--protocol", "b", ...FEW, "--json", "--findings", file]);
    report = JSON.parse(outcome.output) as PrintedReport;
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    findings = lines.map((line) => JSON.parse(line) as PrintedFinding);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("exits 1 for one protocol with findings, and says nothing on standard error", () => {
    expect(outcome).toMatchObject({ status: 1, errors: "" });
    expect(report.version).toBe(2);
  });

  test("exits 0 for one protocol without findings", async () => {
    expect(await runHere(["audit", GUEST, "--protocol", "c", ...FEW])).toMatchObject({
      status: 0,
      errors: "",
    });
  });

  test("a finding's command replays it: the same finding, and the story of its frame", async () => {
    const finding = findings.find(({ rule }) => rule === 2)!;
    const prefix = "npm run --silent ptescope -- ";
    expect(finding.replay.startsWith(`${prefix}audit ${GUEST} --protocol b`)).toBe(true);
    const replayed = await runHere(finding.replay.slice(prefix.length).split(" "));
    expect(replayed.status).toBe(1);
    const story = replayed.output.slice(replayed.output.indexOf(`What happened to frame ${finding.pfn}`));
    expect(story).toMatch(new RegExp(`^ +${finding.event} .* the frame is freed$`, "m"));
    expect(story).toContain("x kvm@");
    expect(story).toContain("<-- owed here");
    expect(story).toMatch(/rule 2 broken: no spte points to a\s+freed\s+page/);
    expect(story).toContain("The same moment under protocol c");
    expect(replayed.output.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  test("--findings writes every finding, one a line, and nothing else", () => {
    expect(findings).toHaveLength(report.runs[0]!.findingCount);
    expect(findings.every(({ protocol, replay }) => protocol === "b" && replay !== "")).toBe(true);
    const rules = new Set(findings.map(({ rule }) => rule));
    expect([...rules].sort()).toEqual(report.runs[0]!.rules.map(({ rule }) => rule).sort());
    expect(readdirSync(folder)).toEqual(["findings.jsonl"]);
  });

  test("prints three causes of b, each with the call, the range passed and the range owed", async () => {
    const { output } = await runHere(["audit", GUEST, "--protocol", "b"]);
    const lines = output.trimEnd().split("\n");
    expect(lines.length).toBeLessThan(60);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    const causes = output.slice(output.indexOf("What is wrong"), output.indexOf("Verdict"));
    expect(causes.match(/^ +\d\. /gm)).toHaveLength(3);
    for (const title of [
      /wrong primitive: the listener has no invalidate_range/,
      /range ends too early: 512 bytes for 2 MiB/,
      /range starts inside the page: 512 bytes for [\d,]+ KiB/,
    ]) {
      const [cause] = causes.split(/^ +\d\. /m).filter((text) => title.test(text));
      expect(cause).toMatch(/called +mmu_notifier_invalidate_range \[0x[0-9a-f]+, \+/);
      expect(cause).toMatch(/owed +mmu_notifier_invalidate_range(_start\/end)? \[0x[0-9a-f]+, \+/);
      expect(cause).toMatch(/in +(page_mkclean|try_to_unmap)_one: rules? \d/);
    }
  });

  test("--fail-on makes findings of these rules status 1, and of no others", async () => {
    const status = async (...args: string[]) => (await runHere(["audit", GUEST, ...FEW, ...args])).status;
    expect(await status("--protocol", "b", "--fail-on", "2,G1")).toBe(1);
    expect(await status("--protocol", "b", "--fail-on", "1,g1")).toBe(0);
  });

  test("--diff tells for each cause where two protocols first part", async () => {
    const { status, output, errors } = await runHere(["audit", GUEST, ...FEW, "--diff", "b,c"]);
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output.match(/^ +\d\. /gm)).toHaveLength(3);
    const wrong = output.slice(output.indexOf("wrong primitive"));
    expect(wrong).toMatch(/under b.*invalidate_range.*under c.*invalidate_page/s);
    expect(output.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  describe("a protocol of one's own", () => {
    let modules = 0;
    const run = (text: string, ...args: string[]) => {
      // Each in a folder of its own: a module is loaded once.
      const file = join(mkdtempSync(join(folder, `${modules++}-`)), "mine.mjs");
      writeFileSync(file, text);
      return runHere(["audit", GUEST, ...FEW, "--protocol", file, ...args]);
    };

    test("is judged: one that tells each entry under its lock is right, one that tells nothing is not", async () => {
      const right = `export default ({ mmu_notifier_invalidate_page }) => ({
        name: "mine",
        begin: (mm) => ({ cleared: (address) => mmu_notifier_invalidate_page(mm, address) }),
      });`;
      expect(await run(right)).toMatchObject({ status: 0, errors: "" });
      const silent = await run("export const protocol = { begin: () => ({}) };", "--fail-on", "2,3");
      expect(silent).toMatchObject({ status: 1, errors: "" });
      expect(silent.output).toContain("missing in try_to_unmap_one");
    });

    test.each([
      { text: "export const x = 1;", says: /mine\.mjs: expected a module .* is no notifier protocol/ },
      { text: "export default {{;", says: /mine\.mjs: expected a module that exports a notifier protocol: / },
      { text: "throw new Error('a\\n\\x1b[31mb');", says: /mine\.mjs: expected a module .*: a$/ },
      { text: "export default { begin: () => 7 };", says: /mine: begin returned no object/ },
      { text: "export default { begin: () => ({ end: 7 }) };", says: /mine: end is no function/ },
      {
        text: "export default { begin: () => ({ *end() { yield 7; } }) };",
        says: /mine: end yielded no step: yield step\(kind, object\), or nothing/,
      },
      {
        text: "export default { begin: () => ({ cleared() { throw new Error('no\\nwhere'); } }) };",
        says: /mine: cleared threw no where/,
      },
    ])("$text is one line and exit status 2", async ({ text, says }) => {
      const { status, output, errors } = await run(text);
      expect({ status, output }).toEqual({ status: 2, output: "" });
      expect(errors.trimEnd()).toMatch(says);
      expect(errors.trimEnd().split("\n")).toHaveLength(1);
    });
  });

  test("a1 is another name of c", async () => {
    const { output } = await runHere([
      "audit",
      GUEST,
      "--protocol",
      "a1",
      "--listeners",
      "none",
      ...FEW,
      "--json",
    ]);
    expect((JSON.parse(output) as PrintedReport).runs.map(({ protocol }) => protocol)).toEqual(["c"]);
  });

  test("confirms a guest with page-table isolation and runs nothing on it", async () => {
    const { status, output } = await runHere(["audit", "test/data/guest-a2"]);
    expect(status).toBe(0);
    expect(output).toContain("75,854 of 75,854");
    expect(output).toContain("nothing is run on them");
    expect(output).not.toContain("Verdict");
  });

  test.each<{ args: readonly string[]; says: RegExp }>([
    {
      args: ["--protocol", "z"],
      says: /--protocol "z": give one of a0, a1 \(= c\), c, b, d, e1, all, or a module/,
    },
    { args: ["--protocol", "./no.mjs"], says: /no\.mjs: expected a module that exports a notifier protocol/ },
    { args: ["--frames", "0x20-0x10"], says: /--frames "0x20-0x10": give FIRST-LAST/ },
    { args: ["--diff", "b"], says: /--diff "b": give two protocols, such as b,c/ },
    { args: ["--diff", "b,c", "--json"], says: /--diff prints its own report: leave --json out/ },
    { args: ["--fail-on", "2,99"], says: /--fail-on "99": rules are 1, 2, 3/ },
    { args: ["--protocol", "c", "--findings", "no/such/x"], says: /no\/such\/x: expected a place to write/ },
    {
      args: ["--listeners", "kvm,gpu"],
      says: /--listeners "gpu": give some of kvm, kvm-4k, iommu, iommu-range, or none/,
    },
    { args: ["--cpus", "1"], says: /--cpus "1": give a whole number from 2 to 1024/ },
    { args: ["--cpus", "two"], says: /--cpus "two": give a whole number from 2 to 1024/ },
    { args: ["--tlb", "big"], says: /--tlb "big": give one of stale, none/ },
    { args: ["--seed", "-1"], says: /--seed/ },
    { args: ["--page", "0x10"], says: /--page explains one run: give --protocol/ },
    { args: ["--page", "x", "--protocol", "c"], says: /--page "x": give up to 16 hexadecimal digits/ },
    {
      args: ["--page", "0x10000", "--protocol", "c"],
      says: /--page 0x10000: the guest's frames end at 0xffff/,
    },
    { args: ["test/data/guest-a2", "--protocol", "b"], says: /isolates its page tables/ },
    { args: ["--frob"], says: /unknown option --frob: known are --protocol, --diff, --listeners/ },
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
