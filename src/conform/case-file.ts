import { FormatError } from "../formats/format-error.ts";
import { checkVersion } from "./answer.ts";
import type { ConformCase } from "./case.ts";
import { parseCase } from "./case-json.ts";
import { parseLine, type Refuse } from "./json-value.ts";
import { linesOf } from "./line-file.ts";

/** The cases of a file, read as they are asked for. Throws FormatError with the offset of the line at fault. */
export function* readCaseFile(file: string): Generator<ConformCase> {
  let count = 0;
  for (const { text, offset } of linesOf(file)) {
    const refuse: Refuse = (expected) => new FormatError(file, offset, expected);
    if (offset === 0) checkVersion(parseLine(text, "the header of a case file", refuse), refuse);
    else {
      yield parseCase(text, refuse);
      count++;
    }
  }
  if (count === 0) throw new FormatError(file, null, "a header and at least one case");
}
