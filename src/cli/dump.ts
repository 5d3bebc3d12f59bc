import { validateTables } from "../formats/guest-snapshot.ts";
import { formatCount, hex } from "../inspect/hex.ts";
import { LeafCursor, type LinearRange, WHOLE_SPACE } from "../inspect/leaves.ts";
import { qemuMem } from "../inspect/qemu-mem.ts";
import { qemuTlb } from "../inspect/qemu-tlb.ts";
import {
  PageCounts,
  RANGE_LEGEND,
  rangeObjects,
  rangeTable,
  rangeTableHeader,
} from "../inspect/range-table.ts";
import { type Command, parseArguments, requirePositionals, UsageError } from "./command.ts";
import { type AddressSpace, chooseSpace, type Image, openImage, SPACE_OPTIONS } from "./image.ts";
import { DEFAULT_LINES, parseLines, parseRange } from "./options.ts";
import { type LinesEnd, type Terminal, writeLines } from "./output.ts";

/** A line may stand for any number of pages, so a limit of lines limits them too: a table full. */
const PAGES_PER_LINE = 512;

export const dumpCommand: Command = {
  name: "dump",
  summary: "everything that an address space maps",
  usage: "IMAGE (--cr3 X | --process NAME) [options]",
  options: {
    ...SPACE_OPTIONS,
    as: {
      value: "FORMAT",
      help: "table (default), or qemu-tlb, qemu-mem: info tlb and info mem of QEMU 7.2",
    },
    range: { value: "A-B", help: "only pages that touch the addresses from A to below B" },
    lines: { value: "N|all", help: `stop after N lines (default ${formatCount(DEFAULT_LINES)})` },
    json: { help: "the table as JSON" },
  },
  notes: [
    "IMAGE is a guest directory or an ELF core, plain or gzip. Numbers are hexadecimal, 0x may be left out.",
    "The table joins pages only while address, frame, size and every right continue.",
    RANGE_LEGEND,
  ],

  async run(args, terminal) {
    const parsed = parseArguments(dumpCommand, args);
    const [path = ""] = requirePositionals(dumpCommand, parsed, 1);
    const format = parsed.choice("as", ["table", "qemu-tlb", "qemu-mem"]);
    const json = parsed.has("json");
    if (json && format !== "table")
      throw new UsageError(`--json is a form of the table: drop --as ${format}`);
    const limit = parseLines(parsed.text("lines"));
    const rangeText = parsed.text("range");
    const range = rangeText === undefined ? WHOLE_SPACE : parseRange(rangeText);

    const image = openImage(path);
    const space = chooseSpace(image, parsed);
    validateTables(image.core, image.memory, [space.root], space.levels);
    const leaves = leavesOf(image, space, range, limit);
    if (json) await dumpJson(terminal, image, space, leaves, limit);
    else if (format === "table") await dumpTable(terminal, image, space, leaves, limit);
    else await dumpQemu(terminal, format, leaves, limit);
    return 0;
  },
};

function leavesOf(image: Image, space: AddressSpace, range: LinearRange, limit: number): LeafCursor {
  return new LeafCursor(image.memory, space.root, space.levels, { range, most: limit * PAGES_PER_LINE });
}

async function dumpTable(
  terminal: Terminal,
  image: Image,
  space: AddressSpace,
  leaves: LeafCursor,
  limit: number,
): Promise<void> {
  const { paint } = terminal;
  const title = `${space.name}: root ${hex(space.root)}, ${space.levels} levels, ${image.path}`;
  const open = await terminal.write(`${paint("heading", title)}\n\n${rangeTableHeader(paint)}\n`);
  if (!open) return;
  const counts = new PageCounts();
  const end = await writeLines(terminal, rangeTable(leaves, counts, paint), limit);
  if (end === "closed") return;
  const last = stoppedBy(end, leaves, limit) ?? counts.describe();
  await terminal.write(`\n${last}\n${paint("quiet", RANGE_LEGEND)}\n`);
}

/** Other tools read these formats: nothing but their lines goes to standard output. */
async function dumpQemu(
  terminal: Terminal,
  format: "qemu-tlb" | "qemu-mem",
  leaves: LeafCursor,
  limit: number,
): Promise<void> {
  const lines = format === "qemu-tlb" ? qemuTlb(leaves) : qemuMem(leaves);
  const end = await writeLines(terminal, lines, limit);
  const stopped = stoppedBy(end, leaves, limit);
  if (stopped !== null) terminal.warn(`ptescope dump: ${stopped}`);
}

async function dumpJson(
  terminal: Terminal,
  image: Image,
  space: AddressSpace,
  leaves: LeafCursor,
  limit: number,
): Promise<void> {
  const head = {
    format: "ptescope-dump",
    version: 1,
    image: image.path,
    space: space.name,
    root: hex(space.root),
    levels: space.levels,
  };
  const opening = JSON.stringify(head).slice(0, -1);
  if (!(await terminal.write(`${opening},"ranges":[\n`))) return;
  const counts = new PageCounts();
  const end: LinesEnd = await writeLines(terminal, rangeObjects(leaves, counts), limit, ",\n", "\n");
  if (end === "closed") return;
  const pages = { "4K": counts.at(1), "2M": counts.at(2), "1G": counts.at(3) };
  await terminal.write(
    `],"complete":${stoppedBy(end, leaves, limit) === null},"pages":${JSON.stringify(pages)}}\n`,
  );
}

/** What a listing says last when it is not complete. */
function stoppedBy(end: LinesEnd, leaves: LeafCursor, limit: number): string | null {
  if (end !== "limit" && !leaves.stopped) return null;
  const lines = `${formatCount(limit)} ${limit === 1 ? "line" : "lines"}`;
  const what = end === "limit" ? lines : `${formatCount(limit * PAGES_PER_LINE)} pages`;
  return `stopped after ${what}, there are more: --lines all, or a part with --range A-B`;
}
