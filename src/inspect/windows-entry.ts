import { formatCount, hex } from "../text/hex.ts";
import {
  bitsAt,
  type ForeignWord,
  fieldsOf,
  hasBitAt,
  requireWord,
  type WordFieldSpec,
} from "./foreign-word.ts";

/**
 * Entries with P=0 as Windows stores them, by the names of its public symbols (`_MMPTE_*`), in the order of the tests.
 * Where protection and page file number lie moved between builds: both places are said.
 */
const SOFTWARE = {
  prototype: [{ name: "ProtoAddress", bits: [63, 16], meaning: "address of the prototype entry" }],
  transition: [{ name: "PageFrameNumber", bits: [51, 12], meaning: "frame on the standby or modified list" }],
  pagefile: [{ name: "PageFileHigh", bits: [63, 32], meaning: "page in the page file" }],
  other: [{ name: "unused", bits: [63, 12], meaning: "zero in a demand-zero entry" }],
} as const satisfies Record<string, readonly WordFieldSpec[]>;

const MARKS: readonly WordFieldSpec[] = [
  { name: "Transition", bits: [11, 11], meaning: "the page is still in memory" },
  { name: "Prototype", bits: [10, 10], meaning: "the prototype entry tells" },
  { name: "Protection", bits: [9, 5], meaning: "in builds with a swizzle bit (newer); older ones: 5:1" },
];
const PAGE_FILE_NUMBER: WordFieldSpec = {
  name: "PageFileLow",
  bits: [15, 12],
  meaning: "page file, in newer builds; older ones: 9:6, or 4:1",
};
const VALID: readonly WordFieldSpec[] = [
  { name: "NoExecute", bits: [63, 63], meaning: "" },
  { name: "working set", bits: [62, 52], meaning: "software's: the working-set index or age" },
  { name: "PageFrameNumber", bits: [51, 12], meaning: "frame of the page, or of the table" },
  { name: "Write", bits: [11, 11], meaning: "the page may be written; bit 1 is set at the first write" },
  { name: "CopyOnWrite", bits: [9, 9], meaning: "" },
  { name: "Global", bits: [8, 8], meaning: "" },
  { name: "LargePage", bits: [7, 7], meaning: "PAT in an entry of the last level" },
  { name: "Dirty", bits: [6, 6], meaning: "" },
  { name: "Accessed", bits: [5, 5], meaning: "" },
  { name: "CacheDisable", bits: [4, 4], meaning: "" },
  { name: "WriteThrough", bits: [3, 3], meaning: "" },
  { name: "Owner", bits: [2, 2], meaning: "user mode" },
  { name: "Dirty1", bits: [1, 1], meaning: "R/W to the processor" },
  { name: "Valid", bits: [0, 0], meaning: "" },
];
const NO_TYPE = "none";
/** Bit that builds with the L1TF mitigation keep set in entries with P=0, as public dumps show; no part of the frame. */
const INVALID_BIT = 45;

/**
 * Reads an entry as Windows does; a valid one is the processor's with Windows's use of the free bits. Throws
 * RangeError for no 64-bit value.
 */
export function readWindowsEntry(value: bigint): ForeignWord {
  requireWord(value);
  if (hasBitAt(value, 0)) return validEntry(value);
  const protection = `protection ${bitsAt(value, [9, 5])} (${hex(bitsAt(value, [9, 5]))}, newer builds)`;
  const software = (
    what: string,
    address: string,
    specs: readonly WordFieldSpec[],
    places: { frame?: number; slot?: number } = {},
  ): ForeignWord => ({
    format: "windows",
    what: `not valid: ${what}`,
    broken: false,
    address,
    rights: `none: every access is a page fault; ${protection}`,
    type: NO_TYPE,
    frame: places.frame ?? null,
    slot: places.slot ?? null,
    fields: fieldsOf(
      value,
      [...specs, ...MARKS].sort((a, b) => b.bits[0] - a.bits[0]),
    ),
  });
  if (value === 0n) return software("zero: no page", "none", []);
  if (hasBitAt(value, 10)) {
    const address = BigInt.asUintN(64, BigInt.asIntN(64, value) >> 16n);
    return software("prototype", `prototype entry at ${hex(address)}`, SOFTWARE.prototype);
  }
  if (hasBitAt(value, 11)) {
    const frame = Number(bitsAt(value & ~(1n << BigInt(INVALID_BIT)), [51, 12]));
    const kept = hasBitAt(value, INVALID_BIT)
      ? ` (bit ${INVALID_BIT} cleared, an L1TF build keeps it set)`
      : "";
    const where = `${hex(frame * 4096)}, frame ${hex(frame)}${kept}`;
    return software("transition, the page is in memory", where, SOFTWARE.transition, { frame });
  }
  const slot = Number(bitsAt(value, [63, 32]));
  if (slot === 0) return software("demand zero, or unused", "none", SOFTWARE.other);
  const file = `page ${formatCount(slot)} (${hex(slot)}) of page file ${bitsAt(value, PAGE_FILE_NUMBER.bits)}`;
  return software("in a page file", file, [...SOFTWARE.pagefile, PAGE_FILE_NUMBER], { slot });
}

function validEntry(value: bigint): ForeignWord {
  const has = (bit: number): boolean => hasBitAt(value, bit);
  const frame = Number(bitsAt(value, [51, 12]));
  const rights = [
    `${has(2) ? "user" : "supervisor"} read${has(1) ? ", write" : ""}${has(63) ? "" : ", execute"}`,
    ...(has(11) && !has(1) ? ["writable at the first write (bit 11)"] : []),
    ...(has(9) ? ["copy on write"] : []),
    ...(has(5) ? ["accessed"] : []),
    ...(has(6) ? ["dirty"] : []),
  ];
  return {
    format: "windows",
    what: "valid",
    broken: false,
    address: `${hex(frame * 4096)}, frame ${hex(frame)}`,
    rights: rights.join("; "),
    type:
      has(4) || has(3) ? `PCD=${Number(has(4))} PWT=${Number(has(3))}` : "entry 0 of the PAT, or 4 with PAT",
    frame,
    slot: null,
    fields: fieldsOf(value, VALID),
  };
}
