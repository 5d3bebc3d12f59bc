import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { bochsTab } from "../dialects/bochs.ts";
import { PT_HABITS, ptTable } from "../dialects/pt.ts";
import { qemuMem } from "../dialects/qemu-mem.ts";
import { QEMU_HABITS, qemuTlb } from "../dialects/qemu-tlb.ts";
import type { MapsVma } from "../formats/proc-maps.ts";
import { AbsentReader } from "../inspect/absent-entry.ts";
import { AliasIndex } from "../inspect/alias-index.ts";
import { countLeaves } from "../inspect/leaf-count.ts";
import { foldLeaves, type LeafRange } from "../inspect/leaf-ranges.ts";
import { LeafCursor, type LeafOptions, type LinearRange, userHalf, WHOLE_SPACE } from "../inspect/leaves.ts";
import { lostLines, lostObjects } from "../inspect/lost-ranges.ts";
import type { PageFilter } from "../inspect/page-filter.ts";
import {
  ALIAS_LEGEND,
  directMapLine,
  directMapObject,
  PageCounts,
  type PageNames,
  RANGE_LEGEND,
  rangeObjects,
  rangeTable,
  rangeTableHeader,
} from "../inspect/range-table.ts";
import { jsonText } from "../text/escape.ts";
import { formatCount, hex } from "../text/hex.ts";
import type { ParsedArguments } from "./command.ts";
import { crashBlocks } from "./crash-blocks.ts";
import type { Image } from "./image.ts";
import { type LinesEnd, type Terminal, writeLines } from "./output.ts";
import { stateLine, stateObject } from "./registers.ts";
import type { AddressSpace } from "./space.ts";
import { vmasOf } from "./vmas.ts";

/** What dump prints, by --as. */
export const FORMATS = ["table", "qemu-tlb", "qemu-mem", "pt", "bochs", "crash"] as const;
/** One of them. */
export type Format = (typeof FORMATS)[number];

/**
 * A few tables that point at each other make 2^36 pages: a listing that need not be complete ends behind these, 64 GiB
 * of the smallest.
 */
const MAX_PAGES = 2 ** 24;
/** More ranges than this are not sorted. */
const MAX_SORTED = 2 ** 20;

/** How other tools read tables, where it is not as the processor does. */
const HABITS: Partial<Record<Format, LeafOptions>> = {
  "qemu-tlb": QEMU_HABITS,
  "qemu-mem": QEMU_HABITS,
  pt: PT_HABITS,
};

/** Whether a format is one of QEMU's, which judges nothing. */
export function isQemu(format: Format): boolean {
  return format === "qemu-tlb" || format === "qemu-mem";
}

/** What of an address space is listed. */
export interface Choice {
  readonly range: LinearRange;
  readonly filter: PageFilter | null;
  /** Lines. */
  readonly limit: number;
  /** How the entries of the image's kernel are laid out; null when nobody says. */
  readonly pteFormat: PteFormat | null;
}

/** One address space on its way to a terminal. */
export class Listing {
  readonly #terminal: Terminal;
  readonly #image: Image;
  readonly #space: AddressSpace;
  readonly #control: ControlRegisters;
  readonly #choice: Choice;
  /** Entries that were listed though nothing is present: of a process that is swapped out, too, the root is one. */
  #absent = 0;

  constructor(
    terminal: Terminal,
    image: Image,
    space: AddressSpace,
    control: ControlRegisters,
    choice: Choice,
  ) {
    this.#terminal = terminal;
    this.#image = image;
    this.#space = space;
    this.#control = control;
    this.#choice = choice;
  }

  /** Why there is nothing to list, when the image does not hold the root; else null. */
  missingRoot(): string | null {
    const { core, path } = this.#image;
    const { root, state } = this.#space;
    if (core.holds(root)) return null;
    const marks = [47, 51].filter((bit) => state.mark === null && Math.floor(root / 2 ** bit) % 2 === 1);
    const hint = marks.map((bit) => ` (bit ${bit} may mark encrypted memory: --cbit ${bit})`).join("");
    return `the root table at ${hex(root)} is not in ${path}${hint}: ptescope roots IMAGE looks for roots`;
  }

  /** Whether a listing that has ended found anything that a root must have. */
  foundAny({ mapped }: LeafCursor): boolean {
    return mapped + this.#absent > 0;
  }

  /** Each listing returns the cursor at its end. */
  async table(parsed: ParsedArguments): Promise<LeafCursor> {
    const { path } = this.#image;
    const { name, root, levels, state, cr3 } = this.#space;
    const { limit } = this.#choice;
    const { paint } = this.#terminal;
    const aliases = this.#aliases(parsed);
    const leaves = this.#leaves({ reserved: this.#control, notPresent: true });
    const absent = new AbsentReader(this.#choice.pteFormat);
    const vmas = vmasOf(this.#image, this.#space, this.#terminal);
    const ranges = this.#ranges(leaves, parsed, absent, vmas);
    const title = `${name}: root ${hex(root)}, ${levels} levels, ${path}`;
    const head = [
      paint("heading", title),
      paint("quiet", stateLine(state, cr3)),
      "",
      rangeTableHeader(paint),
    ];
    await this.#terminal.write(head);
    const counts = new PageCounts();
    const lines = rangeTable(ranges, aliases ?? null, counts, this.#names(vmas), paint);
    const end = await writeLines(this.#terminal, lines, limit);
    const last = [stoppedBy(end, leaves, limit) ?? counts.describe(leaves.tables)];
    if (absent.unread > 0) last.push(unreadLine(absent.unread));
    last.push(...lostLines(leaves).map((line) => paint("warning", line)));
    if (aliases === null) last.push("too many ranges to look for aliases");
    if (aliases?.directMap) last.push(directMapLine(aliases.directMap));
    last.push(paint("quiet", RANGE_LEGEND));
    if (aliases) last.push(paint("quiet", ALIAS_LEGEND));
    await this.#terminal.write(["", ...last]);
    this.#absent = counts.absent.total;
    return leaves;
  }

  /** What {@link json} prints when the image does not hold the root: nothing is known of any address. */
  async jsonWithoutRoot(): Promise<void> {
    const all = { ...WHOLE_SPACE, table: this.#space.root };
    const tail = {
      complete: true,
      ...countsObject(new PageCounts(), 0),
      tables: 0,
      missingTables: 1,
      missing: lostObjects({ lost: [all], lostCount: 1 }),
    };
    await this.#terminal.write([this.#jsonHead(), `],${jsonText(tail).slice(1)}`]);
  }

  async json(parsed: ParsedArguments): Promise<LeafCursor> {
    const { limit } = this.#choice;
    const aliases = this.#aliases(parsed);
    const leaves = this.#leaves({ reserved: this.#control, notPresent: true });
    const absent = new AbsentReader(this.#choice.pteFormat);
    const vmas = vmasOf(this.#image, this.#space, this.#terminal);
    const ranges = this.#ranges(leaves, parsed, absent, vmas);
    await this.#terminal.write([this.#jsonHead()]);
    const counts = new PageCounts();
    const objects = rangeObjects(ranges, aliases ?? null, counts, this.#names(vmas));
    const end: LinesEnd = await writeLines(this.#terminal, objects, limit, ",");
    const tail = {
      complete: stoppedBy(end, leaves, limit) === null,
      ...countsObject(counts, absent.unread),
      tables: leaves.tables,
      ...(aliases?.directMap ? { directMap: directMapObject(aliases.directMap) } : {}),
      missingTables: leaves.lostCount,
      missing: lostObjects(leaves),
    };
    await this.#terminal.write([`],${jsonText(tail).slice(1)}`]);
    this.#absent = counts.absent.total;
    return leaves;
  }

  /** The document up to its ranges. */
  #jsonHead(): string {
    const { name, root, levels, state } = this.#space;
    const head = {
      format: "ptescope-dump",
      version: 1,
      image: this.#image.path,
      space: name,
      root: hex(root),
      levels,
      cpu: this.#control.model.name,
      assumed: stateObject(state),
    };
    return `${jsonText(head).slice(0, -1)},"ranges":[`;
  }

  /** Other tools read these formats: nothing but their lines goes to standard output. */
  async dialect(
    format: Exclude<Format, "table">,
    parsed: ParsedArguments,
    pteFormat: PteFormat,
  ): Promise<LeafCursor> {
    const { limit, filter } = this.#choice;
    const leaves = this.#leaves(HABITS[format] ?? { reserved: this.#control });
    const lines = {
      "qemu-tlb": () => qemuTlb(leaves),
      "qemu-mem": () => qemuMem(leaves),
      pt: () => ptTable(leaves, filter, parsed.has("phys")),
      bochs: () => bochsTab(leaves, filter),
      crash: () =>
        crashBlocks(this.#image, this.#space.state, this.#control, pteFormat, foldLeaves(leaves, filter)),
    }[format]();
    const end = await writeLines(this.#terminal, lines, limit);
    const stopped = stoppedBy(end, leaves, limit);
    const words = [...(stopped === null ? [] : [stopped]), ...lostLines(leaves)];
    for (const word of words) this.#terminal.warn(`ptescope dump: ${word}`);
    return leaves;
  }

  #names(vmas: readonly MapsVma[] | null): PageNames {
    return {
      pat: this.#control.pat,
      mark: this.#space.state.mark,
      vmasUpTo: vmas === null ? 0 : userHalf(this.#space.levels).length,
    };
  }

  #leaves(habits: LeafOptions): LeafCursor {
    const { range, limit } = this.#choice;
    return new LeafCursor(this.#image.memory, this.#space.root, this.#space.levels, {
      range,
      ...(Number.isFinite(limit) ? { most: MAX_PAGES } : {}),
      marked: this.#space.state.mark?.mask ?? 0,
      ...habits,
    });
  }

  /** Of the whole address space, whatever part of it is listed; null when there is too much, undefined unwanted. */
  #aliases(parsed: ParsedArguments): AliasIndex | null | undefined {
    if (parsed.has("no-aliases")) return undefined;
    const { root, levels } = this.#space;
    const marked = this.#space.state.mark?.mask ?? 0;
    const { memory } = this.#image;
    const options = { reserved: this.#control, marked };
    if (countLeaves(memory, root, levels, options) > MAX_PAGES) return null;
    return AliasIndex.of(new LeafCursor(memory, root, levels, options));
  }

  #ranges(
    leaves: LeafCursor,
    parsed: ParsedArguments,
    absent: AbsentReader,
    vmas: readonly MapsVma[] | null,
  ): Iterable<LeafRange> {
    const ranges = foldLeaves(leaves, this.#choice.filter, { absent, ...(vmas === null ? {} : { vmas }) });
    return parsed.choice("sort", ["linear", "physical"]) === "linear" ? ranges : byPhysical(ranges);
  }
}

function countsObject(counts: PageCounts, unread: number): object {
  return {
    pages: { "4K": counts.at(1), "2M": counts.at(2), "1G": counts.at(3) },
    absentEntries: counts.absent.object(),
    unreadEntries: unread,
    faultingEntries: counts.faulting,
  };
}

/** Throws RangeError when there are too many. */
function byPhysical(ranges: Iterable<LeafRange>): LeafRange[] {
  const all: LeafRange[] = [];
  for (const range of ranges) {
    if (all.length === MAX_SORTED) {
      const most = formatCount(MAX_SORTED);
      throw new RangeError(`--sort physical takes ${most} ranges, there are more: give --range or --filter`);
    }
    all.push(range);
  }
  return all.sort((a, b) => a.physical - b.physical || a.start - b.start);
}

/** Entries that nobody can read. */
function unreadLine(count: number): string {
  const entries = count === 1 ? "entry" : "entries";
  return `${formatCount(count)} ${entries} not present: --kernel LAYOUT says how to read swap and PROT_NONE`;
}

/** What a listing says last when it is not complete. */
function stoppedBy(end: LinesEnd, leaves: LeafCursor, limit: number): string | null {
  if (end !== "limit" && !leaves.stopped) return null;
  const lines = `${formatCount(limit)} ${limit === 1 ? "line" : "lines"}`;
  const what = end === "limit" ? lines : `${formatCount(MAX_PAGES)} pages`;
  return `stopped after ${what}, there are more: --lines all, or a part with --range A-B`;
}
