import { PAGEMAP_BITS } from "../guest/pagemap-words.ts";
import { formatCount, hex } from "../text/hex.ts";
import {
  bitsAt,
  type ForeignWord,
  fieldsOf,
  hasBitAt,
  requireWord,
  type WordFieldSpec,
} from "./foreign-word.ts";

const FRAME = [54, 0] as const;
const SWAP_TYPE = [4, 0] as const;
const SWAP_OFFSET = [54, 5] as const;
const UNUSED = [60, 58] as const;

/** Marks in the order in which people say them. */
const MARKS = [
  { bit: 56, text: "exclusive (mapped once)" },
  { bit: 55, text: "soft-dirty" },
  { bit: 57, text: "write-protected by userfaultfd" },
  { bit: 61, text: "of a file or shared" },
] as const;

/** Reads one word of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). Throws RangeError for no 64-bit value. */
export function readPagemapWord(value: bigint): ForeignWord {
  requireWord(value);
  const present = hasBitAt(value, 63);
  const swapped = !present && hasBitAt(value, 62);
  const marks = MARKS.filter(({ bit }) => hasBitAt(value, bit)).map(({ text }) => text);
  const frame = Number(bitsAt(value, FRAME));
  const type = Number(bitsAt(value, SWAP_TYPE));
  const slot = Number(bitsAt(value, SWAP_OFFSET));
  const head = present ? "present" : swapped ? "swapped, or another software entry" : "not mapped";
  return {
    format: "pagemap",
    what: [head, ...marks].join(", "),
    broken: false,
    address: present
      ? frame === 0
        ? "frame hidden: the reader lacked CAP_SYS_ADMIN (since 4.2)"
        : `${hex(frame * 4096)}, frame ${hex(frame)}`
      : swapped
        ? `swap type ${type}, offset ${formatCount(slot)} (${hex(slot)})`
        : "none",
    rights: "not in the word",
    type: "not in the word",
    frame: present && frame !== 0 ? frame : null,
    slot: swapped ? slot : null,
    fields: fieldsOf(value, specs(present, swapped)),
  };
}

function specs(present: boolean, swapped: boolean): WordFieldSpec[] {
  const flags = PAGEMAP_BITS.map(({ bit, name, meaning }) => ({ name, bits: [bit, bit] as const, meaning }));
  const unused = { name: "unused", bits: UNUSED, meaning: "zero in every kernel since 4.2" };
  const low: WordFieldSpec[] = present
    ? [{ name: "frame", bits: FRAME, meaning: "frame number" }]
    : swapped
      ? [
          { name: "offset", bits: SWAP_OFFSET, meaning: "swap offset, or the frame of a migration entry" },
          { name: "type", bits: SWAP_TYPE, meaning: "swap type" },
        ]
      : [{ name: "unused", bits: FRAME, meaning: "zero in a word of no page" }];
  return [...flags, unused, ...low].sort((a, b) => b.bits[0] - a.bits[0]);
}
