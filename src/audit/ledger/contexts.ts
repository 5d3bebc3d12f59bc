import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { InvalidationScope } from "../../../arch/x86/cpu/invalidation-scope.ts";
import type { Debt, TableDebt } from "./debts.ts";
import type { Root } from "./spaces.ts";
import type { Reach } from "./translation.ts";

/** The pseudo PCID of a CPU's global translations, which serve every PCID. */
export const GLOBAL = -2;
/** The pseudo PCID of a device. */
const DEVICE = -3;

function perLevel<T>(): readonly Map<number, T>[] {
  return [new Map(), new Map(), new Map(), new Map()];
}

/**
 * Where translations may be cached: what one CPU holds under one PCID, what it holds that is global, or what one device
 * holds. That is, implicitly, all that the tables under its roots say now, plus the debts listed here.
 */
export class Context {
  /** Number of the CPU, NONE for a device. */
  readonly cpu: number;
  /** A PCID, GLOBAL, or DEVICE. */
  readonly pcid: number;
  /** Id of a device's listener, else NONE. */
  readonly listener: number;
  /** The roots that were loaded since everything was dropped; of the global one with the PCIDs they were loaded under. */
  readonly roots = new Map<Root, Set<number>>();
  /** Whether the owner can use it now: a CPU's PCID while it is loaded; all others always. */
  active: boolean;
  /** By address divided by size, for each size. */
  readonly debts = perLevel<Debt>();
  /** Of entries that led to tables, by address divided by the entry's size, for each level from 2. */
  readonly tableDebts: readonly Map<number, TableDebt>[] = [new Map(), new Map(), ...perLevel<TableDebt>()];
  /**
   * Translations whose A software cleared without a flush, by address divided by size, for each size: the context may
   * have them from before, although the entry says that it was not used since.
   */
  readonly aged: readonly Set<number>[] = [new Set(), new Set(), new Set(), new Set()];

  constructor(cpu: number, pcid: number, listener: number = NONE) {
    this.cpu = cpu;
    this.pcid = pcid;
    this.listener = listener;
    this.active = pcid < 0;
  }

  get isGlobal(): boolean {
    return this.pcid === GLOBAL;
  }
}

/** One CPU: a context for each PCID that it has used, of which one is current, and one for global translations. */
export class CpuContexts {
  readonly cpu: number;
  readonly byPcid = new Map<number, Context>();
  readonly global: Context;
  current: Context;
  /** The CPU only borrows the loaded address space (lazy TLB): it uses no user address. */
  lazy = false;

  constructor(cpu: number) {
    this.cpu = cpu;
    this.global = new Context(cpu, GLOBAL);
    this.current = this.of(0);
  }

  /** The context of a PCID. */
  of(pcid: number): Context {
    let context = this.byPcid.get(pcid);
    if (context === undefined) {
      context = new Context(this.cpu, pcid);
      this.byPcid.set(pcid, context);
    }
    return context;
  }
}

/** Every context, by CPU, by listener, and by the roots that it serves. */
export class Contexts {
  readonly #cpus = new Map<number, CpuContexts>();
  readonly #devices = new Map<number, Context>();
  readonly #byRoot = new Map<Root, Context[]>();

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

  /** A CPU loads a root: that PCID's translations are within its reach from now on, and no other's. */
  loaded(cpu: number, root: Root, pcid: number): void {
    const contexts = this.cpu(cpu);
    contexts.current.active = false;
    contexts.current = contexts.of(pcid);
    contexts.current.active = true;
    this.attach(contexts.current, root, pcid);
    this.attach(contexts.global, root, pcid);
  }

  /** A CPU has dropped more than a page: contexts that hold nothing now reach only what the loaded root, if any, leads to. */
  dropped(cpu: number, { tables, globals, pcid }: InvalidationScope, physical: number): void {
    const { byPcid, current, global } = this.cpu(cpu);
    const loaded = [...current.roots.keys()].find((root) => root.physical === physical) ?? null;
    for (const context of byPcid.values()) {
      if (tables !== "all" || (pcid >= 0 && pcid !== context.pcid)) continue;
      // What another PCID held is gone, and it cannot be filled again before its root is loaded.
      this.keepOnly(context, context === current ? loaded : null, context.pcid);
    }
    if (globals === "all") this.keepOnly(global, loaded, current.pcid);
  }

  /** From now on the context may hold what the tables under the root say; `pcid` is the one that it is loaded under. */
  attach(context: Context, root: Root, pcid: number): void {
    const pcids = context.roots.get(root);
    if (pcids !== undefined) {
      pcids.add(pcid);
      return;
    }
    context.roots.set(root, new Set([pcid]));
    const contexts = this.#byRoot.get(root);
    if (contexts === undefined) this.#byRoot.set(root, [context]);
    else contexts.push(context);
  }

  detach(context: Context, root: Root): void {
    context.roots.delete(root);
    const contexts = this.#byRoot.get(root);
    if (contexts === undefined) return;
    contexts.splice(contexts.indexOf(context), 1);
    if (contexts.length === 0) this.#byRoot.delete(root);
  }

  /** The context has dropped all that it held, and holds nothing of any root until one is loaded again. */
  detachAll(context: Context): void {
    for (const root of [...context.roots.keys()]) this.detach(context, root);
  }

  /** The same, but for the root that is loaded. */
  keepOnly(context: Context, loaded: Root | null, pcid: number): void {
    if (loaded !== null && context.roots.size === 1 && context.roots.has(loaded)) return;
    this.detachAll(context);
    if (loaded !== null) this.attach(context, loaded, pcid);
  }
}
