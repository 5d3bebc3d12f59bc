import { BYTES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { PTE_G, PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { type LinuxReading, readLinux } from "../inspect/linux-reading.ts";
import type { WalkStep } from "../inspect/path-steps.ts";
import type { WalkReport } from "../inspect/walk-report.ts";
import { hex } from "../text/hex.ts";

/** Linux's names of the entries by level; the top one is the PGD whatever its level. */
const NAMES = ["", "PTE", "PMD", "PUD", "P4D"] as const;
/** Width of a name right-aligned before its colon. */
const NAME_WIDTH = 6;
const ADDRESS_WIDTH = 16;
const LARGE = ["", "", " (2MB)", " (1GB)"] as const;

/**
 * What crash prints for `vtop ADDRESS`: the address, the entries on the way, the page, and the last entry's flags or
 * swap place. The rows of the vma and of struct page, which come from the kernel's own data, are not there; the page
 * directory is given by its physical address, and a swap area by its number.
 *
 * As in crash, a PROT_NONE entry has its page, though the hardware faults. An entry with a reserved bit has none.
 */
export function crashVtop(report: WalkReport, root: number, pteFormat: PteFormat): string[] {
  const { address, steps } = report;
  const last = steps.at(-1);
  const reading = last === undefined ? null : readLinux(pteFormat, last.level, last.entry);
  const page = pageOf(report, last, reading);
  const physical = page === null ? "(not mapped)" : digits(page.physical);
  const lines = [
    `${"VIRTUAL".padEnd(ADDRESS_WIDTH)}  PHYSICAL`,
    `${digits(address).padEnd(ADDRESS_WIDTH)}  ${physical}`,
    "",
  ];
  if (last === undefined || reading === null) return lines.slice(0, -1);
  lines.push(`PAGE DIRECTORY: ${digits(root)}`);
  for (const [depth, { level, address: at, entry }] of steps.entries()) {
    const name = depth === 0 ? "PGD" : (NAMES[level] ?? "");
    lines.push(row(name, `${digits(at)} => ${digits(entry.toBigInt())}`));
  }
  if (page !== null) lines.push(row("PAGE", `${digits(page.base)}${LARGE[last.level]}`));
  return [...lines, ...lastEntry(last, reading, page)];
}

interface Page {
  /** Of the byte, and of the page. */
  readonly physical: number;
  readonly base: number;
}

/** The page behind the last entry: that of the walk, or the one that PROT_NONE keeps. */
function pageOf(report: WalkReport, last: WalkStep | undefined, reading: LinuxReading | null): Page | null {
  if (last === undefined || reading === null) return null;
  const size = BYTES_OF_LEVEL[last.level]!;
  if (report.mapping !== null) {
    const { physical } = report.mapping;
    return { physical, base: physical - (physical % size) };
  }
  if (reading.kind !== "prot-none") return null;
  const base = reading.pfn * 4096;
  return { physical: base + Number(report.address % BigInt(size)), base };
}

/** The last entry, taken apart: flags of a page, place of a swapped-out one. Nothing for other entries. */
function lastEntry(last: WalkStep, reading: LinuxReading, page: Page | null): string[] {
  const value = digits(last.entry.toBigInt());
  if (page !== null) {
    return ["", ...columns(["PTE", value], ["PHYSICAL", digits(page.base)], `(${flagsOf(last, reading)})`)];
  }
  if (reading.kind !== "swap") return [];
  return ["", ...swapColumns(value, `swap:${reading.type}`, String(reading.offset))];
}

/** PRESENT|RW|...: the names that crash knows, lowest bit first. */
function flagsOf({ level, entry }: WalkStep, reading: LinuxReading): string {
  const { lo, hi } = entry;
  const present = (lo & PTE_P) !== 0;
  const names = ["PRESENT", "RW", "USER", "PWT", "PCD", "ACCESSED", "DIRTY"].filter(
    (_, bit) => (lo >>> bit) & 1,
  );
  if ((lo & PTE_PS) !== 0) names.push(level > 1 ? "PSE" : "PAT");
  if (reading.kind === "prot-none") names.push("PROTNONE");
  if (present && (lo & PTE_G) !== 0) names.push("GLOBAL");
  if (hi < 0) names.push("NX");
  return names.join("|");
}

function columns(
  first: readonly [string, string],
  second: readonly [string, string],
  flags: string,
): string[] {
  const [head, body] = pair(first);
  const [middle, below] = pair(second);
  return [`${head}  ${middle}  FLAGS`, `${body}  ${below}  ${flags}`];
}

function swapColumns(value: string, area: string, offset: string): string[] {
  const cells = [pair(["PTE", value]), pair(["SWAP", area]), pair(["OFFSET", offset])];
  return [0, 1].map((line) =>
    cells
      .map((cell) => cell[line])
      .join("  ")
      .trimEnd(),
  );
}

/** A heading in the middle of its column, and the value below it. */
function pair([name, value]: readonly [string, string]): [string, string] {
  const width = Math.max(name.length, value.length);
  const before = Math.floor((width - name.length) / 2);
  return [(" ".repeat(before) + name).padEnd(width), value.padStart(width)];
}

function row(name: string, text: string): string {
  return `${name.padStart(NAME_WIDTH)}: ${text}`;
}

function digits(value: number | bigint): string {
  return hex(value).slice(2);
}
