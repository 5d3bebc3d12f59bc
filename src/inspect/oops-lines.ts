import { hex } from "../text/hex.ts";
import type { Paint } from "../text/paint.ts";
import { errorCodeWords } from "./error-code.ts";
import { codeText } from "./fault-text.ts";
import type { OopsReport } from "./oops-report.ts";
import { missingTable, walkLines, walkObject } from "./walk-text.ts";

/** The explained oops as lines for a person. */
export function oopsLines({ oops, walk, explained, verdict, notes }: OopsReport, paint: Paint): string[] {
  const { errorCode, rip } = oops;
  const gap = walk.end.kind === "missing-table" ? walk.end.table : null;
  const lines = walkLines(walk, paint).map((line) =>
    gap === null
      ? line
      : line.replace(missingTable(gap), `the text has no entry of the table at ${hex(gap)}`),
  );
  if (rip !== null) lines.push(`  instruction: ${rip}`);
  if (errorCode !== null)
    lines.push(`  reported: error code ${codeText(errorCode)}: ${errorCodeWords(errorCode)}`);
  lines.push(`  ${paint(explained === false ? "warning" : "good", verdict)}`);
  return [...lines, ...notes.map((note) => `  ${paint("warning", note)}`)];
}

/** The same with stable field names. */
export function oopsObject({ oops, walk, explained, verdict, notes }: OopsReport): object {
  const { errorCode, rip, entries, registers } = oops;
  return {
    format: "ptescope-oops",
    version: 1,
    entries: entries.map(({ name, value }) => ({ name, value: hex(value) })),
    registers: Object.fromEntries(Object.entries(registers).map(([name, value]) => [name, hex(value)])),
    errorCode: errorCode === null ? null : codeText(errorCode),
    rip,
    walk: walkObject(walk),
    explained,
    verdict,
    notes,
  };
}
