import type { Point } from "./explain.ts";
import type { Rule } from "./rules.ts";

/** Why answers are wrong, and which: cases whose answers are wrong for the same reason. */
export interface Cause {
  readonly says: string;
  /** How many of the cases have it at entries of which level. */
  readonly levels: ReadonlyMap<string, number>;
  readonly rule: Rule;
  /** The cases, in the order in which they were asked. */
  readonly ids: readonly string[];
}

interface Gathered extends Cause {
  readonly levels: Map<string, number>;
  readonly ids: string[];
}

/** Gathers the causes of a run. */
export class Causes {
  readonly #causes = new Map<string, Gathered>();

  /** Counts a wrong answer; returns how many cases its rarest cause has. */
  add(id: string, points: readonly Point[]): number {
    let fewest = Number.POSITIVE_INFINITY;
    for (const { cause, level, rule } of points) {
      const found = this.#causes.get(cause) ?? newCause(cause, rule);
      this.#causes.set(cause, found);
      found.ids.push(id);
      if (level !== null) found.levels.set(level, (found.levels.get(level) ?? 0) + 1);
      fewest = Math.min(fewest, found.ids.length);
    }
    return fewest;
  }

  /** The one with most cases first. */
  all(): readonly Cause[] {
    return [...this.#causes.values()].sort((one, other) => other.ids.length - one.ids.length);
  }
}

function newCause(says: string, rule: Rule): Gathered {
  return { says, levels: new Map(), rule, ids: [] };
}
