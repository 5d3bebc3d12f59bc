import { explainJson, rulesJson } from "../audit/histories/explain-json.ts";
import { explainText, rulesText } from "../audit/histories/explain-text.ts";
import { explainRule } from "../audit/histories/explained-rule.ts";
import { quote } from "../formats/format-error.ts";
import { faultLines, faultObject } from "../inspect/fault-text.ts";
import { jsonText } from "../text/escape.ts";
import { type Command, parseArguments, requirePositionals, UsageError } from "./command.ts";
import { linesOf } from "./output.ts";
import { parseWord } from "./word.ts";

export const explainCommand: Command = {
  name: "explain",
  summary:
    "a rule of the auditor with a history that breaks it and one that keeps it; a page fault's error code",
  usage: "rule ID | rules | fault CODE [--json]",
  options: { json: { help: "the same as JSON" } },
  notes: [
    "explain rules lists the rules. The two histories of a rule are played when you ask, and judged by the auditor.",
    "explain fault 0x15 spells an error code of a page fault: its bits, which cannot stand together, what causes it.",
    "A line marked - or + is one that only the one that breaks, or keeps, has.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(explainCommand, args);
    const [what = ""] = requirePositionals(explainCommand, parsed, 1, 2);
    const asJson = parsed.has("json");
    if (what === "rules") {
      requirePositionals(explainCommand, parsed, 1);
      await terminal.write(linesOf(asJson ? jsonText(rulesJson(), 2) : rulesText()));
      return 0;
    }
    if (what !== "rule" && what !== "fault") {
      throw new UsageError(`${quote(what)}: give rule ID, rules, or fault CODE`);
    }
    const [, id = ""] = requirePositionals(explainCommand, parsed, 2);
    if (what === "fault") {
      const code = parseErrorCode(id);
      const lines = asJson ? linesOf(jsonText(faultObject(code), 2)) : faultLines(code, terminal.paint);
      await terminal.write(lines);
      return 0;
    }
    const explained = explainRule(id);
    const text = asJson ? jsonText(explainJson(explained), 2) : explainText(explained, terminal.paint);
    await terminal.write(linesOf(text));
    return 0;
  },
};

/** An error code, hexadecimal as the kernel prints it, or binary. Throws UsageError. */
function parseErrorCode(text: string): number {
  const value = parseWord("error code", text);
  if (value >= 2n ** 32n) throw new UsageError(`error code ${quote(text)}: it has 32 bits`);
  return Number(value);
}
