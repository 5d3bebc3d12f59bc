import { NONE } from "../../../arch/x86/cpu/address.ts";
import { NO_FLUSH, OUTSIDE_AGENT } from "../../../arch/x86/cpu/record-stream.ts";
import { KINDS, type RecordKind, type TraceRecord } from "../record.ts";
import { Misfit } from "./misfit.ts";

/** Most agents, spaces and so on, each: only what is open or alive counts where things end. */
const MAX_IDS = 2 ** 20;

/** An id that was never introduced: what has it, and which. */
export interface UnknownId {
  readonly of: "agent" | "task" | "space" | "listener" | "flush" | "lock" | "subject";
  readonly id: number;
}

/** Kinds by the fields that name something. */
const NAMING: Readonly<Record<"listener" | "flush" | "lock", ReadonlySet<string>>> = {
  listener: kindsWith("listener"),
  flush: kindsWith("flush"),
  lock: kindsWith("lock"),
};

function kindsWith(field: "listener" | "flush" | "lock"): ReadonlySet<string> {
  return new Set((Object.keys(KINDS) as RecordKind[]).filter((kind) => KINDS[kind].has.includes(field)));
}

/**
 * Who and what a recording has introduced so far. Agents, spaces and listeners stay known, for records may come of them
 * after their end; flushes are known while they are under way, and locks while they are held, so that a long recording
 * takes no more room than a short one.
 */
export class Introductions {
  /** By id: whether it is a task. */
  readonly #agents = new Map<number, boolean>([[OUTSIDE_AGENT, false]]);
  readonly #spaces = new Set<number>();
  readonly #listeners = new Set<number>();
  readonly #flushes = new Set<number>();
  /** How often each is held: readers share a semaphore. */
  readonly #locks = new Map<number, number>();

  /** Takes in what a record introduces: before it is asked what the record names. */
  begin(record: TraceRecord): void {
    switch (record.kind) {
      case "agent-introduced":
        this.#agents.set(bounded(this.#agents, "agents", record.newAgent), record.type === "task");
        break;
      case "address-space-created":
        this.#spaces.add(bounded(this.#spaces, "address spaces", record.space));
        break;
      case "listener-registered":
        this.#listeners.add(bounded(this.#listeners, "listeners", record.listener));
        break;
      case "flush-begun":
        this.#flushes.add(bounded(this.#flushes, "flushes under way", record.flush));
        break;
      case "lock-taken": {
        const lock = bounded(this.#locks, "locks held", record.lock);
        this.#locks.set(lock, (this.#locks.get(lock) ?? 0) + 1);
        break;
      }
    }
  }

  /** Takes in what ends with a record. */
  end(record: TraceRecord): void {
    if (record.kind === "flush-ended") this.#flushes.delete(record.flush);
    else if (record.kind === "lock-dropped") {
      const held = (this.#locks.get(record.lock) ?? 0) - 1;
      if (held > 0) this.#locks.set(record.lock, held);
      else this.#locks.delete(record.lock);
    }
  }

  /** The first id in a record that nobody introduced, or null. NONE, and a flush of 0, name nothing. */
  unknown(record: TraceRecord): UnknownId | null {
    const { kind, agent, space } = record;
    const isTask = this.#agents.get(agent);
    if (isTask === undefined) return { of: "agent", id: agent };
    if (kind === "task-runs" && !isTask) return { of: "task", id: agent };
    if (space !== NONE && !this.#spaces.has(space)) return { of: "space", id: space };
    if (kind === "named") return this.#unknownSubject(record);
    if (NAMING.listener.has(kind)) {
      const { listener } = record as Extract<TraceRecord, { readonly listener: number }>;
      if (listener !== NONE && !this.#listeners.has(listener)) return { of: "listener", id: listener };
    }
    if (NAMING.flush.has(kind)) {
      const { flush } = record as Extract<TraceRecord, { readonly flush: number }>;
      if (flush !== NO_FLUSH && !this.#flushes.has(flush)) return { of: "flush", id: flush };
    }
    if (NAMING.lock.has(kind)) {
      const { lock } = record as Extract<TraceRecord, { readonly lock: number }>;
      if (!this.#locks.has(lock)) return { of: "lock", id: lock };
    }
    return null;
  }

  #unknownSubject({ subject, id }: Extract<TraceRecord, { readonly kind: "named" }>): UnknownId | null {
    const known = { agent: this.#agents, space: this.#spaces, listener: this.#listeners }[subject];
    return known.has(id) ? null : { of: "subject", id };
  }
}

/** The id, if there is room for it and it can be one. */
function bounded(
  known: { readonly size: number; has(id: number): boolean },
  what: string,
  id: number,
): number {
  if (id < 0) throw new Misfit(`an id of 0 or more for one of the ${what}`);
  if (known.size >= MAX_IDS && !known.has(id)) throw new Misfit(`at most ${MAX_IDS} ${what}`);
  return id;
}
