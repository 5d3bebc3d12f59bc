import { sameEntry } from "../../arch/x86/cpu/entry.ts";
import { WHOLE_MM } from "../../arch/x86/mm/events.ts";
import type { MmEvent, MmObserver, NotifierOp } from "../../src/mm/events.ts";

/** Letters of linux-mm Appendix B for the calls of the notifier core. */
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

/** Events that Appendix B leaves out of its traces and that a test may ask for. */
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
}

/**
 * Turns events into the words of linux-mm Appendix B:
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

  constructor(options: TraceOptions = {}) {
    this.#names = new Map(Object.entries(options.names ?? {}).map(([name, address]) => [address, name]));
    this.#also = new Set(options.also ?? []);
  }

  readonly observer: MmObserver = (event) => {
    const word = this.#word(event);
    if (word !== null) this.words.push(word);
  };

  toString(): string {
    return this.words.join(" ");
  }

  /** Words since the last call. */
  take(): string {
    return this.words.splice(0).join(" ");
  }

  #word(event: MmEvent): string | null {
    switch (event.type) {
      case "ptl-locked":
        return event.level === "pte" ? "L+" : `L+(${event.level})`;
      case "ptl-unlocked":
        return event.level === "pte" ? "L-" : `L-(${event.level})`;
      case "cache-flush":
        return event.hook === "flush_cache_page" ? "FC" : event.hook;
      case "entry-written":
        return this.#entryWord(event);
      case "tlb-flush-begin":
        return event.length === WHOLE_MM ? "F(full)" : `F${this.#range(event.start, event.length)}`;
      case "tlb-batch-add":
        return event.writable ? "D(writable)" : "D";
      case "tlb-batch-flush-begin":
        return "F(batch)";
      case "notifier-called":
        return event.op === "invalidate_page" || event.op === "change_pte" || event.op === "test_young"
          ? `${NOTIFIER_LETTERS[event.op]}(${this.#address(event.start)})`
          : `${NOTIFIER_LETTERS[event.op]}${this.#range(event.start, event.length)}`;
      case "set-page-dirty":
        return "SPD";
      case "swap-duplicated":
        return event.ok ? "SD" : "SD(fails)";
      case "rmap-removed":
        return "RM";
      case "page-put":
        return "PP";
      case "page-mlocked":
        return "mlock_vma_page";
      case "swapbacked-set":
        return "SetSwapBacked";
      case "write-out":
        return `IO(${event.page.toString(16)})`;
      case "page-freed":
        return `FREE(${event.page.toString(16)})`;
      default:
        return this.#extraWord(event);
    }
  }

  #extraWord(event: MmEvent): string | null {
    if (event.type === "notifier-callback" && this.#also.has("listeners")) {
      return `${event.listener}.${event.op}${this.#range(event.start, event.length)}`;
    }
    if (event.type === "rss-changed" && this.#also.has("rss")) {
      return `rss(${event.counter}${event.delta < 0 ? "" : "+"}${event.delta})`;
    }
    if (event.type === "mmu-cache-updated" && this.#also.has("mmu-cache")) {
      return `UMC(${this.#address(event.address)})`;
    }
    if (event.type === "rmap-added" && this.#also.has("rmap-added")) return "RA";
    if (event.type === "ipi-sent" && this.#also.has("ipi")) return `IPI(${event.from}->${event.to})`;
    if (event.type === "ipi-handled" && this.#also.has("ipi")) return `IPI-done(${event.cpu})`;
    if (event.type === "invlpg" && this.#also.has("invlpg")) {
      return `INVLPG(${event.cpu},${this.#address(event.address)})`;
    }
    return null;
  }

  #entryWord(event: Extract<MmEvent, { type: "entry-written" }>): string | null {
    const { old, value } = event;
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

  #range(start: number, length: number): string {
    return `[${this.#address(start)},+${sizeName(length)})`;
  }

  #address(address: number): string {
    return this.#names.get(address) ?? `0x${address.toString(16)}`;
  }
}

function sizeName(length: number): string {
  if (length === WHOLE_MM) return "all";
  if (length % 2 ** 20 === 0) return `${length / 2 ** 20}M`;
  if (length % 2 ** 10 === 0) return `${length / 2 ** 10}K`;
  return `${length}`;
}
