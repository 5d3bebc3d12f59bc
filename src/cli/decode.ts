import { Entry } from "../../arch/x86/cpu/entry.ts";
import { PTE_LAYOUTS } from "../../arch/x86/mm/pte-format.ts";
import { decodeEntry, decodeLines, decodeObject, LINUX_LEVELS } from "../inspect/decode-report.ts";
import { linuxPteFormat } from "../inspect/linux-reading.ts";
import { type Command, parseArguments, requirePositionals } from "./command.ts";
import { DEFAULT_LAYOUT, pteFormatOf } from "./image.ts";
import { parseHex } from "./options.ts";
import { MODEL_OPTIONS, modelOf } from "./registers.ts";

const ALL_KERNELS = "all";

export const decodeCommand: Command = {
  name: "decode",
  summary: "what one 64-bit entry means to the hardware and to Linux",
  usage: "VALUE [--level LEVEL] [--kernel LAYOUT|all] [--cpu MODEL] [--maxphyaddr N] [--json]",
  options: {
    level: { value: "LEVEL", help: `the table it stands in: ${LINUX_LEVELS.join(", ")} (default pte)` },
    levels: {
      value: "4|5",
      help: "levels of the tables (default 4): with 5 the pgd is the PML5, p4d the PML4",
    },
    kernel: {
      value: "LAYOUT",
      help: `${Object.keys(PTE_LAYOUTS).join(", ")}, or all (default ${DEFAULT_LAYOUT})`,
    },
    ...MODEL_OPTIONS,
    json: { help: "the same as JSON" },
  },
  notes: [
    "VALUE is hexadecimal, 0x may be left out. Fields that are zero or ignored are dimmed on a terminal.",
    "The columns show the bits of the entry: a present one as the hardware divides it, one that is not as the kernel.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(decodeCommand, args);
    const [text = ""] = requirePositionals(decodeCommand, parsed, 1);
    const entry = Entry.fromBigInt(parseHex("value", text));
    const level = parsed.choice("level", LINUX_LEVELS);
    const levels = parsed.choice("levels", ["4", "5"]) === "5" ? 5 : 4;
    const everyKernel = parsed.text("kernel") === ALL_KERNELS;
    const pteFormats = everyKernel
      ? Object.keys(PTE_LAYOUTS).map((name) => linuxPteFormat(name, null))
      : [pteFormatOf(null, parsed)];
    const model = modelOf(parsed);
    const decoded = decodeEntry(entry, level, levels, model, pteFormats);
    const output = parsed.has("json")
      ? JSON.stringify(decodeObject(decoded, model.name))
      : decodeLines(decoded, model.name, terminal.paint).join("\n");
    await terminal.write(`${output}\n`);
    return 0;
  },
};
