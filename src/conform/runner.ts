import { FormatError } from "../formats/format-error.ts";
import type { Reply } from "./answer.ts";
import { isDeclared } from "./capabilities.ts";
import { type ConformCase, groupOf } from "./case.ts";
import { type Cause, Causes } from "./causes.ts";
import { compareAnswer, type Difference } from "./compare.ts";
import type { Point } from "./explain.ts";
import { ANSWER_RULES } from "./rules.ts";
import type { EndSignal, Subject } from "./subject.ts";

/** Cases sent before the first answer is waited for. */
const BATCH = 128;
/** Different reasons for "unsupported" that a report lists. */
const MAX_REASONS = 20;

/** What a group of cases came to. */
export interface GroupTally {
  readonly group: string;
  cases: number;
  matched: number;
  mismatched: number;
  /** Answered "unsupported", or with nothing that could be compared. */
  unsupported: number;
  /** Not asked, because the program's greeting does not declare what they need. */
  undeclared: number;
  /** Without an answer, because the run ended or none was written down. */
  unanswered: number;
  /** Of those matched or mismatched: answers that left something out. */
  partial: number;
}

/** What one case came to. */
export interface Verdict {
  readonly conformCase: ConformCase;
  readonly state: "matched" | "mismatched" | "unsupported" | "undeclared" | "unanswered";
  /** Why it is wrong; empty unless mismatched. */
  readonly points: readonly Point[];
  /** Why it is unsupported, else empty. */
  readonly reason: string;
}

/** A case that was answered wrongly. */
export interface Mismatch {
  readonly conformCase: ConformCase;
  readonly differences: readonly Difference[];
  readonly points: readonly Point[];
}

/** What a run of the pack on one subject came to. */
export interface ConformResult {
  readonly subject: string;
  /** Why nothing was asked, or null. */
  readonly skip: string | null;
  readonly groups: readonly GroupTally[];
  /** Why answers are wrong, each with every case that it is wrong for. */
  readonly causes: readonly Cause[];
  /** Every case that was answered wrongly. */
  readonly failures: readonly string[];
  /** The first of each cause. */
  readonly mismatches: readonly Mismatch[];
  /** How often each reason for "unsupported" was given; the first few reasons. */
  readonly reasons: ReadonlyMap<string, number>;
  /** Why the run ended before the last case, or null. */
  readonly ended: string | null;
  /** What else is to be said of how the subject answers. */
  readonly notes: readonly string[];
}

/** How a run goes, beside the cases. */
export interface RunOptions {
  /** Once it is aborted no more is asked, and what was answered is counted. Its reason, a text, says why. */
  readonly signal?: EndSignal;
  /** Called for every case, in their order. */
  readonly verdict?: (verdict: Verdict) => void;
}

/** Sums over the groups. */
export function totalOf(result: ConformResult): GroupTally {
  const total = emptyTally("all");
  for (const tally of result.groups) {
    total.cases += tally.cases;
    total.matched += tally.matched;
    total.mismatched += tally.mismatched;
    total.unsupported += tally.unsupported;
    total.undeclared += tally.undeclared;
    total.unanswered += tally.unanswered;
    total.partial += tally.partial;
  }
  return total;
}

/**
 * Asks a subject the cases and compares its answers. Keeps the first `show` mismatches of each cause. A subject that ends
 * early ends the run, and what it answered before counts. Throws what the subject throws other than FormatError; it is
 * stopped in any case.
 */
export async function runConform(
  subject: Subject,
  cases: Iterable<ConformCase>,
  show: number,
  progress: (asked: number) => void,
  options: RunOptions = {},
): Promise<ConformResult> {
  const run = new Run(show, subject.has ?? null, options.verdict ?? (() => {}));
  let ended: string | null = null;
  try {
    if (subject.skip === null) ended = await askAll(subject, cases, run, progress, options.signal);
  } finally {
    progress(0);
    subject.stop();
  }
  const { mismatches, reasons, failures } = run;
  return {
    subject: subject.name,
    skip: subject.skip,
    groups: [...run.groups.values()],
    causes: run.causes.all(),
    failures,
    mismatches,
    reasons,
    ended,
    notes: subject.notes ?? [],
  };
}

/** Returns why it ended early, or null. */
async function askAll(
  subject: Subject,
  cases: Iterable<ConformCase>,
  run: Run,
  progress: (asked: number) => void,
  signal: EndSignal | undefined,
): Promise<string | null> {
  let asked = 0;
  const settled = (): void => progress(++asked);
  try {
    for (const batch of batchesOf(cases)) {
      const wanted = batch.filter((one) => isDeclared(run.has, one));
      const replies = wanted.length === 0 ? [] : await subject.ask(wanted, { signal, settled });
      let next = 0;
      for (const one of batch) {
        run.count(one, one === wanted[next] ? (replies[next++] ?? { unanswered: true }) : null);
      }
      if (signal?.aborted === true) return String(signal.reason);
      if (replies.length < wanted.length) break;
    }
    await subject.finish();
    return null;
  } catch (error) {
    // Where nothing was asked, there is nothing to report.
    if (error instanceof FormatError && run.groups.size > 0) return error.message;
    throw error;
  }
}

function* batchesOf(cases: Iterable<ConformCase>): Generator<readonly ConformCase[]> {
  let batch: ConformCase[] = [];
  for (const conformCase of cases) {
    batch.push(conformCase);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

class Run {
  readonly groups = new Map<string, GroupTally>();
  readonly causes = new Causes();
  readonly failures: string[] = [];
  readonly mismatches: Mismatch[] = [];
  readonly reasons = new Map<string, number>();
  readonly has: ReadonlySet<string> | null;
  readonly #show: number;
  readonly #verdict: (verdict: Verdict) => void;

  constructor(show: number, has: ReadonlySet<string> | null, verdict: (verdict: Verdict) => void) {
    this.#show = show;
    this.has = has;
    this.#verdict = verdict;
  }

  /** Counts a case; null: it was not asked. */
  count(conformCase: ConformCase, reply: Reply | null): void {
    const tally = this.#tallyOf(groupOf(conformCase.id));
    tally.cases++;
    const verdict = this.#judge(conformCase, reply, tally);
    tally[verdict.state]++;
    this.#verdict(verdict);
  }

  #judge(conformCase: ConformCase, reply: Reply | null, tally: GroupTally): Verdict {
    const none = { conformCase, points: [], reason: "" };
    if (reply === null) return { ...none, state: "undeclared" };
    if ("unanswered" in reply) return { ...none, state: "unanswered" };
    if ("refused" in reply)
      return this.#wrong(conformCase, [], [notAnswered(`no answer: expected ${reply.refused}`)]);
    if ("unsupported" in reply) return this.#unsupported(conformCase, reply.unsupported);
    const { differences, points, told } = compareAnswer(conformCase, reply);
    if (told === "nothing") return this.#unsupported(conformCase, "nothing said");
    if (told === "part") tally.partial++;
    return differences.length === 0
      ? { ...none, state: "matched" }
      : this.#wrong(conformCase, differences, points);
  }

  /** What a program declares to have, it has to answer. */
  #unsupported(conformCase: ConformCase, reason: string): Verdict {
    if (this.has !== null) {
      return this.#wrong(
        conformCase,
        [],
        [notAnswered(`declared in the greeting, but unsupported: ${reason}`)],
      );
    }
    const known = this.reasons.get(reason);
    if (known !== undefined || this.reasons.size < MAX_REASONS) this.reasons.set(reason, (known ?? 0) + 1);
    return { conformCase, state: "unsupported", points: [], reason };
  }

  #wrong(conformCase: ConformCase, differences: readonly Difference[], points: readonly Point[]): Verdict {
    this.failures.push(conformCase.id);
    const seen = this.causes.add(conformCase.id, points);
    if (seen <= this.#show) this.mismatches.push({ conformCase, differences, points });
    return { conformCase, state: "mismatched", points, reason: "" };
  }

  #tallyOf(group: string): GroupTally {
    const tally = this.groups.get(group) ?? emptyTally(group);
    this.groups.set(group, tally);
    return tally;
  }
}

/** A case that was asked and not answered as it must be. */
function notAnswered(detail: string): Point {
  // What was found instead differs from case to case.
  return { cause: detail.replace(/, found .*/su, ""), detail, level: null, rule: ANSWER_RULES.protocol };
}

function emptyTally(group: string): GroupTally {
  return {
    group,
    cases: 0,
    matched: 0,
    mismatched: 0,
    unsupported: 0,
    undeclared: 0,
    unanswered: 0,
    partial: 0,
  };
}
