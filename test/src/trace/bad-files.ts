import { expect } from "vitest";
import { FormatError } from "../../../src/formats/format-error.ts";
import { type ReadOptions, readRecords } from "../../../src/trace/file/read-records.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";
import { fileOf, linesFile, linesOf } from "./files.ts";

/* Small files that are not what they should be, and what reading them comes to. */

export const NOBODY = { agent: 0, cpu: -1, space: -1 };

/** The error that reading all of it ends in; null if it does not. */
export function errorOf(file: Uint8Array, options: ReadOptions = {}): string | null {
  try {
    for (const _ of readRecords([file], { file: "f", ...options })) {
      // Only read.
    }
    return null;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.message).toMatch(/^f:( offset 0x[0-9a-f]+:)? expected [ -~]+$/);
    return error.message;
  }
}

/** A record of no consequence. */
export const primitive = (seq: number, name = "x"): TraceRecord => ({
  kind: "primitive",
  seq,
  ...NOBODY,
  name,
});
/** Lines of a small file: header, mark, one record, mark. */
export const LINES = linesOf(fileOf("text", ["opened", primitive(1), "ended"]));

/** The small file with one line replaced. */
export function changed(place: number, ...lines: string[]): Uint8Array {
  return linesFile(LINES.toSpliced(place, 1, ...lines));
}

/** The header with some of its values replaced. */
export function headed(change: object): Uint8Array {
  return changed(0, JSON.stringify({ ...JSON.parse(LINES[0]!), ...change }));
}

/** The small file with another record: its fields as JSON. */
export const oneRecord = (fields: string) =>
  changed(2, `{"kind":"page-freed","seq":1,"agent":0,"cpu":null,"space":null,${fields}}`);
