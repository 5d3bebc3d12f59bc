import { ENTRIES_PER_TABLE, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need, printed } from "../../arch/x86/cpu/argument.ts";
import { callable, flag, numeral, oneOf, optional, shape } from "../../arch/x86/cpu/argument-kinds.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import { hasReservedBit, type ReservedBits } from "../formats/table-pages.ts";
import { hex } from "../text/hex.ts";

/** Room for the level beside the frame number in the key of a table. */
const LEVELS = 8;
/** Bytes that one entry of a level maps: 4 KiB, 2 MiB, 1 GiB, 512 GiB, 256 TiB. */
const SPAN = Float64Array.of(0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48);
/** Short names of what one entry of a level maps. */
const SPAN_NAMES = ["", "4K", "2M", "1G", "512G", "256T"] as const;
/** The highest level whose entries may map a page. */
const LAST_LEAF_LEVEL = 3;
/** The highest level where Linux keeps entries that are not present but mean something: huge pages in a PD. */
const LAST_SWAP_LEVEL = 2;

/** Page-aligned linear addresses: the first, and a number of bytes. Exact as Numbers up to 2^64. */
export interface LinearRange {
  readonly start: number;
  readonly length: number;
}

/** Memory as far as tables are read from it: a PhysicalMemory, or an image in its file. */
export interface TableMemory {
  /** The 1024 words of the page at a physical address, low and high of each entry in turn; null where there is none. */
  tableAt(page: number): Int32Array | null;
}

/** Addresses of which nothing is known, because a table is not there. */
export interface LostRange extends LinearRange {
  /** Physical address of the table that is missing. */
  readonly table: number;
}

/** Which leaves a {@link LeafCursor} stops at; default: all that are present. */
export interface LeafOptions {
  /** Only pages that touch this range; they are given whole. Default: everything. */
  readonly range?: LinearRange;
  /** Also stop at entries of the two lowest levels that are not present and not zero. */
  readonly notPresent?: boolean;
  /**
   * The reserved bits of a CPU: an entry of any level that has one of them is given as a leaf with `reserved` set, and
   * nothing below it. Default: they are not looked at.
   */
  readonly reserved?: ReservedBits;
  /** A bit of every entry's high word that is no part of an address: the bit that marks encrypted or shared pages. */
  readonly marked?: number;
  /** Bits of the high word that lead to the next table. Default: all of bits 51:32. */
  readonly tableHi?: number;
  /** Walk through PS=1 above a PDPTE as if it were clear. Default: it maps nothing. */
  readonly passPs?: boolean;
  /** Of the entries of a table above the lowest level that have the same value, look at the first alone. */
  readonly once?: boolean;
  /** Stop behind so many leaves; a few tables that point at each other can make 2^36. Default: no limit. */
  readonly most?: number;
}

/** What a {@link LeafCursor} says of the leaf that it stands on. */
export type LeafView = Pick<
  LeafCursor,
  "linear" | "level" | "lo" | "hi" | "every" | "any" | "reserved" | "marked"
>;

/** Lost tables that are kept with their place; more are only counted. */
export const MAX_LOST = 64;

/** All linear addresses. */
export const WHOLE_SPACE: LinearRange = { start: 0, length: 2 ** 64 };

/** The half of the address space that user mode has: bit 47 (or 56) clear. */
export function userHalf(levels: 4 | 5): LinearRange {
  return { start: 0, length: (SPAN[levels]! * ENTRIES_PER_TABLE) / 2 };
}

/** Bytes that one entry of a level maps: of a page, by the level of its leaf. */
export function pageBytes(level: number): number {
  return SPAN[level] ?? 0;
}

/** The usual short name of that size. */
export function pageName(level: number): string {
  return SPAN_NAMES[level] ?? "";
}

const MEMORY = shape<TableMemory>("memory", { tableAt: callable("tableAt") });
const LEVEL_COUNT = oneOf("levels", [4, 5]);
const BYTES = numeral<number>("bytes", "a number of bytes", (bytes) => bytes >= 0);
const OPTIONS = shape<LeafOptions>("options", {
  range: optional(shape<LinearRange>("range", { start: BYTES, length: BYTES })),
  notPresent: optional(flag("notPresent")),
  most: optional(BYTES),
});

/**
 * Steps through every leaf below a root in address order: 4 KiB, 2 MiB and 1 GiB pages, each at every linear address
 * that reaches it. Tables may be shared, or point at themselves, as espfix and recursive mappings do: a step always
 * goes one level down, so the address space bounds the number of leaves, and tables without any leaf below them are
 * remembered and skipped, so the work between two leaves is bounded by the number of tables.
 *
 * A table that is not in memory costs its own part of the address space, see {@link lost}, and nothing else.
 * Frames that leaves point at are never read; they may lie beyond memory. PS=1 above a PDPTE is reserved on every CPU
 * and maps nothing. One object serves the whole enumeration: its fields are those of the current leaf, valid until the next
 * step. Memory must not change meanwhile.
 */
export class LeafCursor {
  readonly levels: 4 | 5;
  /** Linear address of the first byte; canonical, the upper half as a positive Number. */
  linear = 0;
  /** Level of the entry: 1 for a 4 KiB page, 2 for 2 MiB, 3 for 1 GiB; above that only with `reserved`. */
  level = 0;
  /** The entry. */
  lo = 0;
  hi = 0;
  /** AND of the low words from the root down to this entry: its R/W and U/S are the effective ones. */
  every = 0;
  /** OR of the high words: its XD is the effective one. */
  any = 0;
  /** The entry has a reserved bit set: it maps nothing, every access is a page fault. */
  reserved = false;
  /** The entry has the bit of {@link LeafOptions.marked} set. The words here have it clear. */
  marked = false;
  /** Parts of the space passed so far whose table is missing, the first of them; and how many there are. */
  readonly lost: LostRange[] = [];
  lostCount = 0;
  /** Leaves given so far that map a page. */
  mapped = 0;

  readonly #memory: TableMemory;
  readonly #start: number;
  readonly #end: number;
  readonly #notPresent: boolean;
  readonly #reserved: ReservedBits | null;
  readonly #mark: number;
  readonly #tableHi: number;
  readonly #passPs: boolean;
  readonly #once: boolean;
  /** Leaves that may still be given. */
  #left: number;
  #tables = 1;
  /** Whether a table has anything to stop at, by frame and level. */
  readonly #fertile = new Map<number, boolean>();
  // By level: the table's words, its next entry, and what stands above it.
  readonly #table: Int32Array[] = [];
  readonly #next = new Int32Array(6);
  readonly #base = new Float64Array(6);
  readonly #every = new Int32Array(6);
  readonly #any = new Int32Array(6);
  /** Level of the table that the cursor stands in; above the root's when it is done. */
  #at: number;

  /** Throws RangeError for a root that is unaligned or not in memory. */
  constructor(memory: TableMemory, root: number, levels: 4 | 5, options: LeafOptions = {}) {
    need(MEMORY, memory);
    need(LEVEL_COUNT, levels);
    need(OPTIONS, options);
    const top = rootTable(memory, root);
    const range = options.range ?? WHOLE_SPACE;
    this.levels = levels;
    this.#memory = memory;
    this.#start = range.start;
    this.#end = range.start + range.length;
    this.#notPresent = options.notPresent ?? false;
    this.#reserved = options.reserved ?? null;
    this.#mark = options.marked ?? 0;
    this.#tableHi = options.tableHi ?? -1;
    this.#passPs = options.passPs ?? false;
    this.#once = options.once ?? false;
    this.#left = options.most ?? Number.POSITIVE_INFINITY;
    this.#at = levels;
    for (let level = 0; level <= levels; level++) this.#table.push(top);
    this.#every[levels] = -1;
  }

  /** Whether the end came because of the `most` leaves, with more to come. */
  get stopped(): boolean {
    return this.#left < 0;
  }

  /** Tables met so far, the root included; one that stands at two levels counts twice. */
  get tables(): number {
    return this.#tables;
  }

  /** Moves to the next leaf. False when there is none. */
  next(): boolean {
    for (let level = this.#at; level <= this.levels; ) {
      const index = this.#next[level]!;
      if (index === ENTRIES_PER_TABLE) {
        level++;
        continue;
      }
      this.#next[level] = index + 1;
      const words = this.#table[level]!;
      const lo = words[2 * index]!;
      const marked = words[2 * index + 1]!;
      if ((lo | marked) === 0) continue;
      const hi = marked & ~this.#mark;
      const linear = this.#linearAt(level, index);
      if (linear + SPAN[level]! <= this.#start) continue;
      if (linear >= this.#end) break;
      if (this.#once && level > 1 && isRepeated(words, index)) continue;
      const reserved = isReservedLeaf(this.#reserved, level, lo, hi);
      if (reserved || stopsAt(level, lo, this.#notPresent)) {
        this.#at = level;
        this.linear = linear;
        this.level = level;
        this.lo = lo;
        this.hi = hi;
        this.every = this.#every[level]! & lo;
        this.any = this.#any[level]! | hi;
        this.reserved = reserved;
        this.marked = marked !== hi;
        this.#left--;
        if (this.#left < 0) break;
        if (!reserved && (lo & PTE_P) !== 0) this.mapped++;
        return true;
      }
      if (!isTable(level, lo, this.#passPs)) continue;
      const frame = frameOf(lo, hi & this.#tableHi);
      if (!this.#isFertile(frame, level - 1)) continue;
      const table = this.#memory.tableAt(frame * PAGE_SIZE);
      if (table === null) {
        this.#lose(linear, SPAN[level]!, frame * PAGE_SIZE);
        if (this.#left < 0) break;
        continue;
      }
      this.#every[level - 1] = this.#every[level]! & lo;
      this.#any[level - 1] = this.#any[level]! | hi;
      level--;
      this.#table[level] = table;
      this.#next[level] = 0;
      this.#base[level] = linear;
    }
    this.#at = this.levels + 1;
    return false;
  }

  /** Missing tables count against the leaves that may be given: they, too, can be met 2^36 times. */
  #lose(start: number, length: number, table: number): void {
    this.lostCount++;
    this.#left--;
    if (this.lost.length < MAX_LOST) this.lost.push({ start, length, table });
  }

  /** Entries of the upper half of the root's table have the sign extension above them (SDM vol. 1, 3.3.7.1). */
  #linearAt(level: number, index: number): number {
    const span = SPAN[level]!;
    const linear = this.#base[level]! + index * span;
    return level === this.levels && index >= ENTRIES_PER_TABLE / 2
      ? linear + (2 ** 64 - ENTRIES_PER_TABLE * span)
      : linear;
  }

  /** Whether there is anything to stop at below a table; a table that is missing is something. */
  #isFertile(frame: number, level: number): boolean {
    const key = tableKey(frame, level);
    const known = this.#fertile.get(key);
    if (known !== undefined) return known;
    const table = this.#memory.tableAt(frame * PAGE_SIZE);
    if (table !== null) this.#tables++;
    const fertile = table === null || this.#searches(table, level);
    this.#fertile.set(key, fertile);
    return fertile;
  }

  #searches(words: Int32Array, level: number): boolean {
    for (let slot = 0; slot < words.length; slot += 2) {
      const lo = words[slot]!;
      const hi = words[slot + 1]! & ~this.#mark;
      if ((lo | hi) === 0) continue;
      if (isReservedLeaf(this.#reserved, level, lo, hi) || stopsAt(level, lo, this.#notPresent)) return true;
      if (isTable(level, lo, this.#passPs) && this.#isFertile(frameOf(lo, hi & this.#tableHi), level - 1))
        return true;
    }
    return false;
  }
}

/** Whether an earlier entry of the table has the same value. */
function isRepeated(words: Int32Array, index: number): boolean {
  const lo = words[2 * index]!;
  const hi = words[2 * index + 1]!;
  for (let slot = 0; slot < 2 * index; slot += 2)
    if (words[slot] === lo && words[slot + 1] === hi) return true;
  return false;
}

/** The words of a root table. Throws RangeError for an address that is unaligned or not in memory. */
export function rootTable(memory: TableMemory, root: number): Int32Array {
  const aligned = typeof root === "number" && root >= 0 && root < 2 ** 52 && root % PAGE_SIZE === 0;
  const top = aligned ? memory.tableAt(root) : null;
  if (top !== null) return top;
  const why = aligned ? "it is not in memory" : "it is no page's address";
  throw new RangeError(`root ${Number.isSafeInteger(root) ? hex(root) : printed(root)}: ${why}`);
}

/** One number for a table that stands at a level. */
export function tableKey(frame: number, level: number): number {
  return frame * LEVELS + level;
}

/** Whether an entry is a leaf: a page, or with `notPresent` one of the levels where others mean something, too. */
export function stopsAt(level: number, lo: number, notPresent: boolean): boolean {
  if ((lo & PTE_P) !== 0) return level === 1 || (level <= LAST_LEAF_LEVEL && (lo & PTE_PS) !== 0);
  return notPresent && level <= LAST_SWAP_LEVEL;
}

/** Whether an entry is present and has a bit set that these say is reserved. */
export function isReservedLeaf(
  reserved: ReservedBits | null,
  level: number,
  lo: number,
  hi: number,
): boolean {
  return reserved !== null && (lo & PTE_P) !== 0 && hasReservedBit(reserved, level, lo, hi);
}

/** Whether an entry leads to a table; `passPs`: PS=1 above a PDPTE counts as clear. */
export function isTable(level: number, lo: number, passPs = false): boolean {
  if (level === 1 || (lo & PTE_P) === 0) return false;
  return (lo & PTE_PS) === 0 || (passPs && level > LAST_LEAF_LEVEL);
}
