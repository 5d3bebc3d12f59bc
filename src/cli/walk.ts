import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type AccessMode,
  MODE_SUPERVISOR,
  MODE_USER,
} from "../../arch/x86/cpu/access-rights.ts";
import { bochsPage } from "../dialects/bochs.ts";
import { crashVtop } from "../dialects/crash.ts";
import { ptWalk } from "../dialects/pt.ts";
import type { TableMemory } from "../inspect/leaves.ts";
import { walkReport } from "../inspect/walk-report.ts";
import { missingTable, walkLines, walkObject } from "../inspect/walk-text.ts";
import { jsonText } from "../text/escape.ts";
import { hex } from "../text/hex.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { FILE_OPTIONS, IMAGE_NOTE, pteFormatOf, withImage } from "./image.ts";
import { parseHex } from "./options.ts";
import type { Terminal } from "./output.ts";
import { controlOf, MODEL_OPTIONS, STATE_OPTIONS, stateLine, stateObject } from "./registers.ts";
import { type AddressSpace, chooseSpace, SPACE_OPTIONS } from "./space.ts";
import { walkSource } from "./walk-source.ts";

export const walkCommand: Command = {
  name: "walk",
  summary: "the page walk of some addresses: every level, the rights so far, the fault and why",
  usage: "IMAGE [--cr3 X | --process NAME | --vcpu N] ADDRESS... [options]",
  options: {
    ...SPACE_OPTIONS,
    ...FILE_OPTIONS,
    write: { help: "a write instead of a read" },
    fetch: { help: "an instruction fetch instead of a read" },
    user: { help: "by user mode (default in the lower half of the address space)" },
    supervisor: { help: "by the kernel (default in the upper half)" },
    as: { value: "FORMAT", help: "pt, bochs, crash: pt -walk, page and vtop of those tools (default table)" },
    ...MODEL_OPTIONS,
    ...STATE_OPTIONS,
    kernel: {
      value: "LAYOUT",
      help: "whose reading of the last entry (default the guest's own, else linux-6.1)",
    },
    json: { help: "the same as JSON" },
  },
  notes: [
    ...IMAGE_NOTE,
    "Nothing is changed: A and D are not set. Fields in brackets are ignored by the hardware.",
    "Other CPUs on which the access ends otherwise are named below the end of the walk: the same tables are walked with",
    "the other vendor, every MAXPHYADDR, without 1-GiB pages, and with the error code that QEMU gives.",
    "Registers that no option gives come from the image; one line says what was assumed, and who says so.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(walkCommand, args);
    const [path = "", ...texts] = requirePositionals(walkCommand, parsed, 2, Number.POSITIVE_INFINITY);
    const addresses = texts.map((text) => parseHex("address", text));
    if (parsed.has("write") && parsed.has("fetch"))
      throw new UsageError("--write and --fetch: give one of them");
    if (parsed.has("user") && parsed.has("supervisor")) {
      throw new UsageError("--user and --supervisor: give one of them");
    }
    const kind = parsed.has("write") ? ACCESS_WRITE : parsed.has("fetch") ? ACCESS_FETCH : ACCESS_READ;

    const format = parsed.choice("as", ["table", "pt", "bochs", "crash"]);
    const json = parsed.has("json");
    if (json && format !== "table") {
      throw new UsageError(`--json is a form of the table: drop --as ${format}`);
    }
    await withImage(path, parsed, async (image) => {
      const space = chooseSpace(image, parsed);
      const { state, cr3 } = space;
      const control = controlOf(state, cr3);
      const pteFormat = pteFormatOf(image, parsed);
      const source = walkSource(image, state, control, pteFormat);
      const reports = addresses.map((address) =>
        walkReport(source, address, { kind, mode: modeOf(parsed, address) }),
      );
      if (json) {
        const head = {
          format: "ptescope-walk",
          version: 1,
          image: path,
          space: space.name,
          root: hex(space.root),
          levels: space.levels,
          cpu: control.model.name,
          assumed: stateObject(state),
        };
        await terminal.write([jsonText({ ...head, walks: reports.map(walkObject) })]);
        return;
      }
      const { paint } = terminal;
      const title = `${space.name}: root ${hex(space.root)}, ${space.levels} levels, ${path}`;
      const blocks = {
        table: () => [
          [title, stateLine(state, cr3)].map((line) => paint("quiet", line)),
          ...reports.map((report) => walkLines(report, paint)),
        ],
        pt: () => ptBlocks(image.memory, space, addresses, terminal),
        bochs: () => reports.map(bochsPage),
        crash: () => reports.map((report) => crashVtop(report, control.root, pteFormat)),
      }[format]();
      // The walks of pt end in an empty line of their own.
      const between = format === "pt" ? [] : [""];
      await terminal.write(
        blocks.flatMap((lines, number) => (number === 0 ? lines : [...between, ...lines])),
      );
      // The other tools' formats have no word for it.
      const missing = format === "table" || format === "pt" ? [] : reports.map(({ end }) => end);
      for (const end of missing) {
        if (end.kind === "missing-table") terminal.warn(`ptescope walk: ${missingTable(end.table)}`);
      }
    });
    return 0;
  },
};

/** The walks of pt; what its own would end in is said on standard error. */
function ptBlocks(
  memory: TableMemory,
  { cr3, root, levels }: AddressSpace,
  addresses: readonly bigint[],
  terminal: Terminal,
): (readonly string[])[] {
  return addresses.map((address) => {
    const { lines, failure } = ptWalk(memory, cr3, root, levels, address);
    if (failure !== null) {
      terminal.warn(
        `ptescope walk: ${hex(address)}: gdb-pt-dump prints the traceback of an exception here: ${failure}`,
      );
    }
    return lines;
  });
}

function modeOf(parsed: ParsedArguments, address: bigint): AccessMode {
  if (parsed.has("user")) return MODE_USER;
  if (parsed.has("supervisor")) return MODE_SUPERVISOR;
  return address >> 63n === 0n ? MODE_USER : MODE_SUPERVISOR;
}
