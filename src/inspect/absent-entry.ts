import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { instance, nullable } from "../../arch/x86/cpu/argument-kinds.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { formatCount, hex } from "../text/hex.ts";
import { type LeafCursor, pageBytes, userHalf } from "./leaves.ts";
import { type LinuxReading, readLinux } from "./linux-reading.ts";

/** Flags by which neighbours may differ: a range counts them. */
const COUNTED = new Set(["ACCESSED", "DIRTY"]);

/** What an entry that is not present stands for, to Linux. */
export class AbsentReading {
  readonly reading: LinuxReading;
  /** Physical address of the frame that a PROT_NONE entry keeps; -1 for all others. */
  readonly physical: number;
  /** What neighbours that join have in common, as text. */
  readonly #alike: string;
  /** Number that goes on from entry to entry, and how far: a slot or a frame. Null: nothing does. */
  readonly #first: number | null;
  readonly #step: number;

  constructor(reading: LinuxReading, level: number) {
    this.reading = reading;
    const { pfn = null, offset = null, flags = [], ...rest } = reading as Partial<Parts> & LinuxReading;
    // The offset of a marker is its marks, which stay the same.
    this.#first = reading.kind === "marker" ? null : (pfn ?? offset);
    this.#step = pfn === null ? 1 : pageBytes(level) / PAGE_SIZE;
    this.#alike = JSON.stringify([rest, flags.filter((name) => !COUNTED.has(name))]);
    this.physical = this.hasPage ? (pfn ?? 0) * PAGE_SIZE : -1;
  }

  /** Whether Linux has a page there that is only closed to the hardware: A and D of the entry are the page's. */
  get hasPage(): boolean {
    return this.reading.kind === "prot-none";
  }

  /** Whether this stands so many entries behind `first` as if counted on. */
  follows(first: AbsentReading, entries: number): boolean {
    if (this.#alike !== first.#alike) return false;
    return this.#first === null || this.#first === (first.#first ?? 0) + entries * first.#step;
  }

  /** In words, for so many entries that go on. */
  describe(entries: number): string {
    const { reading } = this;
    switch (reading.kind) {
      case "swap":
        return `swapped out: area ${reading.type}, ${span("slot", reading.offset, entries)}${more(reading)}`;
      case "prot-none":
        return "PROT_NONE";
      case "migration":
        return `migrating (${reading.access}): ${this.#frames(reading.pfn, entries)}${more(reading)}`;
      case "hwpoison":
        return `hwpoison: ${this.#frames(reading.pfn, entries)}`;
      case "marker":
        return `marker: ${reading.marks.join(", ") || "no marks"}`;
      case "unknown-type":
        return `swap type ${reading.type}, not named by this layout: ${span("offset", reading.offset, entries)}`;
      case "swapin-error":
        return "swap-in error";
      case "invalidated":
        return `invalidated for a split: ${this.#frames(reading.pfn, entries)}`;
      default:
        return reading.kind;
    }
  }

  #frames(pfn: number, entries: number): string {
    return span("frame", pfn, entries * this.#step);
  }
}

/** What some readings have. */
interface Parts {
  pfn: number;
  offset: number;
  flags: readonly string[];
}

const PTE_FORMAT = nullable(instance("pte format", PteFormat));

/** Reads the entries of user mode's half that are not present, as one kernel does. */
export class AbsentReader {
  /** Entries that nobody read, as the kernel is not known. */
  unread = 0;
  readonly #pteFormat: PteFormat | null;

  /** Null: count them only. */
  constructor(pteFormat: PteFormat | null) {
    this.#pteFormat = need(PTE_FORMAT, pteFormat);
  }

  /** The entry that the cursor stands on; null when there is nothing to say. */
  read(leaves: LeafCursor): AbsentReading | null {
    // The kernel's own half has neither swap nor PROT_NONE: what is left there of an entry means nothing.
    if (leaves.linear >= userHalf(leaves.levels).length) return null;
    if (this.#pteFormat === null) {
      this.unread++;
      return null;
    }
    const reading = readLinux(this.#pteFormat, leaves.level, new Entry(leaves.lo, leaves.hi));
    return reading.kind === "none" ? null : new AbsentReading(reading, leaves.level);
  }
}

function span(what: string, first: number, count: number): string {
  return count === 1 ? `${what} ${hex(first)}` : `${what}s ${hex(first)} to ${hex(first + count - 1)}`;
}

function more({ softDirty, uffdWp }: { readonly softDirty: boolean; readonly uffdWp: boolean }): string {
  return `${softDirty ? ", soft-dirty" : ""}${uffdWp ? ", uffd-wp" : ""}`;
}

/** How many entries of each kind a listing has shown. */
export class AbsentCounts {
  readonly #counts = new Map<LinuxReading["kind"], number>();

  add(reading: LinuxReading, entries: number): void {
    this.#counts.set(reading.kind, this.of(reading.kind) + entries);
  }

  of(kind: LinuxReading["kind"]): number {
    return this.#counts.get(kind) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** 12 swapped out, 3 PROT_NONE. */
  describe(): string[] {
    return [...this.#counts].map(([kind, count]) => `${formatCount(count)} ${NAMES[kind] ?? kind}`);
  }

  /** By kind, for JSON. */
  object(): object {
    return Object.fromEntries(this.#counts);
  }
}

/** Kinds whose plural in a sum is not their own name. */
const NAMES: Partial<Record<LinuxReading["kind"], string>> = {
  swap: "swapped out",
  "prot-none": "PROT_NONE",
};
