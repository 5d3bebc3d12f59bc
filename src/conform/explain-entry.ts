import {
  bitsOf,
  ENTRY_LAYOUT,
  type EntryField,
  type LayoutCondition,
  LEVEL_NAMES,
  PTE_U,
  PTE_W,
  PTE_XD,
  useOf,
} from "../../arch/x86/cpu/entry-layout.ts";
import type { PathStep } from "../../arch/x86/cpu/walk-result.ts";
import { hex } from "../text/hex.ts";
import type { CaseWalk } from "./case-walk.ts";

/* What entries say about an access, in words, from the table of entry layouts. */

/** When a field is reserved that is otherwise used or ignored. */
const RESERVED_WHILE: Readonly<Record<LayoutCondition, string>> = {
  NXE: "while NXE=0",
  PGE: "while PGE=0",
  gbPages: "without 1-GiB pages",
  ignoresTopG: "on AMD",
  keys: "while no key is on",
};

/** A field of an entry of a walk, with the bits of it that are set. */
export interface SetField {
  /** The name of the entry's level. */
  readonly level: string;
  /** "PTE at 0x102200, bit 63 (XD)". */
  readonly place: string;
  /** "bit 63 (XD) of an entry", or with the entry's level where only that has it. */
  readonly kind: string;
  /** "reserved while NXE=0". */
  readonly why: string;
}

/** "PTE", "PML4E". */
export function levelName({ level }: Pick<PathStep, "level">): string {
  return LEVEL_NAMES[level] ?? "";
}

/** "PTE at 0x102200". */
export function entryPlace(step: PathStep): string {
  return `${levelName(step)} at ${hex(step.address)}`;
}

/** The reserved bits that are set in the last entry of a walk. */
export function reservedFields({ path, layout }: CaseWalk): SetField[] {
  const last = path.at(-1);
  return last === undefined ? [] : setFields(last, layout, "reserved");
}

/** The bits that are set although hardware ignores them, of every entry. */
export function ignoredFields({ path, layout }: CaseWalk): SetField[] {
  return path.flatMap((step) => setFields(step, layout, "ignored"));
}

function setFields(step: PathStep, layout: CaseWalk["layout"], use: "reserved" | "ignored"): SetField[] {
  const value = step.entry.toBigInt();
  return ENTRY_LAYOUT.flatMap((field) => {
    if (useOf(field, step.kind, layout) !== use) return [];
    const [high, low] = bitsOf(field, layout.maxPhyAddr);
    const set: number[] = [];
    for (let bit = high; bit >= low; bit--) if (((value >> BigInt(bit)) & 1n) !== 0n) set.push(bit);
    if (set.length === 0) return [];
    const name = field.name === "reserved" || field.name === "available" ? "" : ` (${field.name})`;
    const level = levelName(step);
    const range = high === low ? `bit ${high}` : `bits ${high}:${low}`;
    return [
      {
        level,
        place: `${level} at ${hex(step.address)}, ${bitList(set)}${name}`,
        kind: `${range}${name} of ${isEverywhere(field) ? "an entry" : `a ${level}`}`,
        why: use === "ignored" ? "ignored" : `reserved${reservedWhy(field, step)}`,
      },
    ];
  });
}

/** Whether entries of all levels have the field. */
function isEverywhere({ use }: EntryField): boolean {
  return use.pml5e !== undefined && use.pte !== undefined && use["pdpte-table"] === use.pte;
}

function reservedWhy({ name, meaning, use }: EntryField, step: PathStep): string {
  const how = use[step.kind];
  if (typeof how === "object") return ` ${RESERVED_WHILE[how.condition]}`;
  return name === "reserved" ? `, ${meaning}` : ` in a ${levelName(step)}`;
}

/** "bit 63", "bits 51, 40". */
export function bitList(bits: readonly number[]): string {
  return `bit${bits.length === 1 ? "" : "s"} ${bits.join(", ")}`;
}

/** A bit that every entry of a walk must have, or must not have, for an access. */
export const RIGHT_BITS = {
  "U/S": { denies: "U/S=0", allows: "U/S=1", test: ({ entry }: PathStep) => (entry.lo & PTE_U) === 0 },
  "R/W": { denies: "R/W=0", allows: "R/W=1", test: ({ entry }: PathStep) => (entry.lo & PTE_W) === 0 },
  XD: { denies: "XD=1", allows: "XD=0", test: ({ entry }: PathStep) => (entry.hi & PTE_XD) !== 0 },
} as const;
/** Name of such a bit. */
export type RightBit = keyof typeof RIGHT_BITS;

/** The entries of a walk in which a bit denies. */
export function denying(path: readonly PathStep[], bit: RightBit): PathStep[] {
  return path.filter(RIGHT_BITS[bit].test);
}

/** "R/W=0 in the leaf" or "R/W=0 above the leaf", and the entries: "PTE at 0x102200: R/W=0". */
export function denialOf(
  path: readonly PathStep[],
  bit: RightBit,
): { readonly kind: string; readonly places: string } {
  const found = denying(path, bit);
  const { denies } = RIGHT_BITS[bit];
  const inLeaf = found.at(-1) === path.at(-1);
  return {
    kind: `${denies} ${inLeaf ? "in the leaf" : "above the leaf"}`,
    places: found.map((step) => `${entryPlace(step)}: ${denies}`).join(", "),
  };
}
