import { PTE_LAYOUTS } from "../../../arch/x86/mm/pte-format.ts";
import { byId, causeTitle } from "../../audit/cause-text.ts";
import type { Cause } from "../../audit/causes.ts";
import { type Finding, findingJson, owedJson } from "../../audit/findings.ts";
import { type Story, storyJson } from "../../audit/story/story.ts";
import type { GuestSnapshot } from "../../formats/guest-snapshot.ts";
import { importScan } from "../../guest/import-kernel.ts";
import { type GuestScan, scanGuest } from "../../guest/scan-guest.ts";
import { checkTruth, type Truth } from "../../guest/truth.ts";
import type { NotifierProtocol } from "../../mm/mm_types.ts";
import { notifierProtocol } from "../../mm/notifier-protocol.ts";
import { jsonText } from "../../text/escape.ts";
import { hex } from "../../text/hex.ts";
import { type AuditRun, type AuditRunOptions, auditRun } from "./audit-run.ts";
import type { ListenerKind } from "./listeners.ts";
import type { FrameRange } from "./reclaim-job.ts";

/** Version of the JSON that `ptescope audit --json` prints; docs/audit-report.schema.json describes it. */
export const AUDIT_REPORT_VERSION = 2;

/** The protocol that a story is held against: the one before the seed, without a finding. */
const CONTRAST = "c";

/** What {@link auditGuest} does with a guest. */
export interface AuditSettings extends Omit<AuditRunOptions, "protocol" | "progress" | "replay" | "pages"> {
  /** Names of protocols, or protocols of somebody's own, in the order to run them. */
  readonly protocols: readonly (string | NotifierProtocol)[];
  /** How the snapshot is named in the report and in replay commands. */
  readonly snapshot: string;
  /** What a person typed for the one protocol of the run, where it is not its name. */
  readonly typed?: string;
  /** What a person types before the command's name (default "ptescope"). */
  readonly program?: string;
  readonly progress?: (text: string) => void;
  /** Tell what happened to this frame, too. */
  readonly page?: number;
}

/** What came of it; {@link auditJson} makes it the JSON that docs/audit-report.schema.json describes. */
export interface AuditReport {
  readonly format: "ptescope-audit";
  readonly version: typeof AUDIT_REPORT_VERSION;
  readonly snapshot: {
    readonly path: string;
    readonly name: string;
    readonly kernel: string;
    readonly layout: string;
    readonly processes: number;
    readonly memoryBytes: number;
    readonly levels: 4 | 5;
    readonly pti: boolean;
  };
  readonly settings: {
    readonly cpus: number;
    readonly tlb: string;
    readonly listeners: readonly ListenerKind[];
    readonly seed: number;
    readonly order: "pfn" | "shuffled";
  };
  /** What 4.13's code, run on this guest, leaves out or assumes. */
  readonly remarks: readonly string[];
  readonly truth: Truth;
  readonly runs: readonly RunReport[];
}

/** What one rule found in a run. */
export interface RuleCount {
  readonly rule: number | string;
  readonly title: string;
  readonly findings: number;
  /** Distinct frames. */
  readonly frames: number;
}

/** A fault that the snapshot brought along, and what rules found because of it: no doing of the run's. */
export interface BroughtFault {
  /** What is wrong, in words. */
  readonly why: string;
  readonly rules: readonly RuleCount[];
  readonly findings: number;
  /** Distinct frames. */
  readonly frames: number;
  readonly first: Finding;
}

/** One protocol's run, with what was found. */
export interface RunReport extends Omit<AuditRun, "stories" | "broughtCauses"> {
  /** What the run did wrong, by rule. */
  readonly rules: readonly RuleCount[];
  /** Findings of the run's own making, those that are not listed included. */
  readonly findingCount: number;
  /** Distinct frames in these. */
  readonly findingFrames: number;
  /** What the snapshot brought along. */
  readonly brought: readonly BroughtFault[];
  /** Of the frame that was asked about; and the same under the protocol that has no finding. */
  readonly story: Story | null;
  readonly contrast: Story | null;
}

/** Checks a guest against its own kernel's records, then runs writeback and reclaim over it under each protocol. */
export function auditGuest(guest: GuestSnapshot, settings: AuditSettings): AuditReport {
  settings.progress?.("checking the guest kernel's own records");
  const scan = scanGuest(guest);
  const truth = checkTruth(importScan(scan, { observe: true }));
  const runs =
    guest.pti || isDecodeOnly(guest)
      ? []
      : settings.protocols.map((protocol) => runOne(scan, settings, protocol));
  return {
    format: "ptescope-audit",
    version: AUDIT_REPORT_VERSION,
    snapshot: {
      path: settings.snapshot,
      name: guest.name,
      kernel: guest.kernelRelease,
      layout: guest.layout,
      processes: guest.processes.length,
      memoryBytes: guest.memoryBytes,
      levels: guest.levels,
      pti: guest.pti,
    },
    settings: {
      cpus: settings.cpus,
      tlb: settings.tlb,
      listeners: settings.listeners,
      seed: settings.seed,
      order: settings.shuffle ? "shuffled" : "pfn",
    },
    remarks: [...remarksFor(guest), ...lostRemarks(scan)],
    truth,
    runs,
  };
}

function runOne(scan: GuestScan, settings: AuditSettings, protocol: string | NotifierProtocol): RunReport {
  const pages = settings.page === undefined ? [] : [settings.page];
  const { stories, broughtCauses, ...run } = runWith(scan, settings, protocol, pages);
  const isTold = pages.length > 0 && run.protocol !== CONTRAST;
  return {
    ...run,
    rules: ruleCounts(run.causes),
    findingCount: findingsOf(run.causes),
    findingFrames: framesOf(run.causes),
    brought: broughtFaults(broughtCauses),
    story: stories[0] ?? null,
    contrast: isTold ? runWith(scan, settings, CONTRAST, pages).stories[0]! : null,
  };
}

function findingsOf(causes: readonly Cause[]): number {
  return causes.reduce((sum, { count }) => sum + count, 0);
}

function framesOf(causes: readonly Cause[]): number {
  return new Set(causes.flatMap(({ pfns }) => [...pfns])).size;
}

/** By what is wrong, in the order of finding. */
function broughtFaults(causes: readonly Cause[]): BroughtFault[] {
  const reasons = new Set(causes.map(({ brought }) => brought));
  return [...reasons].flatMap((why) => {
    const own = causes.filter(({ brought }) => brought === why);
    const [cause] = own;
    if (why === null || cause === undefined) return [];
    const counts = { findings: findingsOf(own), frames: framesOf(own) };
    return [{ why, rules: ruleCounts(own), ...counts, first: cause.first }];
  });
}

/** One run, in which the stories of some frames are told. */
export function runWith(
  scan: GuestScan,
  settings: AuditSettings,
  protocol: string | NotifierProtocol,
  pages: readonly number[],
): AuditRun {
  const { progress } = settings;
  const name = typeof protocol === "string" ? notifierProtocol(protocol).name : protocol.name;
  return auditRun(scan, {
    protocol,
    listeners: settings.listeners,
    cpus: settings.cpus,
    tlb: settings.tlb,
    seed: settings.seed,
    shuffle: settings.shuffle,
    ...(settings.frames === undefined ? {} : { frames: settings.frames }),
    replay: (frame) => replayCommand(settings, settings.typed ?? name, frame),
    pages,
    ...(progress === undefined
      ? {}
      : { progress: (done, total) => progress(`protocol ${name}: ${done} of ${total} pages`) }),
  });
}

/** In the order of the rules. */
function ruleCounts(causes: readonly Cause[]): RuleCount[] {
  const counts = new Map<number | string, { title: string; findings: number; pfns: Set<number> }>();
  for (const { rule, count, pfns } of causes.flatMap(({ places }) => places)) {
    const known = counts.get(rule.id) ?? { title: rule.title, findings: 0, pfns: new Set<number>() };
    known.findings += count;
    for (const pfn of pfns) known.pfns.add(pfn);
    counts.set(rule.id, known);
  }
  return [...counts]
    .sort(([a], [b]) => byId(a, b))
    .map(([rule, { title, findings, pfns }]) => ({ rule, title, findings, frames: pfns.size }));
}

/** The report as `audit --json` prints it, and as the schema describes it. */
export function auditJson(report: AuditReport): unknown {
  return {
    ...report,
    runs: report.runs.map(({ findings: _, causes, brought, story, contrast, ...run }) => ({
      ...run,
      causes: causes.map(causeJson),
      brought: brought.map(({ first, ...fault }) => ({ ...fault, first: findingJson(first) })),
      story: story === null ? null : storyJson(story),
      contrast: contrast === null ? null : storyJson(contrast),
    })),
  };
}

function causeJson(cause: Cause): unknown {
  const { first, worst, count, pfns, places } = cause;
  return {
    title: causeTitle(cause),
    owed: owedJson(worst.owed),
    findings: count,
    frames: pfns.size,
    places: places.map((place) => ({
      rule: place.rule.id,
      title: place.rule.title,
      source: place.rule.source,
      site: place.site,
      findings: place.count,
      frames: place.pfns.size,
    })),
    first: findingJson(first),
    worst: findingJson(worst),
  };
}

/** A finding as a line of `audit --findings FILE`. */
export function findingLine(protocol: string, finding: Finding): string {
  return `${jsonText({ protocol, ...findingJson(finding) })}\n`;
}

/** The command line that repeats a run and, for a finding, tells the story of its frame. */
export function replayCommand(settings: AuditSettings, protocol: string, frame: number | null): string {
  const words = [settings.program ?? "ptescope", "audit", quoted(settings.snapshot)];
  words.push("--protocol", quoted(protocol), "--listeners", settings.listeners.join(",") || "none");
  words.push("--cpus", String(settings.cpus), "--tlb", settings.tlb, "--seed", String(settings.seed));
  if (settings.shuffle) words.push("--shuffle");
  if (settings.frames !== undefined) words.push("--frames", settings.frames.map(rangeWord).join(","));
  if (frame !== null) words.push("--page", `0x${frame.toString(16)}`);
  return words.join(" ");
}

function rangeWord({ first, last }: FrameRange): string {
  return `${hex(first)}-${hex(last)}`;
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Whether entries of the guest's layout can be read, and no kernel runs on them here. */
export function isDecodeOnly(guest: GuestSnapshot): boolean {
  return PTE_LAYOUTS[guest.layout]?.decodeOnly ?? true;
}

/** Names of the layouts that a kernel runs on here. */
export function runnableLayouts(): string[] {
  return Object.values(PTE_LAYOUTS)
    .filter(({ decodeOnly }) => !decodeOnly)
    .map(({ name }) => name);
}

/** One line, however many tables are missing. */
function lostRemarks({ lost }: GuestScan): string[] {
  const [first] = lost;
  if (first === undefined) return [];
  const others = lost.length === 1 ? "" : `, and ${lost.length - 1} more like it`;
  return [
    `the table at ${hex(first.table)} is not in the image: the level ${first.level} entry at ${hex(first.entry)}${others} taken for empty`,
  ];
}

function remarksFor(guest: GuestSnapshot): string[] {
  if (guest.pti) {
    return [
      "the guest isolates its page tables (PTI): mappings are counted through the kernel's roots, and nothing is run on them",
    ];
  }
  if (isDecodeOnly(guest)) {
    return [
      `nothing is run on entries of the layout ${guest.layout}: 4.13's code runs on ${runnableLayouts().join(", ")}`,
    ];
  }
  return [
    `a what-if: Linux 4.13's rmap code on entries of the layout ${guest.layout}`,
    "swapped entries lose uffd-wp, markers, anon-exclusive: 4.13 has none",
    "THPs are unmapped whole, as from 4.14 on; tmpfs accounts dirty pages",
  ];
}
