import { NONE } from "../../../arch/x86/cpu/address.ts";
import { Times } from "./absence.ts";
import type { Debt } from "./debts.ts";
import type { Root } from "./spaces.ts";
import type { TableDebt } from "./table-debts.ts";

/** The pseudo PCID of a CPU's global translations, which serve every PCID. */
export const GLOBAL = -2;
/** The pseudo PCID of a device. */
export const DEVICE = -3;

/** What a context has of a root. */
export interface Hold {
  /** Of the context of global translations, the PCIDs that the root was loaded under. */
  readonly pcids: Set<number>;
  /** When the context ceased to walk the root, or PRESENT_NOW. */
  left: number;
}

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
  /** The roots that were loaded since everything was dropped. */
  readonly roots = new Map<Root, Hold>();
  /** What was dropped while a root, or the context itself, was not loaded, so that it could not be filled again. */
  readonly dropped = new Times();
  readonly droppedTables = new Times();
  allDropped = -1;
  allTablesDropped = -1;
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
  /** The root that is loaded. */
  root: Root | null = null;
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
