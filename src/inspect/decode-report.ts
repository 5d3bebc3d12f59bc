import type { Entry } from "../../arch/x86/cpu/entry.ts";
import {
  type DecodedField,
  decode,
  kindOf,
  type LayoutModel,
  PTE_P,
} from "../../arch/x86/cpu/entry-layout.ts";
import type { EntryCodec } from "../../arch/x86/mm/entry-codec.ts";
import { fieldBits } from "./entry-flags.ts";
import { hex } from "./hex.ts";
import { describeLinux, type LinuxReading, readLinux } from "./linux-reading.ts";
import type { Paint } from "./paint.ts";

/** Linux's names of the levels, which `--level` takes; pgd is the top of four levels, the manual's PML4. */
export const LINUX_LEVELS = { pte: 1, pmd: 2, pud: 3, pgd: 4 } as const;
export type LinuxLevel = keyof typeof LINUX_LEVELS;

/** One entry as the hardware and as one kernel reads it. */
export interface DecodedEntry {
  readonly entry: Entry;
  readonly level: LinuxLevel;
  readonly fields: readonly DecodedField[];
  /** Names of the reserved fields that have a bit set: the entry faults on every use. */
  readonly reserved: readonly string[];
  readonly linux: LinuxReading;
}

/** Decodes an entry of a level for a CPU and a kernel. */
export function decodeEntry(
  entry: Entry,
  level: LinuxLevel,
  model: LayoutModel,
  codec: EntryCodec,
): DecodedEntry {
  const number = LINUX_LEVELS[level];
  const fields = decode(kindOf(number, entry.lo), entry, model);
  const reserved = fields.filter(({ use, value }) => use === "reserved" && value !== 0);
  return {
    entry,
    level,
    fields,
    reserved: reserved.map((field) => `${field.name} ${fieldBits(field)}`),
    linux: readLinux(codec, number, entry),
  };
}

/** The decoded entry as lines for a person. */
export function decodeLines(decoded: DecodedEntry, layout: string, cpu: string, paint: Paint): string[] {
  const { entry, level, fields, reserved, linux } = decoded;
  const present = (entry.lo & PTE_P) !== 0;
  const lines = [`${paint("heading", `${entry}`)}  ${level}${kindNote(level, entry)}`, ""];
  if (present) {
    lines.push(paint("quiet", fieldRow("bits", "field", "value", `meaning on ${cpu}`)));
    lines.push(...fields.map((field) => fieldLine(field, paint)));
    if (reserved.length > 0) {
      lines.push(
        "",
        paint("danger", `reserved bits are set (${reserved.join(", ")}): every use is a page fault`),
      );
    }
  } else {
    lines.push("hardware  not present: P=0, every other bit is ignored");
  }
  lines.push("", `${layout}  ${describeLinux(linux)}`);
  if ("flags" in linux) lines.push(`${" ".repeat(layout.length)}  ${linux.flags.join("|")}`);
  return lines;
}

/** The decoded entry as an object with stable field names. */
export function decodeObject(decoded: DecodedEntry, layout: string, cpu: string): object {
  const { entry, level, fields, reserved, linux } = decoded;
  return {
    format: "ptescope-decode",
    version: 1,
    value: `${entry}`,
    level,
    hardware: {
      cpu,
      kind: kindOf(LINUX_LEVELS[level], entry.lo),
      present: (entry.lo & PTE_P) !== 0,
      reserved,
      fields: fields.map(({ name, bits, value, use }) => ({
        name,
        bits,
        value: fieldValue(use, value, bits),
        use,
      })),
    },
    linux: { layout, ...linux },
  };
}

/** The manual's name for the kind of entry, where it says more than Linux's name of the level. */
function kindNote(level: LinuxLevel, entry: Entry): string {
  const kind = kindOf(LINUX_LEVELS[level], entry.lo);
  return kind === level || (entry.lo & PTE_P) === 0 ? "" : `: a ${kind}`;
}

function fieldLine(field: DecodedField, paint: Paint): string {
  const { name, bits, value, use, meaning } = field;
  const line = fieldRow(fieldBits(field), name, fieldValue(use, value, bits), meaning);
  if (use === "reserved" && value !== 0) return paint("danger", line);
  return value === 0 || use === "ignored" ? paint("quiet", line) : line;
}

function fieldRow(bits: string, name: string, value: string, meaning: string): string {
  return `${bits.padStart(7)}  ${name.padEnd(9)}  ${value.padEnd(15)}  ${meaning}`;
}

/** An address as an address, anything else as it stands in its bits. */
function fieldValue(use: string, value: number, bits: readonly [number, number]): string {
  if (use === "address") return hex(value * 2 ** bits[1]);
  return bits[0] === bits[1] ? `${value}` : hex(value);
}
