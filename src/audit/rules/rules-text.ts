import { RULES } from "./index.ts";

const HEAD = `# Rules

What the auditor judges. Rules with a number are invariants of Linux's memory management around 4.13: how the kernel keeps
TLBs, virtual machines and devices from using what its page tables no longer say. G1 to G3 hold on any system; where the
system tells enough for its own rules to judge, they keep silent about the same thing. This page is made from the table
of rules (\`npm run docs\`); \`ptescope explain rule 35\` shows a history that breaks a rule and one that keeps it.

| rule | what holds | judged when | source |
|---|---|---|---|
`;

/** docs/rules.md: every rule. */
export function rulesMarkdown(): string {
  const rows = RULES.map(({ id, title, when, source }) => `| ${id} | ${title} | ${when} | ${source} |`);
  return `${HEAD}${rows.join("\n")}\n`;
}
