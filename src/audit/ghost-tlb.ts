import type { MmContext } from "../../arch/x86/mm/kernel-context.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { FindingDetails } from "./findings.ts";
import { BYTES_OF_LEVEL, FrameIndex, type OnFrame } from "./frame-index.ts";
import { type Leaf, WAS_ACCESSED, WAS_GLOBAL } from "./table-map.ts";

/** Bytes of linear addresses. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** One weakening of one leaf entry: who made it, and who owes an invalidation for it. */
export interface Change {
  /** The leaf as it was. */
  readonly leaf: Leaf;
  /** Kernel function on whose behalf, and primitive by which the entry was stored. */
  readonly caller: string;
  readonly primitive: string;
  /** Number of the event that stored it. */
  readonly event: number;
  readonly debts: Debt[];
  /** Its flush was put off to try_to_unmap_flush. */
  deferred: boolean;
  /** A range call that should have covered it and did not: the bytes left out, and what the call should have been. */
  missed: { readonly stale: readonly ByteRange[]; readonly owed: string } | null;
}

/** A translation that a cache may still hold although the tables no longer say so. */
export interface Debt extends OnFrame<Debt> {
  readonly cache: TranslationCache;
  readonly change: Change;
  /** RIGHT_* and WAS_* of the translation. */
  readonly rights: number;
  /** An earlier debt of the same cache for the same address. */
  older: Debt | null;
  paid: boolean;
  /** What will be found if the cache's PCID is loaded again and this is still unpaid. */
  suspended: SuspendedFinding[] | null;
}

/** A finding with its key, not reported yet. */
export interface SuspendedFinding {
  readonly key: string;
  readonly details: FindingDetails;
}

/** Whether the cache's owner can use the stale translation now: a PCID's own are out of reach while another is loaded. */
export function isReachable(debt: Debt): boolean {
  return debt.cache.active || (debt.rights & WAS_GLOBAL) !== 0;
}

/**
 * Where translations of a context may be cached: one CPU and PCID, or one device. What it may hold is implicit, all
 * that the tables of its mms say now, plus the debts listed here.
 */
export class TranslationCache {
  /** "CPU 1", or the name of the device's listener. */
  readonly name: string;
  /** Number of the CPU, -1 for a device. */
  readonly cpu: number;
  readonly mms = new Set<mm_struct>();
  /** Whether the CPU has this PCID loaded; always true of a device. */
  active = true;
  /** By address divided by size, for each size. */
  readonly debts: readonly Map<number, Debt>[] = [new Map(), new Map(), new Map(), new Map()];
  /**
   * Translations whose A software cleared without a flush, by address divided by size, for each size: the cache may
   * have them from before, although the entry says that it was not used since.
   */
  readonly aged: readonly Set<number>[] = [new Set(), new Set(), new Set(), new Set()];

  constructor(name: string, cpu: number) {
    this.name = name;
    this.cpu = cpu;
  }
}

/**
 * The ghost TLB (design D9): debts only, never what the tables still say. Weakening an entry makes a debt for each
 * cache that serves the mm; an invalidation that covers it, in that cache, pays it.
 */
export class GhostTlb {
  readonly byFrame = new FrameIndex<Debt>();
  /** Debts of CPUs, for translations whose A was set, that have been paid: tells whether a flush was of use. */
  paidYoung = 0;
  /** Debts of global translations that are not paid. */
  globals = 0;
  readonly #caches = new Map<MmContext, TranslationCache[]>();

  /** The caches that may hold translations of the mm now. */
  of(mm: MmContext): readonly TranslationCache[] {
    return this.#caches.get(mm) ?? [];
  }

  /** From now on the cache may hold what the mm's tables say. */
  attach(cache: TranslationCache, mm: mm_struct): void {
    if (cache.mms.has(mm)) return;
    cache.mms.add(mm);
    const caches = this.#caches.get(mm);
    if (caches === undefined) this.#caches.set(mm, [cache]);
    else caches.push(cache);
  }

  /** The cache stops using all its mms, and has dropped what it held of them. */
  detachAll(cache: TranslationCache): void {
    for (const mm of cache.mms) {
      const caches = this.#caches.get(mm)!;
      caches.splice(caches.indexOf(cache), 1);
    }
    cache.mms.clear();
  }

  /** A of the leaf was cleared: the caches that serve its mm may have used it before. */
  age(leaf: Leaf): void {
    for (const cache of this.of(leaf.mm))
      cache.aged[leaf.level]!.add(leaf.page / BYTES_OF_LEVEL[leaf.level]!);
  }

  /** Every cache that serves the mm of the changed entry owes an invalidation. */
  owe(change: Change): void {
    const { leaf } = change;
    const caches = this.of(leaf.mm);
    // Lists of a frame's debts are built back to front: this way CPU 0 comes first.
    for (let i = caches.length - 1; i >= 0; i--) {
      const cache = caches[i]!;
      const debts = cache.debts[leaf.level]!;
      const key = leaf.page / BYTES_OF_LEVEL[leaf.level]!;
      const older = debts.get(key) ?? null;
      // The cache may hold the same translation, and with as many rights, since an earlier change: blame that one.
      if (older !== null && older.frame === leaf.frame && (leaf.rights & ~older.rights) === 0) {
        change.debts.push(older);
        continue;
      }
      const debt: Debt = {
        cache,
        change,
        frame: leaf.frame,
        level: leaf.level,
        rights: leaf.rights | (cache.aged[leaf.level]!.has(key) ? WAS_ACCESSED : 0),
        older,
        paid: false,
        suspended: null,
        nextOnFrame: null,
        previousOnFrame: null,
      };
      debts.set(key, debt);
      if ((debt.rights & WAS_GLOBAL) !== 0) this.globals++;
      this.byFrame.add(debt);
      change.debts.push(debt);
    }
  }

  /** The cache dropped every translation, of any size, of one address. */
  dropAddress(cache: TranslationCache, address: number): void {
    for (let level = 1; level <= 3; level++) {
      const debts = cache.debts[level]!;
      const aged = cache.aged[level]!;
      if (debts.size + aged.size === 0) continue;
      const key = Math.floor(address / BYTES_OF_LEVEL[level]!);
      aged.delete(key);
      const debt = debts.get(key);
      if (debt === undefined) continue;
      debts.delete(key);
      this.#pay(debt);
    }
  }

  /** The cache dropped what overlaps the bytes: a large translation goes as a whole. */
  dropRange(cache: TranslationCache, start: number, length: number): void {
    for (let level = 1; level <= 3; level++) {
      const debts = cache.debts[level]!;
      const size = BYTES_OF_LEVEL[level]!;
      const first = Math.floor(start / size);
      const last = Math.floor((start + length - 1) / size);
      for (const key of cache.aged[level]!) if (key >= first && key <= last) cache.aged[level]!.delete(key);
      if (last - first < debts.size) {
        for (let key = first; key <= last; key++) this.#dropKey(debts, key);
      } else {
        for (const key of debts.keys()) if (key >= first && key <= last) this.#dropKey(debts, key);
      }
    }
  }

  dropAll(cache: TranslationCache): void {
    for (const aged of cache.aged) aged.clear();
    for (const debts of cache.debts) {
      if (debts.size === 0) continue;
      for (const debt of debts.values()) this.#pay(debt);
      debts.clear();
    }
  }

  /** The cache dropped every translation that is not global. */
  dropNonGlobal(cache: TranslationCache): void {
    if (this.globals === 0) {
      this.dropAll(cache);
      return;
    }
    for (const aged of cache.aged) aged.clear();
    this.#dropWhere(cache, (debt) => (debt.rights & WAS_GLOBAL) === 0);
  }

  /** The cache dropped the global translations of one address. */
  dropGlobalAddress(cache: TranslationCache, address: number): void {
    this.#dropWhere(cache, ({ change, level, rights }) => {
      const { page } = change.leaf;
      return (rights & WAS_GLOBAL) !== 0 && address >= page && address < page + BYTES_OF_LEVEL[level]!;
    });
  }

  /** Calls `visit` with the cache's newest debt for each address in the bytes, of any size. */
  inRange(cache: TranslationCache, start: number, length: number, visit: (debt: Debt) => void): void {
    for (let level = 1; level <= 3; level++) {
      const debts = cache.debts[level]!;
      if (debts.size === 0) continue;
      const first = Math.floor(start / BYTES_OF_LEVEL[level]!);
      const last = Math.floor((start + length - 1) / BYTES_OF_LEVEL[level]!);
      if (last - first < debts.size) {
        for (let key = first; key <= last; key++) {
          const debt = debts.get(key);
          if (debt !== undefined) visit(debt);
        }
      } else {
        for (const [key, debt] of debts) if (key >= first && key <= last) visit(debt);
      }
    }
  }

  /** Calls `visit` with every debt of the cache. */
  ofCache(cache: TranslationCache, visit: (debt: Debt) => void): void {
    for (const debts of cache.debts) {
      for (const newest of debts.values()) {
        for (let debt: Debt | null = newest; debt !== null; debt = debt.older) visit(debt);
      }
    }
  }

  /** Pays some of a cache's debts; of several for one address, those that remain stay in their order. */
  #dropWhere(cache: TranslationCache, dropped: (debt: Debt) => boolean): void {
    for (const debts of cache.debts) {
      for (const [key, newest] of debts) {
        const kept: Debt[] = [];
        for (let debt: Debt | null = newest; debt !== null; ) {
          const { older }: Debt = debt;
          debt.older = null;
          if (dropped(debt)) this.#pay(debt);
          else kept.push(debt);
          debt = older;
        }
        kept.forEach((debt, i) => {
          debt.older = kept[i + 1] ?? null;
        });
        const first = kept[0];
        if (first === undefined) debts.delete(key);
        else debts.set(key, first);
      }
    }
  }

  #dropKey(debts: Map<number, Debt>, key: number): void {
    const debt = debts.get(key);
    if (debt === undefined) return;
    debts.delete(key);
    this.#pay(debt);
  }

  #pay(newest: Debt): void {
    for (let debt: Debt | null = newest; debt !== null; debt = debt.older) {
      debt.paid = true;
      debt.suspended = null;
      if ((debt.rights & WAS_GLOBAL) !== 0) this.globals--;
      this.byFrame.remove(debt);
      if (debt.cache.cpu >= 0 && (debt.rights & WAS_ACCESSED) !== 0) this.paidYoung++;
    }
  }
}
