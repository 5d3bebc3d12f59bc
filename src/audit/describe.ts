import { type ChangedBy, type FindingDetails, hexNumber, type StaleTranslation } from "./findings.ts";
import { BYTES_OF_LEVEL } from "./frame-index.ts";
import type { ByteRange, Change, Debt } from "./ghost-tlb.ts";
import type { MirroredSpte } from "./spte-mirror.ts";
import { type Leaf, RIGHT_EXECUTE, RIGHT_WRITE, WAS_DIRTY } from "./table-map.ts";

const WRITE_DIRTY = RIGHT_WRITE | WAS_DIRTY;

/** Whether a cached translation with these rights lets a store through without looking at the entry again. */
export function storesLand(rights: number): boolean {
  return (rights & WRITE_DIRTY) === WRITE_DIRTY;
}

function rightsInWords(rights: number): string {
  const words = ["read"];
  if ((rights & RIGHT_WRITE) !== 0) words.push("write");
  if ((rights & RIGHT_EXECUTE) !== 0) words.push("execute");
  return words.join(", ");
}

export function staleDebt(debt: Debt, frame: number): StaleTranslation {
  return {
    to: `frame ${hexNumber(frame)} by a cached translation`,
    size: BYTES_OF_LEVEL[debt.level]!,
    rights: rightsInWords(debt.rights),
    writable: storesLand(debt.rights),
    dirty: (debt.rights & WAS_DIRTY) !== 0,
  };
}

export function staleLeaf(leaf: Leaf, frame: number): StaleTranslation {
  return {
    to: `frame ${hexNumber(frame)} by ${leaf.protNone ? "a PROT_NONE entry" : "an entry"} that is still present`,
    size: BYTES_OF_LEVEL[leaf.level]!,
    rights: leaf.protNone ? "none" : rightsInWords(leaf.rights),
    writable: (leaf.rights & RIGHT_WRITE) !== 0,
    dirty: (leaf.rights & WAS_DIRTY) !== 0,
  };
}

export function staleSpte(spte: MirroredSpte, frame: number): StaleTranslation {
  return {
    to: `frame ${hexNumber(frame)} by the spte of guest frame ${hexNumber(spte.gfn + frame - spte.frame)}`,
    size: BYTES_OF_LEVEL[spte.level]!,
    rights: spte.writable ? "read, write" : "read",
    writable: spte.writable,
    dirty: spte.dirty,
  };
}

export function changedBy(change: Change | null): ChangedBy | null {
  if (change === null) return null;
  return { caller: change.caller, primitive: change.primitive, event: change.event };
}

/** The 4 KiB at an address. */
export function pageRange(start: number): ByteRange {
  return { start, length: 4096 };
}

export function rangeText(start: number, length: number): string {
  return `[${hexNumber(start)}, ${hexNumber(start + length)})`;
}

/** The flush that a CPU's debt waits for. */
export function owedFlush(change: Change, deferred: string): string {
  if (change.deferred) return deferred;
  const { page, level } = change.leaf;
  if (level === 1) return `flush_tlb_page of ${hexNumber(page)} after ${change.caller} changed its entry`;
  return `flush_tlb_range of ${rangeText(page, BYTES_OF_LEVEL[level]!)} after ${change.caller} changed its entry`;
}

/** The call that a device's debt waits for. */
export function owedInvalidation(change: Change, before: string): string {
  if (change.missed !== null) return change.missed.owed;
  const { page, level } = change.leaf;
  return `mmu_notifier_invalidate_range of ${rangeText(page, BYTES_OF_LEVEL[level]!)} before ${before}`;
}

export const OWED_TO_GUEST = "mmu_notifier_invalidate_range_start/end around the walk";

/** What is said of a cached translation that outlived its deadline: "the page is freed", "page_mkclean returns". */
export function debtDetails(
  debt: Debt,
  frame: number,
  deadline: string,
): Omit<FindingDetails, "rule" | "moment"> {
  const { cache, change } = debt;
  const address = change.leaf.page + (frame - debt.frame) * 4096;
  const onCpu = cache.cpu >= 0;
  return {
    agent: cache.name,
    mm: change.leaf.mm.name,
    address,
    frame,
    stale: staleDebt(debt, frame),
    changedBy: changedBy(change),
    owed: onCpu
      ? owedFlush(change, `try_to_unmap_flush before ${deadline}`)
      : owedInvalidation(change, deadline),
    staleRanges: (onCpu ? null : change.missed?.stale) ?? [pageRange(address)],
  };
}

/** What is said of an spte that the host's page has outlived. */
export function spteDetails(spte: MirroredSpte, frame: number): Omit<FindingDetails, "rule" | "moment"> {
  const address = spte.hva + (frame - spte.frame) * 4096;
  return {
    agent: spte.guest.name,
    mm: spte.guest.mm.name,
    address,
    frame,
    stale: staleSpte(spte, frame),
    changedBy: changedBy(spte.hostChange),
    owed: OWED_TO_GUEST,
    staleRanges: [pageRange(address)],
  };
}
