import { NO_SLOT, NONE, Pfn } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { callable, either, instance, oneOf, optional, shape } from "../../arch/x86/cpu/argument-kinds.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import { ReachableTables, type ReachedTable } from "../../arch/x86/cpu/reachable-tables.ts";
import {
  introductionOf,
  NO_FLUSH,
  OUTSIDE_AGENT,
  type RecordStream,
} from "../../arch/x86/cpu/record-stream.ts";
import { Kernel } from "../mm/kernel.ts";
import { FORMS, type Form, recordWriter } from "./file/forms.ts";
import { headerOf } from "./file/header.ts";
import { Introductions } from "./file/introductions.ts";
import type { ByteSink, RecordWriter } from "./file/record-codec.ts";
import { kernelOpening, machineOpening } from "./opening.ts";
import type { TraceRecord, TraceRecordOf } from "./record.ts";
import { RecordedTables } from "./recorded-tables.ts";

/** What a record has besides what its kind has. */
type Common = Pick<TraceRecord, "seq" | "agent" | "cpu" | "space">;

const OPENING: Common = { seq: 0, agent: OUTSIDE_AGENT, cpu: NONE, space: NONE };

const SUBJECT = either(instance("machine", Machine), instance("kernel", Kernel));
const SINK = callable<ByteSink>("sink");
const OPTIONS = shape<{ readonly form?: Form }>("options of a recorder", {
  form: optional(oneOf("form", FORMS)),
});

/**
 * Writes all that happens on a machine from now on: a header, what is the case, then each record as it is emitted.
 *
 *   stored entry ──► leads to a table? ──► does the file have the table, as it is? ──no──► table-linked
 *   loaded root  ──►                                                                  │
 *                                                                     the record ◄────┘
 *
 * A kernel says by itself which tables it links; on a bare machine nobody does, and the recorder adds what the file lacks,
 * with the number of the record that it stands before. It listens and never steers.
 */
export class Recorder {
  /** Records written after the opening, those that were added included. */
  records = 0;
  readonly #machine: Machine;
  readonly #writer: RecordWriter;
  readonly #introductions = new Introductions();
  readonly #reachable: ReachableTables;
  /** What the file says that tables hold. */
  readonly #told: RecordedTables;
  readonly #roots = new Set<number>();
  readonly #levels: number;
  readonly #stopListening: () => void;
  #stopped = false;

  /** Records a machine, or a kernel with its machine. The sink is given the file piece by piece. */
  constructor(subject: Machine | Kernel, sink: ByteSink, options: { readonly form?: Form } = {}) {
    need(SUBJECT, subject);
    need(SINK, sink);
    need(OPTIONS, options);
    const machine = subject instanceof Machine ? subject : subject.machine;
    const header = headerOf(subject);
    this.#machine = machine;
    this.#levels = header.levels;
    this.#writer = recordWriter(options.form ?? "binary", header, sink);
    this.#reachable = new ReachableTables(machine.memory, machine.model);
    this.#told = new RecordedTables(header.memory, Infinity);
    this.#open(subject);
    const records = machine.records as unknown as RecordStream<TraceRecord>;
    this.#stopListening = records.listen(
      (record) => this.#hear(record),
      (pfn) => this.#reachable.has(pfn),
    );
  }

  /** Ends the file. Nothing more is heard. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopListening();
    this.#writer.mark("ended");
    this.#writer.flush();
  }

  #open(subject: Machine | Kernel): void {
    const opening = subject instanceof Machine ? machineOpening(subject) : kernelOpening(subject);
    for (const record of opening) {
      const settled = this.#settled(record);
      if (settled !== null) this.#write(settled);
    }
    for (const { contexts, control } of this.#machine.cpus) {
      for (const root of [control.root, ...contexts.values()]) this.#tellRoot(root, OPENING);
    }
    for (const record of opening) {
      if (record.kind === "address-space-created") this.#tellRootsOf(record, OPENING);
    }
    this.#writer.mark("opened");
    this.records = 0;
  }

  /** A record that cannot be written ends the recording where it is: the file has no end mark then. */
  #hear(record: TraceRecord): void {
    try {
      this.#take(record);
    } catch (error) {
      this.#stopped = true;
      this.#stopListening();
      this.#writer.flush();
      throw error;
    }
  }

  #take(record: TraceRecord): void {
    const settled = this.#settled(record);
    if (settled === null) return;
    switch (settled.kind) {
      case "entry-written":
        this.#told.write(settled.slot, settled.entryLo, settled.entryHi);
        this.#reachable.underEntry(settled.slot, settled.entryLo, settled.entryHi, (table) => {
          this.#tellTable(table, settled);
        });
        break;
      case "accessed-dirty-set":
        this.#told.write(settled.slot, settled.entryLo, settled.entryHi);
        break;
      case "table-linked":
        this.#told.put(settled.pfn, settled.words);
        break;
      case "cr3-loaded":
        this.#tellRoot(settled.root, settled);
        break;
      case "address-space-created":
        // The frames may have been anything before: what they hold is looked at anew.
        this.#forgetRootsOf(settled);
        this.#tellRootsOf(settled, { ...settled, space: NONE });
        break;
    }
    this.#write(settled);
    this.#introductions.end(settled);
  }

  /** A root that was not seen yet: every table under it that the file does not have as it is. */
  #tellRoot(root: number, before: Common): void {
    if (root === NONE || this.#roots.has(root)) return;
    this.#roots.add(root);
    this.#reachable.under(Pfn.truncate(root), this.#levels, NO_SLOT, (table) =>
      this.#tellTable(table, before),
    );
  }

  #tellRootsOf({ root, userRoot }: TraceRecordOf<"address-space-created">, before: Common): void {
    this.#tellRoot(root, before);
    this.#tellRoot(userRoot, before);
  }

  #forgetRootsOf({ root, userRoot }: TraceRecordOf<"address-space-created">): void {
    this.#roots.delete(root);
    this.#roots.delete(userRoot);
  }

  #tellTable({ pfn, level, slot, words }: ReachedTable, { seq, agent, cpu, space }: Common): void {
    if (this.#told.holds(pfn, words)) return;
    this.#told.put(pfn, words);
    this.#write({ kind: "table-linked", seq, agent, cpu, space, pfn, level, slot, words });
  }

  #write(record: TraceRecord): void {
    this.#writer.record(record);
    this.records++;
  }

  /**
   * The record, with every id in it introduced. What was gone or under way before the recording began has none in the
   * file; null for a record that is about nothing else.
   */
  #settled(record: TraceRecord): TraceRecord | null {
    this.#introductions.begin(record);
    let settled = record;
    for (;;) {
      const unknown = this.#introductions.unknown(settled);
      if (unknown === null) return settled;
      switch (unknown.of) {
        case "agent": {
          const [introduction] = introductionOf(
            { id: unknown.id, type: "outside", cpu: NONE, name: "" },
            () => record.seq,
          );
          this.#introductions.begin(introduction);
          this.#write(introduction);
          break;
        }
        case "space":
          settled = { ...settled, space: NONE };
          break;
        case "listener":
          settled = { ...settled, listener: NONE } as TraceRecord;
          break;
        case "flush":
          if (settled.kind === "flush-ended") return null;
          settled = { ...settled, flush: NO_FLUSH } as TraceRecord;
          break;
        case "lock": {
          const taken = { ...settled, kind: "lock-taken" } as TraceRecord;
          this.#introductions.begin(taken);
          this.#write(taken);
          break;
        }
        default:
          return null;
      }
    }
  }
}
