import { NONE } from "../../../arch/x86/cpu/address.ts";
import { ALL_PCIDS, type InvalidationScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { Absence, PRESENT_NOW } from "./absence.ts";
import { CpuContexts } from "./cpu-contexts.ts";
import { Context, DEVICE } from "./debt.ts";
import type { Root } from "./spaces.ts";
import type { Leaf, Reach } from "./translation.ts";

/** Rights of a translation that a context cannot hold. */
export const NOT_HELD = -1;

/** Where the kernel's addresses begin, in what a Number can tell. */
const KERNEL_START = 2 ** 63;
/** Levels of paging structures there are at most. */
const LEVELS = 5;

/** Every context, by CPU, by listener, and by the roots that it serves. */
export class Contexts {
  readonly #cpus = new Map<number, CpuContexts>();
  readonly #devices = new Map<number, Context>();
  readonly #byRoot = new Map<Root, Context[]>();
  /** Of roots that some context has left. */
  readonly #absences = new Map<Root, Absence>();
  /** Counts loads of roots. */
  #time = 0;

  cpu(cpu: number): CpuContexts {
    let contexts = this.#cpus.get(cpu);
    if (contexts === undefined) {
      contexts = new CpuContexts(cpu);
      this.#cpus.set(cpu, contexts);
    }
    return contexts;
  }

  /** CPUs seen so far. */
  cpus(): Iterable<CpuContexts> {
    return this.#cpus.values();
  }

  /** The context of a device, by its listener's id. */
  device(listener: number): Context | undefined {
    return this.#devices.get(listener);
  }

  addDevice(listener: number, root: Root): void {
    const context = new Context(NONE, DEVICE, listener);
    this.#devices.set(listener, context);
    this.attach(context, root, DEVICE);
  }

  removeDevice(listener: number): void {
    const context = this.#devices.get(listener);
    if (context === undefined) return;
    this.detachAll(context);
    this.#devices.delete(listener);
  }

  /** The contexts that may hold translations under a root now. */
  of(root: Root): readonly Context[] {
    return this.#byRoot.get(root) ?? [];
  }

  /** The contexts that may hold translations with that reach, each once. */
  reaching({ roots }: Reach): readonly Context[] {
    if (roots.length === 1) return this.of(roots[0]!);
    const all = new Set<Context>();
    for (const root of roots) for (const context of this.of(root)) all.add(context);
    return [...all];
  }

  /**
   * A CPU loads a root: that PCID's translations are within its reach from now on, and no other's. `keep`: what the PCID
   * has of other roots stays.
   */
  loaded(cpu: number, root: Root, pcid: number, keep: boolean): void {
    const contexts = this.cpu(cpu);
    const { current: before, global, root: oldRoot } = contexts;
    const current = contexts.of(pcid);
    this.#time++;
    before.active = false;
    current.active = true;
    contexts.current = current;
    contexts.root = root;
    if (before !== current) for (const each of before.roots.keys()) this.#leave(before, each);
    else if (keep && oldRoot !== null && oldRoot !== root) this.#leave(current, oldRoot);
    if (oldRoot !== null && oldRoot !== root) this.#leave(global, oldRoot);
    this.attach(current, root, pcid);
    this.attach(global, root, pcid);
  }

  /** The loaded root is under another PCID now, without a load: everything was dropped. */
  renumbered(cpu: number, pcid: number): void {
    const { current, root } = this.cpu(cpu);
    if (current.pcid !== pcid && root !== null) this.loaded(cpu, root, pcid, false);
  }

  /**
   * A CPU has dropped something: contexts that hold nothing now reach only what the loaded root, if any, leads to.
   * `userGlobals`: there are global leaves of users, whose roots CPUs leave.
   */
  dropped(cpu: number, scope: InvalidationScope, userGlobals: boolean): void {
    const { byPcid, current, global, root: last } = this.cpu(cpu);
    const { page, pcid, globals } = scope;
    // One that its address space took along is nobody's any more.
    const root = last !== null && current.roots.has(last) ? last : null;
    for (const context of byPcid.values()) {
      if (pcid !== ALL_PCIDS && pcid !== context.pcid) continue;
      // What another PCID held is gone, and it cannot be filled again before its root is loaded.
      if (page === null && scope.tables === "all") this.#keepOnly(context, context === current ? root : null);
      else if (context !== current && context.roots.size > 0) this.#noteDropped(context, scope);
    }
    if (globals === "keep") return;
    if (page !== null) {
      const isKernel = linearNumber(page.lo, page.hi) >= KERNEL_START;
      if (global.roots.size > 1 && (isKernel || userGlobals)) this.#noteDropped(global, scope);
    } else if (globals === "all") this.#keepOnly(global, root);
    else this.#dropFilledUnder(global, pcid);
  }

  #noteDropped(context: Context, { page, tables }: InvalidationScope): void {
    const at = this.#time;
    if (tables === "all") context.allTablesDropped = at;
    if (page === null) {
      context.allDropped = at;
      return;
    }
    const address = linearNumber(page.lo & ~0xfff, page.hi);
    for (let level = 1; level <= 3; level++) context.dropped.set(level, address, at);
    if (tables !== "path" || context.isGlobal) return;
    for (let level = 2; level <= LEVELS; level++) context.droppedTables.set(level, address, at);
  }

  /** Global translations that were filled under a PCID are gone; those of the loaded root can be filled again. */
  #dropFilledUnder(global: Context, pcid: number): void {
    for (const [root, { pcids, left }] of [...global.roots]) {
      if (left === PRESENT_NOW) continue;
      pcids.delete(pcid);
      if (pcids.size === 0) this.detach(global, root);
    }
  }

  /**
   * RIGHT_* and WAS_* with which a context may hold what a leaf was until now, NOT_HELD if it cannot: when it left, the
   * leaf was not there, or it has dropped it since.
   */
  heldRights(context: Context, { reach, level, page, rights }: Leaf): number {
    for (const root of reach.roots) {
      const left = context.roots.get(root)?.left;
      if (left === undefined) continue;
      if (left === PRESENT_NOW) return rights;
      if (Math.max(context.allDropped, context.dropped.of(level, page)) >= left) continue;
      const absence = this.#absences.get(root)!;
      if (absence.isOlder(level, page, LEVELS, left)) return absence.rightsAt(level, page, left, rights);
    }
    return NOT_HELD;
  }

  /** Whether a context may hold what an entry that led to a table was until now. */
  holdsTable(context: Context, { roots }: Reach, level: number, base: number): boolean {
    return roots.some((root) => {
      const left = context.roots.get(root)?.left;
      if (left === undefined || left === PRESENT_NOW) return left !== undefined;
      if (Math.max(context.allTablesDropped, context.droppedTables.of(level, base)) >= left) return false;
      return this.#absences.get(root)!.isOlder(level, base, LEVELS, left);
    });
  }

  /** Whether some context has left some root, so that changes matter that weaken nothing. */
  get someAway(): boolean {
    return this.#absences.size > 0;
  }

  /** An entry has got a value that contexts which are away cannot have read. */
  placed({ roots }: Reach, level: number, address: number, global: boolean): void {
    if (this.#absences.size === 0) return;
    for (const root of roots) {
      const absence = this.#absences.get(root);
      if (absence !== undefined && (global || absence.pcids > 0)) absence.placed(level, address, this.#time);
    }
  }

  /** A leaf is gone; contexts owe for it what they had of it. */
  gone({ reach, level, page }: Leaf): void {
    if (this.#absences.size === 0) return;
    for (const root of reach.roots) this.#absences.get(root)?.gone(level, page);
  }

  /** A leaf, given as it was, allows more now. */
  grew({ reach, level, page, rights }: Leaf): void {
    if (this.#absences.size === 0) return;
    for (const root of reach.roots) {
      const absence = this.#absences.get(root);
      if (absence !== undefined && absence.pcids > 0) absence.grew(level, page, rights, this.#time);
    }
  }

  #leave(context: Context, root: Root): void {
    const hold = context.roots.get(root);
    if (hold === undefined || hold.left !== PRESENT_NOW) return;
    hold.left = this.#time;
    let absence = this.#absences.get(root);
    if (absence === undefined) {
      absence = new Absence();
      this.#absences.set(root, absence);
    }
    if (context.isGlobal) absence.globals++;
    else absence.pcids++;
  }

  /** The context walks the root again, or has nothing of it any more. */
  #endAbsence(context: Context, root: Root): void {
    const absence = this.#absences.get(root)!;
    if (context.isGlobal) absence.globals--;
    else absence.pcids--;
    if (absence.pcids + absence.globals === 0) this.#absences.delete(root);
  }

  /** From now on the context may hold what the tables under the root say; `pcid` is the one that it is loaded under. */
  attach(context: Context, root: Root, pcid: number): void {
    const hold = context.roots.get(root);
    if (hold !== undefined) {
      hold.pcids.add(pcid);
      if (hold.left !== PRESENT_NOW) this.#endAbsence(context, root);
      hold.left = PRESENT_NOW;
      return;
    }
    context.roots.set(root, { pcids: new Set([pcid]), left: PRESENT_NOW });
    const contexts = this.#byRoot.get(root);
    if (contexts === undefined) this.#byRoot.set(root, [context]);
    else contexts.push(context);
  }

  detach(context: Context, root: Root): void {
    const hold = context.roots.get(root);
    if (hold === undefined) return;
    if (hold.left !== PRESENT_NOW) this.#endAbsence(context, root);
    context.roots.delete(root);
    const contexts = this.#byRoot.get(root);
    if (contexts === undefined) return;
    contexts.splice(contexts.indexOf(context), 1);
    if (contexts.length === 0) this.#byRoot.delete(root);
  }

  /** The context has dropped all that it held, and holds nothing of any root until one is loaded again. */
  detachAll(context: Context): void {
    for (const root of [...context.roots.keys()]) this.detach(context, root);
    context.dropped.clear();
    context.droppedTables.clear();
  }

  /** The same, but for the root that is loaded. */
  #keepOnly(context: Context, loaded: Root | null): void {
    const { pcid } = context.isGlobal ? this.cpu(context.cpu).current : context;
    if (loaded !== null && context.roots.size === 1 && context.roots.has(loaded)) {
      // Only the global one may have been loaded under others, whose translations are gone.
      const { pcids } = context.roots.get(loaded)!;
      pcids.clear();
      pcids.add(pcid);
      return;
    }
    this.detachAll(context);
    if (loaded !== null) this.attach(context, loaded, pcid);
  }
}
