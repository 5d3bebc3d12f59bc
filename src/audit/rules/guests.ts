import { BYTES_OF_LEVEL, NONE, PAGE_SIZE, PAGES_OF_LEVEL, type Slot } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { formatRange, hex } from "../../text/hex.ts";
import { missing, spteDetails } from "../describe.ts";
import type { ByteRange } from "../ledger/byte-range.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { type Guest, openRangeAt, type Spte } from "../ledger/listeners.ts";
import type { Moment, MomentOf } from "../ledger/moments.ts";
import { HUGE, PRESENT, RIGHT_WRITE } from "../ledger/translation.ts";
import { type Breach, type Rule, rule } from "./rule.ts";

const SPTE_MOMENTS = ["call-left", "run-ended"] as const;
const SPTE_RETURNS = ["page_mkclean", "try_to_unmap"];

/** One frame of one spte, looked at when nobody is in the middle of changing the place. */
interface SettledSpte {
  readonly spte: Spte;
  readonly pfn: number;
  readonly moment: string;
}

/** What the host's own entry says of a 4K page: its frame, -1 if none is present, and whether it is writable. */
interface HostEntry {
  readonly pfn: number;
  readonly writable: boolean;
}

const NO_HOST: HostEntry = { pfn: -1, writable: false };

function hostEntry(l: Ledger, guest: Guest, address: number): HostEntry {
  const space = l.spaces.get(guest.space);
  if (space === undefined) return NO_HOST;
  const { levels } = l.world.cpu(0);
  let table = space.root;
  for (let level: number = levels; level >= 1; level--) {
    const index = Math.floor(address / BYTES_OF_LEVEL[level]!) % 512;
    const entry = l.world.entry((table + index * 8) as Slot);
    if ((entry.lo & PRESENT) === 0) return NO_HOST;
    if (level > 1 && (entry.lo & HUGE) === 0) {
      table = frame(entry.lo, entry.hi) * PAGE_SIZE;
      continue;
    }
    const writable = (entry.lo & RIGHT_WRITE) !== 0;
    const offset = Math.floor((address % BYTES_OF_LEVEL[level]!) / PAGE_SIZE);
    const first = frame(entry.lo, entry.hi);
    return { pfn: first - (level === 1 ? 0 : first % PAGES_OF_LEVEL[level]!) + offset, writable };
  }
  return NO_HOST;
}

function frame(lo: number, hi: number): number {
  return (hi & 0xf_ffff) * 2 ** 20 + (lo >>> 12);
}

/** Offers an spte unless somebody is in the middle of changing its place, or it is a finding already. */
function offer(
  spte: Spte,
  pfn: number,
  returned: string | null,
  visit: (subject: SettledSpte) => void,
): void {
  if (spte.freed?.has(pfn) === true) return;
  if (openRangeAt(spte.guest, spte.hva + (pfn - spte.pfn) * PAGE_SIZE) !== undefined) return;
  visit({ spte, pfn, moment: returned === null ? "quiescent" : `${returned} returned` });
}

/** The sptes to look at: of one page after a function that changed its entries, of all at the end of a run. */
function settledSptes(
  l: Ledger,
  moment: MomentOf<(typeof SPTE_MOMENTS)[number]>,
  visit: (subject: SettledSpte) => void,
): void {
  if (moment.kind === "call-left") {
    const { first, end } = l.pages.framesOf(moment.pfn);
    for (let pfn = first; pfn < end; pfn++) {
      l.listeners.byPfn.on(pfn, (spte) => offer(spte, pfn, moment.function, visit));
    }
    return;
  }
  for (const guest of l.listeners.guests()) {
    for (const spte of [...guest.small.values(), ...guest.large.values()]) {
      const end = spte.pfn + PAGES_OF_LEVEL[spte.level]!;
      for (let pfn = spte.pfn; pfn < end; pfn++) offer(spte, pfn, null, visit);
    }
  }
}

function settledBreach(l: Ledger, { spte, pfn, moment }: SettledSpte): Breach {
  return { key: l.pages.life(pfn), details: { moment, ...spteDetails(l, spte, pfn) } };
}

function hostOf(l: Ledger, { spte, pfn }: SettledSpte): HostEntry {
  return hostEntry(l, spte.guest, spte.hva + (pfn - spte.pfn) * PAGE_SIZE);
}

/** What is said of a guest's counters. */
function countersBreach(l: Ledger, guest: Guest, moment: string, what: string, wrong: string): Breach {
  return {
    key: `${guest.id}`,
    details: {
      moment,
      agent: l.spaces.nameOf("listener", guest.id),
      space: guest.space,
      site: "",
      owed: { ...missing(what, wrong), fault: "wrong count" },
    },
  };
}

/** A guest that tells its counters, or that is called again before it has. */
interface CounterSubject {
  readonly guest: Guest;
  readonly told: MomentOf<"kvm-counters"> | null;
}

function endsInvalidation(op: string): boolean {
  return op === "invalidate_range_end" || op === "invalidate_page" || op === "change_pte";
}

function counterSubjects(
  l: Ledger,
  moment: Extract<Moment, { kind: "kvm-counters" | "listener-called" }>,
  visit: (subject: CounterSubject) => void,
): void {
  const guest = l.listeners.guest(moment.listener);
  if (guest === null || guest.seq === NONE) return;
  if (moment.kind === "kvm-counters") visit({ guest, told: moment });
  else if (endsInvalidation(moment.op)) visit({ guest, told: null });
}

export const GUEST_RULES: readonly Rule[] = [
  rule({
    id: 4,
    title: "a guest uses no page of a range between range_start and range_end",
    when: "guest access",
    source: "virt/kvm/kvm_main.c: mmu_notifier_count blocks installs",
    before: ["guest-access"],
    subjects(
      l,
      { listener, linearLo, linearHi, pfn },
      visit: (use: { guest: Guest; hva: number; pfn: number; open: ByteRange | undefined }) => void,
    ) {
      const guest = l.listeners.guest(listener);
      if (guest === null || guest.openRanges.length === 0) return;
      const hva = linearNumber(linearLo, linearHi);
      visit({ guest, hva, pfn, open: openRangeAt(guest, hva) });
    },
    broken: (_l, { open }) => open !== undefined,
    breach(l, { guest, hva, pfn, open = { start: hva, length: 0 } }) {
      return {
        key: `${guest.id}/${open.start}`,
        details: {
          moment: "guest access",
          agent: l.spaces.nameOf("listener", guest.id),
          space: guest.space,
          linear: hva,
          pfn,
          site: "",
          owed: missing("no translation", `until range_end of ${formatRange(open)}`),
        },
      };
    },
  }),
  rule({
    id: 6,
    title: "mmu_notifier_count is the number of open ranges",
    when: "counters changed",
    source: "virt/kvm/kvm_main.c: BUG_ON(mmu_notifier_count < 0)",
    before: ["kvm-counters"],
    subjects: counterSubjects,
    broken: (_l, { guest, told }) =>
      told !== null && told.notifierCount !== guest.openRanges.length + guest.openBefore,
    breach(l, { guest, told }) {
      const open = guest.openRanges.length + guest.openBefore;
      const wrong = `${open}, it is ${told?.notifierCount}`;
      return countersBreach(l, guest, "counters changed", "mmu_notifier_count", wrong);
    },
  }),
  rule({
    id: 7,
    title: "mmu_notifier_seq grows with every completed invalidation",
    when: "counters changed",
    source: "virt/kvm/kvm_main.c: mmu_notifier_seq",
    before: ["kvm-counters", "listener-called"],
    subjects: counterSubjects,
    broken: (_l, { guest, told }) =>
      told === null
        ? guest.seqDue
        : told.notifierSeq < guest.seq || (guest.seqDue && told.notifierSeq === guest.seq),
    breach(l, { guest, told }) {
      const wrong =
        told === null
          ? "that grows, after the invalidation before"
          : `above ${guest.seq}, it is ${told.notifierSeq}`;
      return countersBreach(l, guest, "counters changed", "mmu_notifier_seq", wrong);
    },
  }),
  rule({
    id: 8,
    title: "no spte is installed by a fault that an invalidation overlapped",
    when: "spte installed",
    source: "include/linux/kvm_host.h mmu_notifier_retry",
    before: ["spte-installed"],
    subjects(l, record, visit: (subject: { guest: Guest; record: MomentOf<"spte-installed"> }) => void) {
      const guest = l.listeners.guest(record.listener);
      if (guest !== null && !record.repointed) visit({ guest, record });
    },
    broken: (_l, { record }) => record.notifierCount !== 0 || record.notifierSeq !== record.seqAtFault,
    breach(l, { guest, record }) {
      const { notifierCount, notifierSeq, seqAtFault, pfn, linearLo, linearHi } = record;
      const linear = linearNumber(linearLo, linearHi);
      const why =
        notifierCount > 0
          ? `${notifierCount} ranges were open`
          : `seq went from ${seqAtFault} to ${notifierSeq}`;
      return {
        key: `${guest.id}/${hex(linear)}`,
        details: {
          moment: "spte installed",
          agent: l.spaces.nameOf("listener", guest.id),
          space: guest.space,
          linear,
          pfn,
          site: "",
          owed: missing("a retry of the guest's fault", `: ${why}`),
        },
      };
    },
  }),
  rule({
    id: 9,
    title: "a writable spte has a present, writable host entry",
    when: "try_to_unmap or page_mkclean returned, run ended",
    source: "mm/gup.c: a guest may write only what the host could",
    after: SPTE_MOMENTS,
    returns: SPTE_RETURNS,
    subjects: settledSptes,
    broken: (l, subject) => subject.spte.writable && !hostOf(l, subject).writable,
    breach: settledBreach,
  }),
  rule({
    id: 10,
    title: "an spte points to the frame of the host entry",
    when: "try_to_unmap or page_mkclean returned, run ended",
    source: "include/linux/mmu_notifier.h: every change of a frame is notified",
    after: SPTE_MOMENTS,
    returns: SPTE_RETURNS,
    subjects: settledSptes,
    broken: (l, subject) => hostOf(l, subject).pfn !== subject.pfn,
    breach: settledBreach,
  }),
];
