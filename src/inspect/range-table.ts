import type { MemoryType } from "../../arch/x86/cpu/pat.ts";
import type { MapsVma } from "../formats/proc-maps.ts";
import { formatBytes, formatCount, hex, hexAddress, hexPhysical } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { AbsentCounts } from "./absent-entry.ts";
import type { Alias, Aliases, AliasIndex } from "./alias-index.ts";
import type { DirectlyMapped, DirectMap } from "./direct-map.ts";
import { isMapped, type LeafRange, type PageRights, pagesOf, reach } from "./leaf-ranges.ts";
import { pageName } from "./leaves.ts";
import type { EntryMark } from "./walk-report.ts";

/** Aliases that a line of the table spells out, and an object of the JSON form. */
const ALIASES_IN_TABLE = 2;
const ALIASES_IN_JSON = 16;

/** Lengths whose text is kept. */
const MAX_SIZES = 2 ** 10;
/** In the column of physical addresses where there is none. */
const NOWHERE = "-".padEnd(13);
/** Room for the level beside the rights in the key of a look. */
const LEVELS = 8;

/** Names and widths; a width below zero aligns right. The last column takes what is left. */
const COLUMNS = [
  { name: "linear addresses", width: 33 },
  { name: "size", width: -11 },
  { name: "physical", width: 13 },
  { name: "page", width: 4 },
  { name: "rights", width: 10 },
  { name: "ADG", width: 3 },
  { name: "notes", width: 0 },
] as const;

/** What a listing needs to name what it finds. */
export interface PageNames {
  /** The types of IA32_PAT's entries. */
  readonly pat: readonly MemoryType[];
  /** The bit that marks pages, where entries have one. */
  readonly mark: Pick<EntryMark, "set" | "clear"> | null;
  /** First address that no process's mappings reach, where they are known; 0 where not. */
  readonly vmasUpTo: number;
}

/** How many pages a listing has shown, by page size. */
export class PageCounts {
  ranges = 0;
  /** Entries with a reserved bit set, of any level. */
  faulting = 0;
  /** Entries that are not present, and mean something. */
  readonly absent = new AbsentCounts();
  readonly #pages = [0, 0, 0, 0];

  add(range: LeafRange): void {
    this.ranges++;
    if (range.absent !== null) this.absent.add(range.absent.reading, pagesOf(range));
    else if (range.rights.reserved) this.faulting += pagesOf(range);
    else this.#pages[range.level]! += pagesOf(range);
  }

  /** Pages of 4 KiB, 2 MiB or 1 GiB by level. */
  at(level: 1 | 2 | 3): number {
    return this.#pages[level]!;
  }

  /** In words: 1,234 ranges; present pages: 5,678 of 4K, 11 of 2M; 2 swapped out, 3 PROT_NONE; 45 tables. */
  describe(tables: number): string {
    const pages = ([1, 2, 3] as const)
      .filter((level) => this.at(level) > 0)
      .map((level) => `${formatCount(this.at(level))} of ${pageName(level)}`);
    const parts = [pages.length === 0 ? "no page is present" : `present pages: ${pages.join(", ")}`];
    const absent = this.absent.describe();
    if (absent.length > 0) parts.push(absent.join(", "));
    if (this.faulting > 0) {
      parts.push(
        `${formatCount(this.faulting)} ${this.faulting === 1 ? "entry has" : "entries have"} a reserved bit set`,
      );
    }
    parts.push(plural(tables, "table"));
    return this.ranges === 0
      ? "nothing is mapped here"
      : `${plural(this.ranges, "range")}; ${parts.join("; ")}`;
  }
}

function plural(count: number, what: string): string {
  return `${formatCount(count)} ${what}${count === 1 ? "" : "s"}`;
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
  const map = aliases?.directMap ?? null;
  for (const range of ranges) {
    const { start, rights, physical } = range;
    const { size, middle, end } = looks.of(range);
    const place = `${hexAddress(start)}-${hexEnd(start + reach(range))}`;
    const where = physical < 0 ? NOWHERE : hexPhysical(physical);
    const others = aliases?.aliasesOf(range, ALIASES_IN_TABLE) ?? null;
    const used = `${share("A", range.accessed, range)}${share("D", range.dirty, range)}${end}`;
    const more =
      map !== null ||
      range.repeats > 1 ||
      start < names.vmasUpTo ||
      range.vma !== null ||
      range.absent !== null ||
      (others !== null && others.count > 0) ||
      looks.has(rights);
    const note = more ? notes(range, others, map, names) : "";
    const line = `${place}  ${size}  ${where}  ${middle}  ${used}`;
    const whole = note === "" ? line : `${line}  ${note}`;
    yield rights.reserved || (rights.write && rights.execute) ? paint("danger", whole) : whole;
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
  of({ length, level, rights, code, absent }: LeafRange): { size: string; middle: string; end: string } {
    let size = this.#sizes.get(length);
    if (size === undefined) {
      size = formatBytes(length).padStart(-COLUMNS[1].width);
      if (this.#sizes.size < MAX_SIZES) this.#sizes.set(length, size);
    }
    const key = code * LEVELS + level;
    let middle = this.#middle.get(key);
    if (middle === undefined) {
      const { write, execute, user } = rights;
      const mode = rights.reserved ? "fault" : user || absent !== null ? "user" : "kernel";
      const letters =
        rights.reserved || absent !== null ? "---" : `r${write ? "w" : "-"}${execute ? "x" : "-"}`;
      const cells = [pageName(level), `${letters} ${mode}`];
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
  const map = aliases?.directMap ?? null;
  for (const range of ranges) {
    const { write, execute, marked, ...others } = range.rights;
    const { absent, vma } = range;
    const mapped = isMapped(range);
    const found = aliases?.aliasesOf(range, ALIASES_IN_JSON) ?? null;
    yield JSON.stringify({
      start: hex(BigInt(range.start)),
      length: range.length,
      physical: range.physical < 0 ? null : hex(range.physical),
      page: pageName(range.level),
      pages: pagesOf(range),
      present: absent === null,
      read: mapped,
      write,
      execute,
      ...others,
      ...(mapped ? { memoryType: typeOf(range.rights, names) } : {}),
      ...(names.mark !== null && mapped ? { marked: markOf(marked, names.mark) } : {}),
      accessedPages: range.accessed,
      dirtyPages: range.dirty,
      repeats: range.repeats,
      stride: range.stride,
      ...(absent === null ? {} : { linux: absent.reading }),
      ...(vma === null ? {} : { vma: vmaObject(vma) }),
      ...(map === null || !mapped ? {} : { directMap: map.shareOf(range) }),
      ...(found === null ? {} : { aliasCount: found.count, aliases: found.first.map(aliasObject) }),
    });
    counts.add(range);
  }
}

function vmaObject({ start, end, read, write, exec, shared, offset, device, inode, name }: MapsVma): object {
  const permissions = `${read ? "r" : "-"}${write ? "w" : "-"}${exec ? "x" : "-"}${shared ? "s" : "p"}`;
  const file = { offset, device, inode, name: name };
  return { start: hex(BigInt(start)), end: hex(BigInt(end)), permissions, ...file };
}

function aliasObject({ linear, physical, length }: Alias): object {
  return { linear: hex(BigInt(linear)), physical: hex(physical), length };
}

/** What the letters of the table mean, for its end. */
export const RANGE_LEGEND =
  "A accessed, D dirty: all pages of the range (A), some (a), none (-). G global. Rights are those of the whole path.";

/** What the notes about aliases mean. */
export const ALIAS_LEGEND =
  "also at: other linear addresses, anywhere in this address space, of the same memory; the direct map is no alias.";

/** The mapping of all memory in one line. */
export function directMapLine({ start, bytes }: DirectMap): string {
  return `direct map: ${formatBytes(bytes)} of memory at ${hexShort(start)} + physical address; only pages that it leaves out say so`;
}

/** The same with stable field names. */
export function directMapObject({ start, bytes, whole }: DirectMap): object {
  return { start: hex(BigInt(start)), bytes, whole };
}

function hexEnd(address: number): string {
  // The end of the last page is 2^64: shown as the last address, like everything else here with 16 digits.
  return address === 2 ** 64 ? "ffffffffffffffff" : hexAddress(address);
}

/** Without leading zeros. */
function hexShort(address: number): string {
  return address.toString(16);
}

/** The letter when all pages have it, in lower case when some have. */
function share(letter: string, having: number, range: LeafRange): string {
  if (having === 0) return "-";
  return having === pagesOf(range) ? letter : letter.toLowerCase();
}

function notes(range: LeafRange, aliases: Aliases | null, map: DirectMap | null, names: PageNames): string {
  const { rights, repeats, stride, length, absent } = range;
  const found = placeNotes(range, names);
  if (absent !== null) found.push(absent.describe(pagesOf(range)));
  found.push(...rightsNotes(rights, names));
  if (repeats > 1) {
    const place = stride === length ? "in a row" : `every ${formatBytes(stride)}`;
    found.push(`${rights.reserved ? "" : "same frames "}${formatCount(repeats)} times ${place}`);
  }
  if (map !== null && isMapped(range)) found.push(...DIRECTLY[shareIn(map, range)]);
  if (aliases !== null && aliases.count > 0) found.push(aliasNote(range, aliases));
  return found.join(", ");
}

/** What is said of a range by the kernel's mapping of all memory: as usual nothing. */
const DIRECTLY: Readonly<Record<DirectlyMapped, readonly string[]>> = {
  self: ["direct map"],
  all: [],
  part: ["partly not in the direct map"],
  none: ["not in the direct map"],
};

/** Where tables are missing, what is not in the map may be. */
function shareIn(map: DirectMap, range: LeafRange): DirectlyMapped {
  const share = map.shareOf(range);
  return map.whole || share === "self" ? share : "all";
}

/** The file or the name of the mapping that a range is in. */
function placeNotes({ vma, start }: LeafRange, { vmasUpTo }: PageNames): string[] {
  if (vma !== null) return [vma.name === "" ? "anonymous" : vma.name];
  return start < vmasUpTo ? ["in no mapping"] : [];
}

/** Where else the same memory is mapped; in brackets how much of it, unless all. */
function aliasNote(range: LeafRange, { count, first }: Aliases): string {
  const places = first.map(({ linear, length }) => {
    const part = length === range.length ? "" : ` (${formatBytes(length)} of it)`;
    return `${hexShort(linear)}${part}`;
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
