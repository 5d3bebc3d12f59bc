import { BYTES_OF_LEVEL, NONE } from "../../../arch/x86/cpu/address.ts";
import { hasCpu, holderOf, missing, spaceIdOf, staleLeaf } from "../describe.ts";
import type { Change, Context } from "../ledger/debt.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { MomentOf } from "../ledger/moments.ts";
import type { Space } from "../ledger/spaces.ts";
import type { TaskState } from "../ledger/tasks.ts";
import type { Leaf } from "../ledger/translation.ts";
import { type Rule, rule } from "./rule.ts";

/** Functions that must reach a cache hook before each entry that they clear. */
const HOOKED: ReadonlySet<string> = new Set(["page_mkclean_one", "try_to_unmap_one"]);

/** A CPU that may hold translations of an address space. */
interface Holding {
  readonly context: Context;
  readonly space: Space;
  readonly moment: string;
}

/** The address spaces that a CPU's loaded PCID serves. */
function heldOn(l: Ledger, cpu: number, moment: string, visit: (holding: Holding) => void): void {
  const context = l.contexts.cpu(cpu).current;
  for (const { space } of context.roots.keys()) if (space !== null) visit({ context, space, moment });
}

/** A change with the cache hook that came before it. */
interface HookedChange {
  readonly change: Change;
  readonly space: number;
  readonly hook: TaskState["cacheHook"];
}

export const CALL_RULES: readonly Rule[] = [
  rule({
    id: 50,
    title: "a CPU that may hold an mm's translations is in its mm_cpumask",
    when: "root loaded, translation filled, flush begun",
    source: "arch/x86/mm/tlb.c switch_mm_irqs_off",
    after: ["cr3-loaded", "tlb-filled", "flush-begun"],
    subjects(l, moment, visit: (holding: Holding) => void) {
      if (moment.kind === "cr3-loaded") heldOn(l, moment.cpu, "root loaded", visit);
      else if (moment.kind === "tlb-filled") {
        // Kernel addresses are every mm's.
        if (moment.linearHi >= 0) heldOn(l, moment.cpu, "translation filled", visit);
      } else if (moment.space !== NONE) {
        // A PCID that is not loaded needs no bit: it is flushed before it is used.
        for (const { current, cpu } of l.contexts.cpus()) {
          for (const { space } of current.roots.keys()) {
            if (space?.id === moment.space) heldOn(l, cpu, "flush begun", visit);
          }
        }
      }
    },
    broken: (_l, { context, space }) => !hasCpu(space.cpus, context.cpu),
    breach(l, { context, space, moment }) {
      const holder = holderOf(l, context);
      return {
        key: `${space.id}/${context.cpu}`,
        details: {
          moment,
          agent: holder,
          space: space.id,
          site: "switch_mm_irqs_off",
          owed: missing(`the bit of ${holder} in mm_cpumask`, "before its root is loaded"),
        },
      };
    },
  }),
  rule({
    id: 52,
    title: "the caller of try_to_unmap holds a reference that outlives the call",
    when: "reference dropped",
    source: "mm/rmap.c try_to_unmap_one: put_page",
    before: ["page-put"],
    subjects(l, record, visit: (subject: { record: MomentOf<"page-put">; task: TaskState }) => void) {
      const task = l.task(record.agent);
      if (task.isIn("try_to_unmap", record.pfn)) visit({ record, task });
    },
    broken: (_l, { record }) => record.refcount <= 0,
    breach(l, { record, task }) {
      return {
        key: l.pages.life(record.pfn),
        details: {
          moment: "reference dropped",
          agent: l.spaces.nameOf("agent", task.agent),
          space: NONE,
          pfn: record.pfn,
          site: "try_to_unmap",
          owed: missing("a reference of the caller", "until try_to_unmap has returned"),
        },
      };
    },
  }),
  rule({
    id: 61,
    title: "page_vma_mapped_walk returns a hit with one lock held, an end with none",
    when: "walk returned",
    source: "mm/page_vma_mapped.c page_vma_mapped_walk",
    before: ["walk-returned"],
    broken: (_l, { found, locks }) => locks !== (found ? 1 : 0),
    breach(l, { agent, found, locks }) {
      const site = l.siteOf(l.task(agent));
      return {
        key: `${site}/${found}/${locks}`,
        details: {
          moment: "walk returned",
          agent: site,
          space: NONE,
          site,
          owed: found
            ? missing("one page-table lock", `with a hit, not ${locks}`)
            : missing("no page-table lock", `after the end, not ${locks}`),
        },
      };
    },
  }),
  rule({
    id: 62,
    title: "after try_to_unmap succeeded no present entry maps the page",
    when: "try_to_unmap returned",
    source: "mm/rmap.c try_to_unmap",
    after: ["call-left"],
    returns: ["try_to_unmap"],
    subjects(l, { pfn, result }, visit: (subject: { pfn: number; leaf: Leaf; succeeded: boolean }) => void) {
      if (l.pages.isCompound(pfn)) return;
      l.tables.leavesOn(pfn, (leaf) => visit({ pfn, leaf, succeeded: result === 1 }));
    },
    broken: (_l, { succeeded }) => succeeded,
    breach(l, { pfn, leaf }) {
      const space = spaceIdOf(l, leaf);
      return {
        key: l.pages.life(pfn),
        details: {
          moment: "try_to_unmap returned",
          agent: l.spaces.nameOf("space", space),
          space,
          linear: leaf.page,
          pfn,
          stale: staleLeaf(leaf, pfn),
          site: "try_to_unmap",
          owed: missing("try_to_unmap", "of every entry that maps the page"),
        },
      };
    },
  }),
  rule({
    id: 69,
    title: "flush_cache_page comes before the entry changes",
    when: "entry changed",
    source: "Documentation/cachetlb.txt",
    before: ["entry-weakened"],
    subjects(l, { change, task }, visit: (subject: HookedChange) => void) {
      const space = spaceIdOf(l, change.leaf);
      if (space === NONE) return;
      const walk = task.walkOf(space);
      if (walk !== null && HOOKED.has(walk.function)) visit({ change, space, hook: task.cacheHook });
    },
    broken(_l, { change, space, hook }) {
      const { page, level } = change.leaf;
      return (
        hook === null ||
        hook.space !== space ||
        hook.start >= page + BYTES_OF_LEVEL[level]! ||
        hook.end <= page
      );
    },
    breach(_l, { change, space }) {
      return {
        key: `${change.site}/${change.leaf.page}`,
        details: {
          moment: "entry changed",
          agent: change.site,
          space,
          linear: change.leaf.page,
          pfn: change.leaf.pfn,
          changed: change,
          owed: missing("flush_cache_page", "before the entry is cleared"),
        },
      };
    },
  }),
];
