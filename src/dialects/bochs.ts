import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { physicalOf } from "../inspect/leaf-ranges.ts";
import { type LeafCursor, pageBytes } from "../inspect/leaves.ts";
import type { PageFilter } from "../inspect/page-filter.ts";
import type { WalkStep } from "../inspect/path-steps.ts";
import type { WalkReport } from "../inspect/walk-report.ts";
import { hexAddress, hexWords } from "../text/hex.ts";

/** Names of entries by level. */
const NAMES = ["", "PTE", "PDE", "PDPE", "PML4", "PML5"] as const;
const NAME_WIDTH = 4;
const PHYSICAL_DIGITS = 12;

/** Names of a bit, clear and set. */
type Letters = readonly [bit: number, clear: string, set: string];
const G: Letters = [8, "g", "G"];
const D: Letters = [6, "d", "D"];
const PAT_4K: Letters = [7, "pat", "PAT"];
const PAT_LARGE: Letters = [12, "pat", "PAT"];
/** Of every entry. */
const LETTERS: readonly Letters[] = [
  [5, "a", "A"],
  [4, "pcd", "PCD"],
  [3, "pwt", "PWT"],
  [2, "S", "U"],
  [1, "R", "W"],
  [0, "p", "P"],
];

/**
 * The lines of `info tab` in Bochs's debugger, without their newlines: `0xstart-0xend -> 0xpstart-0xpend`, ends
 * included, joined while both sides go on. The layout is Bochs's; what faults on every access is left out.
 */
export function* bochsTab(leaves: LeafCursor, filter: PageFilter | null): Generator<string> {
  let start = 0;
  let end = -1;
  let physical = 0;
  while (leaves.next()) {
    if (leaves.reserved || (filter !== null && !filter(leaves))) continue;
    const at = physicalOf(leaves);
    if (leaves.linear !== end || at !== physical + (end - start)) {
      if (end >= 0) yield tabLine(start, end, physical);
      start = leaves.linear;
      physical = at;
    }
    end = leaves.linear + pageBytes(leaves.level);
  }
  if (end >= 0) yield tabLine(start, end, physical);
}

/** The lines of `page ADDRESS` in Bochs 2.7's debugger: one a level, upper case for what is set, then the answer. */
export function bochsPage(report: WalkReport): string[] {
  const { address, steps, mapping } = report;
  const linear = hexWords(linearHi(address), linearLo(address));
  const lines = steps.map(stepLine);
  if (mapping === null) return [...lines, `physical address not available for linear 0x${linear}`];
  const size = BigInt(pageBytes(mapping.level));
  const page = address - (address % size);
  const base = mapping.physical - (mapping.physical % Number(size));
  return [
    ...lines,
    `linear page 0x${hexWords(linearHi(page), linearLo(page))} maps to physical page ${physicalHex(base)}`,
  ];
}

function stepLine({ level, entry }: WalkStep): string {
  const { lo, hi } = entry;
  const letters = (list: readonly Letters[]): string =>
    list.map(([bit, clear, set]) => ((lo >>> bit) & 1 ? set : clear)).join(" ");
  const xd = hi < 0 ? " XD" : "   ";
  const large = (lo & PTE_PS) !== 0;
  const page =
    level === 1
      ? `    ${letters([G, PAT_4K, D])}`
      : large
        ? ` PS ${letters([G, PAT_LARGE, D])}`
        : " ps        ";
  return `${NAMES[level]!.padStart(NAME_WIDTH)}: 0x${hexWords(hi, lo)}${xd}${page} ${letters(LETTERS)}`;
}

function tabLine(start: number, end: number, physical: number): string {
  const linear = `0x${hexAddress(start)}-0x${lastByte(end)}`;
  return `${linear} -> ${physicalHex(physical)}-${physicalHex(physical + (end - start) - 1)}`;
}

/** The address before a page-aligned one, which a Number does not hold in the upper half. */
function lastByte(end: number): string {
  return `${hexAddress(end - PAGE_SIZE).slice(0, -3)}fff`;
}

function physicalHex(address: number): string {
  return `0x${address.toString(16).padStart(PHYSICAL_DIGITS, "0")}`;
}
