import type { Slot } from "../../../arch/x86/cpu/address.ts";
import type { Entry } from "../../../arch/x86/cpu/entry.ts";
import type { Leaf, Reach, TableUse } from "./translation.ts";

/** Told about translations that, where cached, no longer are what the tables say. */
export interface TableSink {
  weakened(leaf: Leaf, value: Entry): void;
  /** A of a present leaf was cleared and nothing else: caches keep what they have, and rightly so. */
  aged(reach: Reach, page: number, level: number): void;
  /** An entry that no cache can hold, as one of PROT_NONE or of swap, was replaced. */
  replaced(reach: Reach, page: number, level: number): void;
  /**
   * An address got a present leaf where another page, or none, was: `slot` is the entry that was stored, the leaf's own
   * or one above it.
   */
  installed(reach: Reach, page: number, level: number, pfn: number, slot: Slot): void;
  /**
   * An entry does not lead to a table any more, or not with the same rights: what caches hold of the entry leads to it
   * still. `use` is the table's place as it was, `entry` where the entry stands. Called before the table's leaves.
   */
  unlinked(use: TableUse, table: number, entry: Slot): void;
  /** An entry got a value that it did not have; `global`: global leaves come with it, as they may under a table. */
  placed(reach: Reach, address: number, level: number, global: boolean): void;
  /** A leaf allows more than it did, or its D was set; it is given as it was. */
  grew(leaf: Leaf): void;
}
