import {
  decode,
  type LayoutModel,
  LEVEL_NAMES,
  PTE_P,
  PTE_U,
  PTE_W,
  PTE_XD,
} from "../../arch/x86/cpu/entry-layout.ts";
import type { PathStep } from "../../arch/x86/cpu/walk-result.ts";
import { hexPhysical } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { fieldNames } from "./entry-flags.ts";

/** Effective rights after some levels: what every entry so far allows. */
export interface RightsSoFar {
  readonly write: boolean;
  readonly execute: boolean;
  readonly user: boolean;
}

/** One entry that the walk read, and what is allowed down to it. */
export interface WalkStep extends PathStep {
  /** Set fields of the entry, see {@link fieldNames}. */
  readonly flags: string;
  readonly rights: RightsSoFar;
  /** A bit that must be zero is set: the walk ends here, there are no rights. */
  readonly reserved: boolean;
}

/** The entries of a walk, the top one first, with what each says and what is allowed down to it. */
export function pathSteps(path: readonly PathStep[], layout: LayoutModel): WalkStep[] {
  let every = -1;
  let any = 0;
  return path.map((step) => {
    const { entry, kind } = step;
    every &= entry.lo;
    any |= entry.hi;
    const present = (entry.lo & PTE_P) !== 0;
    const fields = decode(kind, entry, layout);
    const reserved = present && fields.some(({ use, value }) => use === "reserved" && value !== 0);
    const some = present && !reserved;
    const rights = {
      write: some && (every & PTE_W) !== 0,
      execute: some && (any & PTE_XD) === 0,
      user: some && (every & PTE_U) !== 0,
    };
    return { ...step, flags: present ? fieldNames(fields) : "", rights, reserved };
  });
}

/** The entries as a table for a person, its heading first; nothing for a walk that read none. */
export function stepLines(steps: readonly WalkStep[], paint: Paint): string[] {
  if (steps.length === 0) return [];
  const width = Math.max(5, ...steps.map(({ flags }) => flags.length));
  const row = (level: string, at: string, value: string, flags: string, rights: string): string =>
    `  ${level.padEnd(5)}  ${at.padEnd(15)}  ${value.padEnd(18)}  ${flags.padEnd(width)}  ${rights}`;
  return [
    paint("quiet", row("level", "entry at", "value", "flags", "rights so far")),
    ...steps.map(({ level, address, entry, flags, rights, reserved }) => {
      const present = (entry.lo & PTE_P) !== 0;
      const so = !present ? "not present" : reserved ? "none: reserved bit" : rightsText(rights);
      return row(LEVEL_NAMES[level] ?? "", `0x${hexPhysical(address)}`, `${entry}`, flags, so);
    }),
  ];
}

function rightsText({ write, execute, user }: RightsSoFar): string {
  return `r${write ? "w" : "-"}${execute ? "x" : "-"} ${user ? "user" : "kernel"}`;
}
