/**
 * How page_mkclean_one and try_to_unmap_one tell secondary MMUs, in the states that mm/rmap.c went through
 * (linux-mm 6.5). Exactly those two functions consult it; everything else is shared, so two runs differ only
 * where the protocols do.
 *
 *    a0   unlock, then invalidate_page of each entry            up to 4.10
 *    a1=c invalidate_page of each entry, under its lock         4.11, 4.12, and after the seed's revert
 *    b    one invalidate_range after the walk, bounds wrong     part of the 4.13-rc cycle (aac2fea94f7a)
 *    d    range_start .. range_end around the walk,             4.13 as released, 4.14
 *         invalidate_range of each entry under its lock
 *    e1   as d, invalidate_range only where range_end is late   4.15 and later
 */
export interface NotifierProtocol {
  readonly name: "a0" | "c" | "b" | "d" | "e1";
  readonly kernels: string;
  /** Whether range_start and range_end bracket the walk of a vma. */
  readonly brackets: boolean;
  /** What is called for an entry that page_mkclean_one cleaned. */
  readonly onClean: EntryCall;
  /** What is called for an entry that try_to_unmap_one cleared, by what became of the page. */
  readonly onUnmap: Readonly<Record<UnmapBranch, EntryCall>>;
}

/** When, and with which operation, one entry's change is told. */
export type EntryCall =
  | "none"
  /** invalidate_page under the page-table lock. */
  | "page-locked"
  /** invalidate_page once the walk of the vma has dropped the lock. */
  | "page-after-walk"
  /** invalidate_range of the entry, under the lock, after the page's mapping and reference are gone. */
  | "range-locked"
  /** The same as soon as the entry has its new value, before mapping and reference go. */
  | "range-in-branch"
  /** One invalidate_range after the walk, from the walk's first address, as many bytes as the page has pages. */
  | "range-after-walk";

/** The branches of try_to_unmap_one (linux-mm 5.8, step 13). */
export type UnmapBranch =
  | "hwpoison"
  | "unused"
  | "migration"
  | "swapbacked-mismatch"
  | "lazyfree"
  | "swap"
  | "file";

function everyBranch(call: EntryCall): Record<UnmapBranch, EntryCall> {
  return {
    hwpoison: call,
    unused: call,
    migration: call,
    "swapbacked-mismatch": "none",
    lazyfree: call,
    swap: call,
    file: call,
  };
}

const PROTOCOL_LIST: readonly NotifierProtocol[] = [
  {
    name: "a0",
    kernels: "up to 4.10",
    brackets: false,
    onClean: "page-after-walk",
    onUnmap: everyBranch("page-after-walk"),
  },
  {
    name: "c",
    kernels: "4.11, 4.12 and the seed 785373b4c387",
    brackets: false,
    onClean: "page-locked",
    onUnmap: everyBranch("page-locked"),
  },
  {
    name: "b",
    kernels: "4.13-rc with aac2fea94f7a",
    brackets: false,
    onClean: "range-after-walk",
    onUnmap: everyBranch("range-after-walk"),
  },
  {
    name: "d",
    kernels: "4.13, 4.14",
    brackets: true,
    onClean: "range-locked",
    onUnmap: everyBranch("range-locked"),
  },
  {
    name: "e1",
    kernels: "4.15 to 6.1",
    brackets: true,
    onClean: "none",
    onUnmap: {
      ...everyBranch("none"),
      unused: "range-in-branch",
      "swapbacked-mismatch": "range-in-branch",
      lazyfree: "range-in-branch",
      swap: "range-in-branch",
    },
  },
];

/** The protocols in the order in which the kernel had them. */
export const NOTIFIER_PROTOCOLS = PROTOCOL_LIST;

/** The protocol of that name; a1 is the same code as c. Throws RangeError listing the known names. */
export function notifierProtocol(name: string): NotifierProtocol {
  const wanted = name === "a1" ? "c" : name;
  const protocol = PROTOCOL_LIST.find((candidate) => candidate.name === wanted);
  if (protocol === undefined) {
    throw new RangeError(`unknown protocol "${name}": known are a0, a1 (= c), c, b, d, e1`);
  }
  return protocol;
}
