import { ACCESS_FETCH, ACCESS_WRITE, MODE_USER } from "../../arch/x86/cpu/access-rights.ts";
import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { LEVEL_NAMES } from "../../arch/x86/cpu/entry-layout.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { formatBytes, hex, hexWords } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { errorCodeWords } from "./error-code.ts";
import { pageBytes } from "./leaves.ts";
import { stepLines } from "./path-steps.ts";
import type { WalkAccess, WalkEnd, WalkReport } from "./walk-report.ts";

/** The report as lines for a person. */
export function walkLines(report: WalkReport, paint: Paint): string[] {
  const { address, steps, end, differences, linux } = report;
  const title = `0x${hexWords(linearHi(address) >>> 0, linearLo(address) >>> 0)}  ${describeAccess(report.access)}`;
  const lines = [paint("heading", title)];
  lines.push(...stepLines(steps, paint));
  lines.push(...endLines(end, paint).map((line) => `  ${line}`));
  for (const { where, outcome } of differences) lines.push(`  ${where}: ${outcome}`);
  if (linux !== null) lines.push(`  Linux: ${linux}`);
  return lines;
}

/** The report as an object with stable field names. */
export function walkObject(report: WalkReport): object {
  const { address, access, steps, end, differences, linux } = report;
  return {
    address: hex(address),
    access: describeAccess(access),
    steps: steps.map(({ level, address: at, entry, flags, rights, reserved }) => ({
      level: LEVEL_NAMES[level] ?? "",
      address: hex(at),
      value: `${entry}`,
      flags,
      rights,
      reserved,
    })),
    end: endObject(end),
    differences,
    linux,
  };
}

function endLines(end: WalkEnd, paint: Paint): string[] {
  switch (end.kind) {
    case "page": {
      const size = formatBytes(pageBytes(end.level));
      const frame = hex(Math.floor(end.physical / PAGE_SIZE));
      return [
        `${paint("good", `-> physical ${hex(end.physical)}`)}, in a ${size} page, frame ${frame}`,
        `memory type: ${end.memoryType} (entry ${end.patEntry} of IA32_PAT)`,
        ...(end.marked === null ? [] : [`the page is ${end.marked}`]),
      ];
    }
    case "fault":
      return [
        paint("danger", end.because === "" ? end.sentence : `${end.sentence}: ${end.because}`),
        `error code 0x${end.errorCode.toString(16).padStart(2, "0")}: ${errorCodeWords(end.errorCode)}`,
      ];
    case "non-canonical":
      return [paint("danger", "#GP: the address is not canonical, no walk is made")];
    case "missing-table":
      return [paint("warning", missingTable(end.table))];
  }
}

/** Why a walk ended early. */
export function missingTable(table: number): string {
  return `the image does not hold the table at ${hex(table)}: the walk ends here`;
}

function endObject(end: WalkEnd): object {
  switch (end.kind) {
    case "page":
      return {
        kind: end.kind,
        physical: hex(end.physical),
        pageBytes: pageBytes(end.level),
        patEntry: end.patEntry,
        memoryType: end.memoryType,
        ...(end.marked === null ? {} : { marked: end.marked }),
      };
    case "missing-table":
      return { kind: end.kind, table: hex(end.table) };
    default:
      return end;
  }
}

function describeAccess({ kind, mode }: WalkAccess): string {
  const what = kind === ACCESS_WRITE ? "write" : kind === ACCESS_FETCH ? "fetch" : "read";
  return `${mode === MODE_USER ? "user" : "supervisor"} ${what}`;
}
