import type { Answer } from "./answer.ts";
import { type ConformCase, groupOf } from "./case.ts";
import { compareAnswer, type Difference } from "./compare.ts";
import type { Subject } from "./subject.ts";

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
  /** Of those matched or mismatched: answers that left something out. */
  partial: number;
}

/** A case that was answered wrongly. */
export interface Mismatch {
  readonly conformCase: ConformCase;
  readonly differences: readonly Difference[];
}

/** What a run of the pack on one subject came to. */
export interface ConformResult {
  readonly subject: string;
  /** Why nothing was asked, or null. */
  readonly skip: string | null;
  readonly groups: readonly GroupTally[];
  /** The first of each group. */
  readonly mismatches: readonly Mismatch[];
  /** How often each reason for "unsupported" was given; the first few reasons. */
  readonly reasons: ReadonlyMap<string, number>;
}

/** Sums over the groups. */
export function totalOf(result: ConformResult): GroupTally {
  const total = emptyTally("all");
  for (const tally of result.groups) {
    total.cases += tally.cases;
    total.matched += tally.matched;
    total.mismatched += tally.mismatched;
    total.unsupported += tally.unsupported;
    total.partial += tally.partial;
  }
  return total;
}

/**
 * Asks a subject the cases and compares its answers. Keeps the first `show` mismatches of each group. Throws what the
 * subject throws; it is stopped in any case.
 */
export async function runConform(
  subject: Subject,
  cases: Iterable<ConformCase>,
  show: number,
  progress: (asked: number) => void,
): Promise<ConformResult> {
  const run = new Run(show);
  try {
    if (subject.skip === null) {
      let batch: ConformCase[] = [];
      let asked = 0;
      for (const conformCase of cases) {
        batch.push(conformCase);
        if (batch.length < BATCH) continue;
        run.count(batch, await subject.ask(batch));
        asked += batch.length;
        progress(asked);
        batch = [];
      }
      if (batch.length > 0) run.count(batch, await subject.ask(batch));
      await subject.finish();
    }
  } finally {
    progress(0);
    subject.stop();
  }
  const { mismatches, reasons } = run;
  return { subject: subject.name, skip: subject.skip, groups: [...run.groups.values()], mismatches, reasons };
}

class Run {
  readonly groups = new Map<string, GroupTally>();
  readonly mismatches: Mismatch[] = [];
  readonly reasons = new Map<string, number>();
  readonly #show: number;

  constructor(show: number) {
    this.#show = show;
  }

  count(cases: readonly ConformCase[], answers: readonly Answer[]): void {
    cases.forEach((conformCase, i) => {
      this.#countOne(conformCase, answers[i]!);
    });
  }

  #countOne(conformCase: ConformCase, answer: Answer): void {
    const tally = this.#tallyOf(groupOf(conformCase.id));
    tally.cases++;
    if ("unsupported" in answer) {
      this.#skip(tally, answer.unsupported);
      return;
    }
    const { differences, told } = compareAnswer(conformCase, answer);
    if (told === "nothing") {
      this.#skip(tally, "nothing said");
      return;
    }
    if (told === "part") tally.partial++;
    if (differences.length === 0) {
      tally.matched++;
      return;
    }
    tally.mismatched++;
    if (tally.mismatched <= this.#show) this.mismatches.push({ conformCase, differences });
  }

  #skip(tally: GroupTally, reason: string): void {
    tally.unsupported++;
    const known = this.reasons.get(reason);
    if (known !== undefined || this.reasons.size < MAX_REASONS) this.reasons.set(reason, (known ?? 0) + 1);
  }

  #tallyOf(group: string): GroupTally {
    const tally = this.groups.get(group) ?? emptyTally(group);
    this.groups.set(group, tally);
    return tally;
  }
}

function emptyTally(group: string): GroupTally {
  return { group, cases: 0, matched: 0, mismatched: 0, unsupported: 0, partial: 0 };
}
