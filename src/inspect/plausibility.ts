import type { Entry } from "../../arch/x86/cpu/entry.ts";
import { PTE_A, PTE_D, PTE_U } from "../../arch/x86/cpu/entry-layout.ts";
import { PTE_LAYOUTS, PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { formatCount, hex } from "../text/hex.ts";
import { readEptEntry } from "./ept-entry.ts";
import { describeLinux, type LinuxReading, readLinux } from "./linux-reading.ts";
import { readWindowsEntry } from "./windows-entry.ts";

/** Slots that a swap area can have: the header that mkswap writes counts them in 32 bits (last_page). */
export const MOST_SLOTS = 2 ** 32;
/** Swap areas that somebody may have; Linux takes up to 29, people have one or two. */
const MOST_AREAS = 8;
/** Frames of 64 TiB, the most memory that four levels of Linux's tables map directly. */
export const MOST_FRAMES = 2 ** 34;
/** Marks that an entry without a page may have (include/linux/swapops.h, PTE_MARKER_*): below this value. */
const MARKER_END = 8;

/** Why no machine stores an entry that Linux reads so; null when one may. */
export function implausible(reading: LinuxReading, maxPhyAddr = 52): string | null {
  switch (reading.kind) {
    case "swap":
      if (reading.offset >= MOST_SLOTS) {
        return `slot ${formatCount(reading.offset)} is beyond any swap area: its header counts slots in 32 bits`;
      }
      return reading.type < MOST_AREAS
        ? null
        : `area ${reading.type}: hardly a machine has more than ${MOST_AREAS} swap areas`;
    case "present":
    case "prot-none":
    case "invalidated":
    case "table":
    case "hwpoison":
    case "migration":
      return implausibleFrame(reading.pfn, maxPhyAddr);
    case "marker":
      return reading.offset > 0 && reading.offset < MARKER_END
        ? null
        : "a marker with marks that no kernel has";
    case "swapin-error":
      return reading.offset === 0 ? null : "a swap-in error has no offset";
    case "unknown-type":
      return `special swap type ${reading.type}, which the layout does not name`;
    case "bad":
      return "there are only table pointers at this level";
    case "none":
      return null;
  }
}

/** Why no machine has a frame of this number; null when one may. */
export function implausibleFrame(pfn: number, maxPhyAddr = 52): string | null {
  if (pfn >= 2 ** (maxPhyAddr - 12)) {
    return `frame ${hex(pfn)} is beyond the ${maxPhyAddr} address bits of the CPU`;
  }
  return pfn < MOST_FRAMES ? null : `frame ${hex(pfn)} is beyond 64 TiB of memory`;
}

/** Every format of Linux's entries that is known, newest first. */
const FORMATS: readonly PteFormat[] = Object.values(PTE_LAYOUTS)
  .map((layout) => new PteFormat(layout))
  .reverse();

/**
 * What else an entry with P=0 may be: readings by other kernels, Windows and an EPT that a machine may have, each once,
 * "area 0, slot 8,294,488 (linux-4.7)".
 */
export function otherReadings(entry: Entry, level: number, read: readonly PteFormat[]): string[] {
  const names = new Set(read.map(({ layout }) => layout.name));
  const found = new Map<string, string[]>();
  for (const format of FORMATS) {
    const { name } = format.layout;
    const reading = readLinux(format, level, entry);
    if (names.has(name) || reading.kind === "none" || implausible(reading) !== null) continue;
    const text = describeLinux(reading);
    found.set(text, [...(found.get(text) ?? []), name]);
  }
  const others = [...found].map(([text, kernels]) => ({ text, kernels: kernels.join(", ") }));
  const said = (swap: boolean): string[] =>
    others
      .filter(({ text }) => text.startsWith("swapped") === swap)
      .map(({ text, kernels }) => `${text} (${kernels})`);
  const value = entry.toBigInt();
  // A page on the move is rare, so that a shape of another system goes before it.
  const kernel = unmappedReading(read[0]!, entry);
  return [...kernel, ...said(true), ...windowsReading(value), ...eptReading(value, level), ...said(false)];
}

/** A page of the kernel's own maps whose P was cleared: A and D stay, the frame is stored as in PROT_NONE entries. */
function unmappedReading(format: PteFormat, entry: Entry): string[] {
  const pfn = format.pte_pfn(entry);
  const isKernels =
    (entry.lo & (PTE_A | PTE_D | PTE_U)) === (PTE_A | PTE_D) && (entry.hi & 0x7ff0_0000) === 0;
  return isKernels && pfn > 0 && implausibleFrame(pfn) === null
    ? [`a page that the kernel unmapped for itself (set_memory_np and the like), frame ${hex(pfn)}`]
    : [];
}

function windowsReading(value: bigint): string[] {
  const { what, address, frame, slot } = readWindowsEntry(value);
  const pointsUp = what.endsWith("prototype") && address.includes("0xffff");
  const near = frame !== null && frame > 0 && frame < MOST_FRAMES && (value & 0x400n) === 0n;
  // Page files end at 2^32 pages like everything here: only small ones tell anything.
  const filed = slot !== null && slot < 2 ** 24 && value >> 56n === 0n && (value & 0xffffn) < 0x3000n;
  return pointsUp || near || filed ? [`${what}, ${address} (--as windows)`] : [];
}

/** Only a leaf with a usual type, or a table entry with all rights, is taken for one of an EPT. */
function eptReading(value: bigint, level: number): string[] {
  const usual = (value & 0x38n) === 0x30n && level === 1;
  const table = level > 1 && (value & 0xffn) === 0x7n;
  const { what, frame } = readEptEntry(value, level, 52);
  const near = frame !== null && frame > 0 && frame < MOST_FRAMES && value >> 53n === 0n;
  return (usual || table) && near ? [`${what} (--as ept)`] : [];
}
