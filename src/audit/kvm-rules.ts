import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import type { MmEvent } from "../mm/events.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import { NO_SLOT, pmdSlot, pteSlotUnder } from "../mm/page-table.ts";
import type { VirtEvent } from "../virt/events.ts";
import type { AuditState } from "./audit-state.ts";
import { rangeText, spteDetails } from "./describe.ts";
import { BYTES_OF_LEVEL, FRAMES_OF_LEVEL } from "./frame-index.ts";
import type { Guest, MirroredSpte } from "./spte-mirror.ts";
import { RIGHT_WRITE } from "./table-map.ts";
import { noteStore } from "./writeback-rules.ts";

const PRESENT = 0x1;
const HUGE = 0x80;

type SpteInstalled = Extract<VirtEvent, { type: "spte-installed" }>;
type SpteUsed = Extract<VirtEvent, { type: "spte-used" }>;
type KvmCounters = Extract<VirtEvent, { type: "kvm-counters" }>;
type NotifierCallback = Extract<MmEvent, { type: "notifier-callback" }>;

/** Rule 8, and rule 4 for the access that follows. */
export function judgeInstalled(s: AuditState, event: SpteInstalled): void {
  const guest = s.sptes.find(event.listener, event.mm);
  if (guest === null) return;
  s.sptes.install(guest, { ...event, dirty: false });
  if (event.repointed === true || (event.count === 0 && event.seq === event.seqAtFault)) return;
  const why =
    event.count > 0 ? `${event.count} ranges were open` : `seq went from ${event.seqAtFault} to ${event.seq}`;
  s.report(`${guest.mm.name}/${guest.name}`, {
    rule: 8,
    moment: "spte installed",
    agent: guest.name,
    mm: guest.mm.name,
    address: event.hva,
    frame: event.pfn,
    owed: `a retry of the guest's fault: ${why}`,
  });
}

/** Rule 4; a store makes the frame newer than its copy on disk. */
export function judgeUsed(s: AuditState, event: SpteUsed): void {
  if (event.write) noteStore(s, event.pfn, event.listener);
  const guest = s.sptes.find(event.listener, event.mm);
  if (guest === null) return;
  s.sptes.used(guest, event.hva, event.write);
  const open = openRangeAt(guest, event.hva);
  if (open === undefined) return;
  s.report(`${guest.mm.name}/${guest.name}/${open.start}`, {
    rule: 4,
    moment: "guest access",
    agent: guest.name,
    mm: guest.mm.name,
    address: event.hva,
    frame: event.pfn,
    owed: `no translation until range_end of ${rangeText(open.start, open.length)}`,
  });
}

/** Follows the ranges that a watched KVM was told of, and whether it must report a new seq. */
export function noteCallback(s: AuditState, event: NotifierCallback): void {
  const guest = s.sptes.find(event.listener, event.mm);
  if (guest === null) return;
  const { op, start, length } = event;
  if (op === "invalidate_range_start") {
    guest.openRanges.push({ start, length });
    return;
  }
  if (op === "invalidate_range_end") {
    const at = guest.openRanges.findIndex((open) => open.start === start && open.length === length);
    if (at >= 0) guest.openRanges.splice(at, 1);
    else if (guest.openBefore > 0) guest.openBefore--;
  } else if (op !== "invalidate_page" && op !== "change_pte") return;
  if (guest.seqDue) reportSeq(s, guest, "no new mmu_notifier_seq after the invalidation before");
  guest.seqDue = true;
}

/** Rules 6 and 7. */
export function judgeCounters(s: AuditState, event: KvmCounters): void {
  const guest = s.sptes.find(event.listener, event.mm);
  if (guest === null) return;
  const open = guest.openRanges.length + guest.openBefore;
  if (event.count !== open) {
    s.report(`${guest.mm.name}/${guest.name}`, {
      rule: 6,
      moment: "counters changed",
      agent: guest.name,
      mm: guest.mm.name,
      owed: `mmu_notifier_count ${open}, it is ${event.count}`,
    });
  }
  if (event.seq < guest.seq || (guest.seqDue && event.seq === guest.seq)) {
    reportSeq(s, guest, `mmu_notifier_seq above ${guest.seq}, it is ${event.seq}`);
  }
  guest.seqDue = false;
  guest.seq = event.seq;
}

function reportSeq(s: AuditState, guest: Guest, owed: string): void {
  s.report(`${guest.mm.name}/${guest.name}`, {
    rule: 7,
    moment: "counters changed",
    agent: guest.name,
    mm: guest.mm.name,
    owed,
  });
}

/** Rules 9 and 10 for the frames of one page, once the function that changed its entries has returned. */
export function judgeSptesOf(s: AuditState, page: number, moment: string): void {
  const { first, end } = s.framesOf(page);
  for (let frame = first; frame < end; frame++) {
    s.sptes.byFrame.on(frame, (spte) => judgeSpte(s, spte, frame, moment));
  }
}

/** Rules 9 and 10 for every spte, at the end of a run. */
export function judgeAllSptes(s: AuditState): void {
  for (const guest of s.sptes.guests()) {
    for (const spte of [...guest.small.values(), ...guest.large.values()]) {
      const end = spte.frame + FRAMES_OF_LEVEL[spte.level]!;
      for (let frame = spte.frame; frame < end; frame++) judgeSpte(s, spte, frame, "quiescent");
    }
  }
}

function judgeSpte(s: AuditState, spte: MirroredSpte, frame: number, moment: string): void {
  if (spte.freed?.has(frame)) return;
  const { guest } = spte;
  const address = spte.hva + (frame - spte.frame) * BYTES_OF_LEVEL[1]!;
  // Another thread is in the middle of changing this place.
  if (openRangeAt(guest, address) !== undefined) return;
  const host = hostEntry(guest.mm, address);
  const details = { moment, ...spteDetails(spte, frame) };
  if (spte.writable && !host.writable) s.report(s.life(frame), { ...details, rule: 9 });
  if (host.frame !== frame) s.report(s.life(frame), { ...details, rule: 10 });
}

function openRangeAt(guest: Guest, address: number) {
  if (guest.openRanges.length === 0) return undefined;
  return guest.openRanges.find((open) => address >= open.start && address < open.start + open.length);
}

/** What the host's own entry says of a 4K page: its frame, -1 if none is present, and whether it is writable. */
function hostEntry(mm: mm_struct, address: number): { frame: number; writable: boolean } {
  const nothing = { frame: -1, writable: false };
  const { format } = mm.kernel;
  const pmdp = pmdSlot(mm, address);
  if (pmdp === NO_SLOT) return nothing;
  const pmd = readEntry(mm, pmdp);
  if ((pmd.lo & PRESENT) === 0) return nothing;
  if ((pmd.lo & HUGE) !== 0) {
    const offset = Math.floor((address % 2 ** 21) / 4096);
    return { frame: format.pmd_pfn(pmd) + offset, writable: (pmd.lo & RIGHT_WRITE) !== 0 };
  }
  const pte = readEntry(mm, pteSlotUnder(mm, pmdp, address));
  if ((pte.lo & PRESENT) === 0) return nothing;
  return { frame: format.pte_pfn(pte), writable: (pte.lo & RIGHT_WRITE) !== 0 };
}
