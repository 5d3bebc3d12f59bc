import { hex } from "../text/hex.ts";
import type { ConformCase } from "./case.ts";
import { type CaseWalk, walkOfStep } from "./case-walk.ts";
import type { Point } from "./explain.ts";
import { entryPlace, levelName } from "./explain-entry.ts";
import { A, D, isWrite } from "./oracle-walk.ts";
import { AFTER_RULES, type AfterRuleName } from "./rules.ts";

/** What an access makes of one entry. */
interface Use {
  readonly walk: CaseWalk;
  /** The place of the entry in the walk. */
  readonly index: number;
  readonly faulted: boolean;
}

/** What is wrong with a word of memory behind the last step: bit by bit for A and D. */
export function explainWord(conformCase: ConformCase, word: number, got: bigint): Point[] {
  const { pa } = conformCase.memory[word]!;
  const { value, ignore } = conformCase.expect.after[word]!;
  const wrong = (got ^ value) & ~ignore;
  const uses = usesOf(conformCase, pa);
  const use = uses.at(-1) ?? null;
  if (use === null || (wrong & ~(A | D)) !== 0n) {
    const what = use === null ? "a word" : "an entry";
    const detail = `word at ${hex(pa)}: said ${hex(got)}, is ${hex(value)}`;
    const cause = `memory: other bits of ${what} than A and D have changed`;
    return [{ cause, detail, level: use === null ? null : levelOf(use), rule: AFTER_RULES.unchanged }];
  }
  return [
    { mask: A, name: "A (bit 5)", isDirty: false },
    { mask: D, name: "D (bit 6)", isDirty: true },
  ].flatMap(({ mask, name, isDirty }) => {
    if ((wrong & mask) === 0n) return [];
    const set = (value & mask) !== 0n;
    const title = `said ${set ? 0 : 1}, is ${set ? 1 : 0}`;
    // A bit that must be set was set by the access that is nearest to the end.
    const setter = uses.findLast((one) => !one.faulted && (!isDirty || isWrite(one.walk.access)));
    const decisive = set ? (setter ?? use) : use;
    const { why, rule } = reason(decisive, isDirty, set);
    const place = entryPlace(decisive.walk.path[decisive.index]!);
    return [
      {
        cause: `${name} of ${role(decisive)}: ${title}: ${why}`,
        detail: `${place}, ${name}: ${title}: ${why}`,
        level: levelOf(decisive),
        rule: AFTER_RULES[rule],
      },
    ];
  });
}

/** The accesses whose walks read the entry at an address. */
function usesOf(conformCase: ConformCase, pa: number): Use[] {
  const { steps, expect } = conformCase;
  const uses: Use[] = [];
  steps.forEach((step, i) => {
    if (step.op !== "access") return;
    const allowed = expect.results[i]?.allow[0];
    const faulted = allowed !== undefined && "fault" in allowed;
    const behind = (step.la & ~0xfffn) + 0x1000n;
    const pages = step.la + BigInt(step.size) > behind ? [step.la, behind] : [step.la];
    for (const la of pages) {
      const walk = walkOfStep(conformCase, i, la)!;
      const index = walk.path.findIndex(({ address }) => address === pa);
      if (index >= 0) uses.push({ walk, index, faulted });
    }
  });
  return uses;
}

function levelOf({ walk, index }: Use): string {
  return levelName(walk.path[index]!);
}

function role({ walk, index }: Use): string {
  if (index < walk.path.length - 1) return "an entry above the last";
  return walk.end.end === "page" ? "the leaf" : "the entry that ends the walk";
}

function reason(
  { walk, index, faulted }: Use,
  isDirty: boolean,
  set: boolean,
): { readonly why: string; readonly rule: AfterRuleName } {
  const kind = walk.access.kind === "fetch" ? "fetch" : isWrite(walk.access) ? "write" : "read";
  const usual = isDirty ? "dirty" : "accessed";
  const last = index === walk.path.length - 1;
  if (set) return { why: isDirty ? "a write was done" : "an access was done through it", rule: usual };
  if (!last) return { why: isDirty ? "it maps no page" : "no access was done through it", rule: usual };
  if (walk.end.end === "reserved") return { why: "it has a reserved bit set", rule: "accessed-reserved" };
  if (walk.end.end === "not-present") return { why: "it has P=0", rule: usual };
  if (isDirty && kind !== "write") return { why: `a ${kind} sets no D`, rule: usual };
  if (faulted) return { why: `the ${kind} is denied`, rule: "accessed-denied" };
  return { why: "nothing sets it", rule: usual };
}
