import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { MmEvent } from "../mm/events.ts";
import type { Kernel } from "../mm/kernel.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { VirtEvent, VirtObserver } from "../virt/events.ts";
import type { Iommu } from "../virt/iommu.ts";
import type { Kvm } from "../virt/kvm.ts";
import { AuditState } from "./audit-state.ts";
import { judgeBatchFlush, judgeBatchFlushed, judgeDeferral, judgeReclaimReturned } from "./batch-rules.ts";
import {
  judgeCacheHook,
  judgeFill,
  judgeFlushBegin,
  judgePut,
  judgeRootLoaded,
  judgeUnmapped,
  judgeWalkReturned,
} from "./call-rules.ts";
import { CpuContextMap } from "./cpu-contexts.ts";
import { DeviceViews } from "./device-rules.ts";
import type { Finding } from "./findings.ts";
import { FlushLedger } from "./flush-ledger.ts";
import { BYTES_OF_LEVEL } from "./frame-index.ts";
import { judgeFreed } from "./free-rules.ts";
import { TranslationCache } from "./ghost-tlb.ts";
import {
  judgeAllSptes,
  judgeCounters,
  judgeInstalled,
  judgeSptesOf,
  judgeUsed,
  noteCallback,
} from "./kvm-rules.ts";
import {
  judgeCallback,
  judgeNotifierCall,
  judgeOpenBrackets,
  noteChange,
  noteTouched,
} from "./notifier-rules.ts";
import type { Leaf } from "./table-map.ts";
import { judgeCleaned, judgeDataAtRest, judgeWriteOut, noteStore } from "./writeback-rules.ts";

export interface AuditorOptions {
  /** The command that replays the run up to a finding. */
  readonly replay?: (finding: Finding) => string;
}

/**
 * Judges a run by what hardware, kernel and secondary MMUs report, and steers nothing (design D9). Create it when the
 * scene is built, attach `observe` to the kernel, watch the KVMs and devices, run, then call `finish`.
 *
 *   entry weakened ──► debt of every cache that may hold it ──► paid by an invalidation that covers it
 *                                                          └──► still there when it matters: a finding
 *
 * What a concrete TLB kept plays no part, so a missing flush is found in a run where nobody happens to hit it.
 */
export class Auditor {
  readonly #state: AuditState;
  readonly #cpus: CpuContextMap;
  readonly #devices = new Map<mm_struct, TranslationCache[]>();
  readonly #views: DeviceViews;
  #finished = false;
  readonly flushes: FlushLedger;

  constructor(kernel: Kernel, options: AuditorOptions = {}) {
    const sink = {
      weakened: (leaf: Leaf, value: Entry) => this.#weakened(leaf, value),
      aged: (leaf: Leaf) => this.#state.ghost.age(leaf),
      replaced: (mm: mm_struct, page: number, level: number) =>
        noteTouched(this.#state.task, mm, page, page + BYTES_OF_LEVEL[level]!),
      installed: (mm: mm_struct, page: number, level: number, frame: number, slot: number) =>
        this.#views.installed(mm, page, level, frame, slot),
    };
    this.#state = new AuditState(kernel, sink, options.replay ?? null);
    this.#views = new DeviceViews(this.#state);
    this.#cpus = new CpuContextMap(kernel, this.#state.ghost, this.#state.tables);
    this.flushes = new FlushLedger(this.#state.ghost);
  }

  /** What was found so far, in the order of finding. */
  get findings(): readonly Finding[] {
    return this.#state.log.all;
  }

  /** How many findings each rule has; rules without one are absent. */
  countByRule(): Map<number, number> {
    return this.#state.log.countByRule();
  }

  /** How many events were observed. */
  get events(): number {
    return this.#state.event;
  }

  /** Whether some tables were left out because they were too many or pointed in circles: findings may be missing. */
  get truncated(): boolean {
    return this.#state.tables.truncated;
  }

  /** From now on the KVM's sptes are followed, those that it has included. An observer that it had stays. */
  watchKvm(kvm: Kvm): void {
    const { sptes } = this.#state;
    const guest = sptes.watch(kvm.name, kvm.mm, kvm.mmu_notifier_seq, kvm.mmu_notifier_count);
    for (const spte of kvm.sptes()) sptes.install(guest, spte);
    kvm.emit = both(kvm.emit, this.observe);
  }

  /** From now on the device is one of the caches that may hold the mm's translations. */
  watchIommu(iommu: Iommu): void {
    const cache = new TranslationCache(iommu.name, -1);
    this.#state.ghost.attach(cache, iommu.mm);
    const devices = this.#devices.get(iommu.mm);
    if (devices === undefined) this.#devices.set(iommu.mm, [cache]);
    else devices.push(cache);
    iommu.emit = both(iommu.emit, this.observe);
  }

  /** The run is over, nothing is in flight: what must hold at rest is judged. */
  finish(): readonly Finding[] {
    if (this.#finished) return this.findings;
    this.#finished = true;
    const s = this.#state;
    judgeOpenBrackets(s);
    judgeAllSptes(s);
    judgeDataAtRest(s);
    this.#views.finish();
    return this.findings;
  }

  readonly observe = (event: MmEvent | VirtEvent): void => {
    const s = this.#state;
    s.event++;
    switch (event.type) {
      case "entry-written":
        s.byKernel = event.cpu !== null;
        s.task.lastChange = null;
        s.tables.entryWritten(event.address, event.old, event.value);
        return;
      case "access":
        if (event.write) noteStore(s, Math.floor(event.physical / 4096), `CPU ${event.cpu}`);
        return;
      case "walk-returned":
        judgeWalkReturned(s, event.found, event.locksHeld);
        return;
      case "cache-flush":
        s.task.cacheHook = event;
        return;
      case "ptl-unlocked":
        this.#views.unlocked(event.table);
        return;
      case "page-put":
        judgePut(s, event.page, event.refcount);
        return;
      case "page-freed":
        judgeFreed(s, event.page);
        return;
      case "write-out":
        judgeWriteOut(s, event.page);
        return;
      case "call-entered":
        s.task.enter(event.call, event.page, event.mm);
        return;
      case "call-left":
        this.#callLeft(event);
        return;
      case "notifier-called":
        judgeNotifierCall(s, event);
        return;
      case "notifier-callback":
        judgeCallback(s, event);
        noteCallback(s, event);
        if (event.op === "release") this.#released(event.listener, event.mm);
        return;
      case "invlpg":
      case "page-fault":
        this.#cpus.addressDropped(event.cpu, event.address);
        return;
      case "tlb-filled":
        judgeFill(s, this.#cpus.current(event.cpu), event.page);
        return;
      default:
        this.#observeRest(event);
    }
  };

  /** The events that are rare. */
  #observeRest(event: MmEvent | VirtEvent): void {
    const s = this.#state;
    switch (event.type) {
      case "cr3-loaded":
        this.#cpus.rootLoaded(event.cpu, event.root, event.pcid, event.keep);
        s.resume(this.#cpus.current(event.cpu));
        judgeRootLoaded(s, this.#cpus.current(event.cpu));
        return;
      case "cr4-written":
        this.#cpus.flushed(event.cpu, event.flushed === "all" ? null : event.pcid);
        return;
      case "tlb-flush-begin":
        judgeFlushBegin(s, event.mm);
        this.flushes.begin(event.cpu);
        return;
      case "tlb-flush-end":
        this.flushes.end(event.cpu, event.caller, event.site);
        return;
      case "tlb-batch-add":
        judgeDeferral(s, event);
        return;
      case "tlb-batch-flush-begin":
        judgeBatchFlush(s, event.mask);
        this.flushes.begin(event.cpu);
        return;
      case "tlb-batch-flush-end":
        this.flushes.end(event.cpu, event.caller, "arch_tlbbatch_flush");
        judgeBatchFlushed(s);
        return;
      case "spte-installed":
        judgeInstalled(s, event);
        return;
      case "spte-zapped": {
        const guest = s.sptes.find(event.listener, event.mm);
        if (guest !== null) s.sptes.zap(guest, event.level, event.hva);
        return;
      }
      case "spte-used":
        judgeUsed(s, event);
        return;
      case "kvm-counters":
        judgeCounters(s, event);
        return;
      case "device-access":
        if (event.write) noteStore(s, event.pfn, event.listener);
        return;
      case "device-tlb-invalidated":
        this.#deviceInvalidated(event);
        return;
    }
  }

  /** The device stops using the mm; what it still holds it must drop now. */
  #released(listener: string, mm: mm_struct): void {
    for (const cache of this.#devices.get(mm) ?? []) {
      if (cache.name === listener) this.#state.ghost.detachAll(cache);
    }
  }

  #deviceInvalidated(event: Extract<VirtEvent, { type: "device-tlb-invalidated" }>): void {
    const { ghost } = this.#state;
    for (const cache of this.#devices.get(event.mm) ?? []) {
      if (cache.name !== event.listener) continue;
      if (event.length === Number.POSITIVE_INFINITY) ghost.dropAll(cache);
      else ghost.dropRange(cache, event.start, event.length);
    }
  }

  #callLeft(event: Extract<MmEvent, { type: "call-left" }>): void {
    const s = this.#state;
    s.task.leave(event.call);
    if (event.call === "page_mkclean") {
      judgeCleaned(s, event.page);
      judgeSptesOf(s, event.page, "page_mkclean returned");
    } else if (event.call === "try_to_unmap") {
      judgeUnmapped(s, event);
      judgeSptesOf(s, event.page, "try_to_unmap returned");
    } else if (event.call === "shrink_page_list") judgeReclaimReturned(s);
  }

  #weakened(leaf: Leaf, value: Entry): void {
    const s = this.#state;
    const change = s.changeOf(leaf, value);
    s.ghost.owe(change);
    s.sptes.hostChanged(change);
    judgeCacheHook(s, change);
    noteChange(s, change);
  }
}

function both(first: VirtObserver | null, second: VirtObserver): VirtObserver {
  if (first === null) return second;
  return (event) => {
    first(event);
    second(event);
  };
}
