import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SHADOW_READ,
  ACCESS_SHADOW_WRITE,
  ACCESS_WRITE,
  MODE_SUPERVISOR,
  MODE_SUPERVISOR_AC,
  MODE_USER,
} from "../../arch/x86/cpu/access-rights.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { LEVEL_NAMES } from "../../arch/x86/cpu/entry-layout.ts";
import { PF_I, PF_SS, PF_U, PF_W } from "../../arch/x86/cpu/page-fault.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { hex } from "../text/hex.ts";
import { decodeEntry, type LinuxLevel } from "./decode-report.ts";
import { doubtsOf } from "./doubts.ts";
import { errorCodeConflicts } from "./error-code.ts";
import { codeText } from "./fault-text.ts";
import { OopsMemory } from "./oops-memory.ts";
import type { OopsText } from "./oops-text.ts";
import { type EntryMark, type WalkAccess, type WalkReport, walkReport } from "./walk-report.ts";

/** An oops, walked and explained. */
export interface OopsReport {
  readonly oops: OopsText;
  readonly walk: WalkReport;
  /** Whether the entries give the error code that was reported; null when none was. */
  readonly explained: boolean | null;
  /** What happened, in a sentence. */
  readonly verdict: string;
  /** What was taken for granted, contradicts itself or is to be doubted, a sentence each. */
  readonly notes: readonly string[];
}

const EFLAGS_AC = 1n << 18n;
const MISSING = "the image does not hold";

/** Switches that an oops may not show, and how they are said. */
const WHAT_IFS = [
  { register: "cr4", change: { smap: true }, text: "CR4.SMAP=1" },
  { register: "cr4", change: { smep: true }, text: "CR4.SMEP=1" },
] as const;

/**
 * Walks the entries of an oops. `known` names the registers that somebody gave: for others it is tried whether a usual
 * setting explains the fault.
 */
export function explainOops(
  oops: OopsText,
  control: ControlRegisters,
  pteFormat: PteFormat,
  mark: EntryMark | null,
  known: ReadonlySet<string>,
): OopsReport {
  const address = oops.address ?? 0n;
  const index = (level: number): number => Number((address >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
  const { root, levels } = control;
  const mask = mark?.mask ?? 0;
  const memory = new OopsMemory(oops.entries, root, levels, index, mask, false);
  const whole = new OopsMemory(oops.entries, root, levels, index, mask, true);
  const source = {
    memory,
    control,
    pteFormat,
    holds: (page: number): boolean => memory.holds(page),
    ...(mark === null ? {} : { marked: { ...mark, memory: whole } }),
  };
  const access = accessOf(oops, address);
  const run = (): WalkReport => {
    const report = walkReport(source, address, access);
    const differences = report.differences.filter(({ outcome }) => !outcome.startsWith(MISSING));
    return { ...report, differences };
  };
  const walk = run();
  const whatIf = (change: (typeof WHAT_IFS)[number]["change"]): WalkReport | null => {
    const [name] = Object.keys(change) as ["smap" | "smep"];
    const before = control[name];
    if (before || !control.set(change).ok) return null;
    const other = run();
    control.set({ [name]: before });
    return other;
  };
  const { explained, verdict } = verdictOf(oops, walk, (at) =>
    known.has(WHAT_IFS[at]!.register) ? null : whatIf(WHAT_IFS[at]!.change),
  );
  return { oops, walk, explained, verdict, notes: notesOf(oops, memory, control, pteFormat, mark) };
}

function accessOf({ errorCode, registers }: OopsText, address: bigint): WalkAccess {
  const mode = ((registers.eflags ?? 0n) & EFLAGS_AC) === 0n ? MODE_SUPERVISOR : MODE_SUPERVISOR_AC;
  if (errorCode === null) return { kind: ACCESS_READ, mode: address >> 63n === 0n ? MODE_USER : mode };
  const write = (errorCode & PF_W) !== 0;
  const shadow = (errorCode & PF_SS) !== 0;
  const data = shadow
    ? write
      ? ACCESS_SHADOW_WRITE
      : ACCESS_SHADOW_READ
    : write
      ? ACCESS_WRITE
      : ACCESS_READ;
  return {
    kind: (errorCode & PF_I) !== 0 ? ACCESS_FETCH : data,
    mode: (errorCode & PF_U) !== 0 ? MODE_USER : mode,
  };
}

function verdictOf(
  { errorCode }: OopsText,
  { end, differences }: WalkReport,
  whatIf: (at: number) => WalkReport | null,
): Pick<OopsReport, "explained" | "verdict"> {
  const here = end.kind === "fault" ? codeText(end.errorCode) : "no fault";
  if (end.kind === "missing-table") {
    return {
      explained: null,
      verdict: "the text ends before the walk does: give the entry of the next table",
    };
  }
  if (errorCode === null) {
    const verdict = `the entries give ${end.kind === "fault" ? `#PF ${here}` : here}; no line tells the error code`;
    return { explained: null, verdict };
  }
  const code = codeText(errorCode);
  if (end.kind === "fault" && end.errorCode === errorCode) {
    return { explained: true, verdict: `explained: the entries and registers give error code ${code}` };
  }
  for (const [at, { text }] of WHAT_IFS.entries()) {
    const other = whatIf(at)?.end;
    if (other?.kind === "fault" && other.errorCode === errorCode) {
      return { explained: true, verdict: `explained if ${text}, which no line shows: ${other.sentence}` };
    }
  }
  const elsewhere = differences.find(({ outcome }) => outcome.startsWith(`#PF ${code},`));
  if (elsewhere !== undefined) {
    return { explained: true, verdict: `explained ${elsewhere.where}: ${elsewhere.outcome}` };
  }
  const verdict =
    end.kind === "fault"
      ? `not explained: the entries give #PF ${here}, the oops says ${code}`
      : `not explained: the entries allow the access, the oops says ${code}; they were read after the fault, so another CPU changed them, or a stale TLB entry refused`;
  return { explained: false, verdict };
}

function notesOf(
  oops: OopsText,
  { assumed, clashes }: OopsMemory,
  { layout, levels, model }: ControlRegisters,
  pteFormat: PteFormat,
  mark: EntryMark | null,
): string[] {
  const notes: string[] = [];
  if (oops.address === null) notes.push("no line tells the address (CR2): taken as 0");
  if (oops.registers.cr3 === undefined) notes.push("no line tells CR3: the root table's place is taken as 0");
  if (assumed.length > 0) {
    const names = assumed.map((level) => LEVEL_NAMES[level]).join(", ");
    notes.push(`no line has the ${names}: taken as one that allows everything`);
  }
  for (const at of clashes) {
    notes.push(`two of the entries would stand at ${hex(at)}: they are not of one walk, or CR3 is another`);
  }
  for (const name of oops.twice) notes.push(`${name} stands there with two values: the first counts`);
  const { errorCode } = oops;
  if (errorCode !== null) notes.push(...errorCodeConflicts(errorCode).map((why) => `cannot be: ${why}`));
  const hidden = mark === null ? 0n : 1n << BigInt(mark.bit);
  for (const { name, value } of oops.entries) {
    const level = name.toLowerCase() as LinuxLevel;
    const decoded = decodeEntry(Entry.fromBigInt(value & ~hidden), level, levels, layout, [pteFormat]);
    notes.push(...doubtsOf(decoded, model.maxPhyAddr).map(({ text }) => `doubt about the ${name}: ${text}`));
  }
  return notes;
}
