import { NONE, PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { IGNORED, ignoring } from "../../../arch/x86/cpu/record.ts";
import { formatRange, hex } from "../../text/hex.ts";
import type { RecordKind, TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { cpusInWords } from "../describe.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { cpuLane, type Lane, listenerLane } from "./holdings.ts";

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

const ACCESS_VERBS = {
  read: "reads",
  write: "writes",
  fetch: "fetches",
  "shadow-read": "reads (shadow stack)",
  "shadow-write": "writes (shadow stack)",
} as const;

/** One sentence for each kind that can concern a frame. */
const TELLERS: Tellers = {
  "entry-written": (record, view) => tellEntry(record, view, ""),
  "accessed-dirty-set": (record, view) => tellEntry(record, view, "'s walker"),
  access: ({ physical, access, cpu, linearLo, linearHi, hit }, view) => {
    if (Math.floor(physical / PAGE_SIZE) !== view.pfn) return null;
    const how = `${ACCESS_VERBS[access]} ${address(linearLo, linearHi)}${hit ? " through its TLB" : ""}`;
    return {
      text: `CPU ${cpu} ${how}${fate(view, access.endsWith("write"))}`,
      actor: cpuLane(cpu),
      repeats: true,
    };
  },
  "guest-access": (record, view) => tellAccess(record, view, "guest"),
  "device-access": (record, view) => tellAccess(record, view, "device"),
  "spte-installed": (record, view) => tellSpte(record, view, "installs"),
  "spte-dropped": (record, view) => tellSpte(record, view, "drops"),
  invalidated: ({ cpu, cause, all, linearLo, linearHi }) => {
    const what = all ? "all that it may" : address(linearLo, linearHi);
    return { text: `CPU ${cpu} drops ${what} (${cause})`, actor: cpuLane(cpu) };
  },
  "device-entry-dropped": ({ listener, all, linearLo, linearHi, bytes }, { ledger }) => {
    const what = all ? "everything" : range(linearLo, linearHi, bytes);
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
    const isAll = all || view.isMappedIn(space, linearNumber(linearLo, linearHi), bytes);
    if (!view.isWorking(agent) || !(space === NONE || isAll)) return null;
    if (space === NONE) return { text: `what was put off is flushed on ${cpusInWords(cpus) || "no CPU"}` };
    const what = all ? "everything" : range(linearLo, linearHi, bytes);
    return { text: `flush of ${what} on ${cpusInWords(cpus) || "no CPU"}` };
  },
  "batch-added": ({ agent, dirty }, { hasChangedUs }) => {
    return hasChangedUs(agent)
      ? { text: `the flush is put off${dirty ? ", the entry was dirty" : ""}` }
      : null;
  },
  "notifier-called": ({ agent, space, op, linearLo, linearHi, bytes, all }, view) => {
    if (!view.isWorking(agent)) return null;
    // A range that should have held the frame's address and does not is the very thing to tell.
    const isAging = op.endsWith("_young");
    if (isAging && !view.isMappedIn(space, linearNumber(linearLo, linearHi), bytes)) return null;
    return { text: `mmu_notifier_${op}${all ? "" : ` ${range(linearLo, linearHi, bytes)}`}` };
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
  ...ignoring("tlb-filled", "register-loaded", "fault", "ipi-sent", "ipi-handled", "interrupt-taken"),
  ...ignoring("privilege-changed", "halted", "gap", "agent-introduced", "named", "table-linked"),
  ...ignoring("table-unlinked", "flush-ended", "cpumask-changed", "lazy-entered", "lazy-left"),
  ...ignoring("cache-flushed", "mmu-cache-updated", "bad-pmd", "primitive", "address-space-created"),
  ...ignoring("address-space-ended", "task-runs", "page-compound", "page-backing", "swap-slot"),
  ...ignoring("swap-count", "swap-duplicated", "table-freed", "lock-taken", "lock-dropped"),
  ...ignoring("walk-returned", "listener-registered", "listener-unregistered", "listener-called"),
  ...ignoring("page-pinned", "page-unpinned", "vma-changed", "rmap-added", "rmap-removed", "page-put"),
  ...ignoring("page-mlocked", "swapbacked-set", "rss-changed", "warned", "bad-page"),
  ...ignoring("guest-fault-retried", "kvm-counters", "device-entry-installed"),
};

const FLAG_WORDS = {
  dirty: "dirty",
  writeback: "under writeback",
  "swap-cache": "in the swap cache",
} as const;

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
  if (!view.mapsUs(slot, oldLo, oldHi) && !view.mapsUs(slot, entryLo, entryHi)) return null;
  const by = cpu === NONE ? view.ledger.spaces.nameOf("agent", agent) : `CPU ${cpu}`;
  const text = `${by}${walker}: entry ${entryWords(oldLo, oldHi)} -> ${entryWords(entryLo, entryHi)}`;
  return cpu === NONE ? { text } : { text, actor: cpuLane(cpu) };
}

/** Bits of a leaf that matter to who may use it, by their manual names. */
const ENTRY_BITS = [
  [0x2, "W"],
  [0x20, "A"],
  [0x40, "D"],
] as const;

function entryWords(lo: number, hi: number): string {
  if ((lo | hi) === 0) return "none";
  if ((lo & 1) === 0) return "not present";
  return `P${ENTRY_BITS.map(([bit, name]) => ((lo & bit) !== 0 ? name : "")).join("")}`;
}

function tellAccess(
  { listener, pfn, linearLo, linearHi, write }: TraceRecordOf<"guest-access" | "device-access">,
  view: StoryView,
  who: string,
): Sentence | null {
  if (pfn !== view.pfn) return null;
  const lane = listenerLane(view.ledger, listener);
  const what = `${lane.name}: ${who} ${write ? "writes" : "reads"} ${address(linearLo, linearHi)}`;
  return { text: `${what}${fate(view, write)}`, actor: lane, repeats: true };
}

function tellSpte(
  { listener, level, pfn, linearLo, linearHi }: TraceRecordOf<"spte-installed" | "spte-dropped">,
  view: StoryView,
  verb: string,
): Sentence | null {
  if (!holds(view.pfn, pfn, 9 * (level - 1))) return null;
  const lane = listenerLane(view.ledger, listener);
  const size = level === 1 ? "4K" : "2M";
  return { text: `${lane.name} ${verb} its ${size} spte of ${address(linearLo, linearHi)}`, actor: lane };
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

function address(lo: number, hi: number): string {
  return hex(linearNumber(lo, hi));
}

function range(lo: number, hi: number, bytes: number): string {
  return formatRange({ start: linearNumber(lo, hi), length: bytes });
}
