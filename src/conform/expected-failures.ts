import { FormatError } from "../formats/format-error.ts";
import { isCaseId } from "./case.ts";
import { linesOf } from "./line-file.ts";
import type { ConformResult } from "./runner.ts";

/** The ids that a file names, one a line; what follows # is for people. Throws FormatError. */
export function readExpectedFailures(file: string): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { text, offset } of linesOf(file)) {
    const id = text.replace(/#.*/su, "").trim();
    if (id === "") continue;
    if (!isCaseId(id)) throw new FormatError(file, offset, "the id of a case, such as fact/29, in each line");
    ids.add(id);
  }
  return ids;
}

/** How failures compare with those that were expected. */
export interface FailureChange {
  /** Not expected. */
  readonly fresh: readonly string[];
  /** Expected, asked and right. */
  readonly mended: readonly string[];
}

/** Compares; `right` has the cases that were answered rightly. */
export function changeOf(
  { failures }: ConformResult,
  right: ReadonlySet<string>,
  expected: ReadonlySet<string>,
): FailureChange {
  return {
    fresh: failures.filter((id) => !expected.has(id)),
    mended: [...expected].filter((id) => right.has(id)),
  };
}
