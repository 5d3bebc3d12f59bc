import type { ArchMmEvent } from "../../arch/x86/mm/events.ts";
import type { swp_entry_t } from "../../arch/x86/mm/swap-entry.ts";
import type { mm_struct } from "./mm_struct.ts";

export type NotifierOp =
  | "invalidate_range_start"
  | "invalidate_range_end"
  | "invalidate_range"
  | "invalidate_page"
  | "clear_flush_young"
  | "clear_young"
  | "test_young"
  | "change_pte"
  | "release";

/** Kernel functions that report when they are entered and left. */
export type KernelCall =
  | "page_mkclean"
  | "page_mkclean_one"
  | "page_referenced"
  | "try_to_unmap"
  | "try_to_unmap_one"
  | "remove_migration_ptes"
  | "shrink_page_list";

/** What a page-table lock protects: one table of ptes or pmds, or all the rest of an mm (page_table_lock). */
export type LockLevel = "mm" | "pmd" | "pte";

/** What Linux's generic mm reports. A page is its frame number; ranges are a start and a length in bytes. */
export type MmEvent =
  | ArchMmEvent
  | { type: "call-entered"; call: KernelCall; page: number; mm: mm_struct | null; task: string }
  /**
   * `mm` is set for the functions that work on one vma. `result` is what the function returned, except for
   * page_mkclean_one, which always returns true: it is how many entries that one cleaned.
   */
  | {
      type: "call-left";
      call: KernelCall;
      page: number;
      mm: mm_struct | null;
      result: number | boolean;
      task: string;
    }
  /** A page-table lock, named by the frame of the table that it protects; the mm's own by that of its root. */
  | { type: "ptl-locked" | "ptl-unlocked"; table: number; level: LockLevel; task: string }
  | { type: "walk-returned"; found: boolean; locksHeld: number }
  /** The notifier core was called; then one event a listener whose method exists. */
  | { type: "notifier-called"; op: NotifierOp; mm: mm_struct; start: number; length: number }
  | {
      type: "notifier-callback";
      op: NotifierOp;
      mm: mm_struct;
      start: number;
      length: number;
      listener: string;
      maySleep: boolean;
      /** Page-table locks that the calling thread holds. */
      locksHeld: number;
    }
  | { type: "set-page-dirty" | "clear-page-dirty"; page: number }
  | { type: "swap-duplicated"; entry: swp_entry_t; ok: boolean }
  | { type: "rmap-removed" | "rmap-added"; page: number; mapcount: number }
  | { type: "page-put"; page: number; refcount: number }
  | { type: "page-mlocked"; page: number }
  | { type: "swapbacked-set"; page: number }
  | { type: "rss-changed"; mm: mm_struct; counter: number; delta: number }
  /** The kernel found its own state broken and went on; reported once for each `what` (WARN_ON_ONCE). */
  | { type: "warned-once"; what: string; page: number }
  /** A page was freed with mappings or references left ("Bad page state"). */
  | { type: "bad-page"; page: number; mappings: number; references: number }
  /** The page's content was handed to the disk or the swap device. */
  | { type: "write-out"; page: number }
  | { type: "page-freed"; page: number };

export type MmObserver = (event: MmEvent) => void;
