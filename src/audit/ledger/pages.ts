import { NONE, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { Debt } from "./debt.ts";
import type { Journal } from "./journal.ts";
import type { Spte } from "./listeners.ts";

/** What the system said of a page; for a compound one, of its head. */
interface PageFacts {
  /** First frame of the compound page that the frame belongs to; itself if none. */
  head: number;
  order: number;
  hugetlb: boolean;
  backing: "anon" | "file" | "none";
  dirty: boolean;
  writeback: boolean;
  swapCache: boolean;
  /** Slot of swap, or NONE. */
  swap: number;
}

/** Who stored to a frame after its last write-out began. */
export interface NewerData {
  /** Id of the agent, and the CPU on which, or NONE. */
  readonly agent: number;
  readonly cpu: number;
  readonly seq: number;
  /** Whether the frame cached a file then. */
  readonly file: boolean;
  /** Where it was stored: a linear address of the storer's. */
  readonly linear: number;
  /** The stale translation that let the store land, null if none did. */
  readonly through: Debt | Spte | null;
}

const FLAGS = { dirty: "dirty", writeback: "writeback", "swap-cache": "swapCache" } as const;

/** What is known of pages: what they are copies of, what is dirty, what is newer than its copy on disk. */
export class Pages {
  /** Frames stored to since their last write-out. */
  readonly newer = new Map<number, NewerData>();
  /** Swap slots that frames were written out to. */
  readonly writtenTo = new Map<number, number>();
  readonly #journal: Journal;
  readonly #facts = new Map<number, PageFacts>();
  /** How many entries refer to each slot of swap. */
  readonly #swapCounts = new Map<number, number>();
  readonly #lives = new Map<number, number>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** A frame in this life of it, as a key: after a free, it is another page. */
  life(pfn: number): string {
    return `${pfn}.${this.#lives.get(pfn) ?? 0}`;
  }

  /** First frame and end of the compound page that a page belongs to, of the page alone if none. */
  framesOf(pfn: number): { readonly first: number; readonly end: number } {
    const first = this.#head(pfn);
    return { first, end: first + 2 ** this.#of(pfn).order };
  }

  /** Bytes of the compound page that a page belongs to. */
  bytesOf(pfn: number): number {
    return PAGE_SIZE * 2 ** this.#of(pfn).order;
  }

  isHugetlb(pfn: number): boolean {
    return this.#of(pfn).hugetlb;
  }

  isCompound(pfn: number): boolean {
    return this.#of(pfn).order > 0;
  }

  isAnon(pfn: number): boolean {
    return this.#of(pfn).backing === "anon";
  }

  isFile(pfn: number): boolean {
    return this.#of(pfn).backing === "file";
  }

  isDirty(pfn: number): boolean {
    const { dirty, writeback } = this.#of(pfn);
    return dirty || writeback;
  }

  isInSwapCache(pfn: number): boolean {
    return this.#of(pfn).swapCache;
  }

  /** The frame's slot of swap, or NONE. */
  swapOf(pfn: number): number {
    return this.#facts.get(pfn)?.swap ?? NONE;
  }

  /** Whether some entry refers to a slot of swap. */
  isReferred(swap: number): boolean {
    return (this.#swapCounts.get(swap) ?? 0) > 0;
  }

  compound({ pfn, order, hugetlb }: TraceRecordOf<"page-compound">): void {
    for (let i = 0; i < 2 ** order; i++) {
      const facts = this.#change(pfn + i);
      facts.head = pfn;
      facts.order = order;
      facts.hugetlb = hugetlb;
    }
  }

  backing({ pfn, backing }: TraceRecordOf<"page-backing">): void {
    this.#change(this.#head(pfn)).backing = backing;
  }

  flag({ pfn, flag, set }: TraceRecordOf<"page-flag">): void {
    this.#change(this.#head(pfn))[FLAGS[flag]] = set;
  }

  swapSlot({ pfn, swap }: TraceRecordOf<"swap-slot">): void {
    this.#change(pfn).swap = swap;
  }

  swapCount({ swap, count }: TraceRecordOf<"swap-count">): void {
    this.#journal.put(this.#swapCounts, swap, count);
  }

  /** Somebody stored to the frame: its data is newer than its copy on disk. */
  stored(pfn: number, store: Omit<NewerData, "file">): void {
    this.#journal.put(this.newer, pfn, { ...store, file: this.isFile(pfn) });
  }

  /** The frame's content goes to the disk now. */
  writtenOut(pfn: number): void {
    this.#forgetNewer(pfn);
    const swap = this.swapOf(pfn);
    if (swap === NONE || !this.isInSwapCache(pfn)) return;
    this.#journal.put(this.writtenTo, pfn, swap);
  }

  /** The frame was freed: what is found of it from now on is another page's. */
  freed(pfn: number): void {
    this.#forgetNewer(pfn);
    this.#journal.put(this.#lives, pfn, (this.#lives.get(pfn) ?? 0) + 1);
    this.#journal.put(this.writtenTo, pfn, undefined);
    this.#journal.put(this.#facts, pfn, undefined);
  }

  #forgetNewer(pfn: number): void {
    if (this.newer.has(pfn)) this.#journal.put(this.newer, pfn, undefined);
  }

  #head(pfn: number): number {
    return this.#facts.get(pfn)?.head ?? pfn;
  }

  /** What is known of the compound page that a page belongs to. */
  #of(pfn: number): PageFacts {
    return this.#facts.get(this.#head(pfn)) ?? PLAIN;
  }

  /** What is known of a frame, to be changed. */
  #change(pfn: number): PageFacts {
    const known = this.#facts.get(pfn);
    if (known !== undefined && !this.#journal.active) return known;
    const facts = known === undefined ? plainFacts(pfn) : { ...known };
    this.#journal.put(this.#facts, pfn, facts);
    return facts;
  }
}

function plainFacts(head: number): PageFacts {
  return {
    head,
    order: 0,
    hugetlb: false,
    backing: "none",
    dirty: false,
    writeback: false,
    swapCache: false,
    swap: NONE,
  };
}

const PLAIN: Readonly<PageFacts> = plainFacts(NONE);
