import type { Encoding, RecordClass } from "../../arch/x86/cpu/record.ts";
import { HARDWARE_KINDS } from "../../arch/x86/cpu/records.ts";
import { ARCH_MM_KINDS } from "../../arch/x86/mm/records.ts";
import { MM_KINDS } from "../mm/records.ts";
import { VIRT_FIELDS, VIRT_KINDS, type VirtRecord } from "../virt/records.ts";

/* The vocabulary: every kind that some layer declares, and every field that a kind may have. */

/** Any record. */
export type TraceRecord = VirtRecord;
/** Name of a kind of record. */
export type RecordKind = TraceRecord["kind"];

/** The record type of one kind, or of several. */
export type TraceRecordOf<K extends RecordKind> = Extract<TraceRecord, { readonly kind: K }>;

/** Every field that a record may have, by name. */
export const FIELDS = VIRT_FIELDS;
/** Name of a field; a linear address and an entry are two properties, NAMELo and NAMEHi. */
export type FieldName = keyof typeof FIELDS;

/**
 * A kind of record as a table has it: its class, what it says, and the fields that it has besides those of every
 * record.
 */
export interface KindRow {
  readonly class: RecordClass;
  readonly says: string;
  readonly has: readonly FieldName[];
}

/** Every kind of record, by name. */
export const KINDS: Readonly<Record<RecordKind, KindRow>> = {
  ...HARDWARE_KINDS,
  ...ARCH_MM_KINDS,
  ...MM_KINDS,
  ...VIRT_KINDS,
};

/** How a field is held. */
export function encodingOf(field: FieldName): Encoding {
  return FIELDS[field].is;
}
