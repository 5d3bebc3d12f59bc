import type { Encoding, RecordClass } from "../../arch/x86/cpu/record.ts";
import { FIELDS, type FieldName, KINDS, type RecordKind } from "./record.ts";

const CLASSES: Readonly<Record<RecordClass, string>> = {
  hardware: "What any recording of a machine has.",
  fact: "What the system says that it did.",
  hint: "What helps a reader. No judgement depends on it.",
};

const IN_FILES: Readonly<Record<Exclude<Encoding, readonly string[]>, string>> = {
  int: "whole number",
  difference: "whole number, never none",
  flag: "true or false",
  text: "text",
  names: "list of texts",
  pfn: "frame number",
  slot: "physical address of an entry",
  physical: "physical address",
  bytes: "bytes",
  linear: "linear address",
  entry: "64 bits",
  cpus: "set of CPUs",
  words: "512 entries",
};

const HEAD = `# Records

Everything that happens on a machine is told in records: plain objects, one kind for each thing that can happen. The
auditor, stories and files know nothing else. This page is made from the table that types, codecs and printers are made
from (\`npm run docs\`).

Every record begins with \`kind\`; \`seq\`, its number; \`agent\`, who did it; \`cpu\`, on which logical CPU; \`space\`, in
which address space. Agents, spaces, listeners, locks and flushes are named by id. None is -1 in memory and null in files.
`;

/** docs/records.md: every kind with its fields, by class, then every field. */
export function vocabularyMarkdown(): string {
  const kinds = Object.entries(KINDS) as [RecordKind, (typeof KINDS)[RecordKind]][];
  const sections = (Object.keys(CLASSES) as RecordClass[]).map((name) => {
    const rows = kinds
      .filter(([, row]) => row.class === name)
      .map(
        ([kind, { says, has }]) => `| ${kind} | ${says} | ${has.map((field) => `\`${field}\``).join(", ")} |`,
      );
    return [
      `## ${name}`,
      "",
      CLASSES[name],
      "",
      "| kind | what happened | fields |",
      "|---|---|---|",
      ...rows,
    ].join("\n");
  });
  const fields = (Object.keys(FIELDS) as FieldName[])
    .sort()
    .map((field) => `| ${field} | ${encodingWords(FIELDS[field].is)} | ${FIELDS[field].says} |`);
  const list = ["## Fields", "", "| field | value | what it says |", "|---|---|---|", ...fields].join("\n");
  return `${[HEAD, ...sections, list].join("\n\n").replaceAll("\n\n\n", "\n\n")}\n`;
}

function encodingWords(encoding: Encoding): string {
  return typeof encoding === "string" ? IN_FILES[encoding] : encoding.map((name) => `\`${name}\``).join(", ");
}
