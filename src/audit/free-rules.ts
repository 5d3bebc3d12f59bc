import type { AuditState } from "./audit-state.ts";
import { debtDetails, pageRange, spteDetails, staleLeaf } from "./describe.ts";
import type { Debt } from "./ghost-tlb.ts";
import type { MirroredSpte } from "./spte-mirror.ts";
import type { Leaf } from "./table-map.ts";
import { judgeFreedData } from "./writeback-rules.ts";

const FREED = "page freed";

/** Rules 1, 2, 3, 35 and 48: a frame goes to the allocator, so nobody may translate to it any more. */
export function judgeFreed(s: AuditState, frame: number): void {
  s.ghost.byFrame.on(frame, (debt) => reportDebt(s, debt, frame));
  s.tables.mapped.on(frame, (slot) => s.tables.leavesAt(slot, (leaf) => reportLeaf(s, leaf, frame)));
  s.sptes.byFrame.on(frame, (spte) => reportSpte(s, spte, frame));
  judgeFreedData(s, frame);
  const { task } = s;
  if (task.batch.frames.has(frame)) {
    s.report(s.life(frame), {
      rule: 48,
      moment: FREED,
      agent: task.task.name,
      mm: "",
      frame,
      owed: "try_to_unmap_flush before the page is freed",
    });
  }
  s.endLife(frame);
}

function reportDebt(s: AuditState, debt: Debt, frame: number): void {
  const rule = debt.cache.cpu >= 0 ? 1 : 3;
  s.reportDebt(debt, s.life(frame), {
    rule,
    moment: FREED,
    ...debtDetails(debt, frame, "the page is freed"),
  });
}

/** An entry that still maps the freed page may be cached wherever its mm is in use, and later elsewhere. */
function reportLeaf(s: AuditState, leaf: Leaf, frame: number): void {
  const address = leaf.page + (frame - leaf.frame) * 4096;
  for (const { name, isDevice } of s.usersOf(leaf)) {
    s.report(s.life(frame), {
      rule: isDevice ? 3 : 1,
      moment: FREED,
      agent: name,
      mm: leaf.mm.name,
      address,
      frame,
      stale: staleLeaf(leaf, frame),
      owed: "unmap and flush before the page is freed",
      staleRanges: [pageRange(address)],
    });
  }
}

function reportSpte(s: AuditState, spte: MirroredSpte, frame: number): void {
  spte.freed ??= new Set();
  spte.freed.add(frame);
  s.report(s.life(frame), { rule: 2, moment: FREED, ...spteDetails(spte, frame) });
}
