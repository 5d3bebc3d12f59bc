import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { DecodedField } from "../../arch/x86/cpu/entry-layout.ts";
import { type PteFormat, swapOffsetBits } from "../../arch/x86/mm/pte-format.ts";
import type { Paint } from "../text/paint.ts";
import { fieldBits } from "./entry-flags.ts";

const BITS = 64;
const SWAP_TYPE_BITS = 5;

/** What fields of a present entry become in one that Linux has closed. */
const CLOSED_NAMES: Readonly<Record<string, string>> = { G: "PROTNONE", address: "frame", reserved: "-" };

/** Some bits of an entry that belong together. */
export interface RulerField {
  readonly name: string;
  /** Highest and lowest bit. */
  readonly bits: readonly [number, number];
}

/**
 * An entry bit by bit, the highest first, in columns: which bits, what they are, and their values.
 *
 *     63 62:59 58:52   51:12                                    11:9 8 ...
 *     XD key   avl     address                                  avl  G ...
 *     1  0000  0000000 0000000000000000000000010010001101000101 100  0 ...
 */
export function bitRuler(entry: Entry, fields: readonly RulerField[], paint: Paint): string[] {
  const digits = entry.toBigInt().toString(2).padStart(BITS, "0");
  const cells = fields.map((field) => {
    const [high, low] = field.bits;
    return [fieldBits(field), field.name, digits.slice(BITS - 1 - high, BITS - low)];
  });
  const widths = cells.map((cell) => Math.max(...cell.map((text) => text.length)));
  const line = (at: number): string =>
    cells
      .map((cell, column) => cell[at]!.padEnd(widths[column]!))
      .join(" ")
      .trimEnd();
  return [paint("quiet", line(0)), line(1), line(2)];
}

/** The columns of a present entry: the hardware's fields, with short names. */
export function hardwareColumns(fields: readonly DecodedField[]): RulerField[] {
  return fields.map(({ name, bits, use }) => ({ name: shortName(name, use), bits }));
}

/** The columns of a swap, migration or poison entry as a kernel lays them out; `-` is for bits without a meaning. */
export function swapColumns(pteFormat: PteFormat): RulerField[] {
  const { typeBit, offsetBit, softDirtyBit, uffdWpBit, exclusiveBit, offsetInverted } = pteFormat.layout.swap;
  const single = (name: string, bit: number | null): RulerField[] =>
    bit === null ? [] : [{ name, bits: [bit, bit] }];
  const named: RulerField[] = [
    { name: "type", bits: [typeBit + SWAP_TYPE_BITS - 1, typeBit] },
    {
      name: offsetInverted ? "offset, inverted" : "offset",
      bits: [offsetBit + swapOffsetBits(pteFormat.layout.swap) - 1, offsetBit],
    },
    ...single("PROTNONE", 8),
    ...single("soft-dirty", softDirtyBit),
    ...single("uffd-wp", uffdWpBit),
    ...single("exclusive", exclusiveBit),
    ...single("P", 0),
  ];
  return withGaps(named);
}

/** The columns of an entry whose frame the hardware must not see: a frame, and flags as in a present entry. */
export function closedColumns(fields: readonly DecodedField[]): RulerField[] {
  return fields.map(({ name, bits }) => ({ name: CLOSED_NAMES[name] ?? shortName(name, "used"), bits }));
}

function shortName(name: string, use: DecodedField["use"]): string {
  if (name === "available") return "avl";
  return use === "reserved" && name === "reserved" ? "rsvd" : name;
}

/** The fields in order from bit 63 down, the bits between them as fields of their own. */
function withGaps(fields: readonly RulerField[]): RulerField[] {
  const all: RulerField[] = [];
  let next = BITS - 1;
  for (const field of [...fields].sort((a, b) => b.bits[0] - a.bits[0])) {
    if (field.bits[0] < next) all.push({ name: "-", bits: [next, field.bits[0] + 1] });
    all.push(field);
    next = field.bits[1] - 1;
  }
  return all;
}
