import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import {
  addressMask,
  type EntryKind,
  PTE_A,
  PTE_D,
  PTE_PS,
  PTE_U,
  PTE_W,
  PTE_XD,
} from "../../arch/x86/cpu/entry-layout.ts";
import { patIndex } from "../../arch/x86/cpu/memory-type.ts";
import { formatBytes, hex } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import type { DecodedEntry } from "./decode-report.ts";
import type { FoundDoubt } from "./doubt.ts";
import { pageBytes } from "./leaves.ts";
import { describeLinux } from "./linux-reading.ts";
import { implausible } from "./plausibility.ts";

/** An entry in five lines: what it is, where it leads, what it allows, how that memory is cached, Linux's reading. */
export interface DecodeSummary {
  readonly value: string;
  readonly what: string;
  readonly address: string;
  readonly rights: string;
  readonly type: string;
  /** One for each kernel that was asked. */
  readonly linux: readonly string[];
}

/** What a summary needs beside the entry. */
export interface SummaryContext {
  readonly control: ControlRegisters;
  /** What the page is by the bit that marks encrypted or shared pages, "encrypted"; null without such a bit. */
  readonly marked: string | null;
  /** The value as it was given: the entry has the bit that marks pages clear. */
  readonly value: bigint;
}

const NARROWEST = 36;
const LAST_LARGE = 3;
const IS_TABLE: ReadonlySet<EntryKind> = new Set(["pml5e", "pml4e", "pdpte-table", "pde-table"]);

/** Sums up a decoded entry. */
export function summaryOf(decoded: DecodedEntry, context: SummaryContext): DecodeSummary {
  return {
    value: `0x${context.value.toString(16).padStart(16, "0")}`,
    what: `${decoded.name}: ${whatOf(decoded)}`,
    address: addressOf(decoded, context),
    rights: rightsOf(decoded),
    type: typeOf(decoded, context),
    linux: decoded.kernels.map(({ pteFormat, linux }) => {
      const flags = "flags" in linux ? `; ${linux.flags.join("|")}` : "";
      return `${describeLinux(linux)}${flags} (${pteFormat.layout.name})`;
    }),
  };
}

/** The summary as lines for a person, the doubts below it. */
export function summaryLines(
  { value, what, address, rights, type, linux }: DecodeSummary,
  doubts: readonly FoundDoubt[],
  paint: Paint,
): string[] {
  const row = (label: string, text: string): string => `${label.padEnd(7)}  ${text}`;
  return [
    `${paint("heading", value)}  ${what}`,
    row("address", address),
    row("rights", rights),
    row("type", type),
    ...linux.map((text, at) => row(at === 0 ? "Linux" : "", text)),
    ...doubts.map(({ text }) => paint("warning", row("doubt", text))),
  ];
}

function whatOf({ present, kind, level, reserved, kernels, entry }: DecodedEntry): string {
  if (!present) {
    const empty = kernels.every(({ linux }) => linux.kind === "none");
    return entry.lo === 0 && entry.hi === 0 ? "zero: no entry" : empty ? "empty" : "not present (P=0)";
  }
  const thing = IS_TABLE.has(kind) ? "points to a table" : `maps a page of ${formatBytes(pageBytes(level))}`;
  return reserved.length === 0 ? `present, ${thing}` : "present, but reserved bits are set: maps nothing";
}

function addressOf(decoded: DecodedEntry, { control, marked }: SummaryContext): string {
  const { present, entry, kernels, kind } = decoded;
  if (!present) {
    const likely = kernels.filter(({ linux }) => implausible(linux) === null);
    const [frame, ...others] = new Set(likely.flatMap(({ linux }) => ("pfn" in linux ? [linux.pfn] : [])));
    if (others.length > 0) return "none for the hardware; the kernels differ";
    return frame !== undefined
      ? `none for the hardware; Linux keeps frame ${hex(frame)} in it, at ${hex(frame * 4096)}`
      : "none: the hardware looks at P alone";
  }
  if (isAboveLargePages(decoded)) return "none: this level maps no page";
  const whole = { ...control.layout, maxPhyAddr: 52 };
  const address = entry.toBigInt() & addressMask(kind, whole).toBigInt();
  const parts = [
    `${hex(address)}, ${IS_TABLE.has(kind) ? "a table in frame" : "frame"} ${hex(address >> 12n)}`,
  ];
  if (marked !== null) parts.push(marked);
  const top = address.toString(2).length - 1;
  if (top >= NARROWEST) {
    parts.push(
      `bit ${top} is set: faults (#PF, RSVD) at MAXPHYADDR ${NARROWEST}${top === NARROWEST ? "" : ` to ${top}`}`,
    );
  }
  return parts.join("; ");
}

/** Whether an entry says that it maps a page where only tables follow. */
function isAboveLargePages({ level, entry }: DecodedEntry): boolean {
  return level > LAST_LARGE && (entry.lo & PTE_PS) !== 0;
}

function rightsOf({ present, entry, reserved, fields, kind }: DecodedEntry): string {
  if (!present) return "none: every access is a page fault";
  if (reserved.length > 0) return `none: every use is a page fault (RSVD), for ${reserved.join(", ")}`;
  const execute = (entry.hi & PTE_XD) === 0;
  const can = ["read", ...((entry.lo & PTE_W) === 0 ? [] : ["write"]), ...(execute ? ["execute"] : [])];
  const parts = [`${(entry.lo & PTE_U) === 0 ? "supervisor" : "user"} ${can.join(", ")}`];
  if (IS_TABLE.has(kind)) parts.push("as far as lower levels allow");
  const key = fields.find(({ name }) => name === "key");
  if (key !== undefined && key.value !== 0 && !IS_TABLE.has(kind)) {
    parts.push(`key ${key.value}${key.use === "used" ? "" : ", ignored: CR4.PKE=0 and PKS=0"}`);
  }
  if ((entry.lo & PTE_A) !== 0) parts.push("accessed");
  if ((entry.lo & PTE_D) !== 0 && !IS_TABLE.has(kind)) parts.push("dirty");
  if (fields.some(({ name, use, value }) => name === "G" && use === "used" && value !== 0))
    parts.push("global");
  return parts.join("; ");
}

function typeOf(
  { present, entry, reserved, level, kind }: DecodedEntry,
  { control }: SummaryContext,
): string {
  if (!present || reserved.length > 0) return "none";
  const isTable = IS_TABLE.has(kind);
  // A table entry has no bit for the upper half of the PAT.
  const index = isTable ? patIndex(1, entry.lo) & 3 : patIndex(level, entry.lo);
  const what = `${control.cd ? "UC: CR0.CD=1" : control.pat[index]} (entry ${index} of IA32_PAT)`;
  return isTable ? `the table itself is read as ${what}` : what;
}
