import type { TlbPolicy } from "../../../arch/x86/cpu/tlb.ts";
import { Auditor } from "../../audit/auditor.ts";
import type { Cause } from "../../audit/causes.ts";
import type { Finding } from "../../audit/findings.ts";
import { type Story, StoryTeller } from "../../audit/story/story.ts";
import { FrameSet } from "../../guest/frame-set.ts";
import { type ImportedGuest, importScan } from "../../guest/import-kernel.ts";
import type { GuestScan } from "../../guest/scan-guest.ts";
import { SNAPSHOT_FAULTS, SnapshotFaults } from "../../guest/snapshot-faults.ts";
import { innermostCall } from "../../mm/calls.ts";
import type { mm_struct, NotifierProtocol } from "../../mm/mm_types.ts";
import { kernelOpening } from "../../trace/opening.ts";
import { LiveWorld } from "../../trace/world.ts";
import type { Listeners, Traffic } from "./actors.ts";
import { Counters } from "./counters.ts";
import { holdersOf } from "./held.ts";
import { attachListeners, type ListenerKind } from "./listeners.ts";
import { MappedAtClear } from "./mapped-at-clear.ts";
import { type FrameRange, type MappedPage, ReclaimJob } from "./reclaim-job.ts";

/** How one run over a guest goes. */
export interface AuditRunOptions {
  /** A notifier protocol by name, or one of somebody's own. */
  readonly protocol: string | NotifierProtocol;
  readonly listeners: readonly ListenerKind[];
  readonly cpus: number;
  readonly tlb: TlbPolicy;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Reclaim only pages that begin in one of these; default: all. */
  readonly frames?: readonly FrameRange[];
  /** The command that would repeat the run and explain one frame. */
  readonly replay: (frame: number | null) => string;
  readonly progress?: (done: number, total: number) => void;
  /** Frames whose stories are to be told. */
  readonly pages?: readonly number[];
}

/** One protocol's run over a guest. Frames are 4K frames that were mapped when the run began. */
export interface AuditRun {
  readonly protocol: string;
  readonly kernels: string;
  readonly considered: number;
  readonly eligible: number;
  /** Frames that reclaim did not try, by reason; with `eligible` they add up to `considered`. */
  readonly skipped: Readonly<Record<string, number>>;
  readonly freed: number;
  /** Eligible frames that stayed, by reason. */
  readonly kept: Readonly<Record<string, number>>;
  readonly entriesChanged: number;
  readonly flushes: number;
  /** Those of them for an mm that no CPU had loaded. */
  readonly flushesWithoutCpu: number;
  readonly deferred: number;
  readonly batches: number;
  readonly ipis: number;
  readonly ipisUnbatched: number;
  /** Flushes that no CPU needed, and the same by call site. */
  readonly redundant: number;
  readonly redundantBySite: Readonly<Record<string, number>>;
  /** Callbacks by kind of listener and operation. */
  readonly listeners: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly traffic: Traffic;
  /** Frames that a guest still mapped when their last host entry was cleared, and that were then freed. */
  readonly kvmMappedAtClear: number;
  /** Some tables were too many or looped, and were not watched. */
  readonly truncated: boolean;
  /** The first ones, also those that the snapshot brought along; what is beyond a bound is counted in its cause only. */
  readonly findings: readonly Finding[];
  /** What is wrong by the run's own doing. */
  readonly causes: readonly Cause[];
  /** What was wrong before the run began. */
  readonly broughtCauses: readonly Cause[];
  /** Of the pages that were asked for. */
  readonly stories: readonly Story[];
}

/** Runs writeback and reclaim over a kernel built from a guest, under one notifier protocol, judged by the auditor. */
export function auditRun(scan: GuestScan, options: AuditRunOptions): AuditRun {
  const imported = importScan(scan, { cpus: options.cpus, tlb: options.tlb, notifiers: options.protocol });
  const { kernel, mms } = imported;
  const counters = new Counters();
  const mappedAtClear = new MappedAtClear(() => innermostCall(kernel.current));
  kernel.attach(counters.handlers);
  kernel.attach(mappedAtClear.handlers);
  const listeners = new Map<mm_struct, Listeners>();
  for (const mm of mms.values()) listeners.set(mm, attachListeners(mm, options.listeners));
  const faults = new SnapshotFaults(scan);
  const auditor = new Auditor(kernel, {
    replay: (finding) => options.replay(finding.pfn),
    brought(finding) {
      const fault = faults.behind(finding);
      return fault === null ? null : SNAPSHOT_FAULTS[fault];
    },
  });
  const tellers = (options.pages ?? []).map((page) => tellerOf(imported, listeners, page));

  const job = new ReclaimJob(kernel, {
    pages: mappedPages(imported),
    listeners,
    seed: options.seed,
    shuffle: options.shuffle,
    ...(options.frames === undefined ? {} : { frames: options.frames }),
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  });
  const result = job.run();
  auditor.finish();

  const leftOut = [...imported.frames.leftOut].map(([reason, { frames }]) => [reason, frames] as const);
  return {
    protocol: kernel.protocol.name,
    kernels: kernel.protocol.kernels,
    considered: imported.frames.mapped,
    eligible: result.eligible,
    skipped: Object.fromEntries([...leftOut, ...result.skipped]),
    freed: result.freed,
    kept: Object.fromEntries(result.kept),
    entriesChanged: counters.entriesChanged,
    flushes: counters.flushes,
    flushesWithoutCpu: counters.flushesWithoutCpu,
    deferred: counters.deferrals,
    batches: counters.batches,
    ipis: counters.ipis,
    ipisUnbatched: counters.ipisUnbatched,
    redundant: auditor.flushes.redundant,
    redundantBySite: Object.fromEntries(
      auditor.flushes
        .sites()
        .filter(({ redundant }) => redundant > 0)
        .map(({ site, redundant }) => [site, redundant]),
    ),
    listeners: byKind(counters.callbacks()),
    traffic: job.actors.traffic,
    kvmMappedAtClear: mappedAtClear.freed,
    truncated: auditor.truncated,
    findings: auditor.findings,
    causes: auditor.causes.filter(({ brought }) => brought === null),
    broughtCauses: auditor.causes.filter(({ brought }) => brought !== null),
    stories: tellers.map(({ story }) => story),
  };
}

/** Follows a frame through the run that is about to begin. */
function tellerOf(
  { kernel, machine }: ImportedGuest,
  listeners: ReadonlyMap<mm_struct, Listeners>,
  page: number,
): StoryTeller {
  const run = { world: new LiveWorld(machine, kernel.format), opening: kernelOpening(kernel) };
  const teller = new StoryTeller(run, page, { held: holdersOf(machine, listeners) });
  kernel.attach(teller.observe);
  return teller;
}

function mappedPages(imported: ImportedGuest): MappedPage[] {
  return imported.keptPages.map((page) => {
    const mappings = imported.mappingsOf(page);
    const frames = new FrameSet();
    for (const { pfn, level } of mappings) frames.add(pfn, level);
    return { page, frames: frames.size, mappings };
  });
}

/** Sums the callbacks of "kvm@bash-1", "kvm@perl-1", ... under "kvm". */
function byKind(
  callbacks: ReadonlyMap<string, ReadonlyMap<string, number>>,
): Record<string, Record<string, number>> {
  const kinds: Record<string, Record<string, number>> = {};
  for (const [listener, counts] of callbacks) {
    const kind = listener.split("@")[0] ?? listener;
    kinds[kind] ??= {};
    for (const [op, count] of counts) kinds[kind][op] = (kinds[kind][op] ?? 0) + count;
  }
  return kinds;
}
