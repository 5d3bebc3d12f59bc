import { NONE } from "../../../arch/x86/cpu/address.ts";
import {
  addressIn,
  debtDetails,
  holderOf,
  missing,
  pageRange,
  spaceIdOf,
  spteDetails,
  staleLeaf,
} from "../describe.ts";
import { NOT_HELD } from "../ledger/contexts.ts";
import type { Context, Debt } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Spte } from "../ledger/listeners.ts";
import type { MomentOf } from "../ledger/moments.ts";
import { type Leaf, WAS_GLOBAL } from "../ledger/translation.ts";
import { type Breach, type Rule, rule } from "./rule.ts";

const FREED = "page freed";

/** Somebody who can still translate to a frame that is being freed: by a debt, or by an entry that is still there. */
export interface FreedUse {
  readonly pfn: number;
  readonly debt: Debt | null;
  readonly leaf: Leaf;
  readonly holder: string;
  readonly isDevice: boolean;
  /** Whether the translation is one of an address space that the system told of. */
  readonly isOfSpace: boolean;
}

/** Everybody who can still translate to frames that are being freed, at user addresses. */
export function freedUses(
  l: Ledger,
  { pfn: first, order }: MomentOf<"page-freed">,
  visit: (use: FreedUse) => void,
): void {
  for (let pfn = first as number; pfn < first + 2 ** order; pfn++) {
    l.debts.byPfn.on(pfn, (debt) => {
      const { leaf } = debt.change;
      if (leaf.reach.kernel) return;
      const { context } = debt;
      const isOfSpace = l.spaceOf(leaf.reach) !== null;
      const isDevice = context.cpu === NONE;
      visit({ pfn, debt, leaf, holder: holderOf(l, context), isDevice, isOfSpace });
    });
    l.tables.leavesOn(pfn, (leaf) => {
      for (const user of usersOf(l, leaf)) visit({ pfn, debt: null, leaf, ...user });
    });
  }
}

/**
 * Who can use an entry that is still there: the contexts that reach it. When no CPU does, or the entry is of PROT_NONE,
 * its address space, which any CPU may load, and make usable again.
 */
export function usersOf(l: Ledger, leaf: Leaf): Pick<FreedUse, "holder" | "isDevice" | "isOfSpace">[] {
  const space = l.spaceOf(leaf.reach);
  const isOfSpace = space !== null;
  const contexts = leaf.protNone
    ? []
    : l.contexts.reaching(leaf.reach).filter((each) => canUse(l, each, leaf));
  const users = contexts.map((context) => ({
    holder: holderOf(l, context),
    isDevice: context.cpu === NONE,
    isOfSpace,
  }));
  if (space === null || users.some(({ isDevice }) => !isDevice)) return users;
  return [...users, { holder: l.spaces.nameOf("space", space.id), isDevice: false, isOfSpace }];
}

/** A PCID can, or can once it is loaded; the CPU itself can if the entry is global, although it has left the root. */
function canUse({ contexts, world }: Ledger, context: Context, leaf: Leaf): boolean {
  if (!context.isGlobal) return true;
  const isGlobal = (leaf.rights & WAS_GLOBAL) !== 0 && world.cpu(context.cpu).globals;
  return isGlobal && contexts.heldRights(context, leaf) !== NOT_HELD;
}

/** What is said of a use of a freed frame. */
export function freedBreach(l: Ledger, { pfn, debt, leaf, holder }: FreedUse): Breach {
  const key = l.pages.life(pfn);
  if (debt !== null) {
    return { key, debt, details: { moment: FREED, ...debtDetails(l, debt, pfn, "the page is freed") } };
  }
  const linear = addressIn(leaf, pfn);
  return {
    key,
    details: {
      moment: FREED,
      agent: holder,
      space: spaceIdOf(l, leaf),
      linear,
      pfn,
      stale: staleLeaf(leaf, pfn),
      owed: missing("unmap and flush", "before the page is freed"),
      staleRanges: [pageRange(linear)],
    },
  };
}

export const FREED_RULES: readonly Rule[] = [
  rule({
    id: 1,
    title: "no CPU can still translate to a freed page",
    when: "page freed",
    source: "mm/vmscan.c shrink_page_list: try_to_unmap_flush before the pages are freed",
    before: ["page-freed"],
    subjects: freedUses,
    broken: (_l, { isDevice, isOfSpace }) => isOfSpace && !isDevice,
    breach: freedBreach,
  }),
  rule({
    id: 2,
    title: "no spte points to a freed page",
    when: "page freed",
    source: "include/linux/mmu_notifier.h: sptes hold no page reference",
    before: ["page-freed"],
    subjects(l, { pfn: first, order }, visit: (subject: { spte: Spte; pfn: number }) => void) {
      for (let pfn = first as number; pfn < first + 2 ** order; pfn++) {
        l.listeners.byPfn.on(pfn, (spte) => visit({ spte, pfn }));
      }
    },
    broken: (_l, { spte, pfn }) => spte.freed?.has(pfn) !== true,
    breach(l, { spte, pfn }) {
      l.listeners.freed(spte, pfn);
      return { key: l.pages.life(pfn), details: { moment: FREED, ...spteDetails(l, spte, pfn) } };
    },
  }),
  rule({
    id: 3,
    title: "no device TLB can still translate to a freed page",
    when: "page freed",
    source: "include/linux/mmu_notifier.h: invalidate_range before the page is freed",
    before: ["page-freed"],
    subjects: freedUses,
    broken: (_l, { isDevice, isOfSpace }) => isOfSpace && isDevice,
    breach: freedBreach,
  }),
];
