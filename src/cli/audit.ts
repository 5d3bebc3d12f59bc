import { fileURLToPath } from "node:url";
import { MAX_CPUS } from "../../arch/x86/cpu/machine.ts";
import { TLB_POLICIES, type TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { type GuestSnapshot, readGuestDirectory } from "../formats/guest-snapshot.ts";
import { isDirectory } from "../formats/gzip.ts";
import { isTrue } from "../guest/truth.ts";
import { type AuditSettings, auditGuest } from "../jobs/reclaim/audit-report.ts";
import { auditText } from "../jobs/reclaim/audit-text.ts";
import { LISTENER_KINDS, type ListenerKind, listenerKind } from "../jobs/reclaim/listeners.ts";
import { NOTIFIER_PROTOCOLS, notifierProtocol } from "../mm/notifier-protocol.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { parseHex } from "./options.ts";

/** The guest that ships with the package. */
const SAMPLE = fileURLToPath(new URL("../samples/guest-a1", import.meta.url));
const SAMPLE_NAME = "sample";
/** What to type to get here again: a checkout has no ptescope in its PATH. */
const PROGRAM = import.meta.url.endsWith(".ts") ? "npm run --silent ptescope --" : "ptescope";

export const auditCommand: Command = {
  name: "audit",
  summary: "writeback and reclaim over a guest's pages, and who is left with a stale translation",
  usage:
    "[SNAPSHOT] [--protocol P|all] [--listeners L,...|none] [--cpus N] [--tlb T] [--seed S] [--shuffle] [--page PFN] [--json]",
  options: {
    protocol: { value: "P", help: "notifier protocol: a0, a1 (= c), c, b, d, e1, or all (default)" },
    listeners: {
      value: "L,...",
      help: `secondary MMUs on every process: ${Object.keys(LISTENER_KINDS).join(", ")}, or none (default kvm,iommu)`,
    },
    cpus: { value: "N", help: `logical CPUs, 2 to ${MAX_CPUS} (default 4)` },
    tlb: { value: "T", help: "what TLBs keep: stale (default), none, or what a CPU's hold: see below" },
    seed: { value: "S", help: "seed of everything that happens at random (default 1)" },
    shuffle: { help: "take the pages in the seed's order, not by frame number" },
    page: { value: "PFN", help: "with one protocol: tell what happened to this frame (hexadecimal)" },
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
    const path = snapshot === SAMPLE_NAME && !isDirectory(snapshot) ? SAMPLE : snapshot;
    if (!isDirectory(path)) {
      throw new FormatError(path, null, "a guest directory (manifest.json, pt.elf.gz, proc.tar.gz)");
    }
    const protocols = parseProtocols(parsed.text("protocol") ?? "all");
    const frame = parsed.text("page");
    if (frame !== undefined && protocols.length !== 1) {
      throw new UsageError("--page explains one run: give --protocol with one name, too");
    }
    const settings: AuditSettings = {
      snapshot,
      program: PROGRAM,
      protocols,
      listeners: parseListeners(parsed.text("listeners") ?? "kvm,iommu"),
      cpus: parseNumber("--cpus", parsed.text("cpus") ?? "4", 2, MAX_CPUS),
      tlb: parsed.choice<TlbPolicy>("tlb", TLB_POLICIES),
      seed: parseNumber("--seed", parsed.text("seed") ?? "1", 0, 2 ** 32 - 1),
      shuffle: parsed.has("shuffle"),
      progress: terminal.progress,
      ...(frame === undefined ? {} : { page: Number(parseHex("--page", frame)) }),
    };
    const guest = readGuestDirectory(path);
    refuse(guest, parsed, settings.page);
    const report = auditGuest(guest, settings);
    terminal.progress("");
    if (parsed.has("json")) await terminal.write(`${JSON.stringify(report, null, 2)}\n`);
    else await terminal.write(auditText(report, terminal.paint));
    if (!isTrue(report.truth)) return 1;
    return protocols.length === 1 && report.runs.some(({ findings }) => findings.length > 0) ? 1 : 0;
  },
};

/** Throws UsageError for what this guest cannot be asked. */
function refuse(guest: GuestSnapshot, parsed: ParsedArguments, page: number | undefined): void {
  if (guest.pti && (parsed.text("protocol") !== undefined || page !== undefined)) {
    throw new UsageError(
      `${guest.name} isolates its page tables (PTI): nothing is run on it; leave --protocol and --page out`,
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

function parseProtocols(text: string): string[] {
  if (text === "all") return NOTIFIER_PROTOCOLS.map(({ name }) => name);
  if (text !== "a1" && !NOTIFIER_PROTOCOLS.some(({ name }) => name === text)) {
    throw new UsageError(`--protocol ${quote(text)}: give one of a0, a1 (= c), c, b, d, e1, or all`);
  }
  return [notifierProtocol(text).name];
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
