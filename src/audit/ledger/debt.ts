import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { FindingDetails, RuleHead } from "../findings.ts";
import { Times } from "./absence.ts";
import type { ByteRange } from "./byte-range.ts";
import type { Changer } from "./changer.ts";
import type { OnPfn } from "./pfn-index.ts";
import type { Root } from "./spaces.ts";
import type { Leaf, Reach } from "./translation.ts";

/* Changes, contexts and debts: shapes that point at each other. */

/** A call of the notifier core, as one change saw it. */
export interface ToldCall {
  readonly op: string;
  readonly range: ByteRange;
  /** Number of the record. */
  readonly seq: number;
}

/** One weakening of one leaf entry: who made it, and who owes an invalidation for it. */
export interface Change extends Changer {
  /** The leaf as it was. */
  readonly leaf: Leaf;
  readonly debts: Debt[];
  /** Its flush was put off to try_to_unmap_flush. */
  deferred: boolean;
  /** The last range that the listeners were told of for it, whether it covers the change or not. */
  told: ToldCall | null;
  /** What that call should have covered and did not: the bytes left out, and the range that it should have had. */
  missed: { readonly stale: readonly ByteRange[]; readonly needed: ByteRange } | null;
}

/** A translation that a context may still hold although the tables no longer say so. */
export interface Debt extends OnPfn<Debt> {
  readonly context: Context;
  readonly change: Change;
  /** RIGHT_* and WAS_* of the translation. */
  readonly rights: number;
  /** The cached entry through which a walk could make it anew: it is not paid before that one is. Null: none, or none now. */
  via: TableDebt | null;
  /** The context cannot have it yet: once it is loaded again it can, through `via`. */
  unfilled: boolean;
  /** Of a global one: the PCIDs under which it may have been filled. */
  readonly filledUnder: Set<number> | null;
  /** An earlier debt of the same context for the same address. */
  older: Debt | null;
  paid: boolean;
  /** What will be found if the context can be used again and this is still unpaid. */
  suspended: SuspendedFinding[] | null;
}

/** A cached entry that still leads to a table which its slot does not lead to any more, or not with the same rights. */
export interface TableDebt {
  readonly context: Context;
  readonly changer: Changer;
  /** Level of the entry, from 2, and the first address that it is for. */
  readonly level: number;
  readonly base: number;
  readonly table: number;
  readonly reach: Reach;
  /** RIGHT_* of the path to the table. */
  readonly allow: number;
  /** Of an entry that stands in a table which a cached entry leads to: that one. */
  readonly parent: TableDebt | null;
  /** The context, which is away, cannot have it yet: once it is loaded again it can, through `parent`. */
  unfilled: boolean;
  /** Debts, of leaves and of tables, that are unfilled and can be filled through this one. */
  readonly late: Set<Debt | TableDebt>;
  older: TableDebt | null;
  paid: boolean;
  suspended: SuspendedFinding[] | null;
}

/** A finding with its key, not reported yet. */
export interface SuspendedFinding {
  readonly rule: RuleHead;
  readonly key: string;
  readonly details: FindingDetails;
}

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
