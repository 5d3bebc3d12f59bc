import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PCD, PTE_PS, PTE_PWT, PTE_U, PTE_W, PTE_XD } from "../../arch/x86/cpu/entry-layout.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { OFFSET_MASK, tableIndex } from "../../arch/x86/cpu/page-walk.ts";
import { type PageFilter, physicalOf } from "../inspect/leaf-ranges.ts";
import { type LeafCursor, pageBytes } from "../inspect/leaves.ts";
import type { WalkReport } from "../inspect/walk-report.ts";
import { hex } from "../text/hex.ts";

/** The tables' names by the level of their entries. */
const TABLE_NAMES = ["", "PT", "PD", "PDPT", "PML4", "PML5"] as const;
/** Dashes below the title of a walk. */
const RULE = "-".repeat(43);
/** What a walk prints of an entry: its low twelve bits. */
const FLAGS = 0xfff;

interface Run {
  start: number;
  length: number;
  physical: number;
  readonly flags: number;
}

/** The five letters by the bits of {@link flagsOf}, highest first. */
const FLAG_NAMES = ["W", "X", "S", "UC", "WB"] as const;

/**
 * The lines of gdb-pt-dump's `pt`, without their newlines: `va : length | W:. X:. S:. UC:. WB:.`. Neighbours join while
 * those five letters stay the same, whatever their sizes. With `physical`, as by -phys_verbose, there is a column of
 * physical addresses and gaps in them separate.
 *
 * The layout is theirs, the answers are the CPU's: rights are those of the whole path, aliases through shared tables are
 * all there, and what faults on every access is left out. UC is PCD and WB is not PWT of the leaf.
 */
export function* ptTable(
  leaves: LeafCursor,
  filter: PageFilter | null,
  physical: boolean,
): Generator<string> {
  let run: Run | null = null;
  while (leaves.next()) {
    if (leaves.reserved || (filter !== null && !filter(leaves))) continue;
    const flags = flagsOf(leaves);
    const at = physicalOf(leaves);
    const joins =
      run !== null &&
      leaves.linear === run.start + run.length &&
      flags === run.flags &&
      (!physical || at === run.physical + run.length);
    if (!joins) {
      if (run !== null) yield line(run, physical);
      run = { start: leaves.linear, length: 0, physical: at, flags };
    }
    run!.length += pageBytes(leaves.level);
  }
  if (run !== null) yield line(run, physical);
}

/** The lines of `pt -walk ADDRESS`: bits 11:0 are all that they show of an entry's flags. */
export function ptWalk(report: WalkReport, root: number): string[] {
  const { address, steps, end } = report;
  const title = `Page walk for virtual address (VA) = ${hex(address)}`;
  const lines = [title, RULE, `CR3 = ${hex(root)}`];
  for (const [depth, { level, entry }] of steps.entries()) {
    const index = tableIndex(level, linearLo(address), linearHi(address));
    const base = hex(frameOf(entry.lo & ~leafOffset(level, entry.lo), entry.hi) * PAGE_SIZE);
    const flags = `0x${(entry.lo & FLAGS).toString(16).padStart(3, "0")}`;
    lines.push(`${"  ".repeat(depth + 1)}${TABLE_NAMES[level]}[${index}] = ${base} | Flags ${flags}`);
  }
  const reached = steps.at(-1);
  const present = reached !== undefined && (reached.entry.lo & PTE_P) !== 0;
  // Whether an access is allowed is no question of theirs; what cannot be reached by any is.
  const stopped = end.kind === "fault" && (!present || end.reason === "reserved-bit");
  if (stopped || end.kind === "non-canonical" || end.kind === "missing-table") {
    lines.push("!!! Last stage faulted !!!");
  }
  return lines;
}

/** The bits of a large leaf's low word that are no part of its address; in a table all of 31:12 are. */
function leafOffset(level: number, lo: number): number {
  return (lo & PTE_PS) === 0 ? 0 : (OFFSET_MASK[level] ?? 0);
}

/** One bit for each of the five letters. */
function flagsOf({ lo, every, any }: LeafCursor): number {
  return (
    ((every & PTE_W) !== 0 ? 16 : 0) |
    ((any & PTE_XD) === 0 ? 8 : 0) |
    ((every & PTE_U) === 0 ? 4 : 0) |
    ((lo & PTE_PCD) !== 0 ? 2 : 0) |
    ((lo & PTE_PWT) === 0 ? 1 : 0)
  );
}

function line(run: Run, physical: boolean): string {
  const start = hex(BigInt(run.start)).padStart(18);
  const length = hex(BigInt(run.length)).padStart(14);
  const column = physical ? ` : ${hex(run.physical).padStart(12)}` : "";
  const flags = FLAG_NAMES.map((name, at) => `${name}:${(run.flags >>> (FLAG_NAMES.length - 1 - at)) & 1}`);
  return `${start} : ${length}${column} | ${flags.join(" ")}`;
}
