import { BYTES_OF_LEVEL, NO_SLOT, NONE, PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { need } from "../../../arch/x86/cpu/argument.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { recordedScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { dispatcher, type Handlers, ignoring } from "../../../arch/x86/cpu/record.ts";
import type { TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { WORLD, type World } from "../../trace/world.ts";
import { Brackets } from "./brackets.ts";
import type { Changer } from "./changer.ts";
import { Contexts } from "./contexts.ts";
import type { Change } from "./debt.ts";
import { Debts } from "./debts.ts";
import { Flushes } from "./flushes.ts";
import { Followed } from "./followed.ts";
import { Journal } from "./journal.ts";
import { Listeners } from "./listeners.ts";
import type { DerivedMoment } from "./moments.ts";
import { Pages } from "./pages.ts";
import { type Space, Spaces } from "./spaces.ts";
import { accessed, stored } from "./stores.ts";
import { Tables } from "./tables.ts";
import { type TaskState, Tasks } from "./tasks.ts";
import { type Leaf, type Reach, WAS_DIRTY } from "./translation.ts";
import { Views } from "./views.ts";

/** Kinds whose records, in an opening, say what is small: taken anew when the ledger goes back to it. */
const SMALL: ReadonlySet<string> = new Set([
  "cr3-loaded",
  "register-loaded",
  "lazy-entered",
  "call-entered",
  "kvm-counters",
]);

/**
 * All that is known of a run from its records: the tables and which contexts may hold what of them, the debts, pages,
 * listeners, and what each agent is in the middle of. It judges nothing; rules look at it.
 *
 *   entry weakened ──► debt of every context that may hold it ──► paid by an invalidation that covers it
 *                                                            └──► still there when it matters: a rule's business
 */
export class Ledger {
  readonly world: World;
  readonly journal = new Journal();
  readonly spaces = new Spaces(this.journal);
  readonly tables: Tables;
  readonly pages = new Pages(this.journal);
  readonly listeners = new Listeners(this.journal);
  contexts = new Contexts();
  debts = new Debts(this.contexts);
  flushes = new Flushes(this.debts);
  /** Number of the record at hand. */
  seq = 0;
  /** Called with what follows from a record. */
  moment: (moment: DerivedMoment) => void = () => {};
  tasks = new Tasks();
  views = new Views();
  readonly #brackets = new Brackets((moment) => this.moment(moment));
  /** Who stored the entry at hand. */
  #changer: Changer = { seq: 0, agent: 0, site: "", primitive: "" };
  #opening: TraceRecord[] = [];
  readonly #isGlobalOn = (cpu: number): boolean => this.world.cpu(cpu).globals;
  #followed: Followed;
  /** The entry that is stored at hand. */
  #slot: Slot = NO_SLOT;
  #restore: (slot: Slot, lo: number, hi: number) => void = () => {};

  constructor(world: World) {
    this.world = need(WORLD, world);
    this.tables = new Tables(
      world,
      {
        weakened: (leaf, value) => this.#weakened(leaf, value),
        aged: (reach, page, level) => this.debts.age(reach, page, level),
        replaced: (reach, page, level) => this.#replaced(reach, page, level),
        installed: (reach, page, level, pfn, slot) => this.#installed(reach, page, level, pfn, slot),
        unlinked: (use, table, entry) => {
          const above = entry === this.#slot ? NONE : Math.floor(entry / PAGE_SIZE);
          this.debts.tables.owe(use, table, above, this.#changer);
        },
        placed: (reach, address, level, global) => this.contexts.placed(reach, level, address, global),
        grew: (leaf) => this.contexts.grew(leaf),
      },
      this.journal,
    );
    this.#followed = this.#follow();
  }

  #follow(): Followed {
    return new Followed(this.world, this.tables, this.contexts, this.debts, this.#isGlobalOn);
  }

  /** How each kind of record is taken in. */
  readonly handlers: Handlers<TraceRecord> = {
    "entry-written": (record) => this.#entryWritten(record),
    "accessed-dirty-set": (record) => this.#marked(record),
    "cr3-loaded": (record) => this.#rootLoaded(record),
    invalidated: (record) => this.#invalidated(record),
    access: (record) => accessed(this, record),
    named: (record) => this.spaces.named(record),
    "flush-begun": (record) => this.#flushBegun(record),
    "flush-ended": (record) => this.#flushEnded(record),
    "batch-added": (record) => this.#batchAdded(record),
    "cpumask-changed": ({ space, cpus }) => this.spaces.cpusChanged(space, cpus),
    "lazy-entered": ({ cpu }) => {
      this.contexts.cpu(cpu).lazy = true;
    },
    "lazy-left": ({ cpu }) => {
      this.contexts.cpu(cpu).lazy = false;
    },
    "cache-flushed": ({ agent, space, linearLo, linearHi, bytes, all }) => {
      const start = all ? 0 : linearNumber(linearLo, linearHi);
      this.task(agent).cacheHook = { space, start, end: all ? Infinity : start + bytes };
    },
    primitive: ({ agent, name }) => {
      this.task(agent).primitive = name;
    },
    "address-space-created": (record) => this.#spaceCreated(record),
    "address-space-ended": ({ space }) => this.#spaceEnded(space),
    "call-entered": (record) => this.task(record.agent).entered(record),
    "call-left": (record) => void this.task(record.agent).left(record.function),
    "call-abandoned": (record) => this.#abandoned(record),
    "page-compound": (record) => this.pages.compound(record),
    "page-backing": (record) => this.pages.backing(record),
    "page-flag": (record) => this.pages.flag(record),
    "swap-slot": (record) => this.pages.swapSlot(record),
    "swap-count": (record) => this.pages.swapCount(record),
    "page-freed": ({ pfn, order }) => {
      for (let i = 0; i < 2 ** order; i++) this.pages.freed(pfn + i);
    },
    "write-out": ({ pfn }) => {
      const { first, end } = this.pages.framesOf(pfn);
      for (let frame = first; frame < end; frame++) this.pages.writtenOut(frame);
    },
    "lock-dropped": ({ pfn }) => this.views.settle(pfn),
    "listener-registered": (record) => this.#registered(record),
    "listener-unregistered": ({ listener }) => {
      this.contexts.removeDevice(listener);
      this.listeners.unregistered(listener);
    },
    "notifier-called": (record) => {
      this.seq = record.seq;
      this.#brackets.called(this.task(record.agent), record);
    },
    "listener-called": (record) => this.#listenerCalled(record),
    "spte-installed": (record) => this.listeners.installed(record),
    "spte-dropped": (record) => this.listeners.dropped(record),
    "guest-access": (record) => stored(this, record),
    "device-access": (record) => stored(this, record),
    "kvm-counters": (record) => this.listeners.counters(record),
    "device-entry-dropped": (record) => this.#deviceDropped(record),
    ...ignoring("tlb-filled", "register-loaded", "fault", "ipi-sent", "ipi-handled", "interrupt-taken"),
    ...ignoring("privilege-changed", "halted", "gap", "agent-introduced"),
    ...ignoring("table-linked", "table-unlinked", "mmu-cache-updated", "bad-pmd", "task-runs"),
    ...ignoring("page-allocated", "table-freed", "swap-duplicated", "lock-taken", "walk-returned"),
    ...ignoring("page-pinned", "page-unpinned", "vma-changed", "rmap-added", "rmap-removed", "page-put"),
    ...ignoring("page-mlocked", "swapbacked-set", "rss-changed", "warned", "bad-page"),
    ...ignoring("guest-fault-retried", "device-entry-installed"),
  };
  /** Takes a record in. */
  readonly take = dispatcher(this.handlers);

  /** Takes in what was the case before the first record. */
  open(opening: Iterable<TraceRecord>): void {
    for (const record of opening) {
      if (SMALL.has(record.kind)) this.#opening.push(record);
      this.take(record);
    }
  }

  /** From now on {@link rewind} comes back to here, which is the end of the opening. */
  mark(): void {
    this.journal.mark();
  }

  /**
   * Comes back to the mark, in time of what has changed since and of the few records that introduce CPUs. `restore` puts
   * an entry back into the world.
   */
  rewind(restore: (slot: Slot, lo: number, hi: number) => void): void {
    this.#restore = restore;
    this.journal.rewind();
    this.contexts = new Contexts();
    this.debts = new Debts(this.contexts);
    this.#followed = this.#follow();
    this.flushes = new Flushes(this.debts);
    this.tasks = new Tasks();
    this.views = new Views();
    this.seq = 0;
    for (const { id, space, type } of this.listeners.all())
      if (type === "device") this.#attachDevice(id, space);
    for (const record of this.#opening) this.take(record);
  }

  /** What an agent is in the middle of. */
  task(agent: number): TaskState {
    return this.tasks.of(agent);
  }

  /** The run is over: what was never settled is. */
  end(): void {
    for (const debts of this.views.takeAll()) this.moment({ kind: "views-doubtful", debts });
    for (const task of this.tasks.all()) this.#brackets.ended(task);
    this.moment({ kind: "run-ended" });
  }

  /** The address space of a user leaf, null for the kernel's addresses and for roots that nobody spoke of. */
  spaceOf({ kernel, roots }: Reach): Space | null {
    return kernel ? null : roots[0]!.space;
  }

  #entryWritten(record: TraceRecordOf<"entry-written">): void {
    const { slot, oldLo, oldHi, entryLo, entryHi, agent, cpu, seq } = record;
    this.seq = seq;
    this.#noteWrite(record);
    const task = this.task(agent);
    task.lastChange = null;
    this.#changer = this.#changerOf(seq, agent, cpu, task);
    this.#slot = slot;
    const value = new Entry(entryLo, entryHi);
    this.#followed.stored(slot, value, false);
    this.tables.entryWritten(slot, new Entry(oldLo, oldHi), value);
  }

  #changerOf(seq: number, agent: number, cpu: number, task: TaskState): Changer {
    const site = cpu === NONE ? "outside the kernel" : this.siteOf(task);
    return { seq, agent, site, primitive: task.primitive };
  }

  /** A walker set A or D: who has left the root does not have it; who walks an old table does. */
  #marked(record: TraceRecordOf<"accessed-dirty-set">): void {
    this.#noteWrite(record);
    const { slot, oldLo, oldHi, entryLo, entryHi } = record;
    if (((oldLo ^ entryLo) & WAS_DIRTY) === 0) return;
    this.#followed.stored(slot, new Entry(entryLo, entryHi), true);
    if (this.contexts.someAway) this.tables.dirtied(slot, new Entry(oldLo, oldHi));
  }

  /** Going back, entries are put back in between all else that changed: tables are as they were at each moment. */
  #noteWrite(record: TraceRecordOf<"entry-written" | "accessed-dirty-set">): void {
    if (!this.journal.active) return;
    const { kind, slot, oldLo, oldHi, entryLo, entryHi } = record;
    this.journal.note(() => {
      this.#restore(slot, oldLo, oldHi);
      if (kind === "entry-written") {
        this.tables.unwrite(slot, new Entry(oldLo, oldHi), new Entry(entryLo, entryHi));
      }
    });
  }
  /** The function that an agent is in; without one, what it is. */
  siteOf(task: TaskState): string {
    return task.calls.at(-1)?.function ?? this.spaces.nameOf("agent", task.agent);
  }

  #weakened(leaf: Leaf, _value: Entry): void {
    const { seq, agent, site, primitive } = this.#changer;
    const change: Change = {
      seq,
      agent,
      site,
      primitive,
      leaf,
      debts: [],
      deferred: false,
      told: null,
      missed: null,
    };
    this.debts.owe(change, this.#slot, this.#isGlobalOn);
    this.contexts.gone(leaf);
    const space = this.spaceOf(leaf.reach);
    const task = this.task(change.agent);
    if (space !== null) this.listeners.hostChanged(space.id, change);
    this.moment({ kind: "entry-weakened", change, task });
    if (space === null) return;
    // Each change needs a hook of its own.
    task.cacheHook = null;
    this.#brackets.changed(task, space.id, change);
  }

  #replaced(reach: Reach, page: number, level: number): void {
    const space = this.spaceOf(reach);
    if (space === null) return;
    this.task(this.#changer.agent).touched(space.id, page, page + BYTES_OF_LEVEL[level]!);
  }

  /** What a device still has of an address that gets a page may be of any size, and the same page if frame and offset say so. */
  #installed(reach: Reach, page: number, level: number, pfn: number, slot: Slot): void {
    this.moment({ kind: "entry-installed", reach, page, level, pfn });
    for (const context of this.contexts.reaching(reach)) {
      if (context.cpu !== NONE) continue;
      this.debts.inRange(context, page, BYTES_OF_LEVEL[level]!, (debt) => {
        if (debt.pfn * PAGE_SIZE - debt.change.leaf.page === pfn * PAGE_SIZE - page) return;
        this.views.doubt(debt, Math.floor(slot / PAGE_SIZE));
      });
    }
  }

  #rootLoaded({ cpu, root: physical, pcid, keep, seq, agent }: TraceRecordOf<"cr3-loaded">): void {
    const root = this.tables.watch(physical);
    if (root.space === null) this.spaces.claim(root, this.spaces.ofRoot(physical));
    this.contexts.loaded(cpu, root, pcid, keep);
    if (!keep) return;
    const { current } = this.contexts.cpu(cpu);
    this.debts.returned(current);
    if (current.roots.size === 1) return;
    const changer = this.#changerOf(seq, agent, cpu, this.task(agent));
    for (const old of [...current.roots.keys()]) {
      if (old !== root) this.#followed.displaced(current, old, root, changer);
    }
  }

  #invalidated(record: TraceRecordOf<"invalidated">): void {
    const { cpu, flush } = record;
    const scope = recordedScope(record);
    this.debts.pay(this.contexts.cpu(cpu), scope, flush);
    this.contexts.dropped(cpu, scope, this.tables.userGlobals);
    if (record.cause === "CR4.PCIDE") this.contexts.renumbered(cpu, this.world.cpu(cpu).pcid);
  }

  #flushBegun({ flush, agent, space }: TraceRecordOf<"flush-begun">): void {
    const task = this.task(agent);
    this.flushes.begun(flush, this.siteOf(task), task.primitive, space === NONE);
  }

  #flushEnded({ flush, agent, seq }: TraceRecordOf<"flush-ended">): void {
    this.seq = seq;
    if (this.flushes.isBatch(flush)) {
      const task = this.task(agent);
      this.moment({ kind: "batch-flushed", task });
      task.forgetBatch();
    }
    this.flushes.ended(flush);
  }

  #batchAdded(record: TraceRecordOf<"batch-added">): void {
    this.seq = record.seq;
    const task = this.task(record.agent);
    const { batch, lastChange: change } = task;
    task.putOff(record.cpus);
    if (change === null || change.deferred || this.spaceOf(change.leaf.reach)?.id !== record.space) return;
    change.deferred = true;
    batch.changes.push(change);
    batch.pfns.add(change.leaf.pfn);
    this.moment({ kind: "flush-deferred", change, record });
  }

  #spaceCreated(record: TraceRecordOf<"address-space-created">): void {
    const space = this.spaces.created(record);
    for (const root of [space.root, space.userRoot]) {
      if (root !== NONE) this.spaces.claim(this.tables.watch(root), space);
    }
  }

  #spaceEnded(id: number): void {
    const space = this.spaces.ended(id);
    if (space === undefined) return;
    for (const physical of [space.root, space.userRoot]) {
      if (physical === NONE) continue;
      const root = this.tables.watch(physical);
      for (const context of [...this.contexts.of(root)]) this.contexts.detach(context, root);
      this.tables.forget(root);
    }
  }

  /** Brackets that were opened inside a call that never returns are not its callers' business. */
  #abandoned({ agent, function: name }: TraceRecordOf<"call-abandoned">): void {
    const task = this.task(agent);
    const call = task.left(name);
    if (call !== undefined) task.brackets.length = Math.min(task.brackets.length, call.brackets);
  }

  #registered(record: TraceRecordOf<"listener-registered">): void {
    const { id, space, type } = this.listeners.registered(record);
    if (type === "device") this.#attachDevice(id, space);
  }

  #attachDevice(id: number, spaceId: number): void {
    const space = this.spaces.get(spaceId);
    if (space !== undefined) this.contexts.addDevice(id, this.tables.watch(space.root));
  }

  #listenerCalled(record: TraceRecordOf<"listener-called">): void {
    this.listeners.called(record);
    if (record.op !== "release") return;
    const device = this.contexts.device(record.listener);
    if (device !== undefined) this.contexts.detachAll(device);
  }

  #deviceDropped({ listener, all, linearLo, linearHi, bytes }: TraceRecordOf<"device-entry-dropped">): void {
    const context = this.contexts.device(listener);
    if (context === undefined) return;
    if (all) this.debts.payAll(context, 0);
    else this.debts.payRange(context, { start: linearNumber(linearLo, linearHi), length: bytes });
  }
}
