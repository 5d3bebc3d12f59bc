import type { DecodedField } from "../../arch/x86/cpu/entry-layout.ts";

/**
 * The fields of an entry that are set, lowest bit first, as one line: names of single bits, `key=1` for wider fields,
 * brackets around what the hardware ignores, and `reserved` where a set bit makes every access fault. The address is
 * left out.
 */
export function fieldNames(fields: readonly DecodedField[]): string {
  return fields
    .filter(({ use, value }) => use !== "address" && value !== 0)
    .map((field) => (field.use === "ignored" ? `(${fieldName(field)})` : fieldName(field)))
    .reverse()
    .join(" ");
}

/** Bits of a field as the manual writes them: 63, or 51:12. */
export function fieldBits({ bits: [high, low] }: { readonly bits: readonly [number, number] }): string {
  return high === low ? `${high}` : `${high}:${low}`;
}

function fieldName(field: DecodedField): string {
  const { name, bits, value } = field;
  if (field.use === "reserved") return `RESERVED[${fieldBits(field)}]`;
  if (name === "available") return `available[${fieldBits(field)}]=0x${value.toString(16)}`;
  return bits[0] === bits[1] ? name : `${name}=${value}`;
}
