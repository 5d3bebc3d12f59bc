import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { frameOf } from "../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PCD, PTE_PS, PTE_PWT, PTE_U, PTE_W, PTE_XD } from "../../arch/x86/cpu/entry-layout.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { tableIndex } from "../../arch/x86/cpu/page-walk.ts";
import { type LeafCursor, type LeafOptions, pageBytes, type TableMemory } from "../inspect/leaves.ts";
import type { PageFilter } from "../inspect/page-filter.ts";
import { hex } from "../text/hex.ts";

/** How gdb-pt-dump reads tables: repeated entries once, and no bit is reserved. */
export const PT_HABITS: LeafOptions = { once: true };

/** The tables' names by the level of their entries. */
const TABLE_NAMES = ["", "PT", "PD", "PDP", "PML4", "PML5"] as const;
/** Bits of a leaf's low word that are its base, by level: that of a 2 MiB page begins at bit 20. */
const LEAF_BASE = [0, ~0xfff, ~0xf_ffff, ~0x3fff_ffff] as const;
/** Bits 47:32: where the bases end that a walk prints. */
const WALK_BASE_HI = 0xffff;
/** Bits 63:52 of an entry, which a walk takes for a part of the next table's address. */
const ABOVE_ADDRESS = 0xfff0_0000;
/** What a walk prints of an entry: its low twelve bits. */
const FLAGS = 0xfff;
/** Dashes below the title of a walk, and the width of what stands before the flags of a line. */
const RULE = "-".repeat(43);
const ENTRY_WIDTH = 34;

/** With five levels, what lies below PML5[0] is read as an address space of 48 bits with a sign of its own. */
const SIGN_48 = 2 ** 47;
const SPACE_48 = 2 ** 48;

const colour = (code: number): string => `\x1b[${code}m`;
const RESET = colour(0);
const BLUE = colour(44);
const GREEN = colour(42);
const RED = colour(41);
const MARK_USER = colour(106);
const MARK_SUPERVISOR = colour(45);

interface Run {
  readonly start: number;
  length: number;
  readonly physical: number;
  readonly flags: number;
  /** Its sign was extended from bit 47: it does not stand in the order of the tables. */
  readonly moved: boolean;
}

/** The five letters by the bits of {@link flagsOf}, highest first. */
const FLAG_NAMES = ["W", "X", "S", "UC", "WB"] as const;
const FLAG_W = 16;
const FLAG_X = 8;
const FLAG_S = 4;

/**
 * What gdb-pt-dump (commit 9df79f3) prints for `pt`, byte for byte, its colours included, without newlines: a header,
 * and a row for each run of pages in which five letters stay the same, whatever the pages' sizes. With `physical`, as
 * by -phys_verbose, there is a column of physical addresses and gaps in them separate.
 *
 * The letters are those of the leaf alone, not of its path: W is R/W, X not XD, S not U/S, UC is PCD, WB not PWT. The
 * cursor must have {@link PT_HABITS}: of entries with one value in a table only the first is there. With five levels
 * addresses below PML5[0] have the sign of bit 47. A filter is asked about the leaf alone, too.
 */
export function* ptTable(
  leaves: LeafCursor,
  filter: PageFilter | null,
  physical: boolean,
): Generator<string> {
  yield header(physical);
  let last: Run | null = null;
  for (const run of inOrder(runs(leaves, filter, physical))) {
    if (last !== null && joins(last, run, physical)) {
      last.length += run.length;
      continue;
    }
    if (last !== null) yield row(last, physical);
    last = run;
  }
  if (last !== null) yield row(last, physical);
}

function* runs(leaves: LeafCursor, filter: PageFilter | null, physical: boolean): Generator<Run> {
  let run: Run | null = null;
  while (leaves.next()) {
    if (filter !== null && !filter(leafAlone(leaves))) continue;
    const { level, lo, hi, linear } = leaves;
    const moved = leaves.levels === 5 && linear >= SIGN_48 && linear < SPACE_48;
    const page = {
      start: moved ? linear + (2 ** 64 - SPACE_48) : linear,
      length: pageBytes(level),
      physical: frameOf(lo & (LEAF_BASE[level] ?? 0), hi) * PAGE_SIZE,
      flags: flagsOf(lo, hi),
      moved,
    };
    if (run !== null && run.moved === moved && joins(run, page, physical)) {
      run.length += page.length;
      continue;
    }
    if (run !== null) yield run;
    run = page;
  }
  if (run !== null) yield run;
}

/** By linear address: of two at one place, which only a moved one can share, the other is first. */
function* inOrder(all: Iterable<Run>): Generator<Run> {
  const moved: Run[] = [];
  let at = 0;
  for (const run of all) {
    if (run.moved) {
      moved.push(run);
      continue;
    }
    for (; at < moved.length && moved[at]!.start < run.start; at++) yield moved[at]!;
    yield run;
  }
  yield* moved.slice(at);
}

function joins(run: Run, next: Run, physical: boolean): boolean {
  return (
    next.start === run.start + run.length &&
    next.flags === run.flags &&
    (!physical || next.physical === run.physical + run.length)
  );
}

function leafAlone({ linear, level, lo, hi, reserved, marked }: LeafCursor): Parameters<PageFilter>[0] {
  return { linear, level, lo, hi, every: lo, any: hi, reserved, marked };
}

/** One bit for each of the five letters. */
function flagsOf(lo: number, hi: number): number {
  return (
    ((lo & PTE_W) !== 0 ? FLAG_W : 0) |
    ((hi & PTE_XD) === 0 ? FLAG_X : 0) |
    ((lo & PTE_U) === 0 ? FLAG_S : 0) |
    ((lo & PTE_PCD) !== 0 ? 2 : 0) |
    ((lo & PTE_PWT) === 0 ? 1 : 0)
  );
}

function header(physical: boolean): string {
  const column = physical ? ` : ${"Phys".padStart(12)}` : "";
  return `${BLUE}  ${"Address".padStart(18)} : ${"Length".padStart(14)}${column} | Permissions          ${RESET}`;
}

function row({ start, length, physical: at, flags }: Run, physical: boolean): string {
  const column = physical ? ` : ${hex(at).padStart(12)}` : "";
  const letters = FLAG_NAMES.map(
    (name, place) => `${name}:${(flags >>> (FLAG_NAMES.length - 1 - place)) & 1}`,
  );
  const text = ` ${hex(BigInt(start)).padStart(18)} : ${hex(BigInt(length)).padStart(14)}${column} | ${letters.join(" ")}`;
  const mark = `${(flags & FLAG_S) === 0 ? MARK_USER : MARK_SUPERVISOR} ${RESET}`;
  const write = (flags & FLAG_W) !== 0;
  const execute = (flags & FLAG_X) !== 0;
  const shade = write ? (execute ? BLUE : GREEN) : execute ? RED : "";
  return shade === "" ? `${mark}${text}` : `${mark}${shade}${text}${RESET}`;
}

/** What `pt -walk` prints, and why the real one prints the traceback of an exception instead; null when it does not. */
export interface PtWalk {
  readonly lines: readonly string[];
  readonly failure: string | null;
}

/**
 * The lines of `pt -walk ADDRESS`, byte for byte. It stops at bit 7 at every level and at entries that are not present,
 * and asks for neither rights nor reserved bits nor a canonical address. Bits 11:0 are all it shows of the flags, and
 * bits 47:12 of a base.
 *
 * It takes a table entry's bits 63:12 for the address of the next table, so XD or a protection key there is the end of
 * it: an exception, and nothing printed. This walks on as the processor does and says so in `failure`.
 */
export function ptWalk(
  memory: TableMemory,
  cr3: bigint,
  root: number,
  levels: 4 | 5,
  address: bigint,
): PtWalk {
  const lines = [`Page table walk for VA = ${hex(address)}`, RULE, `CR3 = ${hex(cr3)}`];
  let failure: string | null = null;
  let page = root;
  for (let level = levels as number; level >= 1; level--) {
    const table = memory.tableAt(page);
    if (table === null) {
      failure ??= `the table at ${hex(page)} is not in the image`;
      break;
    }
    const index = tableIndex(level, linearLo(address), linearHi(address));
    const lo = table[2 * index]!;
    const hi = table[2 * index + 1]!;
    const base = frameOf(lo, hi & WALK_BASE_HI) * PAGE_SIZE;
    const indent = "  ".repeat(levels - level + 1);
    const entry = `${indent}${TABLE_NAMES[level]}[${index}] = ${hex(base)}`;
    lines.push(`${entry.padEnd(ENTRY_WIDTH)}| Flags 0x${(lo & FLAGS).toString(16).padStart(3, "0")}`);
    if ((lo & PTE_P) === 0) {
      lines.push("", "!!! Last stage faulted !!!");
      break;
    }
    if (level === 1 || (lo & PTE_PS) !== 0) break;
    if ((hi & ABOVE_ADDRESS) !== 0) {
      failure ??= `bits 63:52 of ${TABLE_NAMES[level]}[${index}] are part of the next table's address to it`;
    }
    page = frameOf(lo, hi) * PAGE_SIZE;
  }
  lines.push("");
  return { lines, failure };
}
