import { Entry } from "../../arch/x86/cpu/entry.ts";
import { ENTRY_LAYOUTS } from "../../arch/x86/mm/entry-codec.ts";
import { decodeEntry, decodeLines, decodeObject } from "../inspect/decode-report.ts";
import { type Command, parseArguments, requirePositionals } from "./command.ts";
import { codecOf, DEFAULT_CPU, DEFAULT_LAYOUT, modelOf } from "./image.ts";
import { parseHex } from "./options.ts";

export const decodeCommand: Command = {
  name: "decode",
  summary: "what one 64-bit entry means to the hardware and to Linux",
  usage: "VALUE [--level pte|pmd|pud|pgd] [--kernel LAYOUT] [--cpu MODEL] [--json]",
  options: {
    level: { value: "LEVEL", help: "the table it stands in: pte (default), pmd, pud, pgd" },
    kernel: { value: "LAYOUT", help: `${Object.keys(ENTRY_LAYOUTS).join(", ")} (default ${DEFAULT_LAYOUT})` },
    cpu: { value: "MODEL", help: `whose reserved bits (default ${DEFAULT_CPU}, the widest)` },
    json: { help: "the same as JSON" },
  },
  notes: [
    "VALUE is hexadecimal, 0x may be left out. Fields that are zero or ignored are dimmed on a terminal.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(decodeCommand, args);
    const [text = ""] = requirePositionals(decodeCommand, parsed, 1);
    const value = parseHex("value", text);
    const level = parsed.choice("level", ["pte", "pmd", "pud", "pgd"]);
    const codec = codecOf(null, parsed);
    const model = modelOf(parsed);
    const decoded = decodeEntry(Entry.fromBigInt(value), level, model, codec);
    const { name } = codec.layout;
    const output = parsed.has("json")
      ? JSON.stringify(decodeObject(decoded, name, model.name))
      : decodeLines(decoded, name, model.name, terminal.paint).join("\n");
    await terminal.write(`${output}\n`);
    return 0;
  },
};
