import type { TlbPolicy } from "../../../arch/x86/cpu/tlb.ts";
import { Auditor } from "../../audit/auditor.ts";
import { Counters } from "../../audit/counters.ts";
import type { Finding } from "../../audit/findings.ts";
import type { GuestSnapshot } from "../../formats/guest-snapshot.ts";
import { type ImportedGuest, importGuest } from "../../guest/import-kernel.ts";
import type { MmEvent } from "../../mm/events.ts";
import type { Kernel } from "../../mm/kernel.ts";
import type { mm_struct } from "../../mm/mm_struct.ts";
import { Random } from "../../sim/random.ts";
import type { VirtEvent } from "../../virt/events.ts";
import type { Listeners, Traffic } from "./actors.ts";
import { attachListeners, type ListenerKind } from "./listeners.ts";
import { MappedAtClear } from "./mapped-at-clear.ts";
import { type MappedPage, ReclaimJob } from "./reclaim-job.ts";

export interface AuditRunOptions {
  readonly protocol: string;
  readonly listeners: readonly ListenerKind[];
  readonly cpus: number;
  readonly tlb: TlbPolicy;
  readonly seed: number;
  readonly shuffle: boolean;
  /** The command that would repeat the run and explain one frame. */
  readonly replay: (frame: number | null) => string;
  readonly progress?: (done: number, total: number) => void;
  /** Makes one more observer of the run's events, numbered from 1; for a frame's story. */
  readonly witness?: (kernel: Kernel) => (event: MmEvent | VirtEvent, number: number) => void;
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
  readonly findings: readonly Finding[];
}

/** Runs writeback and reclaim over a freshly imported guest under one notifier protocol, judged by the auditor. */
export function auditRun(guest: GuestSnapshot, options: AuditRunOptions): AuditRun {
  const imported = importGuest(guest, { cpus: options.cpus, tlb: options.tlb, notifiers: options.protocol });
  const { kernel, mms } = imported;
  const listeners = new Map<mm_struct, Listeners>();
  for (const mm of mms.values()) listeners.set(mm, attachListeners(mm, options.listeners));

  const auditor = new Auditor(kernel, { replay: (finding) => options.replay(finding.frame) });
  const counters = new Counters();
  const mappedAtClear = new MappedAtClear(kernel);
  const witness = options.witness?.(kernel);
  let number = 0;
  const observe = (event: MmEvent | VirtEvent) => {
    number++;
    witness?.(event, number);
    mappedAtClear.observe(event);
    counters.observe(event);
    auditor.observe(event);
  };
  for (const { kvms, iommus } of listeners.values()) {
    for (const kvm of kvms) auditor.watchKvm(kvm);
    for (const iommu of iommus) auditor.watchIommu(iommu);
    for (const listener of [...kvms, ...iommus]) listener.emit = observe;
  }
  kernel.attach(observe);

  const job = new ReclaimJob(kernel, {
    pages: mappedPages(imported),
    listeners,
    random: new Random(options.seed),
    shuffle: options.shuffle,
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
    listeners: byKind(counters.callbacks),
    traffic: job.actors.traffic,
    kvmMappedAtClear: mappedAtClear.freed,
    truncated: auditor.truncated,
    findings: auditor.findings,
  };
}

function mappedPages(imported: ImportedGuest): MappedPage[] {
  return imported.keptPages.map((page) => {
    const mappings = imported.mappingsOf(page);
    const frames = new Set<number>();
    for (const { pfn, level } of mappings) {
      for (let i = 0; i < 512 ** (level - 1); i++) frames.add(pfn + i);
    }
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
