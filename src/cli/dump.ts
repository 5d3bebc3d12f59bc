import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { bochsTab } from "../dialects/bochs.ts";
import { ptTable } from "../dialects/pt.ts";
import { qemuMem } from "../dialects/qemu-mem.ts";
import { qemuTlb } from "../dialects/qemu-tlb.ts";
import { validateTables } from "../formats/guest-snapshot.ts";
import { AliasIndex } from "../inspect/alias-index.ts";
import { foldLeaves, type LeafRange, type PageFilter } from "../inspect/leaf-ranges.ts";
import { LeafCursor, type LinearRange, WHOLE_SPACE } from "../inspect/leaves.ts";
import { PAGE_TEST_NAMES, parseFilter } from "../inspect/page-filter.ts";
import {
  ALIAS_LEGEND,
  PageCounts,
  RANGE_LEGEND,
  rangeObjects,
  rangeTable,
  rangeTableHeader,
} from "../inspect/range-table.ts";
import { formatCount, hex } from "../text/hex.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { crashBlocks } from "./crash-blocks.ts";
import {
  type AddressSpace,
  chooseSpace,
  controlOf,
  IMAGE_NOTE,
  type Image,
  MODEL_OPTIONS,
  modelOf,
  pteFormatOf,
  SPACE_OPTIONS,
  withImage,
} from "./image.ts";
import { DEFAULT_LINES, parseLines, parseRange } from "./options.ts";
import { type LinesEnd, type Terminal, writeLines } from "./output.ts";

const FORMATS = ["table", "qemu-tlb", "qemu-mem", "pt", "bochs", "crash"] as const;
type Format = (typeof FORMATS)[number];

/**
 * A few tables that point at each other make 2^36 pages: a listing that need not be complete ends behind these, 64 GiB
 * of the smallest.
 */
const MAX_PAGES = 2 ** 24;
/** More ranges than this are not sorted. */
const MAX_SORTED = 2 ** 20;

export const dumpCommand: Command = {
  name: "dump",
  summary: "everything that an address space maps",
  usage: "IMAGE (--cr3 X | --process NAME) [options]",
  options: {
    ...SPACE_OPTIONS,
    as: { value: "FORMAT", help: `${FORMATS.join(", ")}: see below (default table)` },
    range: { value: "A-B", help: "only pages that touch the addresses from A to below B" },
    filter: { value: "F,...", help: `only pages with all of: ${PAGE_TEST_NAMES}; !w is not` },
    sort: { value: "ORDER", help: "linear (default) or physical: the order of the table and of --json" },
    phys: { help: "with --as pt: a column of physical addresses, as pt -phys_verbose" },
    "no-aliases": { help: "do not look for other addresses of the same memory" },
    lines: { value: "N|all", help: `stop after N lines (default ${formatCount(DEFAULT_LINES)})` },
    ...MODEL_OPTIONS,
    kernel: { value: "LAYOUT", help: "with --as crash: how entries are laid out (default as for walk)" },
    json: { help: "the table as JSON" },
  },
  notes: [
    IMAGE_NOTE,
    "Numbers are hexadecimal, 0x may be left out. The table joins pages only while address, frame, size and every",
    "right continue.",
    RANGE_LEGEND,
    ALIAS_LEGEND,
    "In a filter w|x is either, and _w is !w. It is applied to pages, before they are joined.",
    "",
    "  --as qemu-tlb, qemu-mem   info tlb and info mem of QEMU 7.2 to the byte: what QEMU says, also where it is wrong",
    "  --as pt                   pt of gdb-pt-dump, with rights of the whole path",
    "  --as bochs                info tab of the Bochs debugger",
    "  --as crash                vtop of crash for the first address of each range",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(dumpCommand, args);
    const [path = ""] = requirePositionals(dumpCommand, parsed, 1);
    const format = parsed.choice<Format>("as", FORMATS);
    checkTogether(parsed, format);
    const limit = parseLines(parsed.text("lines"));
    const rangeText = parsed.text("range");
    const filterText = parsed.text("filter");
    const choice = {
      range: rangeText === undefined ? WHOLE_SPACE : parseRange(rangeText),
      filter: filterText === undefined ? null : parseFilter(filterText),
      limit,
    };
    await withImage(path, parsed, async (image) => {
      const space = chooseSpace(image, parsed);
      const control = controlOf(image, space, modelOf(parsed));
      const listing = new Listing(terminal, image, space, control, choice);
      listing.validate(format);
      if (parsed.has("json")) await listing.json(parsed);
      else if (format === "table") await listing.table(parsed);
      else await listing.dialect(format, parsed, pteFormatOf(image, parsed));
    });
    return 0;
  },
};

/** Throws UsageError for options that the format has no place for. */
function checkTogether(parsed: ParsedArguments, format: Format): void {
  if (format === "table") {
    if (parsed.has("phys")) throw new UsageError("--phys is a form of pt: add --as pt");
    parsed.choice("sort", ["linear", "physical"]);
    return;
  }
  if (parsed.has("json")) throw new UsageError(`--json is a form of the table: drop --as ${format}`);
  if (parsed.has("sort")) throw new UsageError(`--sort orders the table: drop --as ${format}`);
  if (parsed.has("phys") && format !== "pt") throw new UsageError("--phys is a form of pt: give --as pt");
  if (!isQemu(format)) return;
  for (const name of ["filter", "cpu", "maxphyaddr"]) {
    if (parsed.has(name)) {
      throw new UsageError(`--as ${format} is what QEMU lists, which knows no --${name}: drop one of them`);
    }
  }
}

function isQemu(format: Format): boolean {
  return format === "qemu-tlb" || format === "qemu-mem";
}

/** What of an address space is listed. */
interface Choice {
  readonly range: LinearRange;
  readonly filter: PageFilter | null;
  /** Lines. */
  readonly limit: number;
}

/** One address space on its way to a terminal. */
class Listing {
  readonly #terminal: Terminal;
  readonly #image: Image;
  readonly #space: AddressSpace;
  readonly #control: ControlRegisters;
  readonly #choice: Choice;

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

  /** Loads and checks the tables that the listing will read. Throws FormatError. */
  validate(format: Format): void {
    const { core, memory } = this.#image;
    const { root, levels } = this.#space;
    validateTables(core, memory, [root], levels, undefined, isQemu(format) ? null : this.#control);
  }

  async table(parsed: ParsedArguments): Promise<void> {
    const { path } = this.#image;
    const { name, root, levels } = this.#space;
    const { limit } = this.#choice;
    const { paint } = this.#terminal;
    const aliases = this.#aliases(parsed);
    const leaves = this.#leaves();
    const ranges = this.#ranges(leaves, parsed);
    const title = `${name}: root ${hex(root)}, ${levels} levels, ${path}`;
    const open = await this.#terminal.write(`${paint("heading", title)}\n\n${rangeTableHeader(paint)}\n`);
    if (!open) return;
    const counts = new PageCounts();
    const end = await writeLines(this.#terminal, rangeTable(ranges, aliases ?? null, counts, paint), limit);
    if (end === "closed") return;
    const last = [stoppedBy(end, leaves, limit) ?? counts.describe()];
    if (aliases === null) last.push("too many ranges to look for aliases");
    last.push(paint("quiet", RANGE_LEGEND));
    if (aliases) last.push(paint("quiet", ALIAS_LEGEND));
    await this.#terminal.write(`\n${last.join("\n")}\n`);
  }

  async json(parsed: ParsedArguments): Promise<void> {
    const { limit } = this.#choice;
    const { name, root, levels } = this.#space;
    const head = {
      format: "ptescope-dump",
      version: 1,
      image: this.#image.path,
      space: name,
      root: hex(root),
      levels,
      cpu: this.#control.model.name,
    };
    const aliases = this.#aliases(parsed);
    const leaves = this.#leaves();
    const ranges = this.#ranges(leaves, parsed);
    const opening = JSON.stringify(head).slice(0, -1);
    if (!(await this.#terminal.write(`${opening},"ranges":[\n`))) return;
    const counts = new PageCounts();
    const objects = rangeObjects(ranges, aliases ?? null, counts);
    const end: LinesEnd = await writeLines(this.#terminal, objects, limit, ",\n", "\n");
    if (end === "closed") return;
    const tail = {
      complete: stoppedBy(end, leaves, limit) === null,
      pages: { "4K": counts.at(1), "2M": counts.at(2), "1G": counts.at(3) },
      faultingEntries: counts.faulting,
    };
    await this.#terminal.write(`],${JSON.stringify(tail).slice(1)}\n`);
  }

  /** Other tools read these formats: nothing but their lines goes to standard output. */
  async dialect(
    format: Exclude<Format, "table">,
    parsed: ParsedArguments,
    pteFormat: PteFormat,
  ): Promise<void> {
    const { limit, filter } = this.#choice;
    const leaves = this.#leaves(!isQemu(format));
    const lines = {
      "qemu-tlb": () => qemuTlb(leaves),
      "qemu-mem": () => qemuMem(leaves),
      pt: () => ptTable(leaves, filter, parsed.has("phys")),
      bochs: () => bochsTab(leaves, filter),
      crash: () => crashBlocks(this.#image, this.#control, pteFormat, foldLeaves(leaves, filter)),
    }[format]();
    const end = await writeLines(this.#terminal, lines, limit);
    const stopped = stoppedBy(end, leaves, limit);
    if (stopped !== null) this.#terminal.warn(`ptescope dump: ${stopped}`);
  }

  #leaves(judged = true): LeafCursor {
    const { range, limit } = this.#choice;
    return new LeafCursor(this.#image.memory, this.#space.root, this.#space.levels, {
      range,
      ...(Number.isFinite(limit) ? { most: MAX_PAGES } : {}),
      ...(judged ? { reserved: this.#control } : {}),
    });
  }

  /** Of the whole address space, whatever part of it is listed; null when there is too much, undefined unwanted. */
  #aliases(parsed: ParsedArguments): AliasIndex | null | undefined {
    if (parsed.has("no-aliases")) return undefined;
    const { root, levels } = this.#space;
    const options = { reserved: this.#control, most: MAX_PAGES };
    return AliasIndex.of(new LeafCursor(this.#image.memory, root, levels, options));
  }

  #ranges(leaves: LeafCursor, parsed: ParsedArguments): Iterable<LeafRange> {
    const ranges = foldLeaves(leaves, this.#choice.filter);
    return parsed.choice("sort", ["linear", "physical"]) === "linear" ? ranges : byPhysical(ranges);
  }
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

/** What a listing says last when it is not complete. */
function stoppedBy(end: LinesEnd, leaves: LeafCursor, limit: number): string | null {
  if (end !== "limit" && !leaves.stopped) return null;
  const lines = `${formatCount(limit)} ${limit === 1 ? "line" : "lines"}`;
  const what = end === "limit" ? lines : `${formatCount(MAX_PAGES)} pages`;
  return `stopped after ${what}, there are more: --lines all, or a part with --range A-B`;
}
