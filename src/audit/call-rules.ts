import type { MmContext } from "../../arch/x86/mm/kernel-context.ts";
import type { KernelCall, MmEvent } from "../mm/events.ts";
import type { AuditState } from "./audit-state.ts";
import { changedBy, staleLeaf } from "./describe.ts";
import { BYTES_OF_LEVEL } from "./frame-index.ts";
import type { Change, TranslationCache } from "./ghost-tlb.ts";

/** Functions that must reach a cache hook before each entry that they clear; they report when they are left. */
const HOOKED: ReadonlySet<string> = new Set<KernelCall>(["page_mkclean_one", "try_to_unmap_one"]);

const USER_END = 2 ** 56;

/** Rule 50: the CPU of this cache must be in the cpumask of the mm that it serves. */
function judgeCpumask(s: AuditState, cache: TranslationCache, mm: MmContext, moment: string): void {
  if (cache.cpu < 0 || ((mm.cpu_bitmap >>> cache.cpu) & 1) !== 0) return;
  s.report(`${mm.name}/${cache.name}`, {
    rule: 50,
    moment,
    agent: cache.name,
    mm: mm.name,
    owed: `the bit of ${cache.name} in mm_cpumask before its root is loaded`,
  });
}

/** Rule 50 when a CPU has loaded a root. */
export function judgeRootLoaded(s: AuditState, cache: TranslationCache): void {
  for (const mm of cache.mms) judgeCpumask(s, cache, mm, "root loaded");
}

/** Rule 50 for a translation that was filled; kernel addresses are every mm's. */
export function judgeFill(s: AuditState, cache: TranslationCache, page: number): void {
  if (page >= USER_END) return;
  for (const mm of cache.mms) judgeCpumask(s, cache, mm, "translation filled");
}

/** Rule 50 when a flush reads the mask. A PCID that is not loaded needs no bit: it is flushed before it is used. */
export function judgeFlushBegin(s: AuditState, mm: MmContext): void {
  for (const cache of s.ghost.of(mm)) if (cache.active) judgeCpumask(s, cache, mm, "flush begun");
}

/** Rule 52, at each put_page: try_to_unmap must not drop the last reference. */
export function judgePut(s: AuditState, page: number, refcount: number): void {
  if (refcount > 0 || !s.task.isIn("try_to_unmap", page)) return;
  s.report(s.life(page), {
    rule: 52,
    moment: "reference dropped",
    agent: s.task.task.name,
    mm: "",
    frame: page,
    owed: "a reference of the caller until try_to_unmap has returned",
  });
}

/** Rule 61. */
export function judgeWalkReturned(s: AuditState, found: boolean, locksHeld: number): void {
  if (locksHeld === (found ? 1 : 0)) return;
  const { caller, name } = s.kernel.current;
  s.report(`${caller}/${found}/${locksHeld}`, {
    rule: 61,
    moment: "walk returned",
    agent: caller || name,
    mm: "",
    owed: found
      ? `one page-table lock with a hit, not ${locksHeld}`
      : `no page-table lock after the end, not ${locksHeld}`,
  });
}

/** Rule 62: try_to_unmap said that no mapping of a small page is left. */
export function judgeUnmapped(s: AuditState, event: Extract<MmEvent, { type: "call-left" }>): void {
  const { page } = event;
  if (event.result !== true || s.kernel.mem_map.PageCompound(page)) return;
  s.tables.mapped.on(page, (slot) =>
    s.tables.leavesAt(slot, (leaf) => {
      s.report(s.life(page), {
        rule: 62,
        moment: "try_to_unmap returned",
        agent: leaf.mm.name,
        mm: leaf.mm.name,
        address: leaf.page,
        frame: page,
        stale: staleLeaf(leaf, page),
        owed: "try_to_unmap of every entry that maps the page",
      });
    }),
  );
}

/** Rule 69: the cache hook of the place came first, and each change needs its own. */
export function judgeCacheHook(s: AuditState, change: Change): void {
  const { task } = s;
  const { cacheHook } = task;
  const { leaf, caller } = change;
  // `caller` stays behind when a function has returned: what the task changes later is not that function's doing.
  if (!HOOKED.has(caller) || task.walkOf(leaf.mm)?.call !== caller) return;
  task.cacheHook = null;
  if (
    cacheHook !== null &&
    cacheHook.mm === leaf.mm &&
    cacheHook.start < leaf.page + BYTES_OF_LEVEL[leaf.level]! &&
    cacheHook.start + cacheHook.length > leaf.page
  ) {
    return;
  }
  s.report(caller, {
    rule: 69,
    moment: "entry changed",
    agent: caller,
    mm: leaf.mm.name,
    address: leaf.page,
    frame: leaf.frame,
    changedBy: changedBy(change),
    owed: `flush_cache_page before ${change.primitive}`,
  });
}
