import { writeFileSync } from "node:fs";
import { rulesMarkdown } from "../src/audit/rules/rules-text.ts";
import { vocabularyMarkdown } from "../src/trace/vocabulary.ts";

/** The pages that are made from tables, by name. */
export const GENERATED: Readonly<Record<string, () => string>> = {
  "docs/records.md": vocabularyMarkdown,
  "docs/rules.md": rulesMarkdown,
};

if (process.argv[1] === import.meta.filename) {
  for (const [file, make] of Object.entries(GENERATED)) writeFileSync(file, make());
}
