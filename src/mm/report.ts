import { NONE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import type { CpuMask } from "../../arch/x86/mm/cpumask.ts";
import type { Kernel, mm_struct } from "./mm_types.ts";
import type { LockClass, MmRecord, NotifierOp } from "./records.ts";

/*
 * What the kernel records often, one function a kind, each a literal in the order of its fields. Each asks whether anybody
 * hears it; whoever must work to know what to say asks first.
 */

export function reportLock(
  k: Kernel,
  kind: "lock-taken" | "lock-dropped",
  lock: number,
  lockClass: LockClass,
  pfn: Pfn,
): void {
  const { records, current } = k;
  const tell = records.hearer(kind);
  if (tell === null) return;
  tell({
    kind,
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    lock,
    lockClass,
    pfn,
  });
}

export function reportWalkReturned(k: Kernel, found: boolean): void {
  const { records, current } = k;
  const tell = records.hearer("walk-returned");
  if (tell === null) return;
  tell({
    kind: "walk-returned",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    found,
    locks: current.locksHeld,
  });
}

/** A change of a page's counts. */
export function reportMapped(k: Kernel, kind: "rmap-added" | "rmap-removed", pfn: Pfn): void {
  const { records, current, mem_map } = k;
  const tell = records.hearer(kind);
  if (tell === null) return;
  tell({
    kind,
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    pfn,
    mapcount: mem_map.total_mapcount(pfn),
    own: mem_map.page_mapcount(pfn),
  });
}

export function reportPut(k: Kernel, pfn: Pfn, refcount: number): void {
  const { records, current } = k;
  const tell = records.hearer("page-put");
  if (tell === null) return;
  tell({
    kind: "page-put",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    pfn,
    refcount,
  });
}

/** 2^order frames were taken from the allocator, or given to it. */
export function reportPages(k: Kernel, kind: "page-allocated" | "page-freed", pfn: Pfn, order: number): void {
  const { records, current } = k;
  const tell = records.hearer(kind);
  if (tell === null) return;
  tell({
    kind,
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    pfn,
    order,
  });
}

/** Something that has a page for all it says. */
export function reportPage(
  k: Kernel,
  kind: "page-mlocked" | "swapbacked-set" | "write-out" | "page-pinned" | "page-unpinned",
  pfn: Pfn,
): void {
  const { records, current } = k;
  if (!records.live) return;
  records.emit({ kind, seq: records.next(), agent: records.agent, cpu: current.cpu, space: NONE, pfn });
}

export function flagRecord(
  k: Kernel,
  pfn: Pfn,
  flag: "dirty" | "writeback" | "swap-cache",
  set: boolean,
): MmRecord {
  const { records, current } = k;
  return {
    kind: "page-flag",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    pfn,
    flag,
    set,
  };
}

export function swapSlotRecord(k: Kernel, pfn: Pfn, swap: number): MmRecord {
  const { records, current } = k;
  return {
    kind: "swap-slot",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    pfn,
    swap,
  };
}

export function swapCountRecord(k: Kernel, swap: number): MmRecord {
  const { records, current } = k;
  return {
    kind: "swap-count",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    swap,
    count: k.swap.references(swap),
  };
}

export function reportDuplicated(k: Kernel, swap: number, ok: boolean): void {
  const { records, current } = k;
  const tell = records.hearer("swap-duplicated");
  if (tell === null) return;
  tell({
    kind: "swap-duplicated",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: NONE,
    swap,
    ok,
  });
}

export function reportRss(mm: mm_struct, counter: number, delta: number): void {
  const { records, current } = mm.kernel;
  const tell = records.hearer("rss-changed");
  if (tell === null) return;
  tell({
    kind: "rss-changed",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: mm.id,
    counter,
    delta,
  });
}

export function reportDeferred(mm: mm_struct, cpus: CpuMask, dirty: boolean): void {
  const { records, current } = mm.kernel;
  const tell = records.hearer("batch-added");
  if (tell === null) return;
  tell({
    kind: "batch-added",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: mm.id,
    cpus,
    dirty,
  });
}

/** The notifier core was called, for `bytes` from `start`. */
export function reportNotifier(op: NotifierOp, mm: mm_struct, start: number, bytes: number): void {
  const { records, current } = mm.kernel;
  const tell = records.hearer("notifier-called");
  if (tell === null) return;
  tell({
    kind: "notifier-called",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: mm.id,
    op,
    linearLo: linearLo(start),
    linearHi: linearHi(start),
    bytes: Number.isFinite(bytes) ? bytes : 0,
    all: !Number.isFinite(bytes),
  });
}

/** A listener's operation is about to be called; without an end, for everything. */
export function reportListener(
  listener: number,
  op: NotifierOp,
  mm: mm_struct,
  start: number,
  bytes: number,
  maySleep: boolean,
): void {
  const { records, current } = mm.kernel;
  const tell = records.hearer("listener-called");
  if (tell === null) return;
  tell({
    kind: "listener-called",
    seq: records.next(),
    agent: records.agent,
    cpu: current.cpu,
    space: mm.id,
    listener,
    op,
    linearLo: linearLo(start),
    linearHi: linearHi(start),
    bytes: Number.isFinite(bytes) ? bytes : 0,
    all: !Number.isFinite(bytes),
    maySleep,
    locks: current.locksHeld,
  });
}
