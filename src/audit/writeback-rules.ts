import { swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import { SWAP_HAS_CACHE } from "../mm/swapfile.ts";
import type { AuditState, NewerData } from "./audit-state.ts";
import {
  changedBy,
  debtDetails,
  owedFlush,
  pageRange,
  spteDetails,
  staleDebt,
  staleLeaf,
  storesLand,
} from "./describe.ts";
import { RIGHT_WRITE, WAS_DIRTY } from "./table-map.ts";

const CLEANED = "page_mkclean returned";

/** Somebody stored to the frame: its data is newer than its copy on disk. */
export function noteStore(s: AuditState, frame: number, agent: string): void {
  if (s.newer.has(frame)) return;
  const { mem_map } = s.kernel;
  if (!mem_map.pfn_valid(frame)) return;
  s.newer.set(frame, { agent, event: s.event, file: mem_map.fileMapping(frame) !== null });
}

/** Rule 36, at the moment when a page's content goes to the disk. */
export function judgeWriteOut(s: AuditState, page: number): void {
  const { first, end } = s.framesOf(page);
  const { mem_map } = s.kernel;
  for (let frame = first; frame < end; frame++) {
    judgeWriters(s, frame);
    s.newer.delete(frame);
    if (!mem_map.PageSwapCache(page)) continue;
    const entry = mem_map.page_private(frame);
    if (swp_type(entry) === 0) s.swapSlots.set(frame, swp_offset(entry));
  }
}

function judgeWriters(s: AuditState, frame: number): void {
  const moment = "page written out";
  s.ghost.byFrame.on(frame, (debt) => {
    const { cache, change } = debt;
    if (cache.cpu < 0 || !storesLand(debt.rights)) return;
    const address = change.leaf.page + (frame - debt.frame) * 4096;
    s.reportDebt(debt, s.life(frame), {
      rule: 36,
      moment,
      agent: cache.name,
      mm: change.leaf.mm.name,
      address,
      frame,
      stale: staleDebt(debt, frame),
      changedBy: changedBy(change),
      owed: owedFlush(change, "try_to_unmap_flush_dirty before the write-out"),
      staleRanges: [pageRange(address)],
    });
  });
  s.tables.mapped.on(frame, (slot) =>
    s.tables.leavesAt(slot, (leaf) => {
      if (!storesLand(leaf.rights)) return;
      for (const cache of s.ghost.of(leaf.mm)) {
        if (cache.cpu < 0) continue;
        s.report(s.life(frame), {
          rule: 36,
          moment,
          agent: cache.name,
          mm: leaf.mm.name,
          address: leaf.page + (frame - leaf.frame) * 4096,
          frame,
          stale: staleLeaf(leaf, frame),
          owed: "page_mkclean, or unmap and flush, before the write-out",
        });
      }
    }),
  );
}

/** Rule 11, when page_mkclean has returned: every next store must fault. */
export function judgeCleaned(s: AuditState, page: number): void {
  const { first, end } = s.framesOf(page);
  const ofFile = !s.kernel.mem_map.PageAnon(page);
  for (let frame = first; frame < end; frame++) {
    judgeCleanedCaches(s, frame);
    if (ofFile) judgeCleanedEntries(s, frame);
    s.sptes.byFrame.on(frame, (spte) => {
      if (spte.writable) s.report(s.life(frame), { rule: 11, moment: CLEANED, ...spteDetails(spte, frame) });
    });
  }
}

function judgeCleanedCaches(s: AuditState, frame: number): void {
  s.ghost.byFrame.on(frame, (debt) => {
    // A store through a clean translation looks at the entry again, and faults: that one may stay.
    if (!storesLand(debt.rights)) return;
    const details = debtDetails(debt, frame, "page_mkclean returns");
    s.reportDebt(debt, s.life(frame), { rule: 11, moment: CLEANED, ...details });
  });
}

function judgeCleanedEntries(s: AuditState, frame: number): void {
  s.tables.mapped.on(frame, (slot) =>
    s.tables.leavesAt(slot, (leaf) => {
      if ((leaf.rights & RIGHT_WRITE) === 0) return;
      for (const { name } of s.usersOf(leaf)) {
        s.report(s.life(frame), {
          rule: 11,
          moment: CLEANED,
          agent: name,
          mm: leaf.mm.name,
          address: leaf.page + (frame - leaf.frame) * 4096,
          frame,
          stale: staleLeaf(leaf, frame),
          owed: "write-protect every entry that maps the page",
        });
      }
    }),
  );
}

/** Rule 35 at free: data that only the freed frame had, although a copy of it will be read again. */
export function judgeFreedData(s: AuditState, frame: number): void {
  const newer = s.newer.get(frame);
  if (newer !== undefined && isReadAgain(s, frame, newer)) reportLost(s, frame, newer, "page freed");
}

/** Rule 35 at rest: newer data must have something that says so. */
export function judgeDataAtRest(s: AuditState): void {
  for (const [frame, newer] of s.newer) {
    if (isReadAgain(s, frame, newer) && !isMarkedDirty(s, frame)) reportLost(s, frame, newer, "quiescent");
  }
}

/** A file's page is read again from its file; an anonymous one from its slot, while an entry refers to that. */
function isReadAgain(s: AuditState, frame: number, newer: NewerData): boolean {
  if (newer.file) return true;
  const slot = s.swapSlots.get(frame);
  return slot !== undefined && (s.kernel.swap.swap_map[slot]! & ~SWAP_HAS_CACHE) !== 0;
}

function isMarkedDirty(s: AuditState, frame: number): boolean {
  const { mem_map } = s.kernel;
  if (mem_map.PageDirty(frame) || mem_map.PageWriteback(frame)) return true;
  let dirty = false;
  s.tables.mapped.on(frame, (slot) => {
    if ((s.kernel.machine.memory.readLo(slot) & WAS_DIRTY) !== 0) dirty = true;
  });
  s.sptes.byFrame.on(frame, (spte) => {
    if (spte.dirty) dirty = true;
  });
  s.ghost.byFrame.on(frame, (debt) => {
    if (debt.change.deferred && storesLand(debt.rights)) dirty = true;
  });
  return dirty;
}

function reportLost(s: AuditState, frame: number, newer: NewerData, moment: string): void {
  s.report(s.life(frame), {
    rule: 35,
    moment,
    agent: newer.agent,
    mm: "",
    frame,
    owed: `set_page_dirty and a write-out after the store at event ${newer.event}`,
  });
}
