import { type Linear, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { flag, numeral, optional, shape, text, whole } from "../../arch/x86/cpu/argument-kinds.ts";

/* What the constructors of mm_types.ts take. */

/** How the pages of a file are kept. */
export interface FileOptions {
  swapBacked?: boolean;
  accountsDirty?: boolean;
}

export const FILE_OPTIONS = shape<FileOptions>("options of a file", {
  swapBacked: optional(flag("swapBacked")),
  accountsDirty: optional(flag("accountsDirty")),
});
export const KERNEL = shape<object>("kernel", {
  machine: shape("machine", {}),
  records: shape("records", {}),
} as never);
export const NAME = text("name");
export const ID = whole("id", 0, 2 ** 31 - 1);
export const ROOT = numeral<number>(
  "root",
  "the physical address of a page",
  (value) => value >= 0 && value < 2 ** 52 && value % PAGE_SIZE === 0,
);
/** A bound of a vma; that it is a page's is judged with the other one. */
export const BOUND = numeral<Linear>("bound", "a page-aligned address", (bound) => Number.isInteger(bound));
export const FLAGS = whole("flags", -(2 ** 31), 2 ** 32 - 1);
export const PGOFF = whole("pgoff", 0, 2 ** 52 - 1);
