import { BYTES_OF_LEVEL, NONE, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import { formatRange } from "../../text/hex.ts";
import { missing, owedRange, spaceIdOf } from "../describe.ts";
import type { Owed, OwedFault } from "../findings.ts";
import { rangeOf } from "../ledger/brackets.ts";
import type { ByteRange } from "../ledger/byte-range.ts";
import type { Change } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { MomentOf, RangeTold } from "../ledger/moments.ts";
import { hullOf, leftOut } from "../ledger/ranges.ts";
import type { Bracket } from "../ledger/tasks.ts";
import { type Breach, type Rule, rule } from "./rule.ts";

const NEVER_SLEEP: ReadonlySet<string> = new Set([
  "invalidate_range",
  "change_pte",
  "clear_flush_young",
  "clear_young",
  "test_young",
]);

/** What is wrong with the bounds of a range themselves. */
function boundsFault(range: ByteRange): { readonly fault: OwedFault; readonly owed: string } | null {
  if (range.start % PAGE_SIZE !== 0) return { fault: "unaligned start", owed: "a page-aligned start" };
  if (range.length <= 0) return { fault: "empty range", owed: "an end above the start" };
  if ((range.start + range.length) % PAGE_SIZE !== 0) {
    return { fault: "too short", owed: "a page-aligned end" };
  }
  return null;
}

/** The bounds that a call gave, and the number of its record. */
interface Bounds {
  readonly range: ByteRange;
  readonly seq: number;
}

/** The bounds that a bracket should have had for what was changed outside of it. */
function owedBounds(l: Ledger, changes: readonly Change[], { range, seq }: Bounds): Owed {
  const [first] = changes;
  if (first !== undefined && first.missed !== null) return owedRange(l, first);
  const needed = hullOf(changes);
  const call = "mmu_notifier_invalidate_range_start/end";
  return { call, fault: "too short", when: "", range: needed, passed: { call, range, seq } };
}

function outsideBreach(l: Ledger, moment: string, changes: readonly Change[], bounds: Bounds): Breach {
  const first = changes[0]!;
  const { leaf } = first;
  return {
    key: `${spaceIdOf(l, leaf)}/${l.pages.life(leaf.pfn)}`,
    details: {
      moment,
      agent: first.site,
      space: spaceIdOf(l, leaf),
      linear: leaf.page,
      pfn: leaf.pfn,
      changed: first,
      owed: owedBounds(l, changes, bounds),
      staleRanges: first.missed?.stale ?? leftOut(changes, bounds.range),
    },
  };
}

/** A change that was made inside a bracket of its space, or a range that had to cover changes. */
type Coverage = { readonly change: Change; readonly bracket: Bracket } | { readonly told: RangeTold };

function callbackDetails(l: Ledger, record: MomentOf<"listener-called">, owed: string): Breach {
  const { listener, op, space, linearLo, linearHi, agent } = record;
  const site = l.siteOf(l.task(agent));
  return {
    key: `${space}/${listener}.${op}/${site}`,
    details: {
      moment: `${op} called`,
      agent: l.spaces.nameOf("listener", listener),
      space,
      linear: linearNumber(linearLo, linearHi),
      site,
      owed: { ...missing(op, owed), fault: "may sleep" },
    },
  };
}

export const NOTIFIER_RULES: readonly Rule[] = [
  rule({
    id: 5,
    title: "every range_start has one range_end with the same bounds, properly nested",
    when: "range_end, run ended",
    source: "include/linux/mmu_notifier.h: invalidate_range_start, invalidate_range_end",
    before: ["bracket-unpaired"],
    broken: () => true,
    breach(l, { task, space, start, length, when, owed }) {
      const site = l.siteOf(task);
      return {
        key: `${site}/${space}/${start}/${owed}`,
        details: {
          moment: when,
          agent: site,
          space,
          linear: start,
          site,
          owed: { ...missing(owed, `: ${formatRange({ start, length })}`), fault: "unpaired" },
        },
      };
    },
  }),
  rule({
    id: 12,
    title: "a callback that may sleep is not called under a page-table lock",
    when: "callback",
    source: "include/linux/mmu_notifier.h: which callbacks may sleep",
    before: ["listener-called"],
    broken: (_l, { maySleep, locks }) => maySleep && locks > 0,
    breach: (l, record) =>
      callbackDetails(l, record, `after ${l.siteOf(l.task(record.agent))} has dropped its page-table lock`),
  }),
  rule({
    id: 13,
    title: "invalidate_range, change_pte and the young callbacks do not sleep",
    when: "callback",
    source: "include/linux/mmu_notifier.h: called under the page-table lock",
    before: ["listener-called"],
    broken: (_l, { maySleep, op }) => maySleep && NEVER_SLEEP.has(op),
    breach: (l, record) => callbackDetails(l, record, "that does not sleep"),
  }),
  rule({
    id: 15,
    title: "the bounds of a range call are page aligned and cover every entry changed",
    when: "range told",
    source: "mm/rmap.c try_to_unmap_one, page_mkclean_one (v4.13)",
    before: ["range-told"],
    subjects: (_l, { told }, visit: (told: RangeTold) => void) => {
      if (!told.record.all) visit(told);
    },
    broken: (_l, { record, left }) => left.length > 0 || boundsFault(rangeOf(record)) !== null,
    breach(l, { task, record, left }) {
      const range = rangeOf(record);
      const { op, space } = record;
      const moment = op === "invalidate_range" ? "range told" : "range_end";
      if (left.length > 0) return outsideBreach(l, moment, left, { range, seq: record.seq });
      const site = l.siteOf(task);
      const wrong = boundsFault(range);
      const call = `mmu_notifier_${op}`;
      return {
        key: `${op}/${site}/${wrong?.owed}`,
        details: {
          moment,
          agent: site,
          space,
          linear: range.start,
          site,
          owed: {
            call,
            fault: wrong?.fault ?? "too short",
            when: `with ${wrong?.owed}`,
            range: pagesOf(range),
            passed: { call: op, range, seq: record.seq },
          },
        },
      };
    },
  }),
  rule({
    id: 16,
    title: "entries changed inside a range call's bracket lie in its bounds",
    when: "entry changed, range told",
    source: "include/linux/mmu_notifier.h: the range is announced before it changes",
    before: ["entry-weakened", "range-told"],
    subjects(l, moment, visit: (subject: Coverage) => void) {
      if (moment.kind === "range-told") {
        if (moment.told.bracket === null) visit({ told: moment.told });
        return;
      }
      const { change, task } = moment;
      const space = spaceIdOf(l, change.leaf);
      const open = task.brackets.filter((bracket) => bracket.space === space);
      const bracket = open.find((each) => holds(each.range, change)) ?? open.at(-1);
      if (space !== NONE && bracket !== undefined) visit({ change, bracket });
    },
    broken: (_l, subject) =>
      "told" in subject ? subject.told.left.length > 0 : !holds(subject.bracket.range, subject.change),
    breach(l, subject) {
      if ("change" in subject) {
        return outsideBreach(l, "entry changed", [subject.change], subject.bracket);
      }
      const { record, left } = subject.told;
      return outsideBreach(l, "range told", left, { range: rangeOf(record), seq: record.seq });
    },
  }),
  rule({
    id: 70,
    title: "invalidate_range comes after the entry was cleared",
    when: "range told",
    source: "include/linux/mmu_notifier.h: a device walks the entry as it is",
    before: ["range-told"],
    subjects: (_l, { told }, visit: (told: RangeTold) => void) => {
      if (told.record.op === "invalidate_range") visit(told);
    },
    broken: (_l, { early }) => early,
    breach(l, { task, record }) {
      const site = l.siteOf(task);
      const range = rangeOf(record);
      return {
        key: `${site}/${record.space}`,
        details: {
          moment: "range told",
          agent: site,
          space: record.space,
          linear: range.start,
          site,
          owed: {
            call: "mmu_notifier_invalidate_range",
            fault: "too early",
            when: "after an entry in it was cleared",
            range,
            passed: null,
          },
        },
      };
    },
  }),
];

/** Whether a range holds all of a change, to the byte. */
function holds({ start, length }: ByteRange, { leaf }: Change): boolean {
  return leaf.page >= start && leaf.page + BYTES_OF_LEVEL[leaf.level]! <= start + length;
}

/** The whole pages of a range that is not of whole pages. */
function pagesOf({ start, length }: ByteRange): ByteRange {
  const from = Math.floor(start / PAGE_SIZE) * PAGE_SIZE;
  const to = Math.max(from + PAGE_SIZE, Math.ceil((start + length) / PAGE_SIZE) * PAGE_SIZE);
  return { start: from, length: to - from };
}
