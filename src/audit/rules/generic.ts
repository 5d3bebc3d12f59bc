import { BYTES_OF_LEVEL, NONE, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { hex } from "../../text/hex.ts";
import { debtDetails, holderOf, missing } from "../describe.ts";
import type { Context } from "../ledger/contexts.ts";
import type { Debt, TableDebt } from "../ledger/debts.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { MomentOf } from "../ledger/moments.ts";
import type { Root } from "../ledger/spaces.ts";
import { type FreedUse, freedBreach, freedUses } from "./freed.ts";
import { type Rule, rule } from "./rule.ts";

/** A frame's old translation, or a kernel address's, that a CPU may still use. */
type OldUse = { readonly freed: FreedUse } | { readonly debt: Debt; readonly pfn: number };

/** A cached table entry that still leads to a table. */
interface TableUseLeft {
  readonly table: number;
  readonly debt: TableDebt | null;
  /** Where the entry is still in place: who uses it, and the first address it is for. */
  readonly context: Context;
  readonly base: number;
  readonly level: number;
  readonly moment: string;
}

/** Old translations of a kernel address that gets another page: its frame may be anybody's, it is the address that counts. */
function oldOfAddress(
  l: Ledger,
  { reach, page, level, pfn }: MomentOf<"entry-installed">,
  visit: (use: OldUse) => void,
): void {
  if (!reach.kernel) return;
  for (const context of l.contexts.reaching(reach)) {
    if (context.cpu === NONE) continue;
    l.debts.inRange(context, page, BYTES_OF_LEVEL[level]!, (debt) => {
      const same = debt.pfn * PAGE_SIZE - debt.change.leaf.page === pfn * PAGE_SIZE - page;
      if (!same) visit({ debt, pfn: debt.pfn });
    });
  }
}

/** Cached entries that lead to a frame, by debts, and entries in place by which CPUs can walk it. */
function leadsTo(l: Ledger, table: number, moment: string, visit: (left: TableUseLeft) => void): void {
  for (const debt of l.debts.byTable.get(table) ?? []) {
    const { context, base, level } = debt;
    visit({ table, debt, context, base, level, moment });
  }
  for (const { reach, base, level } of l.tables.usesOf(table)) {
    for (const context of l.contexts.reaching(reach)) {
      if (context.cpu === NONE || context.isGlobal) continue;
      visit({ table, debt: null, context, base, level: level + 1, moment });
    }
  }
}

const MOMENTS = {
  "page-freed": "page freed",
  "table-freed": "table freed",
  "entry-installed": "frame mapped as a page",
} as const;

/** What holds on any system, whatever it is: from the manuals alone. */
export const GENERIC_RULES: readonly Rule[] = [
  rule({
    id: "G1",
    title: "no CPU can use an old translation of a frame or kernel address given away",
    when: "page freed, kernel address mapped again",
    source: "SDM vol. 3, 4.10.4.2 Recommended Invalidation; APM vol. 2, 5.5.2 TLB Management",
    before: ["page-freed", "entry-installed"],
    subjects(l, moment, visit: (use: OldUse) => void) {
      if (moment.kind === "entry-installed") oldOfAddress(l, moment, visit);
      else freedUses(l, moment, (freed) => visit({ freed }));
    },
    // What is an address space's is judged by the system's own rules: one violation, one finding.
    broken: (_l, use) => !("freed" in use) || !(use.freed.isOfSpace || use.freed.isDevice),
    breach(l, use) {
      if ("freed" in use) return freedBreach(l, use.freed);
      const { debt, pfn } = use;
      const details = debtDetails(l, debt, pfn, "the address is mapped again");
      return {
        key: hex(debt.change.leaf.page),
        debt,
        details: { moment: "address reused", ...details },
      };
    },
  }),
  rule({
    id: "G2",
    title: "no CPU can walk a page table that is given to another use",
    when: "table freed, page freed, frame mapped as a page",
    source: "SDM vol. 3, 4.10.3 Paging-Structure Caches; 4.10.4.2 Recommended Invalidation",
    before: ["page-freed", "table-freed", "entry-installed"],
    subjects(l, moment, visit: (left: TableUseLeft) => void) {
      const text = MOMENTS[moment.kind];
      if (moment.kind === "entry-installed") {
        // A table's frame is a page of the kernel's own map all the time.
        if (moment.reach.kernel || l.debts.byTable.size === 0) return;
        const end = moment.pfn + BYTES_OF_LEVEL[moment.level]! / PAGE_SIZE;
        for (const [table, debts] of l.debts.byTable) {
          if (table < moment.pfn || table >= end) continue;
          for (const debt of debts) {
            const { context, base, level } = debt;
            visit({ table, debt, context, base, level, moment: text });
          }
        }
        return;
      }
      const frames = moment.kind === "page-freed" ? 2 ** moment.order : 1;
      for (let pfn = moment.pfn as number; pfn < moment.pfn + frames; pfn++) leadsTo(l, pfn, text, visit);
    },
    broken: (_l, { context }) => context.cpu !== NONE,
    breach(l, { table, debt, context, base, level, moment }) {
      const bytes = BYTES_OF_LEVEL[Math.min(level, 5)]!;
      const by = debt === null ? "an entry that is still present" : "a cached entry";
      return {
        key: l.pages.life(table),
        ...(debt === null ? {} : { debt }),
        details: {
          moment,
          agent: holderOf(l, context),
          space: [...context.roots.keys()][0]?.space?.id ?? NONE,
          linear: base,
          pfn: table,
          stale: {
            to: `the table at frame ${hex(table)} by ${by} of level ${level}`,
            size: bytes,
            rights: "a walk",
            writable: false,
            dirty: false,
          },
          changed: debt?.changer ?? null,
          owed: missing("a flush that drops cached table entries", "before the table is freed", {
            start: base,
            length: bytes,
          }),
          staleRanges: [{ start: base, length: bytes }],
        },
      };
    },
  }),
  rule({
    id: "G3",
    title: "no PCID goes to another address space while a CPU keeps its old translations",
    when: "root loaded, translations kept",
    source: "SDM vol. 3, 4.10.1 Process-Context Identifiers; 4.10.4.1 Operations that Invalidate",
    before: ["cr3-loaded"],
    subjects(
      l,
      { cpu, pcid, root, keep },
      visit: (old: { context: Context; root: Root; loaded: number }) => void,
    ) {
      if (!keep) return;
      const context = l.contexts.cpu(cpu).byPcid.get(pcid);
      for (const old of context?.roots.keys() ?? []) visit({ context: context!, root: old, loaded: root });
    },
    broken: (_l, { root, loaded }) => root.physical !== loaded,
    breach(l, { context, root, loaded }) {
      return {
        key: `${context.cpu}/${context.pcid}/${root.physical}`,
        details: {
          moment: "root loaded",
          agent: holderOf(l, context),
          space: root.space?.id ?? NONE,
          stale: {
            to: `everything under the root at ${hex(root.physical)} by translations of PCID ${context.pcid}`,
            size: PAGE_SIZE,
            rights: "as they were",
            writable: false,
            dirty: false,
          },
          site: "",
          owed: missing(`a load without bit 63 of the root at ${hex(loaded)}, or INVPCID type 1`),
        },
      };
    },
  }),
];
