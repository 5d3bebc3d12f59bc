import type { Entry } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import {
  _PAGE_KNL_ERRATUM_MASK,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  LINUX_BITS,
  type LinuxBit,
} from "../../arch/x86/mm/pgtable_types.ts";
import { PteFormat, pteLayout, swapOffsetBits } from "../../arch/x86/mm/pte-format.ts";
import { swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import type { GuestSwapTypes } from "../formats/guest-manifest.ts";
import { formatCount, hex } from "../text/hex.ts";

/** What Linux takes an entry for. */
export type LinuxReading =
  /** Nothing: zero, or only the two bits that the KNL erratum may set. */
  | { readonly kind: "none" }
  /** A pointer to the next table. */
  | { readonly kind: "table"; readonly pfn: number; readonly flags: readonly string[] }
  /** A page that the hardware can reach. */
  | { readonly kind: "present"; readonly pfn: number; readonly flags: readonly string[] }
  /** A page that mprotect or NUMA balancing took away from the hardware; the frame is still mapped. */
  | { readonly kind: "prot-none"; readonly pfn: number; readonly flags: readonly string[] }
  /** A huge page between pmdp_invalidate and its split: present to Linux, not to the hardware. */
  | { readonly kind: "invalidated"; readonly pfn: number; readonly flags: readonly string[] }
  /** A page in a swap area. */
  | ({ readonly kind: "swap"; readonly type: number; readonly offset: number } & SwapFlags)
  /** A page that is moving to another frame; whoever touches it waits. */
  | ({
      readonly kind: "migration";
      readonly type: number;
      readonly pfn: number;
      readonly access: string;
    } & SwapFlags)
  /** A broken frame: touching the address is SIGBUS. */
  | { readonly kind: "hwpoison"; readonly type: number; readonly pfn: number }
  /** No page; only marks that must outlive one. */
  | {
      readonly kind: "marker";
      readonly type: number;
      readonly offset: number;
      readonly marks: readonly string[];
    }
  /** The page could not be read back from swap. */
  | { readonly kind: "swapin-error"; readonly type: number; readonly offset: number }
  /** A type above the swap areas that this layout does not name. */
  | { readonly kind: "unknown-type"; readonly type: number; readonly offset: number }
  /** Not present, in a table where Linux only has table pointers. */
  | { readonly kind: "bad" };

/** Flags beside the type and offset of a swap entry. */
export interface SwapFlags {
  readonly softDirty: boolean;
  readonly uffdWp: boolean;
  readonly exclusive: boolean;
}

/** Bits of a marker's offset (include/linux/swapops.h PTE_MARKER_*): poison exists since 6.6. */
const MARKER_NAMES = ["uffd-wp", "poisoned"] as const;
/** Since 5.19 the offset of a migration entry has young and dirty bits above the frame number. */
const MIGRATION_PFN = 2 ** 40;
const GENERIC_OFFSET_BITS = 50;
/** Pages, and swap entries in their place, exist up to the PUD. */
const LAST_HUGE_LEVEL = 3;

/** The pteFormat of a layout by name, with the swap type numbers of a guest's own kernel where they are known. */
export function linuxPteFormat(layout: string, types: GuestSwapTypes | null): PteFormat {
  const found = pteLayout(layout);
  if (types === null) return new PteFormat(found);
  const [first, last] = types.migration;
  return new PteFormat(found, {
    // The kernel numbers the special types from MAX_SWAPFILES up, hwpoison first.
    swapfiles: types.hwpoison,
    hwpoison: types.hwpoison,
    migrationRead: first,
    migrationReadExclusive: last - first === 2 ? first + 1 : null,
    migrationWrite: last,
    marker: types.pteMarker,
    swapinError: types.swapinError,
  });
}

/** Reads an entry of a level (1 = pte, 2 = pmd, 3 = pud, 4 = pgd or p4d, 5 = pgd) as the pteFormat's kernel does. */
export function readLinux(pteFormat: PteFormat, level: number, entry: Entry): LinuxReading {
  const { lo, hi } = entry;
  const huge = level > 1 && (lo & PTE_PS) !== 0;
  if (((lo & ~strayBits(pteFormat)) | hi) === 0) return { kind: "none" };
  if ((lo & PTE_P) !== 0) {
    // Nothing maps a page above the pud: the kernel calls such an entry bad and clears it.
    if (huge && level > LAST_HUGE_LEVEL) return { kind: "bad" };
    const kind = level === 1 || huge ? "present" : "table";
    return { kind, pfn: pfnOf(pteFormat, level, entry), flags: linuxFlags(pteFormat, level, entry) };
  }
  if (level > LAST_HUGE_LEVEL) return { kind: "bad" };
  if ((lo & _PAGE_PROTNONE) !== 0 || huge) {
    const kind = (lo & _PAGE_PROTNONE) !== 0 ? "prot-none" : "invalidated";
    return { kind, pfn: pfnOf(pteFormat, level, entry), flags: linuxFlags(pteFormat, level, entry) };
  }
  return readSwap(pteFormat, entry);
}

/** Names of the flags that Linux has set in a present or PROT_NONE entry (mm/pgtable_types.h). */
export function linuxFlags(pteFormat: PteFormat, level: number, entry: Entry): string[] {
  const names: string[] = [];
  for (const linuxBit of LINUX_BITS) {
    const { bit } = linuxBit;
    const set = bit < 32 ? (entry.lo >>> bit) & 1 : (entry.hi >>> (bit - 32)) & 1;
    const name = set === 0 ? null : nameOf(linuxBit, pteFormat, level, entry);
    if (name !== null) names.push(name);
  }
  return names;
}

/** The reading in a few words. */
export function describeLinux(reading: LinuxReading): string {
  switch (reading.kind) {
    case "none":
      return "none: no page, and no memory of one";
    case "table":
      return `table in frame ${hex(reading.pfn)}`;
    case "present":
      return `present, ${reading.flags.includes("PSE") ? "first frame" : "frame"} ${hex(reading.pfn)}`;
    case "prot-none":
      return `PROT_NONE: mapped, but closed to the hardware; frame ${hex(reading.pfn)}`;
    case "invalidated":
      return `huge page invalidated for a split; frame ${hex(reading.pfn)}`;
    case "swap":
      return `swapped out: area ${reading.type}, slot ${formatCount(reading.offset)} (${hex(reading.offset)})${swapFlags(reading)}`;
    case "migration":
      return `migrating (${reading.access}), frame ${hex(reading.pfn)}${swapFlags(reading)}`;
    case "hwpoison":
      return `hwpoison: broken frame ${hex(reading.pfn)}, touching it is SIGBUS`;
    case "marker":
      return `marker without a page: ${reading.marks.join(", ") || "no marks"}`;
    case "swapin-error":
      return "swap-in error: the page could not be read back, touching it is SIGBUS";
    case "unknown-type":
      return `special swap type ${reading.type}, offset ${hex(reading.offset)}: not named by this layout`;
    case "bad":
      return "bad: Linux has only table pointers at this level";
  }
}

function readSwap(pteFormat: PteFormat, entry: Entry): LinuxReading {
  const { types } = pteFormat;
  const generic = pteFormat.pte_to_swp_entry(pteFormat.pte_swp_clear_soft_dirty(entry));
  const type = swp_type(generic);
  const offset = swp_offset(generic) + offsetAbove(pteFormat, entry);
  if (!pteFormat.non_swap_entry(generic))
    return { kind: "swap", type, offset, ...swapFlagsOf(pteFormat, entry) };
  if (pteFormat.is_migration_entry(generic)) {
    const access =
      type === types.migrationWrite ? "write" : type === types.migrationRead ? "read" : "read, exclusive";
    const pfn = types.marker === null ? offset : offset % MIGRATION_PFN;
    return { kind: "migration", type, pfn, access, ...swapFlagsOf(pteFormat, entry) };
  }
  if (pteFormat.is_hwpoison_entry(generic)) return { kind: "hwpoison", type, pfn: offset };
  if (pteFormat.is_pte_marker_entry(generic)) {
    return {
      kind: "marker",
      type,
      offset,
      marks: MARKER_NAMES.filter((_, bit) => Math.floor(offset / 2 ** bit) % 2 === 1),
    };
  }
  if (type === types.swapinError) return { kind: "swapin-error", type, offset };
  return { kind: "unknown-type", type, offset };
}

/** Bits that pte_none does not look at; before 4.8 the type has one of them, and only zero is none. */
function strayBits({ layout }: PteFormat): number {
  return layout.swap.typeBit < 8 ? 0 : _PAGE_KNL_ERRATUM_MASK;
}

/** The part of a swap offset above the 50 bits of the generic form: before 4.8 it has 55. Not exact above 2^53. */
function offsetAbove({ layout }: PteFormat, entry: Entry): number {
  const above = swapOffsetBits(layout.swap) - GENERIC_OFFSET_BITS;
  return above === 0 ? 0 : (entry.hi >>> (32 - above)) * 2 ** GENERIC_OFFSET_BITS;
}

function swapFlagsOf(pteFormat: PteFormat, entry: Entry): SwapFlags {
  const { uffdWpBit, exclusiveBit } = pteFormat.layout.swap;
  const isSet = (bit: number | null): boolean => bit !== null && ((entry.lo >>> bit) & 1) === 1;
  return {
    softDirty: pteFormat.pte_swp_soft_dirty(entry),
    uffdWp: isSet(uffdWpBit),
    exclusive: isSet(exclusiveBit),
  };
}

function swapFlags({ softDirty, uffdWp, exclusive }: SwapFlags): string {
  const names = [softDirty && "soft-dirty", uffdWp && "uffd-wp", exclusive && "exclusive"];
  const set = names.filter((name) => name !== false);
  return set.length === 0 ? "" : `; ${set.join(", ")}`;
}

function pfnOf(pteFormat: PteFormat, level: number, entry: Entry): number {
  if (level === 1) return pteFormat.pte_pfn(entry);
  const pfn = pteFormat.pmd_pfn(entry);
  return level === 3 && (entry.lo & _PAGE_PSE) !== 0 ? pfn - (pfn % 2 ** 18) : pfn;
}

/** The name a bit has in this entry, or null where it is part of something else. */
function nameOf({ bit, name }: LinuxBit, pteFormat: PteFormat, level: number, entry: Entry): string | null {
  const present = (entry.lo & PTE_P) !== 0;
  switch (name) {
    case "PSE":
      return level === 1 ? "PAT" : name;
    case "PAT_LARGE":
      return level > 1 && present && (entry.lo & PTE_PS) !== 0 ? name : null;
    case "GLOBAL":
      return present ? name : "PROTNONE";
    case "UFFD_WP":
      return pteFormat.layout.uffdWp ? name : null;
    case "DEVMAP":
      return bit === pteFormat.layout.savedDirtyBit ? "SAVED_DIRTY" : name;
    default:
      return name;
  }
}
