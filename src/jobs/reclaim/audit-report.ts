import type { Finding } from "../../audit/findings.ts";
import type { GuestSnapshot } from "../../formats/guest-snapshot.ts";
import { importGuest } from "../../guest/import-kernel.ts";
import { checkTruth, type Truth } from "../../guest/truth.ts";
import type { Kernel } from "../../mm/kernel.ts";
import { type AuditRun, type AuditRunOptions, auditRun } from "./audit-run.ts";
import { type FindingSummary, summarize } from "./finding-summary.ts";
import type { ListenerKind } from "./listeners.ts";
import { PageStory } from "./page-story.ts";

/** Version of the JSON that `ptescope audit --json` prints; docs/audit-report.schema.json describes it. */
export const AUDIT_REPORT_VERSION = 1;

export interface AuditSettings extends Omit<AuditRunOptions, "protocol" | "progress" | "replay" | "witness"> {
  /** Names of protocols, in the order to run them. */
  readonly protocols: readonly string[];
  /** How the snapshot is named in the report and in replay commands. */
  readonly snapshot: string;
  /** What a person types before the command's name (default "ptescope"). */
  readonly program?: string;
  readonly progress?: (text: string) => void;
  /** Tell what happened to this frame, too. */
  readonly page?: number;
}

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

export interface RunReport extends Omit<AuditRun, "findings"> {
  readonly findings: readonly FindingSummary[];
  /** Distinct frames in all findings. */
  readonly findingFrames: number;
  /** What happened to the frame that was asked about, and what was found about it, line by line. */
  readonly story?: readonly string[];
}

/** Checks a guest against its own kernel's records, then runs writeback and reclaim over it under each protocol. */
export function auditGuest(guest: GuestSnapshot, settings: AuditSettings): AuditReport {
  settings.progress?.("checking the guest kernel's own records");
  const truth = checkTruth(importGuest(guest));
  const runs = guest.pti ? [] : settings.protocols.map((protocol) => runOne(guest, settings, protocol));
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
    remarks: remarksFor(guest),
    truth,
    runs,
  };
}

function runOne(guest: GuestSnapshot, settings: AuditSettings, protocol: string): RunReport {
  const { progress, page } = settings;
  let story: PageStory | null = null;
  const witness = (kernel: Kernel) => {
    story = new PageStory(kernel, page ?? 0);
    return story.observe;
  };
  const run = auditRun(guest, {
    protocol,
    listeners: settings.listeners,
    cpus: settings.cpus,
    tlb: settings.tlb,
    seed: settings.seed,
    shuffle: settings.shuffle,
    replay: (frame) => replayCommand(settings, protocol, frame),
    ...(page === undefined ? {} : { witness }),
    ...(progress === undefined
      ? {}
      : { progress: (done, total) => progress(`protocol ${protocol}: ${done} of ${total} pages`) }),
  });
  const findingFrames = new Set(run.findings.flatMap(({ frame }) => (frame === null ? [] : [frame]))).size;
  const report = { ...run, findings: summarize(run.findings), findingFrames };
  if (page === undefined) return report;
  return { ...report, story: storyLines(page, story, run.findings) };
}

function storyLines(page: number, story: PageStory | null, findings: readonly Finding[]): string[] {
  const lines = story?.lines ?? [];
  const frame = `frame 0x${page.toString(16)}`;
  const told =
    lines.length === 0 ? [`${frame}: nothing, no entry that reclaim changed maps it`] : [frame, ...lines];
  const about = findings
    .filter(({ frame }) => frame === page)
    .flatMap((finding) => ["", ...finding.explain().split("\n")]);
  return [...told, ...about];
}

/** The command line that repeats a run and, for a finding, tells the story of its frame. */
export function replayCommand(settings: AuditSettings, protocol: string, frame: number | null): string {
  const words = [settings.program ?? "ptescope", "audit", quoted(settings.snapshot)];
  words.push("--protocol", protocol, "--listeners", settings.listeners.join(",") || "none");
  words.push("--cpus", String(settings.cpus), "--tlb", settings.tlb, "--seed", String(settings.seed));
  if (settings.shuffle) words.push("--shuffle");
  if (frame !== null) words.push("--page", `0x${frame.toString(16)}`);
  return words.join(" ");
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function remarksFor(guest: GuestSnapshot): string[] {
  if (guest.pti) {
    return [
      "the guest isolates its page tables (PTI): mappings are counted through the kernel's roots, and nothing is run on them",
    ];
  }
  return [
    `Linux 4.13's page_mkclean and try_to_unmap run on the entries of a ${guest.kernelRelease} guest (layout ${guest.layout}): a what-if`,
    "4.13 cannot carry userfaultfd write protection, PTE markers and anonymous-exclusive state: a swapped entry loses them",
    "4.13 splits a THP before it swaps it; here its mappings are split and it is unmapped whole, as from 4.14 on",
    "dirty accounting is assumed for files: this guest's are tmpfs, whose kernel does no page_mkclean for them",
  ];
}
