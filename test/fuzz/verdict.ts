import { coloured } from "../../src/text/paint.ts";

/** What an input left behind. */
export interface Result {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

/** Controls but for the ends of lines, whatever turns the writing round or has no width, other ends of lines. */
const RAW =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  /[\0-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}\p{Cs}]/u;
/** Frames of a stack. */
const FRAME = /^ +at .*:\d+:\d+\)?$|\bat (?:async )?[\w.#<>]+ \(?(?:file:|node:|\/)|internal error/m;
/** What the engine says when code of ours stumbles: no message for a person. */
const ENGINE =
  /Cannot (?:read|set|convert|destructure|mix|access)|is not (?:a function|iterable|defined|a constructor)|Invalid (?:array|typed array|string|regular|time|count|code point)|out of bounds|call stack|must be (?:a string|of type|an instance)|Array buffer allocation|of undefined|\bERR_[A-Z_]+|\[object |\bundefined\b/;
/** What paint makes around text. */
const COLOURS = new RegExp(
  [
    ...new Set(
      (["heading", "quiet", "good", "warning", "danger"] as const).flatMap((tone) =>
        coloured(tone, "\n").split("\n"),
      ),
    ),
  ]
    .map((code) => code.replace("[", "\\["))
    .join("|"),
  "g",
);

/** What is wrong with a result; null if nothing. `json`: the output must be JSON when the status is not 2. */
export function faultOf({ status, output, errors }: Result, colours: boolean, json: boolean): string | null {
  const shown = colours ? output.replace(COLOURS, "") : output;
  const all = shown + errors;
  if (status !== 0 && status !== 1 && status !== 2) return `status ${status}`;
  const raw = RAW.exec(all);
  if (raw !== null)
    return `raw character ${JSON.stringify(raw[0])} in ${JSON.stringify(all.slice(Math.max(0, raw.index - 60), raw.index + 20))}`;
  if (FRAME.test(errors)) return "a stack trace";
  const engine = ENGINE.exec(errors);
  if (engine !== null) return `the engine's own words: ${engine[0]}`;
  const lines = errors.split("\n").slice(0, -1);
  if (lines.some((line) => !/^ptescope( [a-z]+)?: /.test(line)))
    return "a line on standard error that is not ours";
  if (status === 2 && lines.length === 0) return "status 2 without a word";
  if (errors !== "" && !errors.endsWith("\n")) return "a line without its end";
  if (json && status !== 2) return jsonFault(output);
  return null;
}

function jsonFault(output: string): string | null {
  try {
    JSON.parse(output);
    return null;
  } catch {
    return "JSON that cannot be parsed";
  }
}
