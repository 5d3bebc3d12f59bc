import { type Paint, plain } from "../../text/paint.ts";
import type { AuditReport, RunReport } from "./audit-report.ts";
import type { FindingSummary } from "./finding-summary.ts";

const LABEL = 28;
const COLUMN = 9;

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** The report for a person: head, truth, the protocols side by side, findings, verdict. Ends with a newline. */
export function auditText(report: AuditReport, paint: Paint = plain): string {
  const sections = [head(report, paint), truth(report, paint)];
  if (report.runs.length > 0) {
    sections.push(comparison(report.runs, paint));
    const found = report.runs.filter(({ findings }) => findings.length > 0);
    if (found.length > 0) sections.push(findings(found, paint));
    sections.push(verdict(report, paint));
    for (const { story, protocol } of report.runs) {
      if (story === undefined) continue;
      const title = paint("heading", `What happened to the frame under protocol ${protocol}`);
      sections.push([title, ...story].join("\n"));
    }
  }
  return `${sections.join("\n\n")}\n`;
}

function head(report: AuditReport, paint: Paint): string {
  const { snapshot, settings, remarks } = report;
  const memory = `${snapshot.memoryBytes / 2 ** 20} MiB`;
  const lines = [
    paint(
      "heading",
      `ptescope audit: ${snapshot.name}, Linux ${snapshot.kernel}, ${snapshot.processes} processes, ${memory}`,
    ),
  ];
  if (report.runs.length > 0) {
    const listeners = settings.listeners.length === 0 ? "none" : settings.listeners.join(" and ");
    const last = settings.cpus - 1;
    const users = last === 1 ? "CPU 1 runs" : `CPUs 1 to ${last} run`;
    lines.push(
      `  machine    ${settings.cpus} CPUs: CPU 0 reclaims, ${users} user work; TLBs: ${settings.tlb}`,
      `  listeners  ${listeners}, on every process`,
      `  order      by ${settings.order === "pfn" ? "frame number" : "the seed"}, seed ${settings.seed}`,
    );
  }
  for (const remark of remarks) lines.push(...wrap(remark, "  note       ", "             "));
  return lines.join("\n");
}

/** Folds a sentence at 110 columns. */
function wrap(text: string, first: string, rest: string): string[] {
  const lines: string[] = [];
  let line = first;
  for (const word of text.split(" ")) {
    if (line.length + word.length > 110) {
      lines.push(line.trimEnd());
      line = rest;
    }
    line += `${word} `;
  }
  lines.push(line.trimEnd());
  return lines;
}

function truth(report: AuditReport, paint: Paint): string {
  const { kpagecount, pagemap, rmap, mismatches } = report.truth;
  const row = (name: string, equal: number, of: number, what: string) => {
    const share = `${count(equal)} of ${count(of)}`;
    const mark = equal === of ? paint("good", share) : paint("danger", share);
    return `  ${name.padEnd(LABEL - 2)}${mark} ${what}`;
  };
  return [
    paint("heading", "The guest kernel's own records, confirmed from the page tables alone"),
    row("/proc/kpagecount", kpagecount.equal, kpagecount.frames, "frames have the map count it recorded"),
    row("/proc/PID/pagemap", pagemap.equal, pagemap.words, "words follow from the entries, bit for bit"),
    row("rmap_walk", rmap.equal, rmap.pages, "pages: it visits exactly the entries that map them"),
    ...mismatches.map((mismatch) => `    ${mismatch}`),
  ].join("\n");
}

interface Row {
  readonly label: string;
  value(run: RunReport): number;
}

const ROWS: readonly Row[] = [
  { label: "mapped frames considered", value: (run) => run.considered },
  { label: "eligible for reclaim", value: (run) => run.eligible },
  { label: "freed", value: (run) => run.freed },
  { label: "entries changed", value: (run) => run.entriesChanged },
  { label: "range flushes", value: (run) => run.flushes },
  { label: "  of an mm on no CPU", value: (run) => run.flushesWithoutCpu },
  { label: "entries flushed later", value: (run) => run.deferred },
  { label: "  by batched flushes", value: (run) => run.batches },
  { label: "redundant, of both kinds", value: (run) => run.redundant },
  { label: "IPIs sent", value: (run) => run.ipis },
  { label: "IPIs if not deferred", value: (run) => run.ipisUnbatched },
  { label: "listener callbacks", value: (run) => sum(Object.values(run.listeners).flatMap(Object.values)) },
  { label: "in a guest when unmapped", value: (run) => run.kvmMappedAtClear },
];

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function comparison(runs: readonly RunReport[], paint: Paint): string {
  const line = (label: string, cells: readonly string[]) =>
    `  ${label.padEnd(LABEL)}${cells.map((cell) => cell.padStart(COLUMN)).join("")}`;
  const lines = [
    paint("heading", "Writeback and reclaim, by notifier protocol"),
    line(
      "",
      runs.map(({ protocol }) => protocol),
    ),
    ...ROWS.map((row) =>
      line(
        row.label,
        runs.map((run) => count(row.value(run))),
      ),
    ),
  ];
  const totals = runs.map((run) => sum(run.findings.map((finding) => finding.count)));
  const cells = totals.map((total) => {
    const text = count(total).padStart(COLUMN);
    return total === 0 ? paint("good", text) : paint("danger", text);
  });
  lines.push(`  ${"findings".padEnd(LABEL)}${cells.join("")}`);
  const [first] = runs;
  if (first !== undefined) lines.push("", ...details(first));
  return lines.join("\n");
}

/** What is much the same in all runs, told once. */
function details(run: RunReport): string[] {
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, value]) => `${name} ${count(value)}`)
      .join(", ");
  const lines = wrap(`not eligible (frames, ${run.protocol}): ${list(run.skipped)}`, "  ", "    ");
  if (Object.keys(run.kept).length > 0)
    lines.push(...wrap(`kept (frames, ${run.protocol}): ${list(run.kept)}`, "  ", "    "));
  lines.push(
    ...wrap(
      `redundant flushes by call site (${run.protocol}): ${list(run.redundantBySite) || "none"}`,
      "  ",
      "    ",
    ),
  );
  return lines;
}

function findings(runs: readonly RunReport[], paint: Paint): string {
  const lines = [paint("heading", "Findings")];
  for (const { protocol, findings: summaries } of runs) {
    for (const summary of summaries) lines.push(...finding(protocol, summary, paint), "");
  }
  return lines.join("\n").trimEnd();
}

function finding(protocol: string, summary: FindingSummary, paint: Paint): string[] {
  const frames = summary.frames === 0 ? "" : `, ${count(summary.frames)} frames`;
  const title = `protocol ${protocol}, rule ${summary.rule}: ${count(summary.count)} findings${frames}`;
  const [, ...explained] = summary.first.explain().split("\n");
  return [
    `  ${paint("danger", title)}`,
    `    broken   ${summary.title}; the first:`,
    ...explained.map((line) => `  ${line}`),
  ];
}

function verdict({ runs, settings }: AuditReport, paint: Paint): string {
  const listeners =
    settings.listeners.length === 0 ? "no listeners" : `listeners ${settings.listeners.join(", ")}`;
  const lines = [paint("heading", `Verdict on these runs (${listeners})`)];
  for (const run of runs) {
    const label = `  ${run.protocol.padEnd(4)}${run.kernels.padEnd(46)}`;
    lines.push(`${label}${judgement(run, paint)}`);
  }
  return lines.join("\n");
}

function judgement({ findings: summaries, findingFrames, truncated }: RunReport, paint: Paint): string {
  const rules = `rule${summaries.length === 1 ? "" : "s"} ${summaries.map(({ rule }) => rule).join(", ")}`;
  if (findingFrames > 0) {
    return paint("danger", `leaves stale translations behind: ${count(findingFrames)} frames, ${rules}`);
  }
  if (summaries.length > 0) return paint("danger", `breaks ${rules}`);
  if (truncated) return paint("warning", "nothing found, but not all page tables could be watched");
  return paint("good", "no stale translation found");
}
