import { ACCESS_FETCH, type AccessKind, type AccessMode } from "../../arch/x86/cpu/access-rights.ts";
import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { Entry } from "../../arch/x86/cpu/entry.ts";
import { decode, LEVEL_NAMES, PTE_P, PTE_U, PTE_W, PTE_XD } from "../../arch/x86/cpu/entry-layout.ts";
import { isCanonical, linearHi, linearLo, untagHi } from "../../arch/x86/cpu/linear-address.ts";
import { patIndex } from "../../arch/x86/cpu/memory-type.ts";
import { type FaultReason, WALK_DENIED, WALK_OK } from "../../arch/x86/cpu/page-fault.ts";
import { INSPECT, type PathStep, WalkResult, walk } from "../../arch/x86/cpu/page-walk.ts";
import type { MemoryType } from "../../arch/x86/cpu/pat.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { type CpuDifference, cpuDifferences } from "./cpu-differences.ts";
import { fieldBits } from "./entry-flags.ts";
import { describeLinux, readLinux } from "./linux-reading.ts";
import { pathSteps, type WalkStep } from "./path-steps.ts";

/** The access that a walk is judged for. */
export interface WalkAccess {
  readonly kind: AccessKind;
  readonly mode: AccessMode;
}

/** Where an address leads, whatever an access to it may do. */
export interface Mapping {
  /** Of the byte. */
  readonly physical: number;
  /** Level of the leaf: 1, 2 or 3. */
  readonly level: number;
  /** The entry of IA32_PAT that the leaf chooses: 4 * PAT + 2 * PCD + PWT (SDM vol. 3, 11.12.3). */
  readonly patEntry: number;
  /** The type that the entry has in the PAT of the control state. */
  readonly memoryType: MemoryType;
  /** "encrypted", "shared", ... where entries have a bit for it, else null. */
  readonly marked: string | null;
}

/** Where a walk ended. */
export type WalkEnd =
  | ({ readonly kind: "page" } & Mapping)
  /** `because` names the entries whose bits forbid the access, or is empty. */
  | {
      readonly kind: "fault";
      readonly errorCode: number;
      readonly reason: FaultReason;
      readonly sentence: string;
      readonly because: string;
    }
  | { readonly kind: "non-canonical" }
  /** The image does not hold the table at this physical address. */
  | { readonly kind: "missing-table"; readonly table: number };

/** A walk, level by level, and where it ended. */
export interface WalkReport {
  readonly address: bigint;
  readonly access: WalkAccess;
  readonly steps: readonly WalkStep[];
  readonly end: WalkEnd;
  /** Null when no access at all gets through: P=0, a reserved bit, or no walk. */
  readonly mapping: Mapping | null;
  /** Other CPUs on which the access ends otherwise. */
  readonly differences: readonly CpuDifference[];
  /** What Linux takes the last entry for; null when there is none that the image holds. */
  readonly linux: string | null;
}

/** What a walk reads: a machine's memory and control state, and which of its frames are known. */
export interface WalkSource {
  readonly memory: PhysicalMemory;
  readonly control: ControlRegisters;
  readonly pteFormat: PteFormat;
  /** Whether the image holds the page at this physical address. */
  holds(page: number): boolean;
  /** The bit that marks pages: `memory` has it clear, `marked.memory` as the entries are. */
  readonly marked?: EntryMark & { readonly memory: PhysicalMemory };
}

/** A bit that marks encrypted or shared pages, and is no part of an address. */
export interface EntryMark {
  readonly bit: number;
  /** The bit in the high word of an entry. */
  readonly mask: number;
  /** What a page is with the bit set, and with it clear. */
  readonly set: string;
  readonly clear: string;
}

/** Walks one address of an image: the CPU's own walk, which changes nothing here. */
export function walkReport(source: WalkSource, address: bigint, access: WalkAccess): WalkReport {
  const { memory, control, pteFormat } = source;
  const lo = linearLo(address);
  const tagged = linearHi(address);
  const hi = control.lam && access.kind !== ACCESS_FETCH ? untagHi(tagged, control) : tagged;
  const nothing = { address, access, mapping: null, differences: [], linux: null };
  if (!isCanonical(hi, control.levels)) return { ...nothing, steps: [], end: { kind: "non-canonical" } };
  const result = new WalkResult();
  const code = walk(memory, control, lo, hi, access.kind, access.mode, INSPECT, result);
  const missing = result.path.findIndex((step) => !source.holds(tableOf(step.address)));
  if (missing >= 0) {
    const table = tableOf(result.path[missing]!.address);
    const steps = stepsOf(source, result.path.slice(0, missing));
    return { ...nothing, steps, end: { kind: "missing-table", table } };
  }
  const reading = readLinux(pteFormat, result.level, result.entry);
  const mapping = code === WALK_OK || code === WALK_DENIED ? mappingOf(source, result) : null;
  return {
    address,
    access,
    steps: stepsOf(source, result.path),
    end:
      code === WALK_OK && mapping !== null ? { kind: "page", ...mapping } : faultOf(result, access, control),
    mapping,
    differences: cpuDifferences(source, control, { lo, hi, ...access }),
    linux: describeLinux(reading) + ("flags" in reading ? ` (${reading.flags.join("|")})` : ""),
  };
}

function mappingOf({ control, marked }: WalkSource, result: WalkResult): Mapping {
  const { physical, level, lo } = result;
  const patEntry = patIndex(level, lo);
  const isMarked = marked !== undefined && (marked.memory.readHi(result.entryAddress) & marked.mask) !== 0;
  return {
    physical,
    level,
    patEntry,
    memoryType: control.cd ? "UC" : control.pat[patEntry]!,
    marked: marked === undefined ? null : isMarked ? marked.set : marked.clear,
  };
}

function faultOf(result: WalkResult, access: WalkAccess, control: ControlRegisters): WalkEnd {
  const fault = result.toFault(access.kind, access.mode, control);
  const { errorCode, reason } = fault;
  const because = culprits(reason, result.path, control);
  return { kind: "fault", errorCode, reason, sentence: fault.describe(), because };
}

function stepsOf({ control, marked }: WalkSource, path: readonly PathStep[]): WalkStep[] {
  const steps = pathSteps(path, control.layout);
  if (marked === undefined) return steps;
  return steps.map((step) => {
    const entry = marked.memory.read(step.address);
    const isMarked = (step.entry.lo & PTE_P) !== 0 && (entry.hi & marked.mask) !== 0;
    return { ...step, entry, flags: isMarked ? `${step.flags} ${marked.set}`.trimStart() : step.flags };
  });
}

/** Which entries of the path forbid what the reason says. */
function culprits(reason: FaultReason, path: readonly PathStep[], control: ControlRegisters): string {
  if (reason === "reserved-bit") return reservedBits(path.at(-1)!, control);
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

/** The reserved bits that are set in an entry, and why they are reserved. */
function reservedBits({ kind, entry, level }: PathStep, control: ControlRegisters): string {
  const fields = decode(kind, entry, control.layout).filter(
    ({ use, value }) => use === "reserved" && value !== 0,
  );
  const named = fields.map((field) => {
    const what = field.name === "reserved" ? field.meaning : `${field.name} in a ${LEVEL_NAMES[level]}`;
    const bits = setBits(entry, field.bits);
    return field.bits[0] === field.bits[1] ? `${bits} (${what})` : `${bits} of ${fieldBits(field)} (${what})`;
  });
  return `${LEVEL_NAMES[level]} has ${named.join(", ")} set`;
}

function setBits(entry: Entry, [high, low]: readonly [number, number]): string {
  const value = entry.toBigInt();
  const bits: number[] = [];
  for (let bit = high; bit >= low; bit--) if ((value >> BigInt(bit)) & 1n) bits.push(bit);
  return `bit${bits.length === 1 ? "" : "s"} ${bits.join(", ")}`;
}

function tableOf(entryAddress: number): number {
  return entryAddress - (entryAddress % PAGE_SIZE);
}
