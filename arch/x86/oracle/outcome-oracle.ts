import { ACCESS_WRITE } from "../cpu/access-rights.ts";
import { NO_SLOT, Pfn } from "../cpu/address.ts";
import { need } from "../cpu/argument.ts";
import { instance, shape } from "../cpu/argument-kinds.ts";
import { ControlRegisters } from "../cpu/control-registers.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { PTE_P } from "../cpu/entry-layout.ts";
import { hex } from "../cpu/hex.ts";
import { ALL_PCIDS, type InvalidationScope, recordedScope } from "../cpu/invalidation-scope.ts";
import { isCanonical, linearBigInt, linearHi, linearLo } from "../cpu/linear-address.ts";
import { Machine } from "../cpu/machine.ts";
import { errorCodeOf, WALK_DENIED, WALK_OK } from "../cpu/page-fault.ts";
import { OFFSET_MASK, type WalkOptions, WalkResult, type WalkStart, walk } from "../cpu/page-walk.ts";
import { ReachableTables } from "../cpu/reachable-tables.ts";
import { dispatcher, ignoring } from "../cpu/record.ts";
import type { HardwareRecord, HardwareRecordOf } from "../cpu/records.ts";
import { deniedBy } from "../cpu/walk-rights.ts";
import { type CachedLeaf, type Change, PageHistory, type Silicon, type View } from "./page-history.ts";

/** Why an outcome is legal: memory says so now; a leaf that may be cached does; or a cached table entry leads there. */
export type OutcomeSource = "fresh" | "stale-leaf" | "stale-table";

/** One legal result of an access: the physical byte, or a page fault with its error code. */
export type Outcome = { readonly source: OutcomeSource; readonly why: string } & (
  | { readonly physical: number; readonly errorCode?: undefined }
  | { readonly physical?: undefined; readonly errorCode: number }
);

/** What an {@link OutcomeOracle} takes beside the machine. */
export interface OracleOptions {
  /** Only these pages may be asked about, and nothing is remembered for others: for long runs. */
  readonly pages?: readonly (number | bigint)[];
  /**
   * A store through a cached leaf with D=0. `walks` (default): it is a walk, all of whose checks are made on memory; what
   * operating systems rely on when they defer flushes, and what QEMU, Bochs and this CPU do. `present`: a weaker reading
   * of the manual, by which the cycle that sets D asks only for P=1 of the entry that the leaf was read from, and the store goes where
   * the leaf says.
   */
  readonly cleanStore?: "walks" | "present";
}

const LOOK: WalkOptions = { setAccessedDirty: false, record: false, beforeUpdate: null, updated: null };
const TWO_32 = 2 ** 32;
/** Changes kept before the oracle looks for a point from which a new history may start. */
const LONG_LOG = 4096;

const MACHINE = instance("machine", Machine);
const OPTIONS = shape<OracleOptions>("options of an oracle", {});

/**
 * Which results of an access are legal, given all that has happened: the validator of any TLB (SDM vol. 3, 4.10.2 to
 * 4.10.4). It looks at memory, control registers and the records of a machine, never at its TLBs.
 *
 * Whatever was valid since the last operation that had to drop it may be cached, and nothing must be. A cached leaf has
 * raw rights, judged by the control state of the access; a cached table entry leads a walk to what its table holds now.
 * A store through a leaf with D=0 is a walk: D is set in memory, by a cycle that sees the entry as it is. A CPU that
 * confirms its faults (AMD) has those alone that memory explains.
 *
 * Give it every record from a moment when all caches are empty: `machine.records.listen(oracle.observe, oracle.isTable)`.
 * Entries must be written through {@link Machine.storeEntry} and its kin, or by the CPUs themselves.
 */
export class OutcomeOracle {
  private readonly machine: Machine;
  private readonly silicon: Silicon;
  private readonly histories = new Map<string, PageHistory>();
  private readonly found = new WalkResult();
  private readonly reachable: ReachableTables;
  private readonly roots = new Set<number>();
  /** What happened since `firstViews`, for the history of a page that is first asked about later. */
  private log: Change[] = [];
  private firstViews: View[];
  private readonly fixed: boolean;
  private readonly cleanStore: OracleOptions["cleanStore"];

  constructor(machine: Machine, options: OracleOptions = {}) {
    need(MACHINE, machine);
    const { pages = null, cleanStore = "walks" } = need(OPTIONS, options);
    const { memory, model } = machine;
    const levels = machine.cpu(0).control.levels;
    const controls = [false, true].map((nxe) => {
      const control = new ControlRegisters(model, levels);
      control.set({ nxe: nxe && model.nx });
      return control;
    });
    this.machine = machine;
    this.silicon = { memory, levels, rules: (nxe) => controls[Number(nxe)]! };
    this.firstViews = machine.cpus.map(viewOf);
    this.reachable = new ReachableTables(memory, model);
    for (const { contexts, control } of machine.cpus) {
      for (const root of [control.root, ...contexts.values()]) this.reach(root);
    }
    this.fixed = pages !== null;
    this.cleanStore = cleanStore;
    for (const page of pages ?? []) this.begin(linearLo(page), linearHi(page));
  }

  /** Whether a frame has been a page table under some root that a CPU loaded, for {@link RecordStream.listen}. */
  readonly isTable = (pfn: Pfn): boolean => this.reachable.has(pfn);

  /** Takes in what a machine recorded. */
  readonly observe: (record: HardwareRecord) => void = dispatcher<HardwareRecord>({
    "entry-written": (record) => {
      this.write(record);
      this.reachable.underEntry(record.slot, record.entryLo, record.entryHi, () => {});
    },
    "accessed-dirty-set": (record) => this.write(record),
    "cr3-loaded": ({ cpu, root, keep }) => {
      this.reach(root);
      this.look(cpu, !keep);
    },
    "register-loaded": ({ cpu }) => this.look(cpu, false),
    invalidated: (record) => this.record({ type: "drop", cpu: record.cpu, scope: recordedScope(record) }),
    ...ignoring("tlb-filled", "access", "fault", "ipi-sent", "ipi-handled", "interrupt-taken"),
    ...ignoring("privilege-changed", "halted", "gap", "agent-introduced", "named"),
  });

  /**
   * Every legal result of an access of one byte that this CPU would make now (kind ACCESS_*, at its CPL and AC), what
   * memory says first. The address must be canonical. Throws RangeError for a page that is not remembered.
   */
  allowed(cpu: number, kind: number, lo: number, hi: number): Outcome[] {
    const { control, mode } = this.cpu(cpu);
    if (!isCanonical(hi, control.levels))
      throw new RangeError(`address ${hi}:${lo}: not canonical, nothing is walked`);
    const history = this.historyOf(lo, hi);
    const outcomes: Outcome[] = [];
    const { found } = this;
    for (const start of history.starts(cpu)) {
      found.start = start;
      const code = walk(this.silicon.memory, control, lo, hi, kind, mode, LOOK, found);
      const fault = code === WALK_OK ? -1 : errorCodeOf(code, found.denied, kind, mode, control);
      const physical = fault < 0 ? found.physical : -1;
      if (fault >= 0 && control.confirmsFaults && start.level !== this.silicon.levels) continue;
      if (has(outcomes, physical, fault)) continue;
      if (start.level === this.silicon.levels)
        outcomes.push(outcomeOf(physical, fault, "fresh", "memory says so"));
      else outcomes.push(outcomeOf(physical, fault, "stale-table", tableWords(start)));
    }
    for (const leaf of history.leaves(cpu)) {
      const denied = deniedBy(control, leaf.rights, kind, mode);
      if (denied !== 0 && control.confirmsFaults) continue;
      const writes = (kind & ACCESS_WRITE) !== 0;
      if (denied === 0 && writes && !leaf.dirty && !this.mayStoreClean(leaf)) continue;
      const fault = denied === 0 ? -1 : errorCodeOf(WALK_DENIED, denied, kind, mode, control);
      const physical = denied === 0 ? physicalOf(leaf, lo) : -1;
      if (has(outcomes, physical, fault)) continue;
      outcomes.push(outcomeOf(physical, fault, "stale-leaf", leafWords(leaf, denied !== 0)));
    }
    return outcomes;
  }

  /** The weaker reading: whether the entry that the leaf was read from is present. */
  private mayStoreClean({ entryAddress }: CachedLeaf): boolean {
    return this.cleanStore === "present" && (this.silicon.memory.readLo(entryAddress) & PTE_P) !== 0;
  }

  private historyOf(lo: number, hi: number): PageHistory {
    const known = this.histories.get(keyOf(lo, hi));
    if (known !== undefined) return known;
    if (this.fixed)
      throw new RangeError(
        `page of ${hex(linearBigInt(lo, hi))}: this oracle was made for a list of other pages`,
      );
    return this.replay(this.begin(lo, hi));
  }

  private begin(lo: number, hi: number): PageHistory {
    const history = new PageHistory(this.silicon, this.firstViews, lo, hi);
    this.histories.set(keyOf(lo, hi), history);
    return history;
  }

  /** Takes memory back to where the log begins and lets the history see everything again; memory ends as it was. */
  private replay(history: PageHistory): PageHistory {
    const { memory } = this.machine;
    const writes = this.log.filter((change) => change.type === "write");
    const now = new Map(writes.map(({ address }) => [address, memory.read(address)]));
    for (const { address, oldLo, oldHi } of writes.toReversed()) memory.write(address, oldLo, oldHi);
    for (const change of this.log) {
      if (change.type === "write") memory.write(change.address, change.lo, change.hi);
      history.apply(change);
    }
    for (const [address, { lo, hi }] of now) memory.write(address, lo, hi);
    return history;
  }

  /** Every table under a root, from now on. */
  private reach(root: number): void {
    if (this.roots.has(root)) return;
    this.roots.add(root);
    this.reachable.under(Pfn.truncate(root), this.silicon.levels, NO_SLOT, () => {});
  }

  private look(cpu: number, drops: boolean): void {
    this.record({ type: "view", cpu, view: viewOf(this.cpu(cpu)), drops });
  }

  private write({
    slot,
    oldLo,
    oldHi,
    entryLo,
    entryHi,
  }: HardwareRecordOf<"entry-written" | "accessed-dirty-set">): void {
    this.record({ type: "write", address: slot, oldLo, oldHi, lo: entryLo, hi: entryHi });
  }

  private record(change: Change): void {
    for (const history of this.histories.values()) history.apply(change);
    if (this.fixed) return;
    this.log.push(change);
    // With one CPU nothing from before a complete flush can be cached: a new history may begin here.
    const forgets = change.type === "drop" && isEverything(change.scope) && this.machine.cpus.length === 1;
    if (forgets && this.log.length > LONG_LOG) {
      this.log = [];
      this.firstViews = this.machine.cpus.map(viewOf);
    }
  }

  private cpu(id: number): Cpu {
    return this.machine.cpu(id);
  }
}

/** Whether a result is among the outcomes: a physical address, or the error code of a page fault. */
export function permits(
  outcomes: readonly Outcome[],
  result: { readonly physical: number } | { readonly errorCode: number },
): boolean {
  if ("physical" in result) return outcomes.some(({ physical }) => physical === result.physical);
  return outcomes.some(({ errorCode }) => errorCode === result.errorCode);
}

/** Whether an outcome is listed: the physical address, or with -1 the error code. */
function has(outcomes: readonly Outcome[], physical: number, fault: number): boolean {
  for (const outcome of outcomes) {
    if (fault < 0 ? outcome.physical === physical : outcome.errorCode === fault) return true;
  }
  return false;
}

function outcomeOf(physical: number, fault: number, source: OutcomeSource, why: string): Outcome {
  return fault < 0 ? { physical, source, why } : { errorCode: fault, source, why };
}

function physicalOf(leaf: CachedLeaf, lo: number): number {
  return leaf.hi * TWO_32 + ((leaf.lo | (lo & (OFFSET_MASK[leaf.level] ?? 0))) >>> 0);
}

function viewOf({ control }: Cpu): View {
  const { rootLo, rootHi, pcid, nxe, globals } = control;
  return { rootLo, rootHi, pcid, nxe, globals };
}

function isEverything({ pcid, page, globals, tables }: InvalidationScope): boolean {
  return pcid === ALL_PCIDS && page === null && globals === "all" && tables === "all";
}

function keyOf(lo: number, hi: number): string {
  return `${hi} ${lo >>> 12}`;
}

function tableWords({ lo, hi }: WalkStart): string {
  return `a cached entry still leads to the table at ${hex(linearBigInt(lo, hi))}`;
}

function leafWords({ level, lo, hi, dirty, global }: CachedLeaf, denies: boolean): string {
  const size = ["", "4-KiB", "2-MiB", "1-GiB"][level];
  const leaf = `a${global ? " global" : ""} ${size} translation to ${hex(linearBigInt(lo, hi))} with D=${Number(dirty)}`;
  return `${leaf} may be cached${denies ? " and denies it" : ""}`;
}
