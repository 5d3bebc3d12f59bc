import type { Finding } from "../../audit/findings.ts";

/** All findings of one rule in one run. */
export interface FindingSummary {
  /** Number of the rule, and what it says. */
  readonly rule: number;
  readonly title: string;
  /** Findings; each concerns one frame, or one call where no frame applies. */
  readonly count: number;
  /** Distinct frames among them. */
  readonly frames: number;
  /** The first one, in full. */
  readonly first: Finding;
}

/** Groups findings by rule, in the order of the rules' numbers. */
export function summarize(findings: readonly Finding[]): FindingSummary[] {
  const byRule = new Map<number, Finding[]>();
  for (const finding of findings) {
    const group = byRule.get(finding.rule.id);
    if (group === undefined) byRule.set(finding.rule.id, [finding]);
    else group.push(finding);
  }
  return [...byRule]
    .sort(([a], [b]) => a - b)
    .map(([rule, group]) => ({
      rule,
      title: group[0]!.title,
      count: group.length,
      frames: new Set(group.flatMap(({ frame }) => (frame === null ? [] : [frame]))).size,
      first: group[0]!,
    }));
}
