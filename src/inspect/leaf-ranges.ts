import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import {
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_P,
  PTE_PAT,
  PTE_PAT_LARGE,
  PTE_PCD,
  PTE_PWT,
  PTE_U,
  PTE_W,
  PTE_XD,
} from "../../arch/x86/cpu/entry-layout.ts";
import { OFFSET_MASK } from "../../arch/x86/cpu/page-walk.ts";
import type { MapsVma } from "../formats/proc-maps.ts";
import type { AbsentReader, AbsentReading } from "./absent-entry.ts";
import { type LeafCursor, pageBytes } from "./leaves.ts";
import type { PageFilter } from "./page-filter.ts";

/** What must be equal for two pages to be shown as one range; everything but A and D. */
export interface PageRights {
  /** R/W in every entry of the path. */
  readonly write: boolean;
  /** XD in no entry of the path. */
  readonly execute: boolean;
  /** U/S in every entry of the path. */
  readonly user: boolean;
  /** G in the leaf. */
  readonly global: boolean;
  /** The bits of the leaf that choose its memory type. */
  readonly pwt: boolean;
  readonly pcd: boolean;
  readonly pat: boolean;
  /** The leaf's protection key. */
  readonly key: number;
  /** The entry has a reserved bit set, so any access is a page fault: there are no rights, and all else is false. */
  readonly reserved: boolean;
  /** The leaf has the bit that marks encrypted or shared pages. */
  readonly marked: boolean;
}

/** A run of pages of one size, contiguous in linear and in physical addresses, with the same rights. */
export interface LeafRange {
  readonly start: number;
  /** Bytes. */
  length: number;
  /** Physical address of the first page; -1 where a reserved bit is set or nothing is present: no access gets there. */
  readonly physical: number;
  /** Level of the leaves: 1, 2 or 3, or that of any entry with a reserved bit. */
  readonly level: number;
  readonly rights: PageRights;
  /** Pages with A set, and with D set. */
  accessed: number;
  dirty: number;
  /**
   * How often the range stands in the address space, each time `stride` bytes further on, with nothing mapped
   * between: 1 for an ordinary range. The counts above are of all of them.
   */
  repeats: number;
  stride: number;
  /** The rights as one word: equal words, equal rights. */
  readonly code: number;
  /** What Linux remembers in the place of a page that is not present, in the first entry; null for all others. */
  readonly absent: AbsentReading | null;
  /** The mapping of a process that the range is in; null where there is none, or where they are not known. */
  readonly vma: MapsVma | null;
}

/** What may be told beside the pages. */
export interface FoldExtras {
  /** Reads entries that are not present, where the cursor stops at them. Default: they are left out. */
  readonly absent?: AbsentReader;
  /** Mappings in address order: a range ends where one does. */
  readonly vmas?: readonly MapsVma[];
}

/** Fewer ranges that look alike are no pattern: they stay as they are. */
const MIN_REPEATS = 3;

// The word of a page's rights: PTE bits where they are, and above them what comes from elsewhere in the entry.
const CODE_XD = 1 << 9;
const CODE_RESERVED = 1 << 10;
const CODE_MARKED = 1 << 11;
const CODE_ABSENT = 1 << 16;
const CODE_KEY_SHIFT = 12;
const KEY_MASK = 0xf;

/** The physical address of a page that cannot be reached. */
const NOWHERE = -1;

/**
 * The leaves as ranges. Pages join only when address, frame, size and every right continue: no change of permission
 * is ever hidden in a range. A and D do not split: a range says how many of its pages have them. Many ranges that
 * map the same frames at a regular distance (espfix maps one page 65,536 times) become one that repeats. Only pages
 * that pass the filter are looked at. Entries that are not present join while what they stand for goes on.
 */
export function* foldLeaves(
  leaves: LeafCursor,
  filter: PageFilter | null = null,
  extras: FoldExtras = {},
): Generator<LeafRange> {
  // Ranges that look alike at one distance: one or two of them, or a single one that stands for three and more.
  let alike: LeafRange[] = [];
  for (const range of contiguous(leaves, filter, extras)) {
    if (alike.length === 1 && alike[0]!.repeats > 1 && continues(alike, range)) {
      absorb(alike[0]!, range);
      continue;
    }
    while (alike.length > 0 && !continues(alike, range)) yield alike.shift()!;
    alike.push(range);
    if (alike.length > 1) alike = join(alike);
  }
  yield* alike;
}

/** Bytes from the first byte of a range to the last of its last repeat. */
export function reach(range: LeafRange): number {
  return range.stride * (range.repeats - 1) + range.length;
}

/** Pages of a range, all repeats together. */
export function pagesOf(range: LeafRange): number {
  return (range.length / pageBytes(range.level)) * range.repeats;
}

/** Whether the range is one of pages that can be reached. */
export function isMapped({ code }: Pick<LeafRange, "code">): boolean {
  return (code & (CODE_RESERVED | CODE_ABSENT)) === 0;
}

function* contiguous(
  leaves: LeafCursor,
  filter: PageFilter | null,
  { absent: reader, vmas }: FoldExtras,
): Generator<LeafRange> {
  let range: LeafRange | null = null;
  const vmaAt = vmas === undefined ? null : vmaFinder(vmas);
  while (leaves.next()) {
    if (filter !== null && !filter(leaves)) continue;
    const { level, linear, lo } = leaves;
    const present = (lo & PTE_P) !== 0;
    const absent = present ? null : (reader?.read(leaves) ?? null);
    if (!present && absent === null) continue;
    const size = pageBytes(level);
    const physical = absent === null ? physicalOf(leaves) : absent.physical;
    const code = absent === null ? codeOf(leaves) : CODE_ABSENT;
    const vma = vmaAt === null ? null : vmaAt(linear);
    if (
      range === null ||
      linear !== range.start + range.length ||
      (physical !== NOWHERE && physical !== range.physical + range.length) ||
      level !== range.level ||
      code !== range.code ||
      vma !== range.vma ||
      !goesOn(range, absent)
    ) {
      if (range !== null) yield range;
      range = {
        start: linear,
        length: 0,
        physical,
        level,
        rights: rightsOf(code),
        accessed: 0,
        dirty: 0,
        repeats: 1,
        stride: 0,
        code,
        absent,
        vma,
      };
    }
    range.length += size;
    if (leaves.reserved || (absent !== null && !absent.hasPage)) continue;
    if ((lo & PTE_A) !== 0) range.accessed++;
    if ((lo & PTE_D) !== 0) range.dirty++;
  }
  if (range !== null) yield range;
}

/** Whether an entry that is not present stands for what comes behind the range's; true of two that are. */
function goesOn({ absent: first, length, level }: LeafRange, absent: AbsentReading | null): boolean {
  if (first === null || absent === null) return first === absent;
  return absent.follows(first, length / pageBytes(level));
}

/** The mapping at an address; addresses must come in order. */
function vmaFinder(vmas: readonly MapsVma[]): (linear: number) => MapsVma | null {
  let at = 0;
  return (linear) => {
    while (at < vmas.length && vmas[at]!.end <= linear) at++;
    const vma = vmas[at];
    return vma !== undefined && vma.start <= linear ? vma : null;
  };
}

/** Whether a range goes on where the others lead: same frames, same rights, same distance. */
function continues(alike: readonly LeafRange[], range: LeafRange): boolean {
  const first = alike[0]!;
  const last = alike.at(-1)!;
  const same =
    range.physical === last.physical &&
    range.length === last.length &&
    range.level === last.level &&
    range.code === last.code &&
    range.absent === last.absent &&
    range.vma === last.vma;
  const wanted = alike.length > 1 ? last.start - first.start : last.stride;
  const stride = range.start - last.start - last.stride * (last.repeats - 1);
  return same && (wanted === 0 || stride === wanted);
}

/** Makes one repeating range of enough of them. */
function join(alike: LeafRange[]): LeafRange[] {
  const [first, second, ...rest] = alike;
  if (first === undefined || second === undefined) return alike;
  if (first.repeats === 1 && alike.length < MIN_REPEATS) return alike;
  if (first.repeats === 1) first.stride = second.start - first.start;
  for (const range of [second, ...rest]) absorb(first, range);
  return [first];
}

/** Makes a range one more repeat of another. */
function absorb(first: LeafRange, { accessed, dirty }: LeafRange): void {
  first.repeats++;
  first.accessed += accessed;
  first.dirty += dirty;
}

/** Physical address of the page that the cursor stands on. */
export function physicalOf(leaves: LeafCursor): number {
  if (leaves.reserved) return NOWHERE;
  return frameOf(leaves.lo & ~(OFFSET_MASK[leaves.level] ?? 0), leaves.hi) * PAGE_SIZE;
}

/** Linear address of a physical one that the range maps, in its first repeat. */
export function linearOf(range: Pick<LeafRange, "start" | "physical">, physical: number): number {
  return range.start + (physical - range.physical);
}

function codeOf(leaves: LeafCursor): number {
  if (leaves.reserved) return CODE_RESERVED;
  const { level, lo } = leaves;
  const pat = lo & (level === 1 ? PTE_PAT : PTE_PAT_LARGE);
  return (
    (leaves.every & (PTE_W | PTE_U)) |
    (lo & (PTE_PWT | PTE_PCD | PTE_G)) |
    (pat === 0 ? 0 : PTE_PAT) |
    ((leaves.any & PTE_XD) === 0 ? 0 : CODE_XD) |
    (leaves.marked ? CODE_MARKED : 0) |
    (((leaves.hi >>> 27) & KEY_MASK) << CODE_KEY_SHIFT)
  );
}

/** Rights that were met before, by their word: ranges by the million share a few. */
const KNOWN_RIGHTS = new Map<number, PageRights>();

function rightsOf(code: number): PageRights {
  const known = KNOWN_RIGHTS.get(code);
  if (known !== undefined) return known;
  const rights = Object.freeze(spellOut(code));
  KNOWN_RIGHTS.set(code, rights);
  return rights;
}

function spellOut(code: number): PageRights {
  const reserved = (code & CODE_RESERVED) !== 0;
  return {
    write: (code & PTE_W) !== 0,
    execute: (code & (CODE_RESERVED | CODE_ABSENT | CODE_XD)) === 0,
    user: (code & PTE_U) !== 0,
    global: (code & PTE_G) !== 0,
    pwt: (code & PTE_PWT) !== 0,
    pcd: (code & PTE_PCD) !== 0,
    pat: (code & PTE_PAT) !== 0,
    key: (code >>> CODE_KEY_SHIFT) & KEY_MASK,
    reserved,
    marked: (code & CODE_MARKED) !== 0,
  };
}
