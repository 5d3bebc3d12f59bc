import { byId, causeLines, causeTitle, extentText } from "../../audit/cause-text.ts";
import { CELLS, storyLines } from "../../audit/story/story-text.ts";
import { formatCount as count, hex } from "../../text/hex.ts";
import { type Paint, plain } from "../../text/paint.ts";
import { wrap } from "../../text/wrap.ts";
import type { AuditReport, RuleCount, RunReport } from "./audit-report.ts";
import { contrastLines } from "./contrast-text.ts";

const WIDTH = 80;
const LABEL = 28;
/** Width of a protocol's column, unless a number needs more. */
const COLUMN = 9;

/** The report for a person: head, truth, the protocols side by side, causes, verdict. Ends with a newline. */
export function auditText(report: AuditReport, paint: Paint = plain): string {
  const sections = [head(report, paint), truth(report, paint)];
  if (report.runs.length > 0) {
    sections.push(comparison(report.runs, paint));
    for (const run of report.runs) if (run.causes.length > 0) sections.push(causes(run, paint));
    if (report.runs.some(({ brought }) => brought.length > 0)) sections.push(brought(report.runs, paint));
    sections.push(verdict(report, paint));
    for (const run of report.runs) if (run.story !== null) sections.push(story(run, paint));
  }
  return `${sections.join("\n\n")}\n`;
}

function head(report: AuditReport, paint: Paint): string {
  const { snapshot, settings, remarks } = report;
  const memory = `${snapshot.memoryBytes / 2 ** 20} MiB`;
  const name = `ptescope audit: ${snapshot.name}, Linux ${snapshot.kernel}, ${snapshot.processes} processes, ${memory}`;
  const lines = wrap(name, WIDTH, "", "  ").map((line) => paint("heading", line));
  if (report.runs.length > 0) {
    const listeners = settings.listeners.length === 0 ? "none" : settings.listeners.join(" and ");
    const last = settings.cpus - 1;
    const users = last === 1 ? "CPU 1 runs" : `CPUs 1 to ${last} run`;
    const order = settings.order === "pfn" ? "by frame number" : "in the seed's order";
    lines.push(
      `  machine  ${settings.cpus} CPUs: CPU 0 reclaims, ${users} user work; TLBs: ${settings.tlb}`,
      `  job      pages ${order}, seed ${settings.seed}; on every process: ${listeners}`,
    );
  }
  for (const remark of remarks) lines.push(...wrap(remark, WIDTH, "  note     ", "           "));
  return lines.join("\n");
}

function truth(report: AuditReport, paint: Paint): string {
  const { kpagecount, pagemap, rmap, mismatches } = report.truth;
  const row = (name: string, equal: number, of: number, what: string) => {
    const share = `${count(equal)} of ${count(of)}`;
    const mark = equal === of ? paint("good", share) : paint("danger", share);
    return `  ${name.padEnd(20)}${mark} ${what}`;
  };
  return [
    paint("heading", "The guest kernel's own records, confirmed from the page tables alone"),
    row("/proc/kpagecount", kpagecount.equal, kpagecount.frames, "frames have its map count"),
    row("/proc/PID/pagemap", pagemap.equal, pagemap.words, "words follow from the entries"),
    row("rmap_walk", rmap.equal, rmap.pages, "pages: it visits exactly their entries"),
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
  const numbers = ROWS.flatMap(({ value }) => runs.map((run) => count(value(run)).length));
  const width = Math.max(COLUMN, ...numbers.map((length) => length + 1));
  const line = (label: string, cells: readonly string[]) =>
    `  ${label.padEnd(LABEL)}${cells.map((cell) => cell.padStart(width)).join("")}`;
  const lines = [
    paint("heading", "Writeback and reclaim, by notifier protocol"),
    line(
      "",
      runs.map(({ protocol }) => protocol.slice(0, width - 1)),
    ),
    ...ROWS.map((row) =>
      line(
        row.label,
        runs.map((run) => count(row.value(run))),
      ),
    ),
  ];
  const cells = runs.map(({ findingCount }) => {
    const text = count(findingCount).padStart(width);
    return findingCount === 0 ? paint("good", text) : paint("danger", text);
  });
  lines.push(`  ${"findings".padEnd(LABEL)}${cells.join("")}`);
  const [first] = runs;
  if (first !== undefined) lines.push(...details(first));
  return lines.join("\n");
}

/** What is much the same in all runs, told once. */
function details(run: RunReport): string[] {
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, value]) => `${name} ${count(value)}`)
      .join(", ");
  const lines = wrap(`not eligible (${run.protocol}): ${list(run.skipped)}`, WIDTH, "  ", "    ");
  if (Object.keys(run.kept).length > 0) {
    lines.push(...wrap(`kept (${run.protocol}): ${list(run.kept)}`, WIDTH, "  ", "    "));
  }
  const sites = list(run.redundantBySite) || "none";
  lines.push(...wrap(`redundant flushes (${run.protocol}): ${sites}`, WIDTH, "  ", "    "));
  return lines;
}

function causes({ protocol, causes: found }: RunReport, paint: Paint): string {
  const lines = [paint("heading", `What is wrong under protocol ${protocol}`)];
  found.forEach((cause, i) => {
    const title = wrap(causeTitle(cause), WIDTH, `${String(i + 1).padStart(3)}. `, "     ");
    lines.push(...title.map((line) => paint("danger", line)), ...causeLines(cause, WIDTH));
  });
  return lines.join("\n");
}

/** What the snapshot brought along, once for all runs: it is found under each protocol again. */
function brought(runs: readonly RunReport[], paint: Paint): string {
  const lines = [paint("heading", "Brought by the snapshot, and not counted as findings of these runs")];
  for (const why of new Set(runs.flatMap((run) => run.brought.map((fault) => fault.why)))) {
    lines.push(...wrap(why, WIDTH, "  - ", "    ").map((line) => paint("warning", line)));
    for (const { protocol, brought: faults } of runs) {
      const fault = faults.find((each) => each.why === why);
      if (fault === undefined) continue;
      const { rules, findings, frames, first } = fault;
      const example = first.pfn === null ? "" : `; for one, --page ${hex(first.pfn)}`;
      const extent = `${rulesText(rules)}: ${extentText(findings, frames)}${example}`;
      lines.push(...wrap(extent, WIDTH, `    ${protocol.padEnd(3)} `, "        "));
    }
  }
  return lines.join("\n");
}

function verdict({ runs, settings }: AuditReport, paint: Paint): string {
  const listeners =
    settings.listeners.length === 0 ? "no listeners" : `listeners ${settings.listeners.join(", ")}`;
  const lines = [paint("heading", `Verdict on these runs (${listeners})`)];
  for (const run of runs) {
    const label = `  ${run.protocol.padEnd(3)} ${run.kernels.padEnd(38)}`;
    const text = judgement(run);
    const tone = run.findingCount > 0 ? "danger" : run.truncated ? "warning" : "good";
    const whole = `${label}${text}`;
    if (whole.length <= WIDTH) lines.push(`${label}${paint(tone, text)}`);
    else
      lines.push(label.trimEnd(), ...wrap(text, WIDTH, "      ", "      ").map((line) => paint(tone, line)));
  }
  return lines.join("\n");
}

function judgement({ rules: found, findingCount, findingFrames, truncated }: RunReport): string {
  const rules = rulesText(found);
  if (findingFrames > 0) return `stale translations: ${count(findingFrames)} frames, ${rules}`;
  if (findingCount > 0) return `breaks ${rules}`;
  return truncated ? "nothing found, but not all page tables could be watched" : "no stale translation found";
}

function rulesText(counts: readonly RuleCount[]): string {
  const ids = counts.map(({ rule }) => rule).sort(byId);
  return `rule${ids.length === 1 ? "" : "s"} ${ids.join(", ")}`;
}

function story({ protocol, story: told, contrast, findings }: RunReport, paint: Paint): string {
  if (told === null) return "";
  const about = findings.filter(({ pfn }) => pfn === told.pfn);
  const lines = [
    paint("heading", `What happened to frame ${hex(told.pfn)} under protocol ${protocol}`),
    `  and who may hold a translation to it after each line: ${CELLS.split(", ")[0]},`,
    `  ${CELLS.split(", ").slice(1).join(", ")}`,
    ...storyLines(told, about, paint),
  ];
  if (contrast !== null) lines.push("", ...contrastLines(told, contrast, paint));
  return lines.join("\n");
}
