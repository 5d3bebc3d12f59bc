import { explainJson, rulesJson } from "../audit/histories/explain-json.ts";
import { explainText, rulesText } from "../audit/histories/explain-text.ts";
import { explainRule } from "../audit/histories/explained-rule.ts";
import { quote } from "../formats/format-error.ts";
import { type Command, parseArguments, requirePositionals, UsageError } from "./command.ts";

export const explainCommand: Command = {
  name: "explain",
  summary: "what a rule of the auditor says, a history that breaks it and one that keeps it",
  usage: "rule ID | rules [--json]",
  options: { json: { help: "the same as JSON" } },
  notes: [
    "explain rules lists the rules. The two histories of a rule are played when you ask, and judged by the auditor.",
    "A line marked - or + is one that only the one that breaks, or keeps, has.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(explainCommand, args);
    const [what = ""] = requirePositionals(explainCommand, parsed, 1, 2);
    const asJson = parsed.has("json");
    if (what === "rules") {
      requirePositionals(explainCommand, parsed, 1);
      await terminal.write(asJson ? jsonText(rulesJson()) : rulesText());
      return 0;
    }
    if (what !== "rule") throw new UsageError(`${quote(what)}: give rule ID, or rules`);
    const [, id = ""] = requirePositionals(explainCommand, parsed, 2);
    const explained = explainRule(id);
    await terminal.write(asJson ? jsonText(explainJson(explained)) : explainText(explained, terminal.paint));
    return 0;
  },
};

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
