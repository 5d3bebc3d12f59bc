import { escapeText, jsonText } from "../text/escape.ts";
import type { ConformResult, Verdict } from "./runner.ts";

/* The two forms of results that CI systems read: TAP version 14, and the XML that JUnit has made usual. */

/** Results for a reader of TAP; a case in `expected` is known to fail. */
export function* tapLines(
  result: ConformResult,
  verdicts: readonly Verdict[],
  expected: ReadonlySet<string>,
): Generator<string> {
  yield "TAP version 14";
  if (result.skip !== null) {
    yield `1..0 # SKIP ${tapText(result.skip)}`;
    return;
  }
  yield `1..${verdicts.length}`;
  for (const [i, { conformCase, state, points, reason }] of verdicts.entries()) {
    const { id, title } = conformCase;
    const name = `${i + 1} - ${id}${title === undefined ? "" : ` ${tapText(title)}`}`;
    if (state === "matched") yield `ok ${name}`;
    else if (state !== "mismatched")
      yield `ok ${name} # SKIP ${skipWords(state)}${reason === "" ? "" : `: ${tapText(reason)}`}`;
    else {
      yield `not ok ${name}${expected.has(id) ? " # TODO expected to fail" : ""}`;
      yield "  ---";
      yield "  causes:";
      for (const { detail } of points) yield `    - ${jsonText(detail)}`;
      yield "  ...";
    }
  }
  if (result.ended !== null) yield `Bail out! ${tapText(result.ended)}`;
}

/** Results for a reader of JUnit's XML; a case in `expected` is skipped. */
export function* junitLines(
  result: ConformResult,
  verdicts: readonly Verdict[],
  expected: ReadonlySet<string>,
): Generator<string> {
  const failures = verdicts.filter(
    ({ state, conformCase }) => state === "mismatched" && !expected.has(conformCase.id),
  );
  const skipped = verdicts.filter(({ state }) => state !== "matched").length - failures.length;
  const errors = result.ended === null ? 0 : 1;
  const name = `name=${attribute(result.subject)}`;
  yield '<?xml version="1.0" encoding="UTF-8"?>';
  yield `<testsuite ${name} tests="${verdicts.length + errors}" failures="${failures.length}" errors="${errors}" skipped="${skipped}">`;
  for (const { conformCase, state, points, reason } of verdicts) {
    const { id, title = "" } = conformCase;
    const [group = ""] = id.split("/");
    const head = `<testcase classname=${attribute(group)} name=${attribute(title === "" ? id : `${id} ${title}`)}`;
    if (state === "matched") yield `  ${head}/>`;
    else if (state === "mismatched" && !expected.has(id)) {
      const [first] = points;
      const body = xmlText(points.map(({ detail, rule }) => `${detail} (${rule.says})`).join("; "));
      yield `  ${head}><failure message=${attribute(first?.cause ?? "")}>${body}</failure></testcase>`;
    } else {
      const why =
        state === "mismatched"
          ? "expected to fail"
          : `${skipWords(state)}${reason === "" ? "" : `: ${reason}`}`;
      yield `  ${head}><skipped message=${attribute(why)}/></testcase>`;
    }
  }
  if (result.ended !== null) {
    yield `  <testcase classname="run" name="the run to its end"><error message=${attribute(result.ended)}/></testcase>`;
  }
  yield "</testsuite>";
}

function skipWords(state: Exclude<Verdict["state"], "matched" | "mismatched">): string {
  return state === "undeclared" ? "not declared" : state;
}

/** "#" would begin a directive. */
function tapText(text: string): string {
  return escapeText(text).replaceAll("\\", "\\\\").replaceAll("#", "\\#");
}

function xmlText(text: string): string {
  return escapeText(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function attribute(text: string): string {
  return `"${xmlText(text).replaceAll('"', "&quot;")}"`;
}
