import {
  BYTES_OF_LEVEL,
  ENTRIES_PER_TABLE,
  NO_SLOT,
  PAGE_SIZE,
  PAGES_OF_LEVEL,
  type Slot,
} from "../../../arch/x86/cpu/address.ts";
import { Entry, frameOf } from "../../../arch/x86/cpu/entry.ts";
import type { World } from "../../trace/world.ts";
import { EntryReader } from "./entry-reader.ts";
import type { Journal } from "./journal.ts";
import { MappedSlots } from "./pfn-index.ts";
import type { Root } from "./spaces.ts";
import type { TableSink } from "./table-sink.ts";
import {
  addressOf,
  allowedBy,
  below,
  EVERY_RIGHT,
  isWeaker,
  type Leaf,
  leafOf,
  leafPfn,
  PRESENT,
  type Reach,
  type TableUse,
  WAS_ACCESSED,
  WAS_GLOBAL,
} from "./translation.ts";

/** Most places of tables that are watched; what is beyond is not, and {@link Tables.truncated} says so. */
const MAX_USES = 2 ** 20;
/** Places of one kernel table that are watched: the kernel maps some at thousands of addresses, all alike. */
const MAX_ALIASES = 8;
/** Entries of a root that are for user addresses; those above are the kernel's. */
const USER_ENTRIES = 256;

/**
 * Which table maps which addresses under which roots, and which frames user leaves map that are present to the system,
 * so those of PROT_NONE, too: scanned once, then kept up to date from the entries written.
 *
 *   slot written ──► table ──► its places (reach, base, level) ──► linear address = base + index * size
 *
 * The kernel's half is known once for all roots that share it; of its leaves only the tables are kept, no index by frame.
 */
export class Tables {
  /** Slots of user leaves that are present to the system. */
  readonly mapped = new MappedSlots();
  /** Whether some tables were left out: too many, or one at two levels, as a root that leads to itself has it. */
  truncated = false;
  /** Whether a user leaf was ever global: else it matters little what CPUs drop of such. */
  userGlobals = false;
  readonly #world: World;
  readonly #sink: TableSink;
  readonly #journal: Journal;
  readonly #levels: number;
  readonly #reader: EntryReader;
  readonly #uses = new Map<number, TableUse[]>();
  /** By table and index in the root: the kernel's half, shared. */
  readonly #kernelTops = new Map<number, Reach>();
  readonly #roots = new Map<number, Root>();
  #useCount = 0;
  /** While going back: nothing is told. */
  #silent = false;

  constructor(world: World, sink: TableSink, journal: Journal) {
    this.#world = world;
    this.#sink = sink;
    this.#journal = journal;
    this.#levels = world.cpu(0).levels;
    this.#reader = new EntryReader(world);
  }

  /** The root at a physical address, watched from now on. */
  watch(physical: number): Root {
    const known = this.#roots.get(physical);
    if (known !== undefined) return known;
    const root: Root = { physical, space: null };
    this.#roots.set(physical, root);
    const use = { reach: { roots: [root], kernel: false }, base: 0, level: this.#levels, allow: EVERY_RIGHT };
    this.#addTable(physical / PAGE_SIZE, use, NO_SLOT);
    if (this.#journal.active) this.#journal.note(() => this.#quietly(() => this.forget(root)));
    return root;
  }

  /** The root is gone: nothing is told, for whoever ended it answers for what it left. */
  forget(root: Root): void {
    if (this.#roots.get(root.physical) !== root) return;
    this.#quietly(() => {
      const table = root.physical / PAGE_SIZE;
      const use = this.#uses.get(table)?.find(({ reach }) => reach.roots[0] === root);
      if (use !== undefined) this.#removeTable(table, use, ZERO, NO_SLOT);
    });
    this.#roots.delete(root.physical);
    if (this.#journal.active) this.#journal.note(() => this.#quietly(() => this.watch(root.physical)));
  }

  /** Whether some watched entry leads to the frame as to a table, or it is a watched root. */
  isTable(pfn: number): boolean {
    return this.#uses.has(pfn);
  }

  /** The places where a table hangs. */
  usesOf(pfn: number): readonly TableUse[] {
    return this.#uses.get(pfn) ?? [];
  }

  /** The places that the slot of a leaf, present or of PROT_NONE, maps now. */
  leavesAt(slot: number, visit: (leaf: Leaf) => void): void {
    const entry = this.#world.entry(slot as Slot);
    for (const use of this.#uses.get(Math.floor(slot / PAGE_SIZE)) ?? []) {
      const pfn = this.#reader.mappedPfn(entry, use.level);
      if (pfn >= 0) visit(leafOf(use, slot, entry, pfn));
    }
  }

  /** Whether an entry, if it stood in the slot of a watched table, would map the frame. */
  mapsFrame(slot: number, entry: Entry, pfn: number): boolean {
    const use = this.#uses.get(Math.floor(slot / PAGE_SIZE))?.[0];
    if (use === undefined) return false;
    const first = this.#reader.mappedPfn(entry, use.level);
    return first >= 0 && pfn >= first && pfn < first + PAGES_OF_LEVEL[use.level]!;
  }

  /** Calls `visit` with every user leaf that maps the frame, at each of its places. */
  leavesOn(pfn: number, visit: (leaf: Leaf) => void): void {
    this.mapped.on(pfn, (slot) => this.leavesAt(slot, visit));
  }

  /** An entry was stored; the world has it already. */
  entryWritten(slot: Slot, old: Entry, value: Entry): void {
    const uses = this.#uses.get(Math.floor(slot / PAGE_SIZE));
    if (uses === undefined) return;
    const { level } = uses[0]!;
    if (level > 1) this.#tableEntryWritten(uses, slot, old, value);
    const wasLeaf = this.#reader.isLeaf(old, level);
    const isLeaf = this.#reader.isLeaf(value, level);
    if (!wasLeaf && !this.#reader.isTable(old, level) && (old.lo | old.hi) !== 0) {
      for (const { reach, base } of uses) this.#tellReplaced(reach, base, level, slot);
    }
    const from = this.#reader.mappedPfn(old, level);
    const to = this.#reader.mappedPfn(value, level);
    if ((from !== to || isLeaf) && uses.some(({ reach }) => !reach.kernel)) {
      if (from !== to && from >= 0) this.mapped.remove(from, level, slot);
      if (from !== to && to >= 0) this.mapped.add(to, level, slot);
      if (isLeaf && (value.lo & WAS_GLOBAL) !== 0) this.userGlobals = true;
    }
    if (this.#silent) return;
    if (wasLeaf && (!isLeaf || isWeaker(old, value))) {
      for (const use of uses) this.#sink.weakened(leafOf(use, slot, old, from), value);
      if (isLeaf) for (const use of uses) this.#tellPlaced(use, slot, value);
    } else if (wasLeaf && (old.lo & ~value.lo & WAS_ACCESSED) !== 0) {
      for (const use of uses) this.#sink.aged(use.reach, addressOf(use, slot), level);
    } else if (wasLeaf) {
      for (const use of uses) this.#sink.grew(leafOf(use, slot, old, from));
    } else if (isLeaf) {
      for (const use of uses) this.#tellPlaced(use, slot, value);
    }
    // Not before what was there is owed for.
    if (this.#reader.isTable(value, level) && !this.#reader.isSameTable(old, value, level)) {
      for (const use of uses) this.#sink.placed(use.reach, this.#signed(use, slot), level, true);
    }
    if (isLeaf && !(wasLeaf && from === to)) {
      for (const use of uses) this.#sink.installed(use.reach, addressOf(use, slot), level, to, slot);
    }
  }

  #tellPlaced(use: TableUse, slot: Slot, { lo }: Entry): void {
    this.#sink.placed(use.reach, addressOf(use, slot), use.level, (lo & WAS_GLOBAL) !== 0);
  }

  /** A walker set D of an entry, given as it was: a leaf at each of its places. */
  dirtied(slot: Slot, old: Entry): void {
    for (const use of this.#uses.get(Math.floor(slot / PAGE_SIZE)) ?? []) {
      if (this.#reader.isLeaf(old, use.level)) {
        this.#sink.grew(leafOf(use, slot, old, leafPfn(old, use.level)));
      }
    }
  }

  /** Takes back an entry that was written: the world has the old value already. */
  unwrite(slot: Slot, old: Entry, value: Entry): void {
    this.#quietly(() => this.entryWritten(slot, value, old));
  }

  #quietly(work: () => void): void {
    const before = this.#silent;
    this.#silent = true;
    work();
    this.#silent = before;
  }

  #tellReplaced(reach: Reach, base: number, level: number, slot: Slot): void {
    if (this.#silent) return;
    this.#sink.replaced(reach, base + ((slot % PAGE_SIZE) / 8) * BYTES_OF_LEVEL[level]!, level);
  }

  /** Takes a table in, and everything under it; `stored` is the entry that brought it, NO_SLOT for a first scan. */
  #addTable(pfn: number, use: TableUse, stored: Slot): void {
    const uses = this.#uses.get(pfn);
    if (!this.#admit(uses, use)) return;
    const isIndexed = use.reach.kernel || hasUserUse(uses);
    if (uses === undefined) this.#uses.set(pfn, [use]);
    else uses.push(use);
    this.#useCount++;
    this.#reader.eachUsed(pfn, (slot, entry) => {
      if (this.#reader.isTable(entry, use.level)) {
        this.#link(use, slot, entry, stored);
        return;
      }
      const mapped = this.#reader.mappedPfn(entry, use.level);
      if (mapped < 0) return;
      if (!isIndexed) this.mapped.add(mapped, use.level, slot);
      if (!use.reach.kernel && (entry.lo & (PRESENT | WAS_GLOBAL)) === (PRESENT | WAS_GLOBAL)) {
        this.userGlobals = true;
      }
      if (stored !== NO_SLOT && !this.#silent && (entry.lo & PRESENT) !== 0) {
        this.#sink.installed(use.reach, addressOf(use, slot), use.level, mapped, stored);
      }
    });
  }

  /** Whether a table may be watched at one more place. */
  #admit(uses: readonly TableUse[] | undefined, use: TableUse): boolean {
    if (uses !== undefined && uses[0]!.level !== use.level) {
      this.truncated = true;
      return false;
    }
    if (uses !== undefined && use.reach.kernel && uses.length >= MAX_ALIASES) {
      if (uses.filter(({ reach }) => reach.kernel).length >= MAX_ALIASES) return false;
    }
    if (this.#useCount < MAX_USES) return true;
    this.truncated = true;
    return false;
  }

  /** An entry leads to a table from now on. */
  #link(use: TableUse, slot: Slot, entry: Entry, stored: Slot): void {
    const table = frameOf(entry.lo, entry.hi);
    const index = (slot % PAGE_SIZE) / 8;
    if (use.level < this.#levels || index < USER_ENTRIES) {
      this.#addTable(table, below(use, slot, entry), stored);
      return;
    }
    const root = use.reach.roots[0]!;
    const key = table * ENTRIES_PER_TABLE + index;
    const shared = this.#kernelTops.get(key);
    if (shared !== undefined) {
      if (!shared.roots.includes(root)) shared.roots.push(root);
      return;
    }
    const reach: Reach = { roots: [root], kernel: true };
    this.#kernelTops.set(key, reach);
    this.#addTable(table, { ...below(use, slot, entry), reach, base: this.#signed(use, slot) }, stored);
  }

  /** The address that a slot is for; kernel addresses begin where the sign bit is set: the same index, every bit above it. */
  #signed(use: TableUse, slot: Slot): number {
    const index = (slot % PAGE_SIZE) / 8;
    if (use.level < this.#levels || index < USER_ENTRIES) return addressOf(use, slot);
    return 2 ** 64 - (ENTRIES_PER_TABLE - index) * BYTES_OF_LEVEL[this.#levels]!;
  }

  /** An entry does not lead to a table any more; `value` is what took its place. */
  #unlink(use: TableUse, slot: Slot, entry: Entry, value: Entry): void {
    const table = frameOf(entry.lo, entry.hi);
    const index = (slot % PAGE_SIZE) / 8;
    if (use.level < this.#levels || index < USER_ENTRIES) {
      this.#removeTable(table, below(use, slot, entry), value, slot);
      return;
    }
    const root = use.reach.roots[0]!;
    const key = table * ENTRIES_PER_TABLE + index;
    const shared = this.#kernelTops.get(key);
    const at = shared?.roots.indexOf(root) ?? -1;
    if (shared === undefined || at < 0) return;
    const placed = this.#uses.get(table)?.find(({ reach }) => reach === shared);
    if (placed === undefined) return;
    if (shared.roots.length === 1) {
      this.#kernelTops.delete(key);
      this.#removeTable(table, placed, value, slot);
      return;
    }
    shared.roots.splice(at, 1);
    const lost = { ...placed, reach: { roots: [root], kernel: true } };
    if (!this.#silent) this.#tellLost(table, lost, value, slot);
  }

  /** Lets go of a table and everything under it: its leaves are weakened as if each had been cleared. */
  #removeTable(pfn: number, gone: TableUse, value: Entry, above: Slot): void {
    const uses = this.#uses.get(pfn);
    const at = uses?.findIndex(({ reach, base }) => reach === gone.reach && base === gone.base) ?? -1;
    if (uses === undefined || at < 0) return;
    const use = uses[at]!;
    if (!this.#silent && use.level < this.#levels) this.#sink.unlinked(use, pfn, above);
    uses.splice(at, 1);
    this.#useCount--;
    if (uses.length === 0) this.#uses.delete(pfn);
    const isIndexed = use.reach.kernel || hasUserUse(uses);
    this.#reader.eachUsed(pfn, (slot, entry) => {
      if (this.#reader.isTable(entry, use.level)) {
        this.#unlink(use, slot, entry, value);
        return;
      }
      const mapped = this.#reader.mappedPfn(entry, use.level);
      if (mapped < 0) return;
      if (!isIndexed) this.mapped.remove(mapped, use.level, slot);
      if (!this.#silent && (entry.lo & PRESENT) !== 0)
        this.#sink.weakened(leafOf(use, slot, entry, mapped), value);
    });
  }

  /** One of several roots that share a kernel table has lost it: told, but the table stays where it is for the others. */
  #tellLost(pfn: number, use: TableUse, value: Entry, above: Slot): void {
    this.#sink.unlinked(use, pfn, above);
    this.#reader.eachUsed(pfn, (slot, entry) => {
      if (this.#reader.isTable(entry, use.level)) {
        this.#tellLost(frameOf(entry.lo, entry.hi), below(use, slot, entry), value, slot);
      } else if (this.#reader.isLeaf(entry, use.level)) {
        this.#sink.weakened(leafOf(use, slot, entry, leafPfn(entry, use.level)), value);
      }
    });
  }

  /** The entries above a table allow more, or less: its leaves that lose a right are weakened, the others are not. */
  #changeRights(pfn: number, before: TableUse, allow: number, value: Entry, above: Slot): void {
    const uses = this.#uses.get(pfn);
    const at = uses?.findIndex(({ reach, base }) => reach === before.reach && base === before.base) ?? -1;
    if (uses === undefined || at < 0) return;
    const use = uses[at]!;
    if (use.allow === allow) return;
    const after = { ...use, allow };
    uses[at] = after;
    const isLess = (use.allow & ~allow) !== 0;
    if (!this.#silent && isLess) this.#sink.unlinked(use, pfn, above);
    this.#reader.eachUsed(pfn, (slot, entry) => {
      if (this.#reader.isTable(entry, use.level)) {
        const child = below(after, slot, entry);
        this.#changeRights(frameOf(entry.lo, entry.hi), child, child.allow, value, slot);
      } else if (!this.#silent && this.#reader.isLeaf(entry, use.level)) {
        this.#tellAllowed(leafOf(use, slot, entry, leafPfn(entry, use.level)), after, entry, value);
      }
    });
  }

  /** What the entries above a leaf allow has changed; `leaf` is as it was. */
  #tellAllowed(leaf: Leaf, { reach, level, allow }: TableUse, entry: Entry, value: Entry): void {
    const rights = allow & allowedBy(entry);
    if ((leaf.rights & EVERY_RIGHT & ~rights) !== 0) {
      this.#sink.weakened(leaf, value);
      this.#sink.placed(reach, leaf.page, level, (entry.lo & WAS_GLOBAL) !== 0);
    } else if ((rights & ~leaf.rights) !== 0) this.#sink.grew(leaf);
  }

  #tableEntryWritten(uses: readonly TableUse[], slot: Slot, old: Entry, value: Entry): void {
    const { level } = uses[0]!;
    const was = this.#reader.isTable(old, level);
    const is = this.#reader.isTable(value, level);
    if (!was && !is) return;
    if (this.#reader.isSameTable(old, value, level)) {
      // Bit 6 of a pointer is ignored, and A weakens nothing: only the rights count.
      if (allowedBy(old) !== allowedBy(value)) this.#rightsWritten(uses, slot, old, value);
      return;
    }
    for (const use of [...uses]) {
      if (was) this.#unlink(use, slot, old, value);
      if (is) this.#link(use, slot, value, slot);
    }
  }

  #rightsWritten(uses: readonly TableUse[], slot: Slot, old: Entry, value: Entry): void {
    const table = frameOf(value.lo, value.hi);
    for (const use of [...uses]) {
      const child = this.childOf(use, slot, old);
      if (child === undefined) continue;
      this.#changeRights(table, child, use.allow & allowedBy(value), value, slot);
    }
  }

  /** The place of the table under a slot, with the reach that it has there. */
  childOf(use: TableUse, slot: Slot, entry: Entry): TableUse | undefined {
    const table = frameOf(entry.lo, entry.hi);
    const index = (slot % PAGE_SIZE) / 8;
    if (use.level < this.#levels || index < USER_ENTRIES) return below(use, slot, entry);
    const reach = this.#kernelTops.get(table * ENTRIES_PER_TABLE + index);
    return this.#uses.get(table)?.find((each) => each.reach === reach);
  }
}

/** Whether the index by frame has the table's leaves because of one of its places. */
function hasUserUse(uses: readonly TableUse[] | undefined): boolean {
  return uses?.some(({ reach }) => !reach.kernel) === true;
}

const ZERO = new Entry(0, 0);
