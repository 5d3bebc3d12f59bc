import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type AccessMode,
  MODE_SUPERVISOR,
  MODE_USER,
} from "../../arch/x86/cpu/access-rights.ts";
import { segmentAt } from "../formats/elf-core.ts";
import { hex } from "../inspect/hex.ts";
import { type WalkReport, walkLines, walkObject, walkReport } from "../inspect/walk-report.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { chooseSpace, codecOf, controlOf, DEFAULT_CPU, modelOf, openImage, SPACE_OPTIONS } from "./image.ts";
import { parseHex } from "./options.ts";

export const walkCommand: Command = {
  name: "walk",
  summary: "the page walk of some addresses: every level, the rights so far, the fault and why",
  usage: "IMAGE (--cr3 X | --process NAME) ADDRESS... [options]",
  options: {
    ...SPACE_OPTIONS,
    write: { help: "a write instead of a read" },
    fetch: { help: "an instruction fetch instead of a read" },
    user: { help: "by user mode (default in the lower half of the address space)" },
    supervisor: { help: "by the kernel (default in the upper half)" },
    cpu: { value: "MODEL", help: `whose rules judge reserved bits and rights (default ${DEFAULT_CPU})` },
    kernel: {
      value: "LAYOUT",
      help: "whose reading of the last entry (default the guest's own, else linux-6.1)",
    },
    json: { help: "the same as JSON" },
  },
  notes: [
    "Nothing is changed: A and D are not set. Fields in brackets are ignored by the hardware.",
    "PKRU is not part of an image and is taken as 0: no protection key denies anything.",
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

    const image = openImage(path);
    const space = chooseSpace(image, parsed);
    const { memory, core } = image;
    const source = {
      memory,
      control: controlOf(image, space, modelOf(parsed)),
      codec: codecOf(image, parsed),
      holds: (page: number) => segmentAt(core, page) !== undefined,
    };
    const reports = addresses.map((address) =>
      walkReport(source, address, { kind, mode: modeOf(parsed, address) }),
    );
    if (parsed.has("json")) {
      const head = {
        format: "ptescope-walk",
        version: 1,
        image: path,
        space: space.name,
        root: hex(space.root),
      };
      await terminal.write(`${JSON.stringify({ ...head, walks: reports.map(walkObject) })}\n`);
    } else {
      const title = `${space.name}: root ${hex(space.root)}, ${space.levels} levels, ${path}`;
      const body = reports.map((report: WalkReport) => walkLines(report, terminal.paint).join("\n"));
      await terminal.write(`${[terminal.paint("quiet", title), ...body].join("\n\n")}\n`);
    }
    return 0;
  },
};

function modeOf(parsed: ParsedArguments, address: bigint): AccessMode {
  if (parsed.has("user")) return MODE_USER;
  if (parsed.has("supervisor")) return MODE_SUPERVISOR;
  return address >> 63n === 0n ? MODE_USER : MODE_SUPERVISOR;
}
