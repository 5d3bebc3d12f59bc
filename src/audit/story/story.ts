import { NONE, PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { hex } from "../../text/hex.ts";
import type { TraceRecord } from "../../trace/record.ts";
import type { RecordedRun } from "../auditor.ts";
import { addressIn } from "../describe.ts";
import { Ledger } from "../ledger/ledger.ts";
import type { Leaf } from "../ledger/translation.ts";
import { type Hold, holdingsOf, type Lane, listenerLane } from "./holdings.ts";
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

/**
 * Follows one frame through a run: its `observe` takes every record, in order. `held` looks into live caches for lanes
 * that hold a translation to the frame.
 */
export class StoryTeller implements StoryView {
  readonly pfn: number;
  readonly ledger: Ledger;
  isFree = false;
  readonly #lanes = new Map<string, Lane>();
  readonly #first: StoryLine[] = [];
  readonly #last: StoryLine[] = [];
  #left = 0;
  readonly #held: ((pfn: number) => ReadonlySet<string>) | null;
  readonly #take: (record: TraceRecord) => void;
  /** By agent: functions that it is in, and that work on the page. */
  readonly #working = new Map<number, number>();
  /** By agent: whether its last store to an entry was to one that maps the frame, or did. */
  readonly #changed = new Map<number, boolean>();
  /** Told since anything else happened: actors touch a page again and again. */
  readonly #told = new Set<string>();
  #holds: ReadonlyMap<string, Hold>;

  constructor(
    { world, opening }: RecordedRun,
    pfn: number,
    held: ((pfn: number) => ReadonlySet<string>) | null,
  ) {
    this.pfn = pfn;
    this.#held = held;
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
    if (record.kind === "entry-written") this.#changed.set(record.agent, before !== null);
    this.#take(record);
    if (record.kind === "page-freed" && before !== null) this.isFree = true;
    if (record.kind === "page-allocated" && before !== null) this.isFree = false;
    if (ours && record.kind === "call-entered") this.#work(record.agent, 1);
    const sentence = MAY_MOVE.has(record.kind) ? this.#moved(before) : before;
    if (sentence !== null) this.#tell(record, sentence);
  };

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

  #tell(record: TraceRecord, { text, actor, repeats }: Sentence): void {
    if (repeats) {
      if (this.#told.has(text)) return;
      this.#told.add(text);
    } else this.#told.clear();
    if (actor !== undefined) this.#meet(actor);
    this.#holds = this.#look();
    const { seq } = record;
    this.#add({
      seq,
      step: stepOf(record),
      text,
      actor: actor?.key ?? null,
      holds: this.#holds,
      held: this.#held?.(this.pfn) ?? null,
      unheard: this.#unheard(record),
    });
  }

  /** Lanes that hold the frame in the called address space and lack the operation. */
  #unheard(record: TraceRecord): string[] {
    if (record.kind !== "notifier-called") return [];
    return this.ledger.listeners
      .of(record.space)
      .filter(({ ops }) => !ops.has(record.op))
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

/** The story of a frame in a recording. */
export function storyOf(run: RecordedRun, records: Iterable<TraceRecord>, pfn: number): Story {
  const teller = new StoryTeller(run, pfn, null);
  for (const record of records) teller.observe(record);
  return teller.story;
}

/** A story as plain data. */
export function storyJson({ pfn, lanes, lines, left, gapAt }: Story): unknown {
  return {
    pfn: hex(pfn),
    lanes,
    lines: lines.map(({ seq, text, actor, holds, held, unheard }) => ({
      event: seq,
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

/** Whether the same lanes may hold something stale. */
function sameStale(a: ReadonlyMap<string, Hold>, b: ReadonlyMap<string, Hold>): boolean {
  const keys = new Set([...a.keys(), ...b.keys()]);
  return [...keys].every((key) => (a.get(key)?.stale ?? false) === (b.get(key)?.stale ?? false));
}
