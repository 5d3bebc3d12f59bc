import { Finding, type FindingDetails, type Owed, type RuleHead } from "./findings.ts";

/** Most findings that are kept whole; what is beyond is counted in its cause only. */
const MAX_KEPT = 500_000;

/** Where a cause shows: what one rule found of it at one call site. */
export interface Place {
  readonly rule: RuleHead;
  /** The function that changed entries, or that owed the call. */
  readonly site: string;
  /** Findings: each is one frame, or one call, at one moment. */
  count: number;
  /** Distinct frames. */
  readonly pfns: Set<number>;
}

/**
 * What is wrong once in the source, by what several rules found of it: a call that was made in the wrong way, wherever
 * it is made, or at one call site a call that is missing.
 */
export interface Cause {
  /** What was the case before the run began and explains all of it; null when it is of the run's own making. */
  readonly brought: string | null;
  readonly first: Finding;
  /** The one whose call fell short by most. */
  worst: Finding;
  count: number;
  readonly pfns: Set<number>;
  /** By rule and call site. */
  readonly places: readonly Place[];
}

/** What a log asks about each finding. */
export interface FindingQuestions {
  /** The command that replays the run up to it. */
  readonly replay?: (finding: Finding) => string;
  /** What was the case before the run began and explains it, in words, or null. */
  readonly brought?: (finding: Finding) => string | null;
}

/** What was found: all of it, each frame at each moment once, and its causes. */
export class FindingLog {
  readonly all: Finding[] = [];
  /** Findings that are only counted. */
  dropped = 0;
  readonly #causes = new Map<string, Cause>();
  readonly #places = new Map<string, Place>();
  /** Of the record at hand, by rule and what it is about. */
  readonly #atHand = new Map<string, Finding>();
  #seq = -1;
  readonly #questions: FindingQuestions;

  constructor(questions: FindingQuestions) {
    this.#questions = questions;
  }

  /** Adds a finding; the same rule and key at the same record only counts up. */
  add(rule: RuleHead, key: string, details: FindingDetails, seq: number, mm: string, atEnd: boolean): void {
    if (seq !== this.#seq) {
      this.#atHand.clear();
      this.#seq = seq;
    }
    const full = `${rule.id}:${key}`;
    const known = this.#atHand.get(full);
    if (known !== undefined) {
      known.count++;
      if (!known.agents.includes(details.agent)) known.agents.push(details.agent);
      return;
    }
    const finding = new Finding(rule, details, seq, mm, atEnd);
    const { replay, brought } = this.#questions;
    if (replay !== undefined) finding.replay = replay(finding);
    if (brought !== undefined) finding.brought = brought(finding);
    this.#atHand.set(full, finding);
    if (this.all.length < MAX_KEPT) this.all.push(finding);
    else this.dropped++;
    this.#countCause(finding);
  }

  #countCause(finding: Finding): void {
    const { owed, pfn, site, brought } = finding;
    const wrong = owed.passed === null ? `at ${site}` : owed.passed.call;
    const key = `${owed.call}|${owed.fault}|${wrong}|${brought ?? ""}`;
    let cause = this.#causes.get(key);
    if (cause === undefined) {
      cause = { brought, first: finding, worst: finding, count: 0, pfns: new Set(), places: [] };
      this.#causes.set(key, cause);
    }
    cause.count++;
    if (pfn !== null) cause.pfns.add(pfn);
    if (shortBy(owed) > shortBy(cause.worst.owed)) cause.worst = finding;
    const place = this.#placeOf(key, cause, finding);
    place.count++;
    if (pfn !== null) place.pfns.add(pfn);
  }

  #placeOf(causeKey: string, cause: Cause, { rule, site }: Finding): Place {
    const key = `${causeKey}|${rule.id}|${site}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      place = { rule, site, count: 0, pfns: new Set() };
      this.#places.set(key, place);
      (cause.places as Place[]).push(place);
    }
    return place;
  }

  /** In the order of finding. */
  causes(): Cause[] {
    return [...this.#causes.values()];
  }

  /** How many findings each rule has, by rule; rules without one are absent. */
  countByRule(): Map<number | string, number> {
    const counts = new Map<number | string, number>();
    for (const { rule, count } of this.#places.values())
      counts.set(rule.id, (counts.get(rule.id) ?? 0) + count);
    return counts;
  }
}

/** Bytes that the range of the call that was made lacks. */
function shortBy({ range, passed }: Owed): number {
  return range === null ? 0 : range.length - (passed?.range.length ?? 0);
}
