import { MAX_CPUS } from "../../arch/x86/cpu/machine.ts";
import { TLB_POLICIES, type TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { RULES } from "../audit/rules/index.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { type GuestSnapshot, readGuestDirectory } from "../formats/guest-snapshot.ts";
import { isDirectory } from "../formats/gzip.ts";
import { WholeFile } from "../formats/whole-file.ts";
import { isTrue } from "../guest/truth.ts";
import {
  type AuditReport,
  type AuditSettings,
  auditGuest,
  auditJson,
  findingLine,
  isDecodeOnly,
  runnableLayouts,
} from "../jobs/reclaim/audit-report.ts";
import { auditText } from "../jobs/reclaim/audit-text.ts";
import { diffProtocols, diffText } from "../jobs/reclaim/diff.ts";
import { LISTENER_KINDS, type ListenerKind, listenerKind } from "../jobs/reclaim/listeners.ts";
import type { FrameRange } from "../jobs/reclaim/reclaim-job.ts";
import type { NotifierProtocol } from "../mm/mm_types.ts";
import { NOTIFIER_PROTOCOLS } from "../mm/notifier-protocol.ts";
import { jsonText } from "../text/escape.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { parseHex } from "./options.ts";
import { linesOf, type Terminal } from "./output.ts";
import { loadProtocol } from "./protocol-module.ts";
import { SAMPLE_NAME, snapshotPath } from "./sample.ts";

/** What to type to get here again: a checkout has no ptescope in its PATH. */
const PROGRAM = import.meta.url.endsWith(".ts") ? "npm run --silent ptescope --" : "ptescope";

export const auditCommand: Command = {
  name: "audit",
  summary: "writeback and reclaim over a guest's pages, and who is left with a stale translation",
  usage: "[SNAPSHOT] [--protocol P|all | --diff P,P] [--page PFN] [--findings FILE] [options]",
  options: {
    protocol: {
      value: "P",
      help: "notifier protocol: a0, a1 (= c), c, b, d, e1, all (default), or a module of your own: ./mine.mjs",
    },
    diff: { value: "P,P", help: "where two protocols first part, for each thing wrong under the first" },
    listeners: {
      value: "L,...",
      help: `secondary MMUs on every process: ${Object.keys(LISTENER_KINDS).join(", ")}, or none (default kvm,iommu)`,
    },
    cpus: { value: "N", help: `logical CPUs, 2 to ${MAX_CPUS} (default 4)` },
    tlb: { value: "T", help: "what TLBs keep: stale (default), none, or what a CPU's hold: see below" },
    seed: { value: "S", help: "seed of everything that happens at random (default 1)" },
    shuffle: { help: "take the pages in the seed's order, not by frame number" },
    frames: { value: "A-B,...", help: "reclaim only pages that begin in these frames (hexadecimal)" },
    page: { value: "PFN", help: "with one protocol: tell what happened to this frame (hexadecimal)" },
    findings: { value: "FILE", help: "write every finding to a file, as JSON lines" },
    "fail-on": { value: "RULE,...", help: "exit status 1 for findings of these rules, and only of these" },
    json: { help: "the report as JSON (docs/audit-report.schema.json)" },
  },
  notes: [
    'SNAPSHOT is a guest directory: manifest.json, pt.elf.gz, proc.tar.gz. Without it, or as "sample", the guest',
    "that ships with ptescope. Exit status: with one protocol 1 if there are findings; for all protocols 0;",
    "1 if the guest kernel's own records are not confirmed.",
    `CPUs for --tlb: ${shapes("intel-", 0, 4)},`,
    `${shapes("intel-", 4)},`,
    `${shapes("amd-")}.`,
  ],

  async run(args, terminal) {
    const parsed = parseArguments(auditCommand, args);
    const [snapshot = SAMPLE_NAME] = requirePositionals(auditCommand, parsed, 0, 1);
    const path = snapshotPath(snapshot);
    if (!isDirectory(path)) {
      throw new FormatError(path, null, "a guest directory (manifest.json, pt.elf.gz, proc.tar.gz)");
    }
    const rules = parseRules(parsed.text("fail-on"));
    const diff = await parseDiff(parsed);
    const protocols = diff ?? (await parseProtocols(parsed.text("protocol") ?? "all"));
    const settings = settingsOf(parsed, snapshot, protocols, terminal);
    const guest = readGuestDirectory(path);
    refuse(guest, parsed, settings.page);
    if (diff !== null) {
      const text = diffText(diffProtocols(guest, settings, diff), terminal.paint);
      terminal.progress("");
      await terminal.write(linesOf(text));
      return 0;
    }
    const report = auditInto(parsed.text("findings"), guest, settings);
    terminal.progress("");
    warnOfLost(parsed.text("findings"), report, terminal);
    const text = parsed.has("json") ? jsonText(auditJson(report), 2) : auditText(report, terminal.paint);
    await terminal.write(linesOf(text));
    return isTrue(report.truth) ? statusOf(report, rules) : 1;
  },
};

/** Throws UsageError. */
function settingsOf(
  parsed: ParsedArguments,
  snapshot: string,
  protocols: readonly NotifierProtocol[],
  terminal: Terminal,
): AuditSettings {
  const frame = parsed.text("page");
  if (frame !== undefined && (protocols.length !== 1 || parsed.text("diff") !== undefined)) {
    throw new UsageError("--page explains one run: give --protocol with one name, too");
  }
  return {
    snapshot,
    program: PROGRAM,
    protocols,
    listeners: parseListeners(parsed.text("listeners") ?? "kvm,iommu"),
    cpus: parseNumber("--cpus", parsed.text("cpus") ?? "4", 2, MAX_CPUS),
    tlb: parsed.choice<TlbPolicy>("tlb", TLB_POLICIES),
    seed: parseNumber("--seed", parsed.text("seed") ?? "1", 0, 2 ** 32 - 1),
    shuffle: parsed.has("shuffle"),
    progress: terminal.progress,
    ...typedProtocol(parsed),
    ...parseFrames(parsed.text("frames")),
    ...(frame === undefined ? {} : { page: Number(parseHex("--page", frame)) }),
  };
}

function typedProtocol(parsed: ParsedArguments): { readonly typed?: string } {
  const typed = parsed.text("protocol");
  return typed === undefined || typed === "all" || typed === "a1" ? {} : { typed };
}

/** With one protocol, or rules to fail on, findings of the run's own making are status 1. */
function statusOf({ runs }: AuditReport, rules: ReadonlySet<number | string> | null): number {
  if (rules !== null) return runs.some((run) => run.rules.some(({ rule }) => rules.has(rule))) ? 1 : 0;
  return runs.length === 1 && runs.some(({ findingCount }) => findingCount > 0) ? 1 : 0;
}

/** Audits, and writes every finding to a file, if one is named. */
function auditInto(path: string | undefined, guest: GuestSnapshot, settings: AuditSettings): AuditReport {
  if (path === undefined) return auditGuest(guest, settings);
  const file = new WholeFile(path);
  try {
    const report = auditGuest(guest, settings);
    for (const { protocol, findings } of report.runs) {
      for (const finding of findings) file.write(findingLine(protocol, finding));
    }
    file.commit();
    return report;
  } finally {
    file.discard();
  }
}

function warnOfLost(path: string | undefined, { runs }: AuditReport, terminal: Terminal): void {
  const lost = runs.reduce((sum, { findings, findingCount, brought }) => {
    return sum + brought.reduce((all, fault) => all + fault.findings, findingCount) - findings.length;
  }, 0);
  if (path === undefined || lost === 0) return;
  terminal.warn(`ptescope audit: the last ${lost} findings are only counted, not in ${quote(path)}`);
}

/** Throws UsageError for what this guest cannot be asked. */
function refuse(guest: GuestSnapshot, parsed: ParsedArguments, page: number | undefined): void {
  const runs = ["protocol", "diff", "page"].some((name) => parsed.text(name) !== undefined);
  if (guest.pti && runs) {
    throw new UsageError(
      `${guest.name} isolates its page tables (PTI): nothing is run on it; leave --protocol, --diff and --page out`,
    );
  }
  if (isDecodeOnly(guest) && runs) {
    const layouts = runnableLayouts().join(", ");
    throw new UsageError(
      `nothing is run on entries of the layout ${guest.layout}, only on ${layouts}: leave --protocol, --diff and --page out`,
    );
  }
  const frames = guest.memoryBytes / 4096;
  if (page !== undefined && page >= frames) {
    throw new UsageError(
      `--page 0x${page.toString(16)}: the guest's frames end at 0x${(frames - 1).toString(16)}`,
    );
  }
}

/** TLB policies that are CPUs of a vendor, from the `first` on. */
function shapes(vendor: string, first = 0, end?: number): string {
  const names = TLB_POLICIES.filter((name) => name.startsWith(vendor));
  return names.slice(first, end).join(", ");
}

async function parseProtocols(text: string): Promise<readonly NotifierProtocol[]> {
  return text === "all" ? NOTIFIER_PROTOCOLS : [await loadProtocol(text)];
}

async function parseDiff(
  parsed: ParsedArguments,
): Promise<readonly [NotifierProtocol, NotifierProtocol] | null> {
  const text = parsed.text("diff");
  if (text === undefined) return null;
  const clash = ["protocol", "page", "findings", "fail-on"].find((name) => parsed.text(name) !== undefined);
  if (clash !== undefined || parsed.has("json")) {
    throw new UsageError(`--diff prints its own report: leave --${clash ?? "json"} out`);
  }
  const [one, other, ...more] = text.split(",");
  if (one === undefined || other === undefined || more.length > 0) {
    throw new UsageError(`--diff ${quote(text)}: give two protocols, such as b,c`);
  }
  return [await loadProtocol(one), await loadProtocol(other)];
}

function parseFrames(text: string | undefined): { readonly frames?: readonly FrameRange[] } {
  if (text === undefined) return {};
  const frames = text.split(",").map((range) => {
    const [first = "", last = first, ...more] = range.split("-");
    const bounds = { first: Number(parseHex("--frames", first)), last: Number(parseHex("--frames", last)) };
    if (more.length > 0 || bounds.last < bounds.first) {
      throw new UsageError(`--frames ${quote(range)}: give FIRST-LAST, such as 0x1e00-0x1fff`);
    }
    return bounds;
  });
  return { frames };
}

function parseRules(text: string | undefined): ReadonlySet<number | string> | null {
  if (text === undefined) return null;
  return new Set(
    text.split(",").map((id) => {
      const rule = RULES.find((each) => String(each.id) === id.trim().toUpperCase());
      if (rule !== undefined) return rule.id;
      throw new UsageError(`--fail-on ${quote(id)}: rules are ${RULES.map((each) => each.id).join(", ")}`);
    }),
  );
}

function parseListeners(text: string): ListenerKind[] {
  if (text === "none") return [];
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !Object.hasOwn(LISTENER_KINDS, name));
  if (unknown !== undefined) {
    const known = Object.keys(LISTENER_KINDS).join(", ");
    throw new UsageError(`--listeners ${quote(unknown)}: give some of ${known}, or none`);
  }
  return [...new Set(names.map(listenerKind))];
}

function parseNumber(option: string, text: string, least: number, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new UsageError(`${option} ${quote(text)}: give a whole number from ${least} to ${most}`);
  }
  return value;
}
