import { NONE, PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { IGNORED, ignoring } from "../../../arch/x86/cpu/record.ts";
import { hex } from "../../text/hex.ts";
import type { RecordKind, TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { cpusInWords } from "../describe.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { cpuLane, type Lane, listenerLane } from "./holdings.ts";
import { ACCESS_VERBS, addressWords, entryWords, FLAG_WORDS, rangeWords } from "./record-words.ts";

/** What the sentences of a story may look at. */
export interface StoryView {
  readonly ledger: Ledger;
  /** The frame that the story is about. */
  readonly pfn: number;
  /** Whether the frame belongs to the page, small or compound, that a record names by its first frame. */
  isOurs(pfn: number): boolean;
  /** Whether the agent is in a function that works on the page. */
  isWorking(agent: number): boolean;
  /** Whether the last entry that the agent stored maps, or mapped, the frame. */
  hasChangedUs(agent: number): boolean;
  /** Whether the frame may be reached by one of those addresses of the space, by an entry or by what is cached of one. */
  isMappedIn(space: number, start: number, bytes: number): boolean;
  /** Whether an entry at that place maps the frame. */
  mapsUs(slot: Slot, lo: number, hi: number): boolean;
  /** Whether an entry at that place leads to the frame as to a page table. */
  leadsToUs(slot: Slot, lo: number, hi: number): boolean;
  /** Whether a range call ends one whose beginning was told. */
  hasBegun(record: TraceRecordOf<"notifier-called">): boolean;
  /** Whether the agent has put off a flush that concerns the frame. */
  hasPutOff(agent: number): boolean;
  /** Whether the frame is free now. */
  readonly isFree: boolean;
}

/** What a record says of the frame; null: nothing. `actor` is the lane that did it, where it is one. */
export interface Sentence {
  readonly text: string;
  readonly actor?: Lane;
  /** Told again and again by the same actor, as accesses are: once is enough until something else happens. */
  readonly repeats?: boolean;
}

type Tellers = {
  readonly [K in RecordKind]:
    | ((record: TraceRecordOf<K>, view: StoryView) => Sentence | null)
    | typeof IGNORED;
};

/** One sentence for each kind that can concern a frame. */
const TELLERS: Tellers = {
  "entry-written": (record, view) => tellEntry(record, view, ""),
  "accessed-dirty-set": (record, view) => tellEntry(record, view, "'s walker"),
  access: ({ physical, access, cpu, linearLo, linearHi, hit }, view) => {
    if (Math.floor(physical / PAGE_SIZE) !== view.pfn) return null;
    const how = `${ACCESS_VERBS[access]} ${addressWords(linearLo, linearHi)}${hit ? " through its TLB" : ""}`;
    return {
      text: `CPU ${cpu} ${how}${fate(view, access.endsWith("write"))}`,
      actor: cpuLane(cpu),
      repeats: true,
    };
  },
  "guest-access": (record, view) => tellAccess(record, view, "guest"),
  "device-access": (record, view) => tellAccess(record, view, "device"),
  "spte-installed": (record, view) => tellSpte(record, view, "installs", overlap(record)),
  "spte-dropped": (record, view) => tellSpte(record, view, "drops"),
  invalidated: ({ cpu, cause, all, linearLo, linearHi }) => {
    const what = all ? "all that it may" : addressWords(linearLo, linearHi);
    return { text: `CPU ${cpu} drops ${what} (${cause})`, actor: cpuLane(cpu) };
  },
  "device-entry-dropped": ({ listener, all, linearLo, linearHi, bytes }, { ledger }) => {
    const what = all ? "everything" : rangeWords(linearLo, linearHi, bytes);
    const lane = listenerLane(ledger, listener);
    return { text: `${lane.name} drops ${what}`, actor: lane };
  },
  "cr3-loaded": ({ cpu, root }, { ledger }) => {
    const space = ledger.spaces.ofRoot(root);
    const whose = space === null ? `the root ${hex(root)}` : ledger.spaces.nameOf("space", space.id);
    return { text: `CPU ${cpu} loads ${whose}`, actor: cpuLane(cpu) };
  },
  "call-entered": ({ function: name, pfn, space }, view) => {
    return view.isOurs(pfn) ? { text: `${name}${inSpace(view.ledger, space)}` } : null;
  },
  "call-left": ({ function: name, pfn, space, result }, view) => {
    return view.isOurs(pfn) ? { text: `${name}${inSpace(view.ledger, space)} returns ${result}` } : null;
  },
  "call-abandoned": ({ function: name, pfn, space }, view) => {
    return view.isOurs(pfn) ? { text: `${name}${inSpace(view.ledger, space)} never returns` } : null;
  },
  "flush-begun": ({ agent, space, cpus, linearLo, linearHi, bytes, all }, view) => {
    const where = cpusInWords(cpus);
    if (space === NONE) {
      if (!view.isWorking(agent) && !view.hasPutOff(agent)) return null;
      return { text: `what was put off is flushed on ${where || "no CPU"}` };
    }
    if (!coversUs(view, { space, linearLo, linearHi, bytes, all })) return null;
    // Others' flushes of everything, in the same address space, concern the frame only if somebody drops something.
    if (all && where === "" && !view.isWorking(agent)) return null;
    const what = all ? "everything" : rangeWords(linearLo, linearHi, bytes);
    return { text: `flush of ${what} on ${where || "no CPU"}` };
  },
  "batch-added": ({ agent, dirty }, { hasChangedUs }) => {
    return hasChangedUs(agent)
      ? { text: `the flush is put off${dirty ? ", the entry was dirty" : ""}` }
      : null;
  },
  "notifier-called": (record, view) => {
    const { agent, op, linearLo, linearHi, bytes, all } = record;
    // While the page is worked on, a range that should have held its address and does not is the very thing to tell.
    const isDue = view.isWorking(agent) && !op.endsWith("_young");
    const isOurs = isDue || view.hasBegun(record) || coversUs(view, record);
    if (!isOurs) return null;
    return { text: `mmu_notifier_${op}${all ? "" : ` ${rangeWords(linearLo, linearHi, bytes)}`}` };
  },
  "page-flag": ({ pfn, flag, set }, { isOurs }) => {
    return isOurs(pfn) ? { text: `the page ${set ? "is" : "is no more"} ${FLAG_WORDS[flag]}` } : null;
  },
  "write-out": ({ pfn }, { isOurs }) => (isOurs(pfn) ? { text: "the page is written out" } : null),
  "page-allocated": ({ pfn, order }, view) => {
    return holds(view.pfn, pfn, order) ? { text: "the frame gets its next owner" } : null;
  },
  "page-freed": ({ pfn, order }, view) => {
    return holds(view.pfn, pfn, order) ? { text: "the frame is freed" } : null;
  },
  "table-freed": ({ pfn }, view) => {
    return pfn === view.pfn ? { text: "the frame is a page table no more, and given away" } : null;
  },
  "guest-fault-retried": ({ listener, space, linearLo, linearHi }, view) => {
    if (!view.isMappedIn(space, linearNumber(linearLo, linearHi), 1)) return null;
    const lane = listenerLane(view.ledger, listener);
    const text = `${lane.name}: the guest's fault at ${addressWords(linearLo, linearHi)} is retried`;
    return { text, actor: lane, repeats: true };
  },
  ...ignoring("tlb-filled", "register-loaded", "fault", "ipi-sent", "ipi-handled", "interrupt-taken"),
  ...ignoring("privilege-changed", "halted", "gap", "agent-introduced", "named", "table-linked"),
  ...ignoring("table-unlinked", "flush-ended", "cpumask-changed", "lazy-entered", "lazy-left"),
  ...ignoring("cache-flushed", "mmu-cache-updated", "bad-pmd", "primitive", "address-space-created"),
  ...ignoring("address-space-ended", "task-runs", "page-compound", "page-backing", "swap-slot"),
  ...ignoring("swap-count", "swap-duplicated", "lock-taken", "lock-dropped"),
  ...ignoring("walk-returned", "listener-registered", "listener-unregistered", "listener-called"),
  ...ignoring("page-pinned", "page-unpinned", "vma-changed", "rmap-added", "rmap-removed", "page-put"),
  ...ignoring("page-mlocked", "swapbacked-set", "rss-changed", "warned", "bad-page"),
  ...ignoring("kvm-counters", "device-entry-installed"),
};

/** What the record says of the view's frame, null for nothing. */
export function sentenceOf(record: TraceRecord, view: StoryView): Sentence | null {
  const tell = TELLERS[record.kind] as
    | ((record: TraceRecord, view: StoryView) => Sentence | null)
    | null
    | undefined;
  return tell === IGNORED || tell === undefined ? null : tell(record, view);
}

function tellEntry(
  { agent, cpu, slot, oldLo, oldHi, entryLo, entryHi }: TraceRecordOf<"entry-written" | "accessed-dirty-set">,
  view: StoryView,
  walker: string,
): Sentence | null {
  const by = cpu === NONE ? view.ledger.spaces.nameOf("agent", agent) : `CPU ${cpu}`;
  const led = view.leadsToUs(slot, oldLo, oldHi);
  const leads = view.leadsToUs(slot, entryLo, entryHi);
  // What a walker notes in an entry on its way to the table changes nothing for anybody.
  if (led && leads) return null;
  if (!led && !leads && !view.mapsUs(slot, oldLo, oldHi) && !view.mapsUs(slot, entryLo, entryHi)) return null;
  const entry = led || leads ? "entry that leads to the table" : "entry";
  const text = `${by}${walker}: ${entry} ${entryWords(oldLo, oldHi)} -> ${entryWords(entryLo, entryHi)}`;
  return cpu === NONE ? { text } : { text, actor: cpuLane(cpu) };
}

function tellAccess(
  { listener, pfn, linearLo, linearHi, write }: TraceRecordOf<"guest-access" | "device-access">,
  view: StoryView,
  who: string,
): Sentence | null {
  if (pfn !== view.pfn) return null;
  const lane = listenerLane(view.ledger, listener);
  const what = `${lane.name}: ${who} ${write ? "writes" : "reads"} ${addressWords(linearLo, linearHi)}`;
  return { text: `${what}${fate(view, write)}`, actor: lane, repeats: true };
}

/** What should have kept a fault from installing its spte. */
function overlap({
  seqAtFault,
  notifierSeq,
  notifierCount,
  repointed,
}: TraceRecordOf<"spte-installed">): string {
  if (repointed) return "";
  if (notifierCount > 0) return `, with ${notifierCount === 1 ? "a range" : `${notifierCount} ranges`} open`;
  return seqAtFault === notifierSeq
    ? ""
    : `, although mmu_notifier_seq went from ${seqAtFault} to ${notifierSeq}`;
}

function tellSpte(
  { listener, level, pfn, linearLo, linearHi }: TraceRecordOf<"spte-installed" | "spte-dropped">,
  view: StoryView,
  verb: string,
  but = "",
): Sentence | null {
  if (!holds(view.pfn, pfn, 9 * (level - 1))) return null;
  const lane = listenerLane(view.ledger, listener);
  const size = level === 1 ? "4K" : "2M";
  return {
    text: `${lane.name} ${verb} its ${size} spte of ${addressWords(linearLo, linearHi)}${but}`,
    actor: lane,
  };
}

/** Whether the frame may be reached by an address of the range. */
function coversUs(
  view: StoryView,
  {
    space,
    linearLo,
    linearHi,
    bytes,
    all,
  }: Omit<TraceRecordOf<"notifier-called">, "kind" | "op" | "seq" | "agent" | "cpu">,
): boolean {
  return all
    ? view.isMappedIn(space, 0, Infinity)
    : view.isMappedIn(space, linearNumber(linearLo, linearHi), bytes);
}

/** What becomes of an access to a frame that nobody owns. */
function fate({ isFree }: StoryView, write: boolean): string {
  if (!isFree) return "";
  return write ? ": of a freed frame, the store is lost" : ": of a freed frame";
}

/** Whether 2^order frames from `first` hold the frame. */
function holds(pfn: number, first: number, order: number): boolean {
  return pfn >= first && pfn < first + 2 ** order;
}

function inSpace(l: Ledger, space: number): string {
  return space === NONE ? "" : ` in ${l.spaces.nameOf("space", space)}`;
}
