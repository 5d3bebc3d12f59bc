import type { RecordKind, TraceRecord } from "../../trace/record.ts";
import { Auditor } from "../auditor.ts";
import type { Finding } from "../findings.ts";
import { plainStoryOf } from "../story/plain-story.ts";
import { type Story, StoryTeller } from "../story/story.ts";
import { owedAt } from "../story/story-text.ts";
import type { RecordedHistory } from "./history.ts";
import { replay } from "./recorded-history.ts";

/** A history, what is found in it, and its story. */
export interface ToldHistory {
  readonly history: RecordedHistory;
  readonly findings: readonly Finding[];
  readonly story: Story;
}

/** Judges two histories of a rule, and tells them alike: what decides the one is told of both. */
export function tellPair({
  breaks,
  keeps,
}: {
  readonly breaks: RecordedHistory;
  readonly keeps: RecordedHistory;
}): { readonly breaks: ToldHistory; readonly keeps: ToldHistory } {
  const [broken, kept] = [judge(breaks), judge(keeps)];
  const findings = [...broken, ...kept];
  const decisive = new Set(findings.flatMap((finding) => [finding.seq, owedAt(finding)]));
  const deciding = breaks.records.filter(({ seq }) => decisive.has(seq)).map(({ kind }) => kind);
  const kinds = new Set([...deciding, ...breaks.tells]);
  const atEnd = findings.some((finding) => finding.atEnd);
  const tell = (history: RecordedHistory) => tellHistory(history, kinds, atEnd);
  return {
    breaks: { history: breaks, findings: broken, story: tell(breaks) },
    keeps: { history: keeps, findings: kept, story: tell(keeps) },
  };
}

/** What is found in a history. */
export function judge(history: RecordedHistory): readonly Finding[] {
  const { run, records } = replay(history);
  const auditor = new Auditor(run);
  for (const record of records) auditor.observe(record);
  return auditor.finish();
}

function tellHistory(history: RecordedHistory, kinds: ReadonlySet<RecordKind>, toEnd: boolean): Story {
  const { run, records } = replay(history);
  if (history.pfn === null) return plainStoryOf(run, records);
  const teller = new StoryTeller(run, history.pfn, { decides: ({ kind }: TraceRecord) => kinds.has(kind) });
  for (const record of records) teller.observe(record);
  if (toEnd) teller.end();
  return teller.story;
}
