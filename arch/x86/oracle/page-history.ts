import { ACCESS_READ, MODE_SUPERVISOR, RIGHT_U, RIGHT_W } from "../cpu/access-rights.ts";
import type { ControlRegisters } from "../cpu/control-registers.ts";
import { PTE_A, PTE_G, PTE_XD } from "../cpu/entry-layout.ts";
import { coversLeaf, coversTable, type InvalidationScope } from "../cpu/invalidation-scope.ts";
import { WALK_DENIED, WALK_OK } from "../cpu/page-fault.ts";
import { OFFSET_MASK, type WalkOptions, WalkResult, type WalkStart, walk } from "../cpu/page-walk.ts";
import type { PhysicalMemory } from "../cpu/physical-memory.ts";

/** What decides which translations a CPU may make and keep: its root, its PCID, and what entries mean to it. */
export interface View {
  readonly rootLo: number;
  readonly rootHi: number;
  readonly pcid: number;
  readonly nxe: boolean;
  /** Whether G counts. */
  readonly globals: boolean;
}

/** One thing that happened, in the form that histories understand. */
export type Change =
  | { type: "write"; address: number; oldLo: number; oldHi: number; lo: number; hi: number }
  | { type: "view"; cpu: number; view: View }
  | { type: "drop"; cpu: number; scope: InvalidationScope };

/** A leaf translation that a TLB may hold. */
export interface CachedLeaf {
  readonly level: number;
  /** Words of the page's physical address. */
  readonly lo: number;
  readonly hi: number;
  readonly rights: number;
  readonly dirty: boolean;
  readonly global: boolean;
  /** Physical address of the entry that it was read from. */
  readonly entryAddress: number;
}

/** What the machine gives to its histories. */
export interface Silicon {
  readonly memory: PhysicalMemory;
  readonly levels: 4 | 5;
  /** Registers from which a walk takes the reserved bits. */
  rules(nxe: boolean): ControlRegisters;
}

/** What one CPU may hold for one page under one PCID. */
interface Context {
  /** By the level of the table's entries, 1 to 4: where a walk may begin because an entry above is cached. */
  readonly tables: WalkStart[][];
  readonly leaves: CachedLeaf[];
  /** Addresses of the entries that the last learning read. */
  reads: number[];
  /** Why it must learn before it is asked: something was dropped, or an entry that it reads has changed. */
  pending: typeof UP_TO_DATE | typeof DROPPED | typeof REWRITTEN;
}

const UP_TO_DATE = 0;
const DROPPED = 1;
const REWRITTEN = 2;

/** A walk that changes nothing and keeps its path. */
const LOOK: WalkOptions = { setAccessedDirty: false, record: "words", beforeUpdate: null, updated: null };
const PCIDS = 4096;

/**
 * Everything that the caches of each CPU may hold for one 4-KiB page of linear addresses: each leaf and each table
 * entry on its path that was valid (P=1, no reserved bit) while the CPU was in that context, and that nothing has dropped
 * since. A cached table entry stays usable with what stands in its table *later*, so the set is closed under walks that
 * begin at any of its tables.
 *
 * A is not asked for: a CPU may have set it in a speculative walk.
 */
export class PageHistory {
  readonly lo: number;
  readonly hi: number;
  private readonly silicon: Silicon;
  private readonly views: View[];
  /** Where a walk of each CPU begins without any cached table. */
  private readonly roots: WalkStart[];
  private readonly contexts: Map<number, Context>[];
  private readonly found = new WalkResult();

  /** The page with these words of its linear address, from a moment when no CPU has cached anything. */
  constructor(silicon: Silicon, views: readonly View[], lo: number, hi: number) {
    this.silicon = silicon;
    this.views = [...views];
    this.roots = views.map((view) => this.rootOf(view));
    this.contexts = views.map(() => new Map());
    this.lo = lo & ~0xfff;
    this.hi = hi;
  }

  /** Takes in what happened; for a write, memory holds the new value already. */
  apply(change: Change): void {
    if (change.type === "write") {
      for (let cpu = 0; cpu < this.views.length; cpu++) this.applyWrite(cpu, change);
    } else if (change.type === "view") {
      const old = this.views[change.cpu]!;
      if (sameView(old, change.view)) return;
      this.settle(change.cpu);
      this.views[change.cpu] = change.view;
      this.roots[change.cpu] = this.rootOf(change.view);
      const context = this.contexts[change.cpu]!.get(change.view.pcid);
      if (context !== undefined) context.pending = REWRITTEN;
    } else {
      this.applyDrop(change.cpu, change.scope);
    }
  }

  /** Where a walk of this page may begin on a CPU: the root first, then every table whose entry may be cached. */
  starts(cpu: number): WalkStart[] {
    const { tables } = this.settle(cpu);
    const list = [this.roots[cpu]!];
    for (const level of tables) for (const table of level) list.push(table);
    return list;
  }

  /** The leaf translations that a CPU may use now: those of its PCID, and global ones. */
  leaves(cpu: number): CachedLeaf[] {
    const own = this.settle(cpu);
    const list = [...own.leaves];
    for (const context of this.contexts[cpu]!.values()) {
      if (context === own) continue;
      for (const leaf of context.leaves) if (leaf.global) list.push(leaf);
    }
    return list;
  }

  private applyWrite(cpu: number, write: Extract<Change, { type: "write" }>): void {
    const context = this.current(cpu);
    const { address } = write;
    const { memory } = this.silicon;
    if (context.pending === UP_TO_DATE && !context.reads.includes(address)) return;
    if (context.pending !== UP_TO_DATE) {
      memory.write(address, write.oldLo, write.oldHi);
      this.learn(cpu, context);
      memory.write(address, write.lo, write.hi);
      if (!context.reads.includes(address)) return;
    }
    const onlyA = write.hi === write.oldHi && (write.lo ^ write.oldLo) === PTE_A;
    if (!onlyA) context.pending = REWRITTEN;
  }

  private applyDrop(cpu: number, scope: InvalidationScope): void {
    // What only a drop left to learn is read from the same memory after this drop, unless it comes from a cached table,
    // which this drop may take while it spares the leaf; a rewritten entry must be learnt first.
    const { pending, tables } = this.current(cpu);
    if (pending === REWRITTEN || (pending === DROPPED && tables.some(({ length }) => length > 0))) {
      this.settle(cpu);
    }
    for (const [pcid, context] of this.contexts[cpu]!) {
      const { lo, hi } = this;
      let dropped = false;
      let kept = 0;
      for (const leaf of context.leaves) {
        if (coversLeaf(scope, leaf.level, lo, hi, pcid, leaf.global)) dropped = true;
        else context.leaves[kept++] = leaf;
      }
      if (dropped) context.leaves.length = kept;
      for (let level = 1; level <= 4; level++) {
        const tables = context.tables[level]!;
        if (tables.length === 0 || !coversTable(scope, level + 1, lo, hi, pcid)) continue;
        tables.length = 0;
        dropped = true;
      }
      if (dropped) context.pending = DROPPED;
    }
  }

  /** The context of a CPU, with everything learnt that its tables say now. */
  private settle(cpu: number): Context {
    const context = this.current(cpu);
    if (context.pending !== UP_TO_DATE) this.learn(cpu, context);
    return context;
  }

  private current(cpu: number): Context {
    const contexts = this.contexts[cpu]!;
    const { pcid } = this.views[cpu]!;
    let context = contexts.get(pcid);
    if (context === undefined) {
      if (!(pcid < PCIDS)) throw new RangeError(`PCID ${pcid}: there are 0 to ${PCIDS - 1}`);
      context = { tables: [[], [], [], [], []], leaves: [], reads: [], pending: REWRITTEN };
      contexts.set(pcid, context);
    }
    return context;
  }

  private rootOf({ rootLo, rootHi }: View): WalkStart {
    return { level: this.silicon.levels, lo: rootLo, hi: rootHi, above: -1, anyHi: 0 };
  }

  /** Walks from the root and from each cached table, and adds what it meets; an added table is walked in its turn. */
  private learn(cpu: number, context: Context): void {
    context.reads = [];
    this.learnFrom(cpu, context, this.roots[cpu]!);
    for (let level = this.silicon.levels - 1; level >= 1; level--) {
      const tables = context.tables[level]!;
      const known = tables.length;
      for (let i = 0; i < known; i++) this.learnFrom(cpu, context, tables[i]!);
    }
    context.pending = UP_TO_DATE;
  }

  private learnFrom(cpu: number, context: Context, start: WalkStart): void {
    const { found } = this;
    const { nxe, globals } = this.views[cpu]!;
    found.start = start;
    const control = this.silicon.rules(nxe);
    const code = walk(
      this.silicon.memory,
      control,
      this.lo,
      this.hi,
      ACCESS_READ,
      MODE_SUPERVISOR,
      LOOK,
      found,
    );
    let { above, anyHi } = start;
    for (let level = start.level; level >= found.level; level--) {
      const address = found.pathAddress[level]!;
      if (!context.reads.includes(address)) context.reads.push(address);
      if (level === found.level) break;
      above &= found.pathLo[level]! | ~(RIGHT_W | RIGHT_U);
      anyHi |= found.pathHi[level]! & PTE_XD;
      addTable(
        context.tables[level - 1]!,
        level - 1,
        found.pathLo[level]!,
        found.pathHi[level]!,
        above,
        anyHi,
      );
    }
    if (code === WALK_OK || code === WALK_DENIED) addLeaf(context.leaves, found, globals);
  }
}

function addTable(
  tables: WalkStart[],
  level: number,
  entryLo: number,
  entryHi: number,
  above: number,
  anyHi: number,
): void {
  const lo = entryLo & ~0xfff;
  const hi = entryHi & 0xf_ffff;
  for (const table of tables) {
    if (table.lo === lo && table.hi === hi && table.above === above && table.anyHi === anyHi) return;
  }
  tables.push({ level, lo, hi, above, anyHi });
}

function addLeaf(leaves: CachedLeaf[], found: WalkResult, globals: boolean): void {
  const { level, rights, dirty, entryAddress } = found;
  const lo = found.lo & ~(OFFSET_MASK[level] ?? 0);
  const hi = found.hi & 0xf_ffff;
  const global = globals && (found.lo & PTE_G) !== 0;
  for (const leaf of leaves) {
    if (leaf.level === level && leaf.lo === lo && leaf.hi === hi && leaf.rights === rights) {
      if (leaf.dirty === dirty && leaf.global === global && leaf.entryAddress === entryAddress) return;
    }
  }
  leaves.push({ level, lo, hi, rights, dirty, global, entryAddress });
}

function sameView(a: View, b: View): boolean {
  return (
    a.rootLo === b.rootLo &&
    a.rootHi === b.rootHi &&
    a.pcid === b.pcid &&
    a.nxe === b.nxe &&
    a.globals === b.globals
  );
}
