import { type LeafCursor, WHOLE_SPACE } from "../inspect/leaves.ts";
import { PAGE_TEST_NAMES, parseFilter } from "../inspect/page-filter.ts";
import { ALIAS_LEGEND, RANGE_LEGEND } from "../inspect/range-table.ts";
import { formatCount } from "../text/hex.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { FILE_OPTIONS, IMAGE_NOTE, knownPteFormat, pteFormatOf, withImage } from "./image.ts";
import { FORMATS, type Format, isQemu, Listing } from "./listing.ts";
import { DEFAULT_LINES, parseLines, parseRange } from "./options.ts";
import { controlOf, MODEL_OPTIONS, STATE_OPTIONS } from "./registers.ts";
import { chooseSpace, SPACE_OPTIONS } from "./space.ts";

export const dumpCommand: Command = {
  name: "dump",
  summary: "everything that an address space maps",
  usage: "IMAGE [--cr3 X | --process NAME | --vcpu N] [options]",
  options: {
    ...SPACE_OPTIONS,
    ...FILE_OPTIONS,
    as: { value: "FORMAT", help: `${FORMATS.join(", ")}: see below (default table)` },
    range: { value: "A-B", help: "only pages that touch the addresses from A to below B" },
    filter: {
      value: "F,...",
      help: `only pages with all of: ${PAGE_TEST_NAMES}; !w is not`,
      repeats: true,
    },
    sort: { value: "ORDER", help: "linear (default) or physical: the order of the table and of --json" },
    phys: { help: "with --as pt: a column of physical addresses, as pt -phys_verbose" },
    "no-aliases": { help: "do not look for other addresses of the same memory" },
    lines: { value: "N|all", help: `stop after N lines (default ${formatCount(DEFAULT_LINES)})` },
    ...MODEL_OPTIONS,
    ...STATE_OPTIONS,
    kernel: {
      value: "LAYOUT",
      help: "whose swap, PROT_NONE and the like (default the guest's own, else unread; crash: linux-6.1)",
    },
    json: { help: "the table as JSON" },
  },
  notes: [
    ...IMAGE_NOTE,
    "Numbers are hexadecimal, 0x may be left out. The table joins pages only while address, frame, size and every",
    "right continue.",
    RANGE_LEGEND,
    ALIAS_LEGEND,
    "In a filter w|x is either, and _w is !w. It is applied to pages, before they are joined; of several all must hold.",
    "Ranges of a guest's process end where its mappings do, and name their files. np: swapped out, PROT_NONE and the like.",
    "A table that is not in the image costs one line. Exit status 1: nothing at all is mapped below this root, or it is",
    "not in the image.",
    "",
    "  --as qemu-tlb, qemu-mem   info tlb and info mem of QEMU 7.2 to the byte: what QEMU says, also where it is wrong",
    "                            (but info mem of five levels, where it prints nothing: as if it were mended)",
    "  --as pt                   pt of gdb-pt-dump to the byte, colours included: rights of the leaf alone, no aliases",
    "                            by equal entries of one table, nothing reserved",
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
    const filters = parsed.all("filter");
    const choice = {
      range: rangeText === undefined ? WHOLE_SPACE : parseRange(rangeText),
      filter: filters.length === 0 ? null : parseFilter(filters.join(",")),
      limit,
    };
    return await withImage(path, parsed, async (image) => {
      const space = chooseSpace(image, parsed);
      const control = controlOf(space.state, space.cr3);
      const pteFormat = knownPteFormat(image, parsed);
      const listing = new Listing(terminal, image, space, control, { ...choice, pteFormat });
      const missing = listing.missingRoot();
      if (missing !== null) {
        if (parsed.has("json")) await listing.jsonWithoutRoot();
        terminal.warn(`ptescope dump: ${missing}`);
        return 1;
      }
      let leaves: LeafCursor;
      if (parsed.has("json")) leaves = await listing.json(parsed);
      else if (format === "table") leaves = await listing.table(parsed);
      else leaves = await listing.dialect(format, parsed, pteFormatOf(image, parsed));
      const whole = choice.range === WHOLE_SPACE && choice.filter === null;
      if (!whole || listing.foundAny(leaves)) return 0;
      terminal.warn(`ptescope dump: ${nothingMapped(leaves)}`);
      return 1;
    });
  },
};

/** Why nothing may be mapped below a root. */
function nothingMapped({ lostCount }: LeafCursor): string {
  const why =
    lostCount === 0
      ? "is this the root of an address space?"
      : "a wrong root, encrypted memory (--cbit N), or a Xen PV guest, whose entries hold machine frames?";
  return `nothing is mapped here: ${why} ptescope roots IMAGE looks for roots`;
}

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
  if (!isQemu(format) && format !== "pt") return;
  const tool = isQemu(format) ? "QEMU" : "gdb-pt-dump";
  for (const name of [...(isQemu(format) ? ["filter"] : []), "cpu", "maxphyaddr", "cbit", "shared-bit"]) {
    if (parsed.has(name)) {
      throw new UsageError(
        `--as ${format} is what ${tool} lists, which knows no --${name}: drop one of them`,
      );
    }
  }
}
