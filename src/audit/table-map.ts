import { type Entry, frameOf } from "../../arch/x86/cpu/entry.ts";
import { kindOf, reservedMask } from "../../arch/x86/cpu/entry-layout.ts";
import type { Kernel } from "../mm/kernel.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import { BYTES_OF_LEVEL, FRAMES_OF_LEVEL } from "./frame-index.ts";
import { MappedFrames } from "./mapped-frames.ts";

const PRESENT = 0x1;
const HUGE = 0x80;
/** Of an entry with P clear, so of software alone: Linux still has the page mapped (_PAGE_PROTNONE). */
const PROT_NONE = 0x100;

/** Rights of a translation, at the bits that entries have them; EXECUTE stands for an XD that is clear. */
export const RIGHT_WRITE = 0x2;
export const RIGHT_USER = 0x4;
export const RIGHT_EXECUTE = 0x8;
export const WAS_ACCESSED = 0x20;
export const WAS_DIRTY = 0x40;
/** G of a leaf: where CR4.PGE is set, a load of CR3 does not drop the translation. */
export const WAS_GLOBAL = 0x100;

const LEAF_STATE = WAS_ACCESSED | WAS_DIRTY | WAS_GLOBAL;

/** A leaf entry at one place of one mm: the same entry, when its table is shared, has several. */
export interface Leaf {
  readonly mm: mm_struct;
  /** Linear address of the first byte. */
  readonly page: number;
  /** 1 for 4K, 2 for 2M, 3 for 1G. */
  readonly level: number;
  readonly slot: number;
  readonly frame: number;
  /** RIGHT_* of the whole path, WAS_* of the leaf. */
  readonly rights: number;
  /** Present to Linux only: no cache can hold it, and `rights` has neither RIGHT_* nor WAS_GLOBAL. */
  readonly protNone: boolean;
}

/** Told about leaves whose translations, where cached, no longer are what the tables say. */
export interface LeafSink {
  weakened(leaf: Leaf, value: Entry): void;
  /** A of a present leaf was cleared and nothing else: caches keep what they have, and rightly so. */
  aged(leaf: Leaf): void;
  /** An entry that no cache can hold, as one of PROT_NONE or of swap, was replaced. */
  replaced(mm: mm_struct, page: number, level: number): void;
  /**
   * An address got a present leaf where another page, or none, was: `slot` is the entry that was stored, the leaf's own
   * or one above it.
   */
  installed(mm: mm_struct, page: number, level: number, frame: number, slot: number): void;
}

const NO_STORE = -1;

/** One place where a table hangs in an mm. */
interface TableUse {
  readonly mm: mm_struct;
  readonly base: number;
  readonly level: number;
  /** RIGHT_* that the entries above allow. */
  readonly allow: number;
}

/**
 * Which table maps which addresses of which mm, and which frames leaves map that are present to Linux, so those of
 * PROT_NONE, too: scanned once, then kept up to date from the entries written. Only user addresses: the kernel's are
 * global and judged nowhere.
 *
 *   slot written ──► table frame ──► (mm, base, level) ──► linear address = base + index * size
 *
 * A user leaf should never have G (rule 68). One that has it is followed nevertheless: what it leaves behind when it is
 * weakened stays due across loads of CR3. What a CPU keeps of a global leaf that is weakened only after the CPU has
 * left the mm is not followed.
 */
export class TableMap {
  /** Slots of leaves that are present to Linux. */
  readonly mapped = new MappedFrames();
  /** Whether the tables were too many, or looped, so that some were left out. */
  truncated = false;
  readonly #kernel: Kernel;
  readonly #sink: LeafSink;
  readonly #uses = new Map<number, TableUse[]>();
  readonly #byRoot = new Map<number, mm_struct>();
  readonly #levels: number;
  /** Reserved bits: of tables at 2 * level, of leaves one further. */
  readonly #reserved: readonly Entry[];
  #useCount = 0;
  #known = 0;

  constructor(kernel: Kernel, sink: LeafSink) {
    this.#kernel = kernel;
    this.#sink = sink;
    const { layout, levels } = kernel.machine.cpu(0).control;
    this.#levels = levels;
    this.#reserved = Array.from({ length: 12 }, (_, kind) =>
      reservedMask(kindOf(Math.max(1, kind >> 1), (kind & 1) * HUGE), layout),
    );
    this.#learnNewMms();
  }

  /** The mm whose root table has that physical address, if any. */
  ofRoot(root: number): mm_struct | undefined {
    return this.#byRoot.get(root) ?? (this.#learnNewMms() ? this.#byRoot.get(root) : undefined);
  }

  /** The places that the slot of a leaf, present or of PROT_NONE, maps now. */
  leavesAt(slot: number, visit: (leaf: Leaf) => void): void {
    const entry = this.#kernel.machine.memory.read(slot);
    for (const use of this.#uses.get(Math.floor(slot / 4096)) ?? []) {
      const frame = this.#mappedFrame(entry, use.level);
      if (frame >= 0) visit(leafOf(use, slot, entry, frame));
    }
  }

  /** An entry was stored. */
  entryWritten(slot: number, old: Entry, value: Entry): void {
    const uses = this.#uses.get(Math.floor(slot / 4096));
    if (uses === undefined) {
      this.#learnNewMms();
      return;
    }
    const { level } = uses[0]!;
    // The upper half of a root belongs to the kernel.
    if (level === this.#levels && slot % 4096 >= 2048) return;
    const wasLeaf = this.#isLeaf(old, level);
    const isLeaf = this.#isLeaf(value, level);
    if (level > 1) this.#tableEntryWritten(uses, slot, old, value);
    if (!wasLeaf && !this.#isTable(old, level) && (old.lo | old.hi) !== 0) {
      for (const use of uses) this.#sink.replaced(use.mm, addressOf(use, slot), level);
    }
    const from = this.#mappedFrame(old, level);
    const to = this.#mappedFrame(value, level);
    if (from !== to) {
      if (from >= 0) this.mapped.remove(from, level, slot);
      if (to >= 0) this.mapped.add(to, level, slot);
    }
    if (wasLeaf && (!isLeaf || weakerLeaf(old, value))) {
      for (const use of uses) this.#sink.weakened(leafOf(use, slot, old, from), value);
    } else if (wasLeaf && (old.lo & ~value.lo & WAS_ACCESSED) !== 0) {
      for (const use of uses) this.#sink.aged(leafOf(use, slot, old, from));
    }
    if (isLeaf && !(wasLeaf && from === to)) {
      for (const use of uses) this.#sink.installed(use.mm, addressOf(use, slot), level, to, slot);
    }
  }

  #learnNewMms(): boolean {
    const { mms } = this.#kernel;
    if (this.#known === mms.length) return false;
    const allow = RIGHT_WRITE | RIGHT_USER | RIGHT_EXECUTE;
    for (const mm of mms.slice(this.#known)) {
      this.#byRoot.set(mm.pgd, mm);
      this.#addTable(mm.pgd / 4096, { mm, base: 0, level: this.#levels, allow }, NO_STORE);
    }
    this.#known = mms.length;
    return true;
  }

  /** Takes a table in, and everything under it; `stored` is the entry that brought it, NO_STORE for a first scan. */
  #addTable(frame: number, use: TableUse, stored: number): void {
    const { memory } = this.#kernel.machine;
    if (!memory.hasFrame(frame)) return;
    if (this.#useCount >= 2 * this.#kernel.mem_map.nr_pages) {
      this.truncated = true;
      return;
    }
    const uses = this.#uses.get(frame);
    if (uses === undefined) this.#uses.set(frame, [use]);
    else if (uses[0]!.level === use.level) uses.push(use);
    else {
      // The same frame as a table of two levels: entries would mean two things. Linux never does this.
      this.truncated = true;
      return;
    }
    this.#useCount++;
    const end = use.level === this.#levels ? 256 : 512;
    for (let index = 0; index < end; index++) {
      const slot = frame * 4096 + index * 8;
      if ((memory.readLo(slot) & (PRESENT | PROT_NONE)) === 0) continue;
      const entry = memory.read(slot);
      if (this.#isTable(entry, use.level)) {
        this.#addTable(frameOf(entry.lo, entry.hi), below(use, slot, entry), stored);
        continue;
      }
      const mapped = this.#mappedFrame(entry, use.level);
      if (mapped < 0) continue;
      if (uses === undefined) this.mapped.add(mapped, use.level, slot);
      if (stored !== NO_STORE && (entry.lo & PRESENT) !== 0) {
        this.#sink.installed(use.mm, addressOf(use, slot), use.level, mapped, stored);
      }
    }
  }

  /** Lets go of a table and everything under it: its leaves are weakened as if each had been cleared. */
  #removeTable(frame: number, gone: TableUse, value: Entry): void {
    const { memory } = this.#kernel.machine;
    const uses = this.#uses.get(frame);
    const at = uses?.findIndex((use) => use.mm === gone.mm && use.base === gone.base) ?? -1;
    if (uses === undefined || at < 0) return;
    const use = uses[at]!;
    uses.splice(at, 1);
    this.#useCount--;
    if (uses.length === 0) this.#uses.delete(frame);
    for (let index = 0; index < 512; index++) {
      const slot = frame * 4096 + index * 8;
      if ((memory.readLo(slot) & (PRESENT | PROT_NONE)) === 0) continue;
      const entry = memory.read(slot);
      if (this.#isTable(entry, use.level)) {
        this.#removeTable(frameOf(entry.lo, entry.hi), below(use, slot, entry), value);
        continue;
      }
      const mapped = this.#mappedFrame(entry, use.level);
      if (mapped < 0) continue;
      if (uses.length === 0) this.mapped.remove(mapped, use.level, slot);
      if ((entry.lo & PRESENT) !== 0) this.#sink.weakened(leafOf(use, slot, entry, mapped), value);
    }
  }

  /** The entries above a table allow more, or less: its leaves that lose a right are weakened, the others are not. */
  #changeRights(frame: number, before: TableUse, allow: number, value: Entry): void {
    const uses = this.#uses.get(frame);
    const at = uses?.findIndex((use) => use.mm === before.mm && use.base === before.base) ?? -1;
    if (uses === undefined || at < 0) return;
    const use = uses[at]!;
    if (use.allow === allow) return;
    const after = { ...use, allow };
    uses[at] = after;
    const { memory } = this.#kernel.machine;
    for (let index = 0; index < 512; index++) {
      const slot = frame * 4096 + index * 8;
      if ((memory.readLo(slot) & PRESENT) === 0) continue;
      const entry = memory.read(slot);
      if (this.#isTable(entry, use.level)) {
        const child = below(after, slot, entry);
        this.#changeRights(frameOf(entry.lo, entry.hi), child, child.allow, value);
      } else if (this.#isLeaf(entry, use.level) && (use.allow & ~allow & allowed(entry)) !== 0) {
        this.#sink.weakened(leafOf(use, slot, entry, leafFrame(entry, use.level)), value);
      }
    }
  }

  #tableEntryWritten(uses: readonly TableUse[], slot: number, old: Entry, value: Entry): void {
    const { level } = uses[0]!;
    const was = this.#isTable(old, level);
    const is = this.#isTable(value, level);
    if (!was && !is) return;
    const from = frameOf(old.lo, old.hi);
    const to = frameOf(value.lo, value.hi);
    if (was && is && from === to) {
      // Bit 6 of a pointer is ignored, and A weakens nothing: only the rights count.
      if (allowed(old) === allowed(value)) return;
      for (const use of [...uses]) {
        this.#changeRights(to, below(use, slot, old), use.allow & allowed(value), value);
      }
      return;
    }
    for (const use of [...uses]) {
      if (was) this.#removeTable(from, below(use, slot, old), value);
      if (is) this.#addTable(to, below(use, slot, value), slot);
    }
  }

  /** First frame that an entry maps as Linux sees it, so one of PROT_NONE, too; -1 if it maps none. */
  #mappedFrame(entry: Entry, level: number): number {
    if ((entry.lo & PRESENT) !== 0) return this.#isLeaf(entry, level) ? leafFrame(entry, level) : -1;
    if ((entry.lo & PROT_NONE) === 0 || (level > 1 && (level > 3 || (entry.lo & HUGE) === 0))) return -1;
    const frame = this.#kernel.format.pte_pfn(entry);
    return level === 1 ? frame : frame - (frame % FRAMES_OF_LEVEL[level]!);
  }

  #isLeaf(entry: Entry, level: number): boolean {
    if ((entry.lo & PRESENT) === 0) return false;
    if (level > 1 && (level > 3 || (entry.lo & HUGE) === 0)) return false;
    return !this.#isReserved(entry, level * 2 + 1);
  }

  #isTable(entry: Entry, level: number): boolean {
    if (level === 1 || (entry.lo & PRESENT) === 0) return false;
    if (level <= 3 && (entry.lo & HUGE) !== 0) return false;
    return !this.#isReserved(entry, level * 2);
  }

  /** A translation whose path has a reserved bit set is never cached. */
  #isReserved(entry: Entry, kind: number): boolean {
    const mask = this.#reserved[kind]!;
    return ((entry.lo & mask.lo) | (entry.hi & mask.hi)) !== 0;
  }
}

/** Whether a cached copy of a leaf allows what `value` no longer does (SDM vol. 3, 4.10.4.2 and 4.10.4.4). */
function weakerLeaf(old: Entry, value: Entry): boolean {
  if ((value.lo & PRESENT) === 0) return true;
  if ((((old.lo ^ value.lo) & 0xffff_f000) | ((old.hi ^ value.hi) & 0xf_ffff)) !== 0) return true;
  return (old.lo & ~value.lo & (RIGHT_WRITE | RIGHT_USER | WAS_DIRTY)) !== 0 || (value.hi & ~old.hi) < 0;
}

function leafFrame(entry: Entry, level: number): number {
  const frame = frameOf(entry.lo, entry.hi);
  return level === 1 ? frame : frame - (frame % FRAMES_OF_LEVEL[level]!);
}

function addressOf(use: TableUse, slot: number): number {
  return use.base + ((slot % 4096) / 8) * BYTES_OF_LEVEL[use.level]!;
}

function allowed(entry: Entry): number {
  return (entry.lo & (RIGHT_WRITE | RIGHT_USER)) | (entry.hi < 0 ? 0 : RIGHT_EXECUTE);
}

function leafOf(use: TableUse, slot: number, entry: Entry, frame: number): Leaf {
  const protNone = (entry.lo & PRESENT) === 0;
  return {
    mm: use.mm,
    page: addressOf(use, slot),
    level: use.level,
    slot,
    frame,
    rights: protNone
      ? entry.lo & (WAS_ACCESSED | WAS_DIRTY)
      : (use.allow & allowed(entry)) | (entry.lo & LEAF_STATE),
    protNone,
  };
}

function below(use: TableUse, slot: number, entry: Entry): TableUse {
  return { mm: use.mm, base: addressOf(use, slot), level: use.level - 1, allow: use.allow & allowed(entry) };
}
