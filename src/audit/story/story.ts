import { NONE, PAGE_SIZE, Pfn, type Slot } from "../../../arch/x86/cpu/address.ts";
import { type Argument, need } from "../../../arch/x86/cpu/argument.ts";
import { iterable, shape } from "../../../arch/x86/cpu/argument-kinds.ts";
import { Entry, frameOf } from "../../../arch/x86/cpu/entry.ts";
import { hex } from "../../text/hex.ts";
import type { TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { WORLD } from "../../trace/world.ts";
import type { RecordedRun } from "../auditor.ts";
import { addressIn } from "../describe.ts";
import { Ledger } from "../ledger/ledger.ts";
import { HUGE, type Leaf, PRESENT } from "../ledger/translation.ts";
import { type Hold, holdingsOf, type Lane, listenerLane } from "./holdings.ts";
import { plainSentenceOf } from "./plain-sentences.ts";
import { type Sentence, type StoryView, sentenceOf } from "./sentences.ts";

/** One line of a story. */
export interface StoryLine {
  /** Number of the record. */
  readonly seq: number;
  /** Where the kernel told listeners, or might have: what, the same in two runs that do the same; else null. */
  readonly step: string | null;
  readonly text: string;
  /** Key of the lane that acted, null where it is the kernel on behalf of all. */
  readonly actor: string | null;
  /** By lane: what it may hold of the frame after this line. */
  readonly holds: ReadonlyMap<string, Hold>;
  /** Lanes that did hold a translation to the frame then; null where nobody could look. */
  readonly held: ReadonlySet<string> | null;
  /** Listeners that the call is for and that have no such operation. */
  readonly unheard: readonly string[];
  /** The run is over: nothing happened that has a number of its own. */
  readonly ends: boolean;
}

/** What happened to one frame: who took part, line by line. */
export interface Story {
  readonly pfn: number;
  /** Everybody who took part, in the order of their first part. */
  readonly lanes: readonly Lane[];
  readonly lines: readonly StoryLine[];
  /** Lines left out in the middle: how many, and after which of `lines`. */
  readonly left: number;
  readonly gapAt: number;
}

/** Lines kept of the beginning and of the end; a page of libc can have thousands. */
const FIRST_LINES = 300;
const LAST_LINES = 200;

/** Records after which somebody may hold less, or more, than before, whatever they are about. */
const MAY_MOVE: ReadonlySet<TraceRecord["kind"]> = new Set([
  "invalidated",
  "cr3-loaded",
  "device-entry-dropped",
]);

export interface StoryOptions {
  /** Looks into live caches for the lanes that hold a translation to the frame; default: nobody can. */
  readonly held?: (pfn: number) => ReadonlySet<string>;
  /** Records that belong to the story although they say nothing of the frame, as one that decides something does. */
  readonly decides?: (record: TraceRecord) => boolean;
}

/** Calls of one function that a line tells of. */
interface ToldCalls {
  readonly of: { readonly agent: number; readonly function: string; readonly space: number };
  /** Number of the record with which the first began, and how that was told. */
  readonly entered: number;
  readonly text: string;
  /** What they returned; null for one that goes on. */
  readonly result: number | null;
  readonly count: number;
  /** Those that the line above tells of, where one begins. */
  readonly before: ToldCalls | null;
}

const RUN = shape<RecordedRun>("run", { world: WORLD as Argument<never>, opening: iterable("opening") });
const OPTIONS = shape<StoryOptions>("options of a story", {});

/** Follows one frame through a run: its `observe` takes every record, in order. */
export class StoryTeller implements StoryView {
  readonly pfn: number;
  readonly ledger: Ledger;
  isFree = false;
  readonly #lanes = new Map<string, Lane>();
  readonly #first: StoryLine[] = [];
  readonly #last: StoryLine[] = [];
  #left = 0;
  #seq = 0;
  readonly #options: StoryOptions;
  readonly #take: (record: TraceRecord) => void;
  /** By agent: functions that it is in, and that work on the page. */
  readonly #working = new Map<number, number>();
  /** By agent: whether its last store to an entry was to one that maps the frame, or did. */
  readonly #changed = new Map<number, boolean>();
  /** Bounds of each invalidate_range_start that was told and whose end has not come. */
  readonly #begun = new Set<string>();
  /** Told since anything else happened: actors touch a page again and again. */
  readonly #told = new Set<string>();
  #holds: ReadonlyMap<string, Hold>;
  /** The call that the last line tells of: one that has just begun, or some that ended with nothing told in between. */
  #call: ToldCalls | null = null;

  constructor(run: RecordedRun, pfn: number, options: StoryOptions = {}) {
    const { world, opening } = need(RUN, run);
    this.pfn = Pfn.of(pfn);
    this.#options = need(OPTIONS, options);
    this.ledger = new Ledger(world);
    this.ledger.open(opening);
    this.#take = this.ledger.take;
    this.#holds = this.#look();
  }

  /** The story so far. */
  get story(): Story {
    const lines = [...this.#first, ...this.#last];
    const lanes = [...this.#lanes.values()];
    return { pfn: this.pfn, lanes, lines, left: this.#left, gapAt: this.#first.length };
  }

  readonly observe = (record: TraceRecord): void => {
    const ours = record.kind.startsWith("call-") && "pfn" in record && this.isOurs(record.pfn);
    if (ours && record.kind !== "call-entered") this.#work(record.agent, -1);
    const before = sentenceOf(record, this);
    const decides = this.#options.decides?.(record) ?? false;
    const plain = decides ? { text: plainSentenceOf(record, this.ledger) } : null;
    if (record.kind === "notifier-called" && before !== null) this.#bracket(record);
    if (record.kind === "entry-written") this.#changed.set(record.agent, before !== null);
    this.#take(record);
    if (record.kind === "page-freed" && before !== null) this.isFree = true;
    if (record.kind === "page-allocated" && before !== null) this.isFree = false;
    if (ours && record.kind === "call-entered") this.#work(record.agent, 1);
    const sentence = (MAY_MOVE.has(record.kind) ? this.#moved(before) : before) ?? plain;
    if (sentence !== null) this.#tell(record, decides ? { ...sentence, repeats: false } : sentence, decides);
    this.#seq = record.seq;
  };

  /** The run is over, and that is told. */
  end(): void {
    this.#holds = this.#look();
    const ends = { seq: this.#seq, step: null, text: "the run ends", actor: null, unheard: [], ends: true };
    this.#add({ ...ends, holds: this.#holds, held: null });
  }

  isOurs = (pfn: number): boolean => {
    if (pfn < 0) return false;
    const { first, end } = this.ledger.pages.framesOf(this.pfn);
    return pfn >= first && pfn < end;
  };

  isWorking = (agent: number): boolean => (this.#working.get(agent) ?? 0) > 0;

  hasChangedUs = (agent: number): boolean => this.#changed.get(agent) === true;

  isMappedIn = (space: number, start: number, bytes: number): boolean => {
    let found = false;
    const look = (holder: number, address: number): void => {
      if (holder === space && address >= start && address < start + bytes) found = true;
    };
    const { tables, debts, listeners } = this.ledger;
    const idOf = (leaf: Leaf): number => this.ledger.spaceOf(leaf.reach)?.id ?? NONE;
    tables.leavesOn(this.pfn, (leaf) => look(idOf(leaf), addressIn(leaf, this.pfn)));
    debts.byPfn.on(this.pfn, ({ change: { leaf } }) => look(idOf(leaf), addressIn(leaf, this.pfn)));
    listeners.byPfn.on(this.pfn, (spte) =>
      look(spte.guest.space, spte.hva + (this.pfn - spte.pfn) * PAGE_SIZE),
    );
    return found;
  };

  mapsUs = (slot: Slot, lo: number, hi: number): boolean => {
    return this.ledger.tables.mapsFrame(slot, new Entry(lo, hi), this.pfn);
  };

  leadsToUs = (slot: Slot, lo: number, hi: number): boolean => {
    const level = this.ledger.tables.usesOf(Math.floor(slot / PAGE_SIZE))[0]?.level ?? 0;
    if (level < 2 || (lo & PRESENT) === 0 || (level < 4 && (lo & HUGE) !== 0)) return false;
    return frameOf(lo, hi) === this.pfn;
  };

  hasPutOff = (agent: number): boolean => this.ledger.task(agent).batch.pfns.has(this.pfn);

  hasBegun = (record: TraceRecordOf<"notifier-called">): boolean => {
    return record.op === "invalidate_range_end" && this.#begun.has(boundsOf(record));
  };

  #work(agent: number, by: number): void {
    this.#working.set(agent, Math.max(0, (this.#working.get(agent) ?? 0) + by));
  }

  /** The sentence, if with the record a stale translation went, or came back into reach. */
  #moved(sentence: Sentence | null): Sentence | null {
    if (sentence === null) return null;
    const before = this.#holds;
    this.#holds = this.#look();
    return sameStale(before, this.#holds) ? null : sentence;
  }

  #look(): ReadonlyMap<string, Hold> {
    return holdingsOf(this.ledger, this.pfn, (lane) => this.#meet(lane));
  }

  #meet(lane: Lane): void {
    if (!this.#lanes.has(lane.key)) this.#lanes.set(lane.key, lane);
  }

  #bracket(record: TraceRecordOf<"notifier-called">): void {
    if (record.op === "invalidate_range_start") this.#begun.add(boundsOf(record));
    else if (record.op === "invalidate_range_end") this.#begun.delete(boundsOf(record));
  }

  #tell(record: TraceRecord, { text, actor, repeats }: Sentence, decides: boolean): void {
    if (repeats) {
      if (this.#told.has(text)) return;
      this.#told.add(text);
    } else this.#told.clear();
    if (actor !== undefined) this.#meet(actor);
    this.#holds = this.#look();
    const { seq } = record;
    const folded = decides ? this.#keep() : this.#fold(record, text);
    this.#add({
      seq: folded?.seq ?? seq,
      step: folded === null ? stepOf(record) : null,
      text: folded?.text ?? text,
      actor: actor?.key ?? null,
      holds: this.#holds,
      held: this.#options.held?.(this.pfn) ?? null,
      unheard: this.#unheard(record),
      ends: false,
    });
  }

  /**
   * A call that ends with nothing told since it began takes the place of its beginning, and joins others like it: of a page
   * that a hundred address spaces might map, most do not.
   */
  #fold(record: TraceRecord, text: string): { readonly seq: number; readonly text: string } | null {
    const last = this.#call;
    this.#call = null;
    if (record.kind === "call-entered") {
      const before = last?.result === null ? null : last;
      this.#call = { of: callOf(record), entered: record.seq, result: null, count: 0, text, before };
      return null;
    }
    if (record.kind !== "call-left" || last === null || last.result !== null) return null;
    const { of, entered, before } = last;
    if (of.agent !== record.agent || of.function !== record.function || of.space !== record.space)
      return null;
    const { result } = record;
    this.#drop();
    if (before === null || before.of.function !== of.function || before.result !== result) {
      this.#call = { of, entered, result, count: 1, text: last.text, before: null };
      return { seq: entered, text };
    }
    this.#drop();
    this.#call = { ...before, count: before.count + 1 };
    return { seq: before.entered, text: `${before.text} and ${before.count} more: each returns ${result}` };
  }

  /** What decides something stands alone. */
  #keep(): null {
    this.#call = null;
    return null;
  }

  #drop(): void {
    if (this.#last.pop() === undefined) this.#first.pop();
  }

  /** Lanes that hold the frame in the called address space and lack the operation. */
  #unheard(record: TraceRecord): string[] {
    if (record.kind !== "notifier-called") return [];
    return this.ledger.listeners
      .of(record.space)
      .filter(({ ops }) => !ops.has(record.op) && !(isRangePart(record.op) && ops.has("invalidate_range")))
      .map(({ id }) => listenerLane(this.ledger, id).key)
      .filter((key) => this.#holds.has(key));
  }

  #add(line: StoryLine): void {
    if (this.#first.length < FIRST_LINES) this.#first.push(line);
    else if (this.#last.push(line) > LAST_LINES) {
      this.#last.shift();
      this.#left++;
    }
  }
}

function callOf({ agent, function: name, space }: TraceRecordOf<"call-entered">): ToldCalls["of"] {
  return { agent, function: name, space };
}

/** The story of a frame in a recording. */
export function storyOf(run: RecordedRun, records: Iterable<TraceRecord>, pfn: number): Story {
  const teller = new StoryTeller(run, pfn);
  for (const record of records) teller.observe(record);
  return teller.story;
}

/** A story as plain data. */
export function storyJson({ pfn, lanes, lines, left, gapAt }: Story): unknown {
  return {
    pfn: pfn === NONE ? null : hex(pfn),
    lanes,
    lines: lines.map(({ seq, text, actor, holds, held, unheard, ends }) => ({
      event: ends ? null : seq,
      text,
      actor,
      holds: Object.fromEntries(holds),
      held: held === null ? null : [...held],
      unheard,
    })),
    left,
    gapAt,
  };
}

/** Functions that tell listeners in the way of the run's notifier protocol. */
const TELLING: ReadonlySet<string> = new Set(["page_mkclean_one", "try_to_unmap_one"]);

/**
 * What two runs must have in common to be at the same step; null for what does not depend on how listeners are told: who
 * uses the page when, and whether it is found young.
 */
function stepOf(record: TraceRecord): string | null {
  switch (record.kind) {
    case "call-entered":
      return TELLING.has(record.function) ? `${record.function} ${record.space}` : null;
    case "notifier-called":
      if (record.op.endsWith("_young")) return null;
      return `${record.op} ${record.space} ${record.linearLo} ${record.linearHi}`;
    case "write-out":
    case "page-freed":
      return record.kind;
    default:
      return null;
  }
}

/** Whether the core, at the end of the range, calls invalidate_range of those who have it. */
function isRangePart(op: string): boolean {
  return op === "invalidate_range_start" || op === "invalidate_range_end";
}

/** Whose range it is, and its bounds. */
function boundsOf({ agent, space, linearLo, linearHi, bytes }: TraceRecordOf<"notifier-called">): string {
  return `${agent}/${space}/${linearLo}/${linearHi}/${bytes}`;
}

/** Whether the same lanes may hold something stale. */
function sameStale(a: ReadonlyMap<string, Hold>, b: ReadonlyMap<string, Hold>): boolean {
  const keys = new Set([...a.keys(), ...b.keys()]);
  return [...keys].every((key) => (a.get(key)?.stale ?? false) === (b.get(key)?.stale ?? false));
}
