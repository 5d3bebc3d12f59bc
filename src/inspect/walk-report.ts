import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  type AccessKind,
  type AccessMode,
  MODE_USER,
} from "../../arch/x86/cpu/access-rights.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { decode, LEVEL_NAMES, PTE_P, PTE_U, PTE_W, PTE_XD } from "../../arch/x86/cpu/entry-layout.ts";
import { isCanonical, linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import {
  type FaultReason,
  PF_I,
  PF_P,
  PF_PK,
  PF_RSVD,
  PF_U,
  PF_W,
  WALK_OK,
} from "../../arch/x86/cpu/page-fault.ts";
import { INSPECT, type PathStep, WalkResult, walk } from "../../arch/x86/cpu/page-walk.ts";
import { PAGE_SIZE, type PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { EntryCodec } from "../../arch/x86/mm/entry-codec.ts";
import { fieldNames } from "./entry-flags.ts";
import { formatBytes, hex, hexPhysical, hexWords } from "./hex.ts";
import { pageBytes } from "./leaves.ts";
import { describeLinux, readLinux } from "./linux-reading.ts";
import type { Paint } from "./paint.ts";

/** The access that a walk is judged for. */
export interface WalkAccess {
  readonly kind: AccessKind;
  readonly mode: AccessMode;
}

/** Effective rights after some levels: what every entry so far allows. */
export interface RightsSoFar {
  readonly write: boolean;
  readonly execute: boolean;
  readonly user: boolean;
}

export interface WalkStep extends PathStep {
  /** Set fields of the entry, see {@link fieldNames}. */
  readonly flags: string;
  readonly rights: RightsSoFar;
}

/** Where a walk ended. */
export type WalkEnd =
  | { readonly kind: "page"; readonly physical: number; readonly level: number }
  /** `because` names the entries whose bits forbid the access, or is empty. */
  | {
      readonly kind: "fault";
      readonly errorCode: number;
      readonly sentence: string;
      readonly because: string;
    }
  | { readonly kind: "non-canonical" }
  /** The image does not hold the table at this physical address. */
  | { readonly kind: "missing-table"; readonly table: number };

export interface WalkReport {
  readonly address: bigint;
  readonly access: WalkAccess;
  readonly steps: readonly WalkStep[];
  readonly end: WalkEnd;
  /** What Linux takes the last entry for; null when there is none that the image holds. */
  readonly linux: string | null;
}

/** What a walk reads: a machine's memory and control state, and which of its frames are known. */
export interface WalkSource {
  readonly memory: PhysicalMemory;
  readonly control: ControlRegisters;
  readonly codec: EntryCodec;
  /** Whether the image holds the page at this physical address. */
  holds(page: number): boolean;
}

const ERROR_CODE_BITS = [
  { bit: PF_P, name: "P", set: "page present" },
  { bit: PF_W, name: "W/R", set: "write" },
  { bit: PF_U, name: "U/S", set: "user mode" },
  { bit: PF_RSVD, name: "RSVD", set: "reserved bit set" },
  { bit: PF_I, name: "I/D", set: "instruction fetch" },
  { bit: PF_PK, name: "PK", set: "protection key" },
] as const;

/** Walks one address of an image: the CPU's own walk, which changes nothing here. */
export function walkReport(source: WalkSource, address: bigint, access: WalkAccess): WalkReport {
  const { memory, control, codec } = source;
  const lo = linearLo(address);
  const hi = linearHi(address);
  if (!isCanonical(hi, control.levels)) {
    return { address, access, steps: [], end: { kind: "non-canonical" }, linux: null };
  }
  const result = new WalkResult();
  const code = walk(memory, control, lo, hi, access.kind, access.mode, INSPECT, result);
  const missing = result.path.findIndex((step) => !source.holds(tableOf(step.address)));
  if (missing >= 0) {
    const table = tableOf(result.path[missing]!.address);
    const steps = stepsOf(result.path.slice(0, missing), control);
    return { address, access, steps, end: { kind: "missing-table", table }, linux: null };
  }
  const steps = stepsOf(result.path, control);
  const reading = readLinux(codec, result.level, result.entry);
  const linux = describeLinux(reading) + ("flags" in reading ? ` (${reading.flags.join("|")})` : "");
  if (code === WALK_OK) {
    return {
      address,
      access,
      steps,
      end: { kind: "page", physical: result.physical, level: result.level },
      linux,
    };
  }
  const fault = result.toFault(access.kind, access.mode, control);
  const because = culprits(fault.reason, result.path);
  const end: WalkEnd = { kind: "fault", errorCode: fault.errorCode, sentence: fault.describe(), because };
  return { address, access, steps, end, linux };
}

/** The report as lines for a person. */
export function walkLines(report: WalkReport, paint: Paint): string[] {
  const { address, steps, end, linux } = report;
  const title = `0x${hexWords(linearHi(address) >>> 0, linearLo(address) >>> 0)}  ${describeAccess(report.access)}`;
  const lines = [paint("heading", title)];
  const width = Math.max(5, ...steps.map(({ flags }) => flags.length));
  const row = (level: string, at: string, value: string, flags: string, rights: string): string =>
    `  ${level.padEnd(5)}  ${at.padEnd(15)}  ${value.padEnd(18)}  ${flags.padEnd(width)}  ${rights}`;
  if (steps.length > 0) {
    lines.push(paint("quiet", row("level", "entry at", "value", "flags", "rights so far")));
  }
  for (const { level, address: at, entry, flags, rights } of steps) {
    const present = (entry.lo & PTE_P) !== 0;
    const so = present ? rightsText(rights) : "not present";
    lines.push(row(LEVEL_NAMES[level] ?? "", hexPhysical(at), `${entry}`, flags, so));
  }
  lines.push(...endLines(end, paint).map((line) => `  ${line}`));
  if (linux !== null) lines.push(`  Linux: ${linux}`);
  return lines;
}

/** The report as an object with stable field names. */
export function walkObject(report: WalkReport): object {
  const { address, access, steps, end, linux } = report;
  return {
    address: hex(address),
    access: describeAccess(access),
    steps: steps.map(({ level, address: at, entry, flags, rights }) => ({
      level: LEVEL_NAMES[level] ?? "",
      address: hex(at),
      value: `${entry}`,
      flags,
      rights,
    })),
    end: endObject(end),
    linux,
  };
}

/** Bits of a page fault's error code, with their meaning. */
export function errorCodeWords(code: number): string {
  const words = ERROR_CODE_BITS.filter(({ bit }) => (code & bit) !== 0).map(
    ({ name, set }) => `${name} (${set})`,
  );
  return words.length === 0 ? "none set: a read by the supervisor, page not present" : words.join(", ");
}

function endLines(end: WalkEnd, paint: Paint): string[] {
  switch (end.kind) {
    case "page": {
      const size = formatBytes(pageBytes(end.level));
      const frame = hex(Math.floor(end.physical / PAGE_SIZE));
      return [`${paint("good", `-> physical ${hex(end.physical)}`)}, in a ${size} page, frame ${frame}`];
    }
    case "fault":
      return [
        paint("danger", end.because === "" ? end.sentence : `${end.sentence}: ${end.because}`),
        `error code 0x${end.errorCode.toString(16).padStart(2, "0")}: ${errorCodeWords(end.errorCode)}`,
      ];
    case "non-canonical":
      return [paint("danger", "#GP: the address is not canonical, no walk is made")];
    case "missing-table":
      return [paint("warning", `the image does not hold the table at ${hex(end.table)}: the walk ends here`)];
  }
}

function endObject(end: WalkEnd): object {
  switch (end.kind) {
    case "page":
      return { kind: end.kind, physical: hex(end.physical), pageBytes: pageBytes(end.level) };
    case "missing-table":
      return { kind: end.kind, table: hex(end.table) };
    default:
      return end;
  }
}

function stepsOf(path: readonly PathStep[], control: ControlRegisters): WalkStep[] {
  let every = -1;
  let any = 0;
  return path.map((step) => {
    const { entry, kind } = step;
    every &= entry.lo;
    any |= entry.hi;
    const flags = (entry.lo & PTE_P) === 0 ? "" : fieldNames(decode(kind, entry, control.layout));
    const rights = {
      write: (every & PTE_W) !== 0,
      execute: (any & PTE_XD) === 0,
      user: (every & PTE_U) !== 0,
    };
    return { ...step, flags, rights };
  });
}

/** Which entries of the path forbid what the reason says. */
function culprits(reason: FaultReason, path: readonly PathStep[]): string {
  const forbids = FORBIDDING[reason];
  if (forbids === undefined) return "";
  const names = path.filter(({ entry }) => forbids.test(entry)).map(({ level }) => LEVEL_NAMES[level] ?? "");
  return `${forbids.what} in ${names.join(", ")}`;
}

const FORBIDDING: Readonly<
  Partial<Record<FaultReason, { what: string; test: (entry: PathStep["entry"]) => boolean }>>
> = {
  "supervisor-page": { what: "U/S=0", test: ({ lo }) => (lo & PTE_U) === 0 },
  "read-only": { what: "R/W=0", test: ({ lo }) => (lo & PTE_W) === 0 },
  "execute-disable": { what: "XD=1", test: ({ hi }) => (hi & PTE_XD) !== 0 },
};

function describeAccess({ kind, mode }: WalkAccess): string {
  const what = kind === ACCESS_WRITE ? "write" : kind === ACCESS_FETCH ? "fetch" : "read";
  return `${mode === MODE_USER ? "user" : "supervisor"} ${what}`;
}

function rightsText({ write, execute, user }: RightsSoFar): string {
  return `r${write ? "w" : "-"}${execute ? "x" : "-"} ${user ? "user" : "kernel"}`;
}

function tableOf(entryAddress: number): number {
  return entryAddress - (entryAddress % PAGE_SIZE);
}
