import type { MmEvent } from "../mm/events.ts";
import type { AuditState } from "./audit-state.ts";
import { changedBy, pageRange } from "./describe.ts";
import { WAS_DIRTY } from "./table-map.ts";

type BatchAdd = Extract<MmEvent, { type: "tlb-batch-add" }>;

/** Rules 46 and 47, when a task puts off the flush for the entry that it has just cleared. */
export function judgeDeferral(s: AuditState, event: BatchAdd): void {
  const { task } = s;
  task.batch.mask |= event.mask;
  const change = task.lastChange;
  if (change === null || change.leaf.mm !== event.mm || change.deferred) return;
  const { leaf } = change;
  change.deferred = true;
  task.batch.changes.push(change);
  task.batch.frames.add(leaf.frame);
  const details = {
    moment: "flush deferred",
    mm: leaf.mm.name,
    address: leaf.page,
    frame: leaf.frame,
    changedBy: changedBy(change),
  };
  for (const debt of change.debts) {
    const { cache } = debt;
    if (cache.cpu < 0 || ((event.mask >>> cache.cpu) & 1) !== 0) continue;
    s.reportDebt(debt, s.life(leaf.frame), {
      ...details,
      rule: 46,
      agent: cache.name,
      owed: `${cache.name} in the batch's cpumask`,
      staleRanges: [pageRange(leaf.page)],
    });
  }
  if ((leaf.rights & WAS_DIRTY) !== 0 && !event.writable) {
    s.report(s.life(leaf.frame), {
      ...details,
      rule: 47,
      agent: task.task.name,
      owed: "set_tlb_ubc_flush_pending with writable, since the entry was dirty",
    });
  }
}

/** Rule 46 at the flush itself: it goes to every CPU that was added. */
export function judgeBatchFlush(s: AuditState, mask: number): void {
  const { task } = s;
  const missing = task.batch.mask & ~mask;
  if (missing === 0) return;
  s.report(`${task.task.name}/mask`, {
    rule: 46,
    moment: "deferred flush begun",
    agent: cpusOf(missing),
    mm: "",
    owed: `a flush of ${cpusOf(missing)}, which was added to the batch`,
  });
}

/** Rule 46 after the flush: nothing that it was put off for may be left. */
export function judgeBatchFlushed(s: AuditState): void {
  const { task } = s;
  for (const change of task.batch.changes) {
    for (const debt of change.debts) {
      if (debt.paid || debt.cache.cpu < 0) continue;
      const { leaf } = change;
      s.reportDebt(debt, s.life(leaf.frame), {
        rule: 46,
        moment: "deferred flush done",
        agent: debt.cache.name,
        mm: leaf.mm.name,
        address: leaf.page,
        frame: leaf.frame,
        changedBy: changedBy(change),
        owed: `a full flush of ${debt.cache.name} by try_to_unmap_flush`,
        staleRanges: [pageRange(leaf.page)],
      });
    }
  }
  task.forgetBatch();
}

/** Rule 48, when reclaim returns to its caller. */
export function judgeReclaimReturned(s: AuditState): void {
  const { task } = s;
  if (!task.flushDue) return;
  s.report(`${task.task.name}/returned`, {
    rule: 48,
    moment: "shrink_page_list returned",
    agent: task.task.name,
    mm: "",
    owed: `try_to_unmap_flush for ${task.batch.changes.length} entries before the return`,
  });
}

function cpusOf(mask: number): string {
  const cpus: string[] = [];
  for (let cpu = 0; cpu < 32; cpu++) if (((mask >>> cpu) & 1) !== 0) cpus.push(`CPU ${cpu}`);
  return cpus.join(", ");
}
