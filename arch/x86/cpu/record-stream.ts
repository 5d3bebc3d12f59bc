import { NONE, Pfn } from "./address.ts";
import { type Handlers, handlerOf, IGNORED, type RecordHeader } from "./record.ts";
import type { AgentType, HardwareRecordOf } from "./records.ts";

/** The agent of what is done from outside the machine: a loader, a test, a program that drives it by hand. */
export const OUTSIDE_AGENT = 0;

/** The flush of what no flush caused. */
export const NO_FLUSH = 0;

/** Somebody who may act. */
export interface Agent {
  readonly id: number;
  readonly type: AgentType;
  /** The CPU that it runs on, or NONE. */
  readonly cpu: number;
  readonly name: string;
}

/** Who listens: a function that hears every record, or one for each kind, with those that it ignores. */
export type RecordListener<R extends RecordHeader> = ((record: R) => void) | Handlers<R>;

/** Whether a frame is a page table to whoever listens. */
export type IsTable = (pfn: Pfn) => boolean;

interface Listening<R extends RecordHeader> {
  readonly listener: RecordListener<R>;
  readonly isTable: IsTable | null;
}

type RecordOf<R extends RecordHeader, K extends R["kind"]> = Extract<R, { readonly kind: K }>;

/** The stream as those see it who record: of a layer's own kinds and those below. */
export interface RecordSink<R extends RecordHeader> {
  /** Whether anybody listens: the one check that a record costs otherwise. */
  readonly live: boolean;
  /**
   * Who hears records of a kind, as one function, for what is recorded often; null when nobody does. Whoever asks hands over
   * one record, or none if there is nobody: its number passes.
   */
  hearer<K extends R["kind"]>(kind: K): ((record: RecordOf<R, K>) => void) | null;
  /** Who acts now: whoever drives the machine says so. */
  agent: number;
  /** The flush that causes what happens now. */
  flush: number;
  /** The number for a record that is being made. */
  next(): number;
  /** Hands a record to every listener. */
  emit(record: R): void;
}

function nobody(): void {}

/** One function for some, called in their order. */
function inTurn<R>(hearers: readonly ((record: R) => void)[]): (record: R) => void {
  const [first, second, ...others] = hearers;
  if (first === undefined) return nobody;
  if (second === undefined) return first;
  if (others.length > 0) {
    return (record) => {
      for (const hear of hearers) hear(record);
    };
  }
  return (record) => {
    first(record);
    second(record);
  };
}

/**
 * One machine's records, from all layers, to any number of listeners. Listeners read and never steer: each hears every
 * record from its `listen` on, in order, whoever else listens.
 *
 * Whoever emits asks {@link live} first: with nobody listening a record costs that one check.
 */
export class RecordStream<R extends RecordHeader> implements RecordSink<R> {
  live = false;
  agent: number = OUTSIDE_AGENT;
  flush: number = NO_FLUSH;
  #listeners: readonly Listening<R>[] = [];
  /** Who hears a kind, as one function: found out at the first record of the kind. */
  readonly #hearers = new Map<string, (record: R) => void>();
  #seq = 0;
  #step = 1;
  readonly #agents: Agent[] = [{ id: OUTSIDE_AGENT, type: "outside", cpu: NONE, name: "outside" }];

  /** Number of the last record. */
  get seq(): number {
    return this.#seq;
  }

  next(): number {
    this.#seq += this.#step;
    return this.#seq;
  }

  hearer<K extends R["kind"]>(kind: K): ((record: RecordOf<R, K>) => void) | null {
    if (!this.live) return null;
    const hear = this.#hearers.get(kind) ?? this.#findHearers(kind);
    if (hear !== nobody) return hear as (record: RecordOf<R, K>) => void;
    this.#seq += this.#step;
    return null;
  }

  emit(record: R): void {
    (this.#hearers.get(record.kind) ?? this.#findHearers(record.kind))(record);
  }

  #findHearers(kind: string): (record: R) => void {
    const hearers: ((record: R) => void)[] = [];
    for (const { listener } of this.#listeners) {
      const hear = typeof listener === "function" ? listener : handlerOf(listener, kind);
      if (hear !== IGNORED) hearers.push(hear);
    }
    const all = inTurn(hearers);
    this.#hearers.set(kind, all);
    return all;
  }

  /** Makes records that nobody hears, of what is the case rather than of what happens: nobody does it, their number is 0. */
  aside<T>(make: () => T): T {
    const { agent } = this;
    const seq = this.#seq;
    this.agent = OUTSIDE_AGENT;
    this.#seq = 0;
    this.#step = 0;
    try {
      return make();
    } finally {
      this.agent = agent;
      this.#seq = seq;
      this.#step = 1;
    }
  }

  /**
   * From now on the listener hears records. Returns what ends it. Throws TypeError for what is no listener.
   *
   * A CPU does not know which frames are page tables. `isTable` is asked at each store of a CPU: where it says so, what the
   * store changes is told as entries written, too.
   */
  listen(listener: RecordListener<R>, isTable: IsTable | null = null): () => void {
    if (typeof listener !== "function" && (typeof listener !== "object" || listener === null)) {
      throw new TypeError(`listener ${String(listener)}: give a function, or one for each kind of record`);
    }
    if (isTable !== null && typeof isTable !== "function") {
      throw new TypeError(`isTable ${String(isTable)}: give a function of a frame number, or nothing`);
    }
    const own = { listener, isTable };
    this.#set([...this.#listeners, own]);
    return () => this.#set(this.#listeners.filter((each) => each !== own));
  }

  /** Whether some listener watches the frame of a physical address as a page table. */
  watches(physical: number): boolean {
    for (const { isTable } of this.#listeners) if (isTable?.(Pfn.truncate(physical))) return true;
    return false;
  }

  #set(listeners: readonly Listening<R>[]): void {
    this.#listeners = listeners;
    this.#hearers.clear();
    this.live = listeners.length > 0;
  }

  /** Everybody introduced so far, by id. */
  get agents(): readonly Agent[] {
    return this.#agents;
  }

  /** Gives somebody who may act an id. */
  introduce(type: AgentType, cpu: number, name: string): number {
    const id = this.#agents.length;
    const agent = { id, type, cpu, name };
    this.#agents.push(agent);
    if (this.live) for (const record of introductionOf(agent, () => this.next())) this.emit(record as never);
    return id;
  }
}

/** The records by which a reader learns of an agent; `next` numbers them. */
export function introductionOf(
  { id, type, cpu, name }: Agent,
  next: () => number,
): [HardwareRecordOf<"agent-introduced">, HardwareRecordOf<"named">] {
  const header = { agent: OUTSIDE_AGENT, cpu, space: NONE };
  return [
    { kind: "agent-introduced", seq: next(), ...header, newAgent: id, type },
    { kind: "named", seq: next(), ...header, subject: "agent", id, name },
  ];
}
