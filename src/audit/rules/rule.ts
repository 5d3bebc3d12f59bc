import type { RecordKind } from "../../trace/record.ts";
import type { FindingDetails, RuleHead } from "../findings.ts";
import type { Debt, TableDebt } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import {
  DERIVED_FROM,
  type DerivedMoment,
  type Moment,
  type MomentKind,
  type MomentOf,
} from "../ledger/moments.ts";

/** What a rule reports of one breach. */
export interface Breach {
  /** What tells it from others of the rule at the same moment, by ids alone. */
  readonly key: string;
  /** The stale translation, where it is one: while its owner cannot use it, the finding waits. */
  readonly debt?: Debt | TableDebt;
  readonly details: FindingDetails;
}

/** One rule that correct code keeps: a row of the table. */
export interface Rule extends RuleHead {
  /** Number in the list of invariants, or G1 to G3 for what holds on any system. */
  readonly id: number | string;
  /** What holds, as one sentence without its full stop. */
  readonly title: string;
  /** When it is judged. */
  readonly when: string;
  /** Where the rule comes from. */
  readonly source: string;
  /** The moments that it judges on: before the ledger takes them in, or after. */
  readonly before: readonly MomentKind[];
  readonly after: readonly MomentKind[];
  /** Of calls left: those of these functions; null where it judges on none, or on all. */
  readonly returns: readonly string[] | null;
  /** Everything that the rule has a say in at a moment; null: that is the moment itself. */
  readonly subjects: ((l: Ledger, moment: Moment, visit: (subject: unknown) => void) => void) | null;
  /** Whether the rule is broken there. */
  broken(l: Ledger, subject: unknown): boolean;
  breach(l: Ledger, subject: unknown): Breach;
}

/** A rule as it is written: over the moments of its kinds, and over what it calls its subjects, if not the moments. */
export interface RuleRow<K extends MomentKind, S = MomentOf<K>> {
  readonly id: number | string;
  readonly title: string;
  readonly when: string;
  readonly source: string;
  readonly before?: readonly K[];
  readonly after?: readonly K[];
  readonly returns?: readonly string[];
  subjects?(l: Ledger, moment: MomentOf<K>, visit: (subject: S) => void): void;
  broken(l: Ledger, subject: S): boolean;
  breach(l: Ledger, subject: S): Breach;
}

/** A row of the table of rules. */
export function rule<K extends MomentKind, S = MomentOf<K>>(given: RuleRow<K, S>): Rule {
  const { before = [], after = [], returns = null, subjects = null, ...row } = given;
  return { ...row, before, after, returns, subjects } as unknown as Rule;
}

/** What a recording must have for a rule to be judged: kinds of records; and whether its end says something, too. */
export function judgedRecords({ before, after }: Rule): {
  readonly kinds: readonly RecordKind[];
  readonly atEnd: boolean;
} {
  const kinds = new Set<RecordKind>();
  let atEnd = false;
  for (const moment of [...before, ...after]) {
    if (!isDerived(moment)) {
      kinds.add(moment);
      continue;
    }
    const from = DERIVED_FROM[moment];
    for (const kind of from.kinds) kinds.add(kind);
    atEnd ||= from.atEnd;
  }
  return { kinds: [...kinds], atEnd };
}

function isDerived(kind: MomentKind): kind is DerivedMoment["kind"] {
  return Object.hasOwn(DERIVED_FROM, kind);
}
