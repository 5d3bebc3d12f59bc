import { MEMORY_TYPES } from "../../arch/x86/cpu/pat.ts";
import { hex } from "../text/hex.ts";
import {
  bitsAt,
  type ForeignWord,
  fieldsOf,
  hasBitAt,
  requireWord,
  type WordField,
  type WordFieldSpec,
} from "./foreign-word.ts";
import { pageBytes } from "./leaves.ts";

/** What an entry of an EPT is: one that points to a table, or a leaf. */
type EptKind = "table" | "leaf";

/** A rule of SDM vol. 3, 28.2.3.1 (EPT Misconfigurations) and the word for breaking it. */
interface Misconfiguration {
  readonly why: string;
  breaks(entry: EptEntry): boolean;
}

interface EptEntry {
  readonly value: bigint;
  readonly level: number;
  readonly kind: EptKind;
  readonly maxPhyAddr: number;
}

const PS = 7;
const LAST_LARGE = 3;
/** Lowest address bit of a leaf, by level. */
const LEAF_BASE = [0, 12, 21, 30] as const;
/** Types that a leaf may have: UC, WC, WT, WP, WB. */
const LEAF_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6]);

const MISCONFIGURATIONS: readonly Misconfiguration[] = [
  { why: "W=1 without R", breaks: ({ value }) => (value & 3n) === 2n },
  {
    why: "bits 6:3 are reserved in an entry that points to a table",
    breaks: ({ kind, value }) => kind === "table" && bitsAt(value, [6, 3]) !== 0n,
  },
  {
    why: "bit 7 is reserved above level 3",
    breaks: ({ level, value }) => level > LAST_LARGE && hasBitAt(value, PS),
  },
  {
    why: "memory type 2, 3 or 7",
    breaks: ({ kind, value }) => kind === "leaf" && !LEAF_TYPES.has(Number(bitsAt(value, [5, 3]))),
  },
  {
    why: "address bits below the page's size",
    breaks: ({ kind, level, value }) =>
      kind === "leaf" && level > 1 && bitsAt(value, [LEAF_BASE[level]! - 1, 12]) !== 0n,
  },
  {
    why: "address bits above MAXPHYADDR",
    breaks: ({ value, maxPhyAddr }) => maxPhyAddr < 52 && bitsAt(value, [51, maxPhyAddr]) !== 0n,
  },
];

/**
 * Reads an entry of an extended page table at a level, 1 to 5 (SDM vol. 3, 28.2.2). `maxPhyAddr` is the CPU's. Rules
 * that depend on a capability (execute-only, mode-based execution, 1-GiB pages) are said, not judged. Throws RangeError.
 */
export function readEptEntry(value: bigint, level: number, maxPhyAddr: number): ForeignWord {
  requireWord(value);
  if (!(Number.isInteger(level) && level >= 1 && level <= 5)) {
    throw new RangeError(`level ${level}: give 1 to 5`);
  }
  if (!(Number.isInteger(maxPhyAddr) && maxPhyAddr >= 36 && maxPhyAddr <= 52)) {
    throw new RangeError(`MAXPHYADDR ${maxPhyAddr}: give 36 to 52`);
  }
  const kind: EptKind = level === 1 || (level <= LAST_LARGE && hasBitAt(value, PS)) ? "leaf" : "table";
  const entry = { value, level, kind, maxPhyAddr };
  const rwx = Number(value & 7n);
  const base = kind === "leaf" ? LEAF_BASE[level]! : 12;
  const address = Number(bitsAt(value, [51, base])) * 2 ** base;
  const present = rwx !== 0;
  const broken = present ? MISCONFIGURATIONS.filter((rule) => rule.breaks(entry)).map(({ why }) => why) : [];
  const what = !present
    ? "not present: R=W=X=0, an access is an EPT violation"
    : broken.length > 0
      ? `EPT misconfiguration: ${broken.join("; ")}`
      : kind === "table"
        ? "points to a table"
        : `maps a page of ${pageBytes(level) / 1024} KiB`;
  return {
    format: "ept",
    what,
    broken: broken.length > 0,
    address: present ? `${hex(address)}${kind === "leaf" ? `, frame ${hex(address / 4096)}` : ""}` : "none",
    rights: present ? rightsOf(value, rwx) : "none",
    type: present && kind === "leaf" ? typeOf(value) : "none: that of the tables stands in EPTP",
    frame: present ? address / 4096 : null,
    slot: null,
    fields: fieldsOfEntry(entry, present, base),
  };
}

function rightsOf(value: bigint, rwx: number): string {
  const letters = `${rwx & 1 ? "r" : "-"}${rwx & 2 ? "w" : "-"}${rwx & 4 ? "x" : "-"}`;
  const marks = [
    ...(rwx === 4 ? ["legal only on a CPU with execute-only EPT, else a misconfiguration"] : []),
    ...(hasBitAt(value, 8) ? ["accessed (if EPTP has A/D on)"] : []),
    ...(hasBitAt(value, 9) ? ["dirty (if EPTP has A/D on)"] : []),
  ];
  return [`R=${rwx & 1} W=${(rwx >> 1) & 1} X=${rwx >> 2} (${letters})`, ...marks].join("; ");
}

function typeOf(value: bigint): string {
  const number = Number(bitsAt(value, [5, 3]));
  const name = LEAF_TYPES.has(number) ? MEMORY_TYPES[number] : "reserved";
  return `${name} (bits 5:3 = ${number})${hasBitAt(value, 6) ? ", ignore PAT" : ", combined with the guest's PAT"}`;
}

function fieldsOfEntry({ value, level, kind }: EptEntry, present: boolean, base: number): WordField[] {
  const suppress: WordFieldSpec = {
    name: "suppress #VE",
    bits: [63, 63],
    meaning: "of a leaf or an entry not present",
  };
  if (!present) return fieldsOf(value, [suppress, { name: "ignored", bits: [62, 3], meaning: "R=W=X=0" }]);
  const leaf = kind === "leaf";
  const low: WordFieldSpec[] = leaf
    ? [
        {
          name: "page size",
          bits: [PS, PS],
          meaning: level === 1 ? "ignored at level 1" : "maps a page here",
        },
        { name: "ignore PAT", bits: [6, 6], meaning: "the EPT type alone counts" },
        { name: "type", bits: [5, 3], meaning: "memory type" },
      ]
    : [
        { name: "page size", bits: [PS, PS], meaning: "reserved at this level" },
        { name: "reserved", bits: [6, 3], meaning: "must be zero where a table follows" },
      ];
  return fieldsOf(value, [
    suppress,
    { name: "ignored", bits: [62, 62], meaning: "software" },
    { name: "SPP", bits: [61, 61], meaning: "sub-page write permission, where enabled" },
    { name: "SSS", bits: [60, 60], meaning: "supervisor shadow stack, where EPTP enables it" },
    { name: "ignored", bits: [59, 59], meaning: "software" },
    { name: "PWA", bits: [58, 58], meaning: "paging-write access, where enabled" },
    { name: "VGP", bits: [57, 57], meaning: "verify guest paging, where enabled" },
    { name: "ignored", bits: [56, 52], meaning: "software" },
    { name: "address", bits: [51, base], meaning: leaf ? "of the page" : "of the table" },
    ...(base > 12
      ? [{ name: "reserved", bits: [base - 1, 12] as const, meaning: "below the page's size" }]
      : []),
    { name: "ignored", bits: [11, 11], meaning: "software" },
    { name: "XU", bits: [10, 10], meaning: "execution by user mode, where enabled; else ignored" },
    { name: "D", bits: [9, 9], meaning: "dirty, where EPTP enables it" },
    { name: "A", bits: [8, 8], meaning: "accessed, where EPTP enables it" },
    ...low,
    { name: "X", bits: [2, 2], meaning: "fetches" },
    { name: "W", bits: [1, 1], meaning: "writes" },
    { name: "R", bits: [0, 0], meaning: "reads" },
  ]);
}
