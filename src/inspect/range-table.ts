import type { MemoryType } from "../../arch/x86/cpu/pat.ts";
import { formatBytes, formatCount, hex, hexAddress, hexPhysical } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import type { Alias, Aliases, AliasIndex } from "./alias-index.ts";
import { type LeafRange, type PageRights, pagesOf, reach } from "./leaf-ranges.ts";
import { pageName } from "./leaves.ts";
import type { EntryMark } from "./walk-report.ts";

/** Aliases that a line of the table spells out, and an object of the JSON form. */
const ALIASES_IN_TABLE = 2;
const ALIASES_IN_JSON = 16;

/** Lengths whose text is kept. */
const MAX_SIZES = 2 ** 10;
/** Room for the level beside the rights in the key of a look. */
const LEVELS = 8;

/** Names and widths; a width below zero aligns right. The last column takes what is left. */
const COLUMNS = [
  { name: "linear addresses", width: 37 },
  { name: "size", width: -11 },
  { name: "physical", width: 15 },
  { name: "page", width: 4 },
  { name: "rights", width: 6 },
  { name: "mode", width: 6 },
  { name: "A D G", width: 5 },
  { name: "notes", width: 0 },
] as const;

/** What a listing needs to name a page's memory type, and the bit that marks pages where entries have one. */
export interface PageNames {
  /** The types of IA32_PAT's entries. */
  readonly pat: readonly MemoryType[];
  readonly mark: Pick<EntryMark, "set" | "clear"> | null;
}

/** How many pages a listing has shown, by page size. */
export class PageCounts {
  ranges = 0;
  /** Entries with a reserved bit set, of any level. */
  faulting = 0;
  readonly #pages = [0, 0, 0, 0];

  add(range: LeafRange): void {
    this.ranges++;
    if (range.rights.reserved) this.faulting += pagesOf(range);
    else this.#pages[range.level]! += pagesOf(range);
  }

  /** Pages of 4 KiB, 2 MiB or 1 GiB by level. */
  at(level: 1 | 2 | 3): number {
    return this.#pages[level]!;
  }

  /** In words: 1,234 ranges; pages: 5,678 of 4K, 11 of 2M. */
  describe(): string {
    const pages = ([1, 2, 3] as const)
      .filter((level) => this.at(level) > 0)
      .map((level) => `${formatCount(this.at(level))} of ${pageName(level)}`);
    const ranges = `${formatCount(this.ranges)} ${this.ranges === 1 ? "range" : "ranges"}`;
    const mapped = pages.length === 0 ? "no pages" : `pages: ${pages.join(", ")}`;
    const entries = this.faulting === 1 ? "entry has" : "entries have";
    const faulting =
      this.faulting === 0 ? "" : `; ${formatCount(this.faulting)} ${entries} a reserved bit set`;
    return this.ranges === 0 ? "nothing is mapped here" : `${ranges}; ${mapped}${faulting}`;
  }
}

/** The line of column names. */
export function rangeTableHeader(paint: Paint): string {
  return paint("heading", row(COLUMNS.map(({ name }) => name)));
}

/**
 * One line a range, without newlines; counts each when the next is asked for. See foldLeaves for what joins. Other
 * linear addresses of the same memory are noted, unless there is no index of them.
 */
export function* rangeTable(
  ranges: Iterable<LeafRange>,
  aliases: AliasIndex | null,
  counts: PageCounts,
  names: PageNames,
  paint: Paint,
): Generator<string> {
  const looks = new Looks(names);
  for (const range of ranges) {
    const { start, rights } = range;
    const { reserved } = rights;
    const { size, middle, end } = looks.of(range);
    const place = `${hexLinear(start)}-${hexLinear(start + reach(range))}`;
    const physical = reserved ? "-".padEnd(COLUMNS[2].width) : hexPhysical(range.physical);
    const others = aliases?.aliasesOf(range, ALIASES_IN_TABLE) ?? null;
    const used = `${share("A", range.accessed, range)} ${share("D", range.dirty, range)} ${end}`;
    const more = range.repeats > 1 || (others !== null && others.count > 0) || looks.has(rights);
    const note = more ? `  ${notes(range, others, names)}` : "";
    const line = `${place}  ${size}  ${physical}  ${middle}  ${used}${note}`;
    yield reserved || (rights.write && rights.execute) ? paint("danger", line) : line;
    counts.add(range);
  }
}

/** Cells of ranges that look alike: listings have millions of rows and a few dozen kinds of them. */
class Looks {
  readonly #names: PageNames;
  readonly #middle = new Map<number, string>();
  readonly #sizes = new Map<number, string>();
  readonly #noted = new Map<PageRights, boolean>();

  constructor(names: PageNames) {
    this.#names = names;
  }

  /** The padded cells around the physical address; `end` is the letter of G. */
  of({ length, level, rights, code }: LeafRange): { size: string; middle: string; end: string } {
    let size = this.#sizes.get(length);
    if (size === undefined) {
      size = formatBytes(length).padStart(-COLUMNS[1].width);
      if (this.#sizes.size < MAX_SIZES) this.#sizes.set(length, size);
    }
    const key = code * LEVELS + level;
    let middle = this.#middle.get(key);
    if (middle === undefined) {
      const { reserved, write, execute, user } = rights;
      const cells = [
        pageName(level),
        reserved ? "---" : `r${write ? "w" : "-"}${execute ? "x" : "-"}`,
        reserved ? "fault" : user ? "user" : "kernel",
      ];
      middle = cells.map((cell, index) => cell.padEnd(COLUMNS[3 + index]!.width)).join("  ");
      this.#middle.set(key, middle);
    }
    return { size, middle, end: rights.global ? "G" : "-" };
  }

  /** Whether rights alone have a note. */
  has(rights: PageRights): boolean {
    const known = this.#noted.get(rights);
    if (known !== undefined) return known;
    const noted = rightsNotes(rights, this.#names).length > 0;
    this.#noted.set(rights, noted);
    return noted;
  }
}

/** The same as one JSON object a range, without newlines or commas. Field names are stable. */
export function* rangeObjects(
  ranges: Iterable<LeafRange>,
  aliases: AliasIndex | null,
  counts: PageCounts,
  names: PageNames,
): Generator<string> {
  for (const range of ranges) {
    const { write, execute, marked, ...others } = range.rights;
    const found = aliases?.aliasesOf(range, ALIASES_IN_JSON) ?? null;
    yield JSON.stringify({
      start: hex(BigInt(range.start)),
      length: range.length,
      physical: others.reserved ? null : hex(range.physical),
      page: pageName(range.level),
      pages: pagesOf(range),
      read: !others.reserved,
      write,
      execute,
      ...others,
      ...(others.reserved ? {} : { memoryType: typeOf(range.rights, names) }),
      ...(names.mark === null || others.reserved ? {} : { marked: markOf(marked, names.mark) }),
      accessedPages: range.accessed,
      dirtyPages: range.dirty,
      repeats: range.repeats,
      stride: range.stride,
      ...(found === null ? {} : { aliasCount: found.count, aliases: found.first.map(aliasObject) }),
    });
    counts.add(range);
  }
}

function aliasObject({ linear, physical, length }: Alias): object {
  return { linear: hex(BigInt(linear)), physical: hex(physical), length };
}

/** What the letters of the table mean, for its end. */
export const RANGE_LEGEND =
  "A accessed, D dirty: all pages of the range (A), some (a), none (-). G global. Rights are those of the whole path.";

/** What the notes about aliases mean. */
export const ALIAS_LEGEND =
  "also at: other linear addresses, anywhere in this address space, of the same memory.";

function hexLinear(address: number): string {
  // The end of the last page is 2^64: shown as the last address, like everything else here with 16 digits.
  return address === 2 ** 64 ? "0xffffffffffffffff" : `0x${hexAddress(address)}`;
}

/** The letter when all pages have it, in lower case when some have. */
function share(letter: string, having: number, range: LeafRange): string {
  if (having === 0) return "-";
  return having === pagesOf(range) ? letter : letter.toLowerCase();
}

function notes(range: LeafRange, aliases: Aliases | null, names: PageNames): string {
  const { rights, repeats, stride, length } = range;
  const found = rightsNotes(rights, names);
  if (repeats > 1) {
    const place = stride === length ? "in a row" : `every ${formatBytes(stride)}`;
    found.push(`${rights.reserved ? "" : "same frames "}${formatCount(repeats)} times ${place}`);
  }
  if (aliases !== null && aliases.count > 0) found.push(aliasNote(range, aliases));
  return found.join(", ");
}

/** Where else the same memory is mapped; in brackets how much of it, unless all. */
function aliasNote(range: LeafRange, { count, first }: Aliases): string {
  const places = first.map(({ linear, length }) => {
    const part = length === range.length ? "" : ` (${formatBytes(length)} of it)`;
    return `0x${hexAddress(linear)}${part}`;
  });
  const more = count - first.length;
  return `also at ${places.join(", ")}${more > 0 ? ` and ${formatCount(more)} more` : ""}`;
}

function rightsNotes(rights: PageRights, names: PageNames): string[] {
  if (rights.reserved) return ["reserved bit set: every access faults"];
  const found: string[] = [];
  if (rights.key !== 0) found.push(`key ${rights.key}`);
  if (rights.pat || rights.pcd || rights.pwt) found.push(typeOf(rights, names));
  if (names.mark !== null) found.push(markOf(rights.marked, names.mark));
  return found;
}

function typeOf({ pat, pcd, pwt }: PageRights, names: PageNames): MemoryType {
  return names.pat[(pat ? 4 : 0) + (pcd ? 2 : 0) + (pwt ? 1 : 0)]!;
}

function markOf(marked: boolean, mark: Pick<EntryMark, "set" | "clear">): string {
  return marked ? mark.set : mark.clear;
}

function row(cells: readonly string[]): string {
  const padded = COLUMNS.map(({ width }, index) => {
    const cell = cells[index] ?? "";
    return width < 0 ? cell.padStart(-width) : cell.padEnd(width);
  });
  return padded.join("  ").trimEnd();
}
