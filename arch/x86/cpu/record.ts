import type { Pfn, Slot } from "./address.ts";
import { need } from "./argument.ts";
import { text } from "./argument-kinds.ts";

/*
 * Records: plain objects for all that happens. Each layer declares its own kinds in a table; types, files, printers and
 * documentation are derived from it. Every field name means one thing and has one encoding in all kinds.
 *
 *   { kind, seq, agent, cpu, space,   slot, oldLo, oldHi, entryLo, entryHi }
 *     └─ the same five, in this order   └─ what the kind has
 *
 * Fields are primitive: things are named by id, linear addresses and entries are two words, "everything" is a flag. A
 * record is made anew for each event and never changed, so that whoever hears it may keep it.
 */

/** How a field is held in memory and in files; a list of texts: one of them. NONE (-1) is null in files. */
export type Encoding =
  /** A whole number: an id, a level, a count. */
  | "int"
  /** A whole number that says by how much: never none. */
  | "difference"
  | "flag"
  | "text"
  /** Texts. */
  | "names"
  | "pfn"
  | "slot"
  /** A physical byte address. */
  | "physical"
  /** A length. */
  | "bytes"
  /** Two words: NAMELo, NAMEHi. */
  | "linear"
  | "entry"
  /** A set of CPUs: bit n % 32 of word n / 32. */
  | "cpus"
  /** The 512 entries of a table, low words and high words in turn. */
  | "words"
  | readonly string[];

/** A field that records may have: how it is held, and what it says. */
export interface Field {
  readonly is: Encoding;
  readonly says: string;
}

/** A layer's fields, by name; those of the layers below are among them. */
export type Fields = Readonly<Record<string, Field>>;

/**
 * `hardware`: what any recording of a machine has. `fact`: what the system says that it did. `hint`: what helps a reader;
 * no judgement depends on it.
 */
export type RecordClass = "hardware" | "fact" | "hint";

/** A kind of record: its class, what it says, and the fields that it has besides those of every record. */
export interface Kind<Name extends string> {
  readonly class: RecordClass;
  readonly says: string;
  readonly has: readonly Name[];
}

/** A layer's kinds, by name, over the fields it knows. */
export type Kinds<F extends Fields> = Readonly<Record<string, Kind<keyof F & string>>>;

/** What every record begins with. */
export interface RecordHeader<K extends string = string> {
  readonly kind: K;
  /** Number of the record, rising in a stream. */
  readonly seq: number;
  /** Who did it: an id that an `agent-introduced` names; 0 is whoever drives the machine from outside. */
  readonly agent: number;
  /** The logical CPU on which, or NONE. */
  readonly cpu: number;
  /** The address space in which, or NONE. */
  readonly space: number;
}

type ValueOf<E extends Encoding> = E extends "flag"
  ? boolean
  : E extends "text"
    ? string
    : E extends "names"
      ? readonly string[]
      : E extends "pfn"
        ? Pfn
        : E extends "slot"
          ? Slot
          : E extends "cpus"
            ? readonly number[]
            : E extends "words"
              ? Int32Array
              : E extends readonly (infer Name)[]
                ? Name
                : number;

type Pair = "linear" | "entry";

type BodyOf<F extends Fields, Name extends keyof F & string> = {
  readonly [N in Name as F[N]["is"] extends Pair ? never : N]: ValueOf<F[N]["is"]>;
} & { readonly [N in Name as F[N]["is"] extends Pair ? `${N}Lo` | `${N}Hi` : never]: number };

/** The record type of one kind. */
export type RecordOf<F extends Fields, K extends Kinds<F>, N extends keyof K & string> = RecordHeader<N> &
  BodyOf<F, K[N]["has"][number]>;

/** The union of a table's record types. */
export type RecordsOf<F extends Fields, K extends Kinds<F>> = {
  [N in keyof K & string]: RecordOf<F, K, N>;
}[keyof K & string];

/** Says that a consumer has nothing to do with a kind. */
export const IGNORED = null;

/** What a consumer does with each kind, or IGNORED: one that is neither does not compile. */
export type Handlers<R extends RecordHeader> = {
  readonly [K in R["kind"]]: ((record: Extract<R, { readonly kind: K }>) => void) | typeof IGNORED;
};

const KIND_NAME = text("kind of record");

/** A list of kinds to ignore, for use in {@link Handlers}. */
export function ignoring<K extends string>(...kinds: readonly K[]): Record<K, typeof IGNORED> {
  for (const kind of kinds) need(KIND_NAME, kind);
  return Object.fromEntries(kinds.map((kind) => [kind, IGNORED])) as Record<K, typeof IGNORED>;
}

/** What a consumer does with a kind of record; IGNORED also for a kind from a later version. */
export function handlerOf<R extends RecordHeader>(
  handlers: Handlers<R>,
  kind: string,
): ((record: R) => void) | typeof IGNORED {
  return Object.hasOwn(handlers, kind) ? (handlers[kind as R["kind"]] as (record: R) => void) : IGNORED;
}

/** One function that hands each record to its kind's handler. */
export function dispatcher<R extends RecordHeader>(handlers: Handlers<R>): (record: R) => void {
  const byKind = new Map<string, ((record: R) => void) | typeof IGNORED>();
  return (record) => {
    let handler = byKind.get(record.kind);
    if (handler === undefined) {
      handler = handlerOf(handlers, record.kind);
      byKind.set(record.kind, handler);
    }
    if (handler !== IGNORED) handler(record);
  };
}
