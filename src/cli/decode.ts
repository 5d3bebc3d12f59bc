import { existsSync } from "node:fs";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { PTE_LAYOUTS, type PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { quote } from "../formats/format-error.ts";
import {
  type DecodedEntry,
  decodeEntry,
  decodeLines,
  decodeObject,
  LINUX_LEVELS,
  levelOf,
} from "../inspect/decode-report.ts";
import { summaryLines, summaryOf } from "../inspect/decode-summary.ts";
import { doubtsOf } from "../inspect/doubts.ts";
import { readEptEntry } from "../inspect/ept-entry.ts";
import { foreignDoubts, foreignLines } from "../inspect/foreign-text.ts";
import type { ForeignWord } from "../inspect/foreign-word.ts";
import { linuxPteFormat } from "../inspect/linux-reading.ts";
import { readPagemapWord } from "../inspect/pagemap-word.ts";
import { readWindowsEntry } from "../inspect/windows-entry.ts";
import { jsonText } from "../text/escape.ts";
import {
  type Command,
  type ParsedArguments,
  parseArguments,
  requirePositionals,
  UsageError,
} from "./command.ts";
import { decodeOops } from "./decode-oops.ts";
import { DEFAULT_LAYOUT, pteFormatOf } from "./image.ts";
import type { Terminal } from "./output.ts";
import {
  controlOf,
  type MachineState,
  MODEL_OPTIONS,
  STATE_OPTIONS,
  stateFrom,
  stateLine,
  stateObject,
} from "./registers.ts";
import { parseWord } from "./word.ts";

const ALL_KERNELS = "all";
const FORMATS = ["entry", "pagemap", "ept", "windows"] as const;
const STDIN = "-";

export const decodeCommand: Command = {
  name: "decode",
  summary: "what one 64-bit entry means to the hardware and to Linux, or a whole oops",
  usage: "VALUE | - | --oops FILE [--level LEVEL] [--kernel LAYOUT|all] [--as FORMAT] [-v] [--json]",
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
    as: {
      value: "FORMAT",
      help: "what VALUE is: entry (default), pagemap (/proc/PID/pagemap), ept, windows",
    },
    oops: { value: "FILE", help: "the lines of an oops: entries, CR2, CR3, CR4, error code, in any order" },
    verbose: { help: "every field, bit by bit", short: "v" },
    ...MODEL_OPTIONS,
    ...STATE_OPTIONS,
    json: { help: "the same as JSON" },
  },
  notes: [
    "VALUE is hexadecimal, 0x may be left out, or binary behind 0b. With - an oops is read from standard input.",
    "A value that no machine can mean is doubted, with the likelier reading. linux-4.7 stands for all before 4.8.",
    "With -v, fields that are zero or ignored are dimmed on a terminal; the columns show the bits of the entry: a",
    "present one as the hardware divides it, one that is not as the kernel.",
    "Registers that no option gives are what kernels usually set; one line says what was assumed.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(decodeCommand, args);
    const file = parsed.text("oops");
    const [text = ""] = requirePositionals(decodeCommand, parsed, file === undefined ? 1 : 0);
    const format = parsed.choice("as", FORMATS);
    if (file !== undefined || text === STDIN) {
      const other = ["level", "verbose"].find((name) => parsed.has(name));
      if (other !== undefined || format !== "entry") {
        throw new UsageError(`--${other ?? "as"}: it does not apply to an oops`);
      }
      return await decodeOops(file ?? null, parsed, terminal);
    }
    const value = givenValue(text);
    await (format === "entry"
      ? decodeOne(value, parsed, terminal)
      : decodeForeign(value, format, parsed, terminal));
    return 0;
  },
};

/** Throws UsageError; who gave a file is told how. */
function givenValue(text: string): bigint {
  try {
    return parseWord("value", text);
  } catch (error) {
    if (!existsSync(text)) throw error;
    throw new UsageError(`value ${quote(text)} is a file: for an oops in it say --oops FILE`);
  }
}

async function decodeOne(value: bigint, parsed: ParsedArguments, terminal: Terminal): Promise<void> {
  const level = parsed.choice("level", LINUX_LEVELS);
  const state = stateFrom(null, true, parsed);
  const { mark, levels, model } = state;
  const control = controlOf(state, 0n);
  const bit = mark === null ? 0n : 1n << BigInt(mark.bit);
  const entry = Entry.fromBigInt(value & ~bit);
  const decoded = decodeEntry(entry, level, levels, control.layout, formatsOf(parsed));
  const marked = mark === null ? null : (value & bit) === 0n ? mark.clear : mark.set;
  const summary = summaryOf(decoded, { control, marked, value });
  const doubts = doubtsOf(decoded, model.maxPhyAddr);
  if (parsed.has("json")) {
    const { address, rights, type } = summary;
    const more = { address, rights, memoryType: type, doubts, assumed: stateObject(state) };
    await terminal.write([jsonText({ ...decodeObject(decoded, model.name), ...more })]);
    return;
  }
  const lines = parsed.has("verbose")
    ? verboseLines(
        decoded,
        state,
        terminal,
        doubts.map((doubt) => doubt.text),
        marked,
      )
    : summaryLines(summary, doubts, terminal.paint);
  lines.push(terminal.paint("quiet", stateLine(state, 0n)));
  await terminal.write(lines);
}

function verboseLines(
  decoded: DecodedEntry,
  { model }: MachineState,
  { paint }: Terminal,
  doubts: readonly string[],
  marked: string | null,
): string[] {
  return [
    ...decodeLines(decoded, model.name, paint),
    ...(marked === null ? [] : [`the page is ${marked}`]),
    ...doubts.map((text) => paint("warning", `doubt: ${text}`)),
  ];
}

function formatsOf(parsed: ParsedArguments): PteFormat[] {
  return parsed.text("kernel") === ALL_KERNELS
    ? Object.keys(PTE_LAYOUTS).map((name) => linuxPteFormat(name, null))
    : [pteFormatOf(null, parsed)];
}

async function decodeForeign(
  value: bigint,
  format: ForeignWord["format"],
  parsed: ParsedArguments,
  terminal: Terminal,
): Promise<void> {
  if (parsed.text("kernel") !== undefined)
    throw new UsageError(`--kernel: --as ${format} is no entry of Linux's`);
  const state = stateFrom(null, false, parsed);
  const { maxPhyAddr, name } = state.model;
  const level = levelOf(parsed.choice("level", LINUX_LEVELS), state.levels);
  const word = {
    pagemap: () => readPagemapWord(value),
    ept: () => readEptEntry(value, level, maxPhyAddr),
    windows: () => readWindowsEntry(value),
  }[format]();
  const doubts = foreignDoubts(word, value, maxPhyAddr);
  if (parsed.has("json")) {
    const head = { format: `ptescope-decode-${format}`, version: 1, value: `${Entry.fromBigInt(value)}` };
    const { format: _, ...rest } = word;
    await terminal.write([jsonText({ ...head, ...rest, doubts })]);
    return;
  }
  const lines = foreignLines(word, value, doubts, parsed.has("verbose"), terminal.paint);
  if (format === "ept") {
    lines.push(
      terminal.paint(
        "quiet",
        `assumed: level ${level}, MAXPHYADDR ${maxPhyAddr} (CPU ${name}, ${state.modelFrom})`,
      ),
    );
  }
  await terminal.write(lines);
}
