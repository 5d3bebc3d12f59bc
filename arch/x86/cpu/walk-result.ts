import type { ControlRegisters } from "./control-registers.ts";
import { Entry, frameOf } from "./entry.ts";
import type { EntryKind } from "./entry-layout.ts";
import { errorCodeOf, PageFault, reasonOf, WALK_DENIED, WALK_NOT_PRESENT } from "./page-fault.ts";

/** One entry a walk read. */
export interface PathStep {
  level: number;
  kind: EntryKind;
  address: number;
  entry: Entry;
}

/** What differs between a CPU's walk and a look from outside. */
export interface WalkOptions {
  /** Set A in the path and D in the leaf, as a CPU does. An inspector leaves memory alone. */
  readonly setAccessedDirty: boolean;
  /** Fill {@link WalkResult.path}; `words`: only keep the words and addresses of the entries, which allocates nothing. */
  readonly record: boolean | "words";
  /**
   * Runs between the reads and an update of A or D, before each attempt: the window in which another CPU may change
   * an entry that this walk has read.
   */
  readonly beforeUpdate: ((walk: WalkResult) => void) | null;
  /** Told of every A/D update made: physical address, old and new low word, the high word. */
  readonly updated: ((address: number, oldLo: number, newLo: number, hi: number) => void) | null;
}

/** A look from outside: changes nothing, records the path. */
export const INSPECT: WalkOptions = Object.freeze({
  setAccessedDirty: false,
  record: true,
  beforeUpdate: null,
  updated: null,
});

/** A CPU's walk: sets A and D, keeps no record, tells nobody. What a CPU or a device starts from. */
export const HARDWARE_WALK: WalkOptions = Object.freeze({
  setAccessedDirty: true,
  record: false,
  beforeUpdate: null,
  updated: null,
});

/** Offset bits of a leaf by level: 4 KiB, 2 MiB, 1 GiB. */
export const OFFSET_MASK = [0, 0xfff, 0x1f_ffff, 0x3fff_ffff] as const;

/**
 * A table that a walk may begin at instead of the root, with what the entries above it granted when they were read: one
 * entry of a paging-structure cache (SDM vol. 3, 4.10.3).
 */
export interface WalkStart {
  /** Level of the entries in the table: 4 (a PML4) to 1 (a page table). */
  readonly level: number;
  /** Words of the entry that points to it. */
  readonly lo: number;
  readonly hi: number;
  /** AND of the low words of the entries above, with A=1; OR of their high words. */
  readonly above: number;
  readonly anyHi: number;
}

/**
 * Where a walk ended and what it found. One object serves any number of walks; each overwrites the last.
 */
export class WalkResult {
  /** Set by the caller: where to begin; null = at the root, as CR3 has it. */
  start: WalkStart | null = null;
  /** WALK_OK, WALK_NOT_PRESENT, WALK_RESERVED or WALK_DENIED. */
  code = WALK_NOT_PRESENT;
  /** Level of the last entry read: the leaf, or the entry that stopped the walk. */
  level = 0;
  /** That entry's words, as read (before A or D was set). */
  lo = 0;
  hi = 0;
  /** Raw rights (RIGHT_*) as the entries are after the walk, once a leaf was reached: for WALK_OK and WALK_DENIED. */
  rights = 0;
  /** DENIED_* bits of WALK_DENIED, else 0. */
  denied = 0;
  /** Whether the leaf has D=1 after the walk. */
  dirty = false;
  /** The linear address that was walked. */
  linearLo = 0;
  linearHi = 0;
  /** Every entry read, top first, when the walk was asked to record. */
  path: PathStep[] = [];

  /** AND of the low words of the tables above the last entry; all ones when there is none. */
  above = -1;
  /** Words of the entry (or CR3) that points to the table of the last entry. */
  tableLo = 0;
  tableHi = 0;
  /** Level of the first entry read: 4 or 5 from the root. */
  top = 4;
  /** Words and addresses of the entries by level, when the walk kept them. */
  readonly pathLo = new Int32Array(6);
  readonly pathHi = new Int32Array(6);
  readonly pathAddress = new Float64Array(6);

  /** Physical byte address, for WALK_OK and WALK_DENIED. */
  get physical(): number {
    const mask = OFFSET_MASK[this.level] ?? 0;
    const low = (this.lo & ~mask) | (this.linearLo & mask);
    const high = this.hi & 0xf_ffff;
    // Below 2^31 it stays an integer to V8, which a sum with a multiple of 2^32 is not.
    return high === 0 && low >= 0 ? low : high * 2 ** 32 + (low >>> 0);
  }

  /** Frame number of the 4-KiB frame at that address. */
  get pfn(): number {
    return Math.floor(this.physical / 4096);
  }

  get entry(): Entry {
    return new Entry(this.lo, this.hi);
  }

  /** Physical address of the last entry read. */
  get entryAddress(): number {
    const index = tableIndex(this.level, this.linearLo, this.linearHi);
    return frameOf(this.tableLo, this.tableHi) * 4096 + index * 8;
  }

  /** The page fault a CPU raises for this walk. Only for codes other than WALK_OK. */
  toFault(kind: number, mode: number, control: ControlRegisters): PageFault {
    return this.faultOf(this.code, this.denied, kind, mode, control, false);
  }

  /** The page fault where a TLB entry denies the access and this walk tells what memory says now. */
  toCachedFault(denied: number, kind: number, mode: number, control: ControlRegisters): PageFault {
    return this.faultOf(WALK_DENIED, denied, kind, mode, control, true);
  }

  private faultOf(
    code: number,
    denied: number,
    kind: number,
    mode: number,
    control: ControlRegisters,
    cached: boolean,
  ): PageFault {
    return new PageFault({
      kind: "#PF",
      errorCode: errorCodeOf(code, denied, kind, mode, control),
      lo: this.linearLo,
      hi: this.linearHi,
      level: this.level,
      entryAddress: this.entryAddress,
      entry: this.entry,
      reason: reasonOf(code, denied),
      cached,
    });
  }
}

/**
 *  63      57 56     48 47     39 38     30 29     21 20     12 11        0
 * +----------+---------+---------+---------+---------+---------+-----------+
 * |   sign   |  PML5   |  PML4   |  PDPT   |   PD    |   PT    |  offset   |
 * +----------+---------+---------+---------+---------+---------+-----------+
 *
 * With four levels there is no PML5 index: the sign extends from bit 47 and fills 63:48.
 *
 * Index into the table of a level (SDM vol. 3, 4.5).
 */
export function tableIndex(level: number, lo: number, hi: number): number {
  if (level === 1) return (lo >>> 12) & 0x1ff;
  if (level === 5) return (hi >>> 16) & 0x1ff;
  return (((hi << 16) | (lo >>> 16)) >>> (9 * level - 13)) & 0x1ff;
}
