import { NONE } from "../../../arch/x86/cpu/address.ts";
import {
  addressIn,
  debtDetails,
  holderOf,
  missing,
  owedFlush,
  pageRange,
  spaceIdOf,
  spteDetails,
  staleDebt,
  staleLeaf,
} from "../describe.ts";
import type { FindingDetails } from "../findings.ts";
import type { Debt } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Spte } from "../ledger/listeners.ts";
import type { NewerData } from "../ledger/pages.ts";
import { type Leaf, RIGHT_WRITE, storesLand, WAS_DIRTY } from "../ledger/translation.ts";
import { usersOf } from "./freed.ts";
import { type Rule, rule } from "./rule.ts";

const CLEANED = "page_mkclean returned";
const WRITTEN = "page written out";

/** Somebody who may still write a frame: by a debt, by an entry, or by an spte. */
type Writer = { readonly pfn: number } & (
  | { readonly debt: Debt }
  | { readonly leaf: Leaf; readonly holder: string }
  | { readonly spte: Spte }
);

/** Data that is newer than its copy on disk, with what could still say so. */
interface NewerFrame {
  readonly pfn: number;
  readonly newer: NewerData;
  readonly atRest: boolean;
}

/** A file's page is read again from its file; an anonymous one from its slot, while an entry refers to that. */
function isReadAgain(l: Ledger, { pfn, newer }: NewerFrame): boolean {
  if (newer.file) return true;
  const swap = l.pages.writtenTo.get(pfn);
  return swap !== undefined && l.pages.isReferred(swap);
}

function isMarkedDirty(l: Ledger, pfn: number): boolean {
  if (l.pages.isDirty(pfn)) return true;
  let dirty = false;
  l.tables.leavesOn(pfn, ({ rights }) => {
    if ((rights & WAS_DIRTY) !== 0) dirty = true;
  });
  l.listeners.byPfn.on(pfn, (spte) => {
    if (spte.dirty) dirty = true;
  });
  l.debts.byPfn.on(pfn, (debt) => {
    if (debt.change.deferred && storesLand(debt.rights)) dirty = true;
  });
  return dirty;
}

/** What is said of a store that only a stale translation let land: whoever owed the invalidation has lost it. */
function throughDetails(l: Ledger, through: Debt | Spte, pfn: number): Omit<FindingDetails, "moment"> {
  return "context" in through ? debtDetails(l, through, pfn, "the store") : spteDetails(l, through, pfn);
}

/** "CPU 1", or who else stored. */
function storerOf(l: Ledger, { agent, cpu }: NewerData): string {
  return cpu === NONE ? l.spaces.nameOf("agent", agent) : `CPU ${cpu}`;
}

export const WRITEBACK_RULES: readonly Rule[] = [
  rule({
    id: 11,
    title: "after page_mkclean nobody can write the page without a fault",
    when: "page_mkclean returned",
    source: "mm/page-writeback.c clear_page_dirty_for_io",
    after: ["call-left"],
    returns: ["page_mkclean"],
    subjects(l, { pfn: page }, visit: (writer: Writer) => void) {
      const { first, end } = l.pages.framesOf(page);
      const ofFile = !l.pages.isAnon(page);
      for (let pfn = first; pfn < end; pfn++) {
        l.debts.byPfn.on(pfn, (debt) => visit({ pfn, debt }));
        if (ofFile) {
          l.tables.leavesOn(pfn, (leaf) => {
            for (const { holder } of usersOf(l, leaf)) visit({ pfn, leaf, holder });
          });
        }
        l.listeners.byPfn.on(pfn, (spte) => visit({ pfn, spte }));
      }
    },
    broken(_l, writer) {
      // A store through a clean translation looks at the entry again, and faults: that one may stay.
      if ("debt" in writer) return storesLand(writer.debt.rights);
      return "leaf" in writer ? (writer.leaf.rights & RIGHT_WRITE) !== 0 : writer.spte.writable;
    },
    breach(l, writer) {
      const { pfn } = writer;
      const key = l.pages.life(pfn);
      if ("debt" in writer) {
        const details = debtDetails(l, writer.debt, pfn, "page_mkclean returns");
        return { key, debt: writer.debt, details: { moment: CLEANED, ...details } };
      }
      if ("spte" in writer) return { key, details: { moment: CLEANED, ...spteDetails(l, writer.spte, pfn) } };
      const { leaf, holder } = writer;
      return {
        key,
        details: {
          moment: CLEANED,
          agent: holder,
          space: spaceIdOf(l, leaf),
          linear: addressIn(leaf, pfn),
          pfn,
          stale: staleLeaf(leaf, pfn),
          site: "page_mkclean",
          owed: missing("write-protect every entry that maps the page"),
        },
      };
    },
  }),
  rule({
    id: 35,
    title: "what was stored since the last write-out is marked dirty somewhere",
    when: "page freed, run ended",
    source: "mm/page-writeback.c clear_page_dirty_for_io: order of dirty bits",
    before: ["page-freed", "run-ended"],
    subjects(l, moment, visit: (frame: NewerFrame) => void) {
      if (moment.kind === "run-ended") {
        for (const [pfn, newer] of l.pages.newer) visit({ pfn, newer, atRest: true });
        return;
      }
      for (let pfn = moment.pfn as number; pfn < moment.pfn + 2 ** moment.order; pfn++) {
        const newer = l.pages.newer.get(pfn);
        if (newer !== undefined) visit({ pfn, newer, atRest: false });
      }
    },
    broken: (l, frame) => isReadAgain(l, frame) && !(frame.atRest && isMarkedDirty(l, frame.pfn)),
    breach(l, { pfn, newer, atRest }) {
      const moment = atRest ? "quiescent" : "page freed";
      const key = l.pages.life(pfn);
      const agent = storerOf(l, newer);
      if (newer.through !== null)
        return { key, details: { ...throughDetails(l, newer.through, pfn), moment, agent } };
      return {
        key,
        details: {
          moment,
          agent,
          space: NONE,
          pfn,
          site: "",
          owed: missing("set_page_dirty and a write-out", "after the last store"),
        },
      };
    },
  }),
  rule({
    id: 36,
    title: "no page is written out while a CPU can store to it by a dirty translation",
    when: "page written out",
    source: "mm/vmscan.c: try_to_unmap_flush_dirty before pageout",
    before: ["write-out"],
    subjects(l, { pfn: page }, visit: (writer: Writer) => void) {
      const { first, end } = l.pages.framesOf(page);
      for (let pfn = first; pfn < end; pfn++) {
        l.debts.byPfn.on(pfn, (debt) => {
          if (debt.context.cpu !== NONE) visit({ pfn, debt });
        });
        l.tables.leavesOn(pfn, (leaf) => {
          for (const context of l.contexts.reaching(leaf.reach)) {
            if (context.cpu !== NONE && !context.isGlobal) visit({ pfn, leaf, holder: holderOf(l, context) });
          }
        });
      }
    },
    broken(_l, writer) {
      if ("debt" in writer) return storesLand(writer.debt.rights);
      return "leaf" in writer && storesLand(writer.leaf.rights);
    },
    breach(l, writer) {
      const { pfn } = writer;
      const key = l.pages.life(pfn);
      if ("debt" in writer) {
        const { debt } = writer;
        const linear = addressIn(debt.change.leaf, pfn);
        const owed = debt.change.deferred
          ? missing("try_to_unmap_flush_dirty", "before the write-out")
          : owedFlush(l, debt.change, "the write-out");
        return {
          key,
          debt,
          details: {
            moment: WRITTEN,
            agent: holderOf(l, debt.context),
            space: spaceIdOf(l, debt.change.leaf),
            linear,
            pfn,
            stale: staleDebt(debt, pfn),
            changed: debt.change,
            owed,
            staleRanges: [pageRange(linear)],
          },
        };
      }
      const { leaf, holder } = writer as Extract<Writer, { leaf: Leaf }>;
      return {
        key,
        details: {
          moment: WRITTEN,
          agent: holder,
          space: spaceIdOf(l, leaf),
          linear: addressIn(leaf, pfn),
          pfn,
          stale: staleLeaf(leaf, pfn),
          site: "pageout",
          owed: missing("page_mkclean, or unmap and flush,", "before the write-out"),
        },
      };
    },
  }),
];
