import { NONE } from "../../arch/x86/cpu/address.ts";
import { Entry, sameEntry } from "../../arch/x86/cpu/entry.ts";
import { linearNumber } from "../../arch/x86/cpu/linear-address.ts";
import type { HardwareRecordOf } from "../../arch/x86/cpu/records.ts";
import type { mm_struct } from "../../src/mm/mm_types.ts";
import type { LockClass, MmRecord, NotifierOp } from "../../src/mm/records.ts";

/** Letters of the golden traces for the calls of the notifier core. */
const NOTIFIER_LETTERS: Readonly<Record<NotifierOp, string>> = {
  invalidate_range_start: "NS",
  invalidate_range_end: "NE",
  invalidate_range: "NR",
  invalidate_page: "NP",
  clear_flush_young: "NY",
  clear_young: "NYC",
  test_young: "NYT",
  change_pte: "NC",
  release: "NREL",
};

/** Records that the golden traces leave out and that a test may ask for. */
export type TraceExtra =
  /** One word a listener called: `K.invalidate_page[a,+4K)`. */
  | "listeners"
  /** `rss(1-1)`: counter and delta. */
  | "rss"
  /** Read-modify-writes of a live entry: `A-` and `W-` for the flag that was cleared. */
  | "rmw"
  | "rmap-added"
  /** `UMC(a)`: update_mmu_cache. */
  | "mmu-cache"
  | "ipi"
  | "invlpg";

export interface TraceOptions {
  /** Addresses to be printed by name. */
  readonly names?: Readonly<Record<string, number>>;
  readonly also?: readonly TraceExtra[];
  /** The mm whose listeners, registered before the trace was attached, are to be printed by name. */
  readonly listenersOf?: mm_struct;
}

/**
 * Turns records into the words of the golden traces:
 *
 *   L+ L-  page-table lock, L+(pmd) of a pmd table    NS NE  range_start, range_end    SPD  set_page_dirty
 *   FC     flush_cache_page                           NR     invalidate_range          SD   swap_duplicate
 *   X S    exchange (old), store (new)                NP     invalidate_page           RM   page_remove_rmap
 *   F D    TLB flush, deferred flush                  NY     clear_flush_young         PP   put_page
 *
 * Ranges print as [start,+length). Attach with `kernel.attach(trace.observer)`.
 */
export class Trace {
  readonly words: string[] = [];
  readonly #names: Map<number, string>;
  readonly #also: ReadonlySet<TraceExtra>;
  readonly #listeners: Map<number, string>;

  constructor(options: TraceOptions = {}) {
    this.#names = new Map(Object.entries(options.names ?? {}).map(([name, address]) => [address, name]));
    this.#also = new Set(options.also ?? []);
    const registered = options.listenersOf?.mmu_notifier_mm?.list ?? [];
    this.#listeners = new Map(registered.map(({ mn, id }) => [id, mn.name]));
  }

  readonly observer = (record: MmRecord): void => {
    const word = this.#word(record);
    if (word !== null) this.words.push(word);
  };

  toString(): string {
    return this.words.join(" ");
  }

  /** Words since the last call. */
  take(): string {
    return this.words.splice(0).join(" ");
  }

  #word(record: MmRecord): string | null {
    switch (record.kind) {
      case "lock-taken":
        return lockWord("L+", record.lockClass);
      case "lock-dropped":
        return lockWord("L-", record.lockClass);
      case "cache-flushed":
        return record.hook === "flush_cache_page" ? "FC" : record.hook;
      case "entry-written":
        return this.#entryWord(record);
      case "flush-begun":
        if (record.space === NONE) return "F(batch)";
        return record.all ? "F(full)" : `F${this.#range(record)}`;
      case "batch-added":
        return record.dirty ? "D(writable)" : "D";
      case "notifier-called":
        return record.op === "invalidate_page" || record.op === "change_pte" || record.op === "test_young"
          ? `${NOTIFIER_LETTERS[record.op]}(${this.#address(startOf(record))})`
          : `${NOTIFIER_LETTERS[record.op]}${this.#range(record)}`;
      case "page-flag":
        return record.flag === "dirty" && record.set ? "SPD" : null;
      case "swap-duplicated":
        return record.ok ? "SD" : "SD(fails)";
      case "rmap-removed":
        return "RM";
      case "page-put":
        return "PP";
      case "page-mlocked":
        return "mlock_vma_page";
      case "swapbacked-set":
        return "SetSwapBacked";
      case "write-out":
        return `IO(${record.pfn.toString(16)})`;
      case "page-freed":
        return `FREE(${record.pfn.toString(16)})`;
      default:
        return this.#extraWord(record);
    }
  }

  #extraWord(record: MmRecord): string | null {
    switch (record.kind) {
      case "named":
        if (record.subject === "listener") this.#listeners.set(record.id, record.name);
        return null;
      case "listener-called": {
        const name = this.#listeners.get(record.listener) ?? `listener ${record.listener}`;
        return this.#also.has("listeners") ? `${name}.${record.op}${this.#range(record)}` : null;
      }
      case "rss-changed":
        return this.#also.has("rss")
          ? `rss(${record.counter}${record.delta < 0 ? "" : "+"}${record.delta})`
          : null;
      case "mmu-cache-updated":
        return this.#also.has("mmu-cache") ? `UMC(${this.#address(startOf(record))})` : null;
      case "rmap-added":
        return this.#also.has("rmap-added") ? "RA" : null;
      case "ipi-sent":
        return this.#also.has("ipi") ? `IPI(${record.cpu}->${record.to})` : null;
      case "ipi-handled":
        return this.#also.has("ipi") ? `IPI-done(${record.cpu})` : null;
      case "invalidated":
        return this.#also.has("invlpg") && record.cause === "INVLPG"
          ? `INVLPG(${record.cpu},${this.#address(startOf(record))})`
          : null;
      default:
        return null;
    }
  }

  #entryWord({ oldLo, oldHi, entryLo, entryHi }: HardwareRecordOf<"entry-written">): string | null {
    const old = new Entry(oldLo, oldHi);
    const value = new Entry(entryLo, entryHi);
    if ((value.lo | value.hi) === 0) return `X(${old})`;
    for (const [flag, word] of [
      [0x20, "A-"],
      [0x2, "W-"],
    ] as const) {
      if ((old.lo & flag) !== 0 && old.lo === (value.lo | flag) && old.hi === value.hi) {
        return this.#also.has("rmw") ? word : null;
      }
    }
    return sameEntry(old, value) ? null : `S(${value})`;
  }

  #range(record: Range): string {
    return `[${this.#address(startOf(record))},+${record.all ? "all" : sizeName(record.bytes)})`;
  }

  #address(address: number): string {
    return this.#names.get(address) ?? `0x${address.toString(16)}`;
  }
}

interface Range {
  readonly linearLo: number;
  readonly linearHi: number;
  readonly bytes: number;
  readonly all: boolean;
}

function startOf({ linearLo, linearHi }: Pick<Range, "linearLo" | "linearHi">): number {
  return linearNumber(linearLo, linearHi);
}

/** Only page-table locks have words. */
function lockWord(word: string, lockClass: LockClass): string | null {
  if (lockClass === "page" || lockClass === "rwsem") return null;
  return lockClass === "pte" ? word : `${word}(${lockClass})`;
}

function sizeName(length: number): string {
  if (length % 2 ** 20 === 0) return `${length / 2 ** 20}M`;
  if (length % 2 ** 10 === 0) return `${length / 2 ** 10}K`;
  return `${length}`;
}
