import { NONE, Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { type Argument, need } from "../../arch/x86/cpu/argument.ts";
import {
  callable,
  either,
  flag,
  instance,
  iterable,
  list,
  nullable,
  optional,
  shape,
} from "../../arch/x86/cpu/argument-kinds.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import { dispatcher, type Handlers, handlerOf, IGNORED } from "../../arch/x86/cpu/record.ts";
import type { RecordStream } from "../../arch/x86/cpu/record-stream.ts";
import { Kernel } from "../mm/kernel.ts";
import { kernelOpening, machineOpening } from "../trace/opening.ts";
import { KINDS, type RecordKind, type TraceRecord, type TraceRecordOf } from "../trace/record.ts";
import { LiveWorld, WORLD, type World } from "../trace/world.ts";
import { type Cause, FindingLog, type FindingQuestions } from "./causes.ts";
import type { Finding, RuleHead } from "./findings.ts";
import type { Debt, TableDebt } from "./ledger/debt.ts";
import type { Flushes } from "./ledger/flushes.ts";
import { Ledger } from "./ledger/ledger.ts";
import type { Moment, MomentKind } from "./ledger/moments.ts";
import { RULES } from "./rules/index.ts";
import type { Breach, Rule } from "./rules/rule.ts";

/** What an {@link Auditor} takes beside what it judges. */
export interface AuditorOptions extends FindingQuestions {
  /** The rules to judge by; default: all. */
  readonly rules?: readonly Rule[];
  /** Whether {@link Auditor.rewind} will be called: then changes are noted, which costs a little. Default false. */
  readonly rewinds?: boolean;
}

/** A recording to be judged: what can be looked at in it, and what was the case when it began. */
export interface RecordedRun {
  readonly world: World & { restore(slot: Slot, lo: number, hi: number): void };
  readonly opening: Iterable<TraceRecord>;
}

/** A rule with how it judges a moment. */
interface Judge {
  readonly rule: Rule;
  readonly of: (moment: Moment) => void;
}

/**
 * Judges a run by its records, and steers nothing. Of a machine or a kernel it hears by itself from its making on; a
 * recording's records are handed to {@link observe}. At the end of the run call {@link finish}.
 *
 * What a concrete TLB kept plays no part, so a missing flush is found in a run where nobody happens to hit it. Who may
 * hold what is what the oracle of legal outcomes says, but for these:
 *
 * - An entry that is in place when its frame is freed is found at once if a PCID has had the root since it was dropped,
 *   loaded or not: to load the root is enough to use it. Under a root that none has, it is not found.
 * - A frame that is mapped again in an old table after it was freed is in use again: it waits for no PCID any more.
 * - Setting CR4.SMEP takes global translations of the current PCID only; one whose root was loaded under others, too, is
 *   taken to stay for them, although it may be younger.
 * - Compared is who may use a frame; the rights of a translation may be taken for more than a CPU can have.
 * - Of a kernel table that hangs in more than eight places eight are watched; {@link truncated} tells of other limits.
 */
export class Auditor {
  /** Takes a record in and judges it; for those of a recording. */
  readonly observe: (record: TraceRecord) => void;
  readonly #ledger: Ledger;
  readonly #world: RecordedRun["world"];
  readonly #records: RecordStream<TraceRecord> | null;
  readonly #before = new Map<MomentKind, Judge[]>();
  readonly #after = new Map<MomentKind, Judge[]>();
  readonly #questions: FindingQuestions;
  readonly #stop: () => void;
  #log: FindingLog;
  /** What is being judged: a record, or what follows from the one that the ledger has noted. */
  #moment: Moment | null = null;
  /** The last record that a rule had a say in. */
  #record: TraceRecord | null = null;
  #finished = false;

  /** Of a machine, of a kernel, or of a recording. */
  constructor(subject: Machine | Kernel | RecordedRun, options: AuditorOptions = {}) {
    const { world, opening, records } = runOf(subject);
    need(OPTIONS, options);
    this.#world = world;
    this.#records = records;
    this.#questions = options;
    this.#log = new FindingLog(options);
    this.#ledger = new Ledger(world);
    this.#ledger.open(opening);
    if (options.rewinds) this.#ledger.mark();
    for (const rule of options.rules ?? RULES) this.#appoint(rule);
    this.#ledger.moment = (moment) => {
      this.#judge(this.#before.get(moment.kind), moment);
      this.#judge(this.#after.get(moment.kind), moment);
    };
    const handlers = this.#handlers();
    this.observe = dispatcher(handlers);
    this.#stop =
      records === null ? () => {} : records.listen(handlers, (pfn) => this.#ledger.tables.isTable(pfn));
  }

  /** What was found so far, in the order of finding. */
  get findings(): readonly Finding[] {
    return this.#log.all;
  }

  /** The same by cause: rule, call site, call owed. */
  get causes(): readonly Cause[] {
    return this.#log.causes();
  }

  /** Findings beyond those that are kept whole; they are counted in their causes. */
  get findingsDropped(): number {
    return this.#log.dropped;
  }

  /** How many findings each rule has; rules without one are absent. */
  countByRule(): Map<number | string, number> {
    return this.#log.countByRule();
  }

  /** Whether some tables were left out because they were too many or pointed in circles: findings may be missing. */
  get truncated(): boolean {
    return this.#ledger.tables.truncated;
  }

  get flushes(): Flushes {
    return this.#ledger.flushes;
  }

  /** The system gave a frame to another use: for systems that do not record it themselves. */
  pageFreed(pfn: Pfn): void {
    Pfn.of(pfn);
    this.#emit({ kind: "page-freed", ...this.#header(), pfn, order: 0 });
  }

  /** The same of a frame that was a page table. */
  tableFreed(pfn: Pfn): void {
    Pfn.of(pfn);
    this.#emit({ kind: "table-freed", ...this.#header(), pfn, level: NONE });
  }

  /** The run is over, nothing is in flight: what must hold at rest is judged. Nothing more is heard. */
  finish(): readonly Finding[] {
    if (this.#finished) return this.findings;
    this.#finished = true;
    this.#stop();
    this.#ledger.seq = Math.max(this.#ledger.seq, this.#record?.seq ?? 0);
    this.#ledger.end();
    return this.findings;
  }

  /** Comes back to the beginning, in time of what was changed since; with the option `rewinds`. */
  rewind(): void {
    this.#ledger.rewind((slot, lo, hi) => this.#world.restore(slot, lo, hi));
    this.#log = new FindingLog(this.#questions);
    this.#finished = false;
  }

  #header() {
    const records = this.#records;
    if (records === null) throw new TypeError("a recording tells by itself what was freed");
    return { seq: records.next(), agent: records.agent, cpu: NONE, space: NONE };
  }

  #emit(record: TraceRecord): void {
    this.#records?.emit(record);
  }

  #appoint(rule: Rule): void {
    const ledger = this.#ledger;
    const { subjects } = rule;
    const breached = (subject: unknown): void => {
      const moment = this.#moment;
      if (moment !== null && "seq" in moment) ledger.seq = moment.seq;
      this.#report(rule, rule.breach(ledger, subject));
    };
    const visit = (subject: unknown): void => {
      if (rule.broken(ledger, subject)) breached(subject);
    };
    const judge: Judge = {
      rule,
      of: subjects === null ? visit : (moment) => subjects(ledger, moment, visit),
    };
    for (const [kinds, judges] of [
      [rule.before, this.#before],
      [rule.after, this.#after],
    ] as const) {
      for (const kind of kinds) {
        const known = judges.get(kind);
        if (known === undefined) judges.set(kind, [judge]);
        else known.push(judge);
      }
    }
  }

  /** For each kind: what is judged before, how the ledger takes it in, what is judged after. */
  #handlers(): Handlers<TraceRecord> {
    const ledger = this.#ledger;
    const handlers: Record<string, ((record: TraceRecord) => void) | typeof IGNORED> = {};
    for (const kind of Object.keys(KINDS) as RecordKind[]) {
      const take = handlerOf(ledger.handlers, kind);
      const before = this.#before.get(kind);
      const after = this.#after.get(kind);
      if (before === undefined && after === undefined) {
        handlers[kind] = take;
        continue;
      }
      handlers[kind] = (record) => {
        this.#record = record;
        this.#judge(before, record);
        if (take !== IGNORED) take(record);
        this.#judge(after, record);
      };
    }
    handlers["call-left"] = this.#callLeft(handlerOf(ledger.handlers, "call-left"));
    handlers["cr3-loaded"] = this.#reviving(handlers["cr3-loaded"], "PCID loaded, not flushed since");
    handlers["lazy-left"] = this.#reviving(
      handlers["lazy-left"],
      "address space used again, not flushed since",
    );
    return handlers as Handlers<TraceRecord>;
  }

  /** Most calls are of functions whose return no rule judges on. */
  #callLeft(take: ((record: TraceRecord) => void) | typeof IGNORED): (record: TraceRecord) => void {
    const before = byFunction(this.#before.get("call-left") ?? []);
    const after = byFunction(this.#after.get("call-left") ?? []);
    return (record) => {
      this.#record = record;
      const { function: name } = record as TraceRecordOf<"call-left">;
      this.#judge(before(name), record);
      if (take !== IGNORED) take(record);
      this.#judge(after(name), record);
    };
  }

  /** What was out of a CPU's reach is not any more, unless it is dropped with the load. */
  #reviving(
    handler: ((record: TraceRecord) => void) | null | undefined,
    why: string,
  ): (record: TraceRecord) => void {
    return (record) => {
      this.#ledger.seq = record.seq;
      handler?.(record);
      if (record.kind !== "cr3-loaded" || record.keep) this.#revive(record.cpu, why);
    };
  }

  #judge(judges: readonly Judge[] | undefined, moment: Moment): void {
    if (judges === undefined) return;
    this.#moment = moment;
    for (const judge of judges) judge.of(moment);
  }

  /**
   * Where the debt is one that its owner cannot use now, nobody can, and a flush may still come first: it is found when
   * the owner can use it again.
   */
  #report(rule: RuleHead, { key, debt, details }: Breach): void {
    if (debt !== undefined && !this.#isReachable(debt)) {
      debt.suspended ??= [];
      debt.suspended.push({ rule, key, details });
      return;
    }
    const { spaces, seq } = this.#ledger;
    const mm = details.space === NONE ? "" : spaces.nameOf("space", details.space);
    this.#log.add(rule, key, details, seq, mm, this.#finished);
  }

  /** A PCID's translations are out of reach while another is loaded; a lazy CPU walks, but uses no user address. */
  #isReachable(debt: Debt | TableDebt): boolean {
    const { context } = debt;
    if (!context.active || debt.unfilled) return false;
    if (context.cpu === NONE || !("pfn" in debt)) return true;
    return debt.change.leaf.reach.kernel || !this.#ledger.contexts.cpu(context.cpu).lazy;
  }

  #revive(cpu: number, why: string): void {
    const { contexts, debts } = this.#ledger;
    debts.revive(contexts.cpu(cpu).current, ({ rule, key, details }) => {
      this.#report(rule, { key, details: { ...details, moment: `${why}: ${details.moment}` } });
    });
  }
}

/** Those of some rules that judge on the return of a function. */
function byFunction(judges: readonly Judge[]): (name: string) => readonly Judge[] | undefined {
  const every = judges.filter(({ rule }) => rule.returns === null);
  const named = new Map<string, readonly Judge[]>();
  for (const name of new Set(judges.flatMap(({ rule }) => rule.returns ?? []))) {
    named.set(
      name,
      judges.filter(({ rule }) => rule.returns === null || rule.returns.includes(name)),
    );
  }
  const others = every.length === 0 ? undefined : every;
  return (name) => named.get(name) ?? others;
}

const RUN = shape<RecordedRun>("run", { world: WORLD as Argument<never>, opening: iterable("opening") });
const SUBJECT = either(RUN, either(instance("machine", Machine), instance("kernel", Kernel)));
const OPTIONS = shape<AuditorOptions>("options of an auditor", {
  replay: optional(callable("replay")),
  brought: optional(callable("brought")),
  rules: optional(
    list(
      "rules",
      shape<Rule>("rule", { subjects: nullable(callable("subjects")), broken: callable("broken") }),
    ),
  ),
  rewinds: optional(flag("rewinds")),
});

/** What can be looked at, what is the case, and where records come from. */
function runOf(subject: Machine | Kernel | RecordedRun): RecordedRun & {
  readonly records: RecordStream<TraceRecord> | null;
} {
  need(SUBJECT, subject);
  if ("world" in subject) return { ...subject, records: null };
  const machine = subject instanceof Machine ? subject : subject.machine;
  const records = machine.records as unknown as RecordStream<TraceRecord>;
  if (subject instanceof Machine) {
    return { world: new LiveWorld(machine), opening: machineOpening(machine), records };
  }
  return { world: new LiveWorld(machine, subject.format), opening: kernelOpening(subject), records };
}
