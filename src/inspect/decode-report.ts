import type { Entry } from "../../arch/x86/cpu/entry.ts";
import {
  type DecodedField,
  decode,
  type EntryKind,
  kindOf,
  type LayoutModel,
  PTE_P,
} from "../../arch/x86/cpu/entry-layout.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { hex } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { bitRuler, closedColumns, hardwareColumns, swapColumns } from "./bit-ruler.ts";
import { fieldBits } from "./entry-flags.ts";
import { describeLinux, type LinuxReading, readLinux } from "./linux-reading.ts";

/**
 * Linux's names of the levels, which `--level` takes. pgd is the top one: the manual's PML4, with five levels its PML5,
 * below which p4d is the PML4.
 */
export const LINUX_LEVELS = ["pte", "pmd", "pud", "p4d", "pgd"] as const;
/** Linux's name of a level. */
export type LinuxLevel = (typeof LINUX_LEVELS)[number];

/** What one kernel takes an entry for. */
export interface KernelReading {
  readonly pteFormat: PteFormat;
  readonly linux: LinuxReading;
}

/** One entry as the hardware and as some kernels read it. */
export interface DecodedEntry {
  readonly entry: Entry;
  readonly name: LinuxLevel;
  /** 1 (PT) to 5 (PML5). */
  readonly level: number;
  readonly kind: EntryKind;
  readonly present: boolean;
  readonly fields: readonly DecodedField[];
  /** Names of the reserved fields that have a bit set: the entry faults on every use. None when it is not present. */
  readonly reserved: readonly string[];
  /** At least one. */
  readonly kernels: readonly KernelReading[];
}

/** The level of a name: 4 for pgd with four levels. */
export function levelOf(name: LinuxLevel, levels: 4 | 5): number {
  return Math.min(LINUX_LEVELS.indexOf(name) + 1, levels);
}

/** Decodes an entry of a level for a CPU and some kernels. */
export function decodeEntry(
  entry: Entry,
  name: LinuxLevel,
  levels: 4 | 5,
  model: LayoutModel,
  pteFormats: readonly PteFormat[],
): DecodedEntry {
  const level = levelOf(name, levels);
  const kind = kindOf(level, entry.lo);
  const fields = decode(kind, entry, model);
  const reserved = fields.filter(({ use, value }) => use === "reserved" && value !== 0);
  return {
    entry,
    name,
    level,
    kind,
    present: (entry.lo & PTE_P) !== 0,
    fields,
    reserved: reserved.map((field) => `${field.name} ${fieldBits(field)}`),
    kernels: pteFormats.map((pteFormat) => ({ pteFormat, linux: readLinux(pteFormat, level, entry) })),
  };
}

/** The decoded entry as lines for a person. */
export function decodeLines(decoded: DecodedEntry, cpu: string, paint: Paint): string[] {
  const { entry, name, present, fields, reserved, kernels } = decoded;
  const lines = [`${paint("heading", `${entry}`)}  ${name}${kindNote(decoded)}`, ""];
  lines.push(...ruler(decoded, paint), "");
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
  lines.push("");
  const width = Math.max(...kernels.map(({ pteFormat }) => pteFormat.layout.name.length));
  for (const { pteFormat, linux } of kernels) {
    lines.push(`${pteFormat.layout.name.padEnd(width)}  ${describeLinux(linux)}`);
    if ("flags" in linux) lines.push(`${" ".repeat(width)}  ${linux.flags.join("|")}`);
  }
  return lines;
}

/** The decoded entry as an object with stable field names. */
export function decodeObject(decoded: DecodedEntry, cpu: string): object {
  const { entry, name, level, kind, present, fields, reserved, kernels } = decoded;
  const readings = kernels.map(({ pteFormat, linux }) => ({ layout: pteFormat.layout.name, ...linux }));
  return {
    format: "ptescope-decode",
    version: 1,
    value: `${entry}`,
    level: name,
    hardware: {
      cpu,
      level,
      kind,
      present,
      reserved,
      fields: fields.map((field) => ({
        name: field.name,
        bits: field.bits,
        value: fieldValue(field.use, field.value, field.bits),
        use: field.use,
      })),
    },
    linux: readings[0],
    ...(readings.length > 1 ? { kernels: readings } : {}),
  };
}

/** The bits in columns: the hardware's, or without P those of the kernels, once for all that agree. */
function ruler({ entry, present, fields, kernels }: DecodedEntry, paint: Paint): string[] {
  if (present) return bitRuler(entry, hardwareColumns(fields), paint);
  const drawings: { readonly lines: readonly string[]; readonly names: string[] }[] = [];
  for (const { pteFormat, linux } of kernels) {
    const closed = linux.kind === "prot-none" || linux.kind === "invalidated";
    const lines = bitRuler(entry, closed ? closedColumns(fields) : swapColumns(pteFormat), paint);
    const known = drawings.find((drawing) => drawing.lines.join("\n") === lines.join("\n"));
    if (known === undefined) drawings.push({ lines, names: [pteFormat.layout.name] });
    else known.names.push(pteFormat.layout.name);
  }
  if (drawings.length === 1) return [...drawings[0]!.lines];
  return drawings.flatMap(({ lines, names }, at) => [
    ...(at === 0 ? [] : [""]),
    paint("quiet", names.join(", ")),
    ...lines,
  ]);
}

/** The manual's name for the kind of entry, where it says more than Linux's name of the level. */
function kindNote({ name, kind, present }: DecodedEntry): string {
  return kind === name || !present ? "" : `: a ${kind}`;
}

function fieldLine(field: DecodedField, paint: Paint): string {
  const { name, bits, value, use, meaning } = field;
  const said = use === "ignored" ? `(ignored here) ${meaning}` : meaning;
  const line = fieldRow(fieldBits(field), name, fieldValue(use, value, bits), said);
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
