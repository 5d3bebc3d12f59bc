import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { Kernel } from "../mm/kernel.ts";
import { type Finding, type FindingDetails, FindingLog } from "./findings.ts";
import { type Change, type Debt, GhostTlb, isReachable, type TranslationCache } from "./ghost-tlb.ts";
import { SpteMirror } from "./spte-mirror.ts";
import { type Leaf, type LeafSink, RIGHT_WRITE, TableMap } from "./table-map.ts";
import { TaskState } from "./task-state.ts";

/** A CPU, a device, or an mm that any CPU may load. */
export interface LeafUser {
  readonly name: string;
  readonly isDevice: boolean;
}

/** Who stored to a frame after its last write-out began. */
export interface NewerData {
  readonly agent: string;
  readonly event: number;
  /** Whether the frame cached a file then. */
  readonly file: boolean;
}

/** What all rules look at: the tables and caches as followed so far, the tasks, and the findings. */
export class AuditState {
  readonly kernel: Kernel;
  readonly tables: TableMap;
  readonly ghost = new GhostTlb();
  readonly sptes = new SpteMirror();
  readonly log: FindingLog;
  /** Frames stored to since their last write-out. */
  readonly newer = new Map<number, NewerData>();
  /** Swap slots that frames were written out to. */
  readonly swapSlots = new Map<number, number>();
  /** Number of the event at hand, from 1. */
  event = 0;
  /** Whether software inside the machine stored the entry at hand. */
  byKernel = true;
  readonly #lifetimes = new Map<number, number>();
  readonly #tasks = new Map<object, TaskState>();
  #task: TaskState;

  constructor(kernel: Kernel, sink: LeafSink, replay: ((finding: Finding) => string) | null) {
    this.kernel = kernel;
    this.log = new FindingLog(replay);
    this.tables = new TableMap(kernel, sink);
    this.#task = this.#taskOf();
  }

  /** The kernel thread that executes now. */
  get task(): TaskState {
    if (this.#task.task !== this.kernel.current) this.#task = this.#taskOf();
    return this.#task;
  }

  tasks(): IterableIterator<TaskState> {
    return this.#tasks.values();
  }

  report(key: string, details: FindingDetails): void {
    this.log.add(key, this.event, details);
  }

  /**
   * The same of a stale translation. Where the debt is that of a PCID that is not loaded, nobody can use it now, and a
   * flush may still come first (bugs 2, window 5): it is found when the PCID is loaded with its translations kept.
   */
  reportDebt(debt: Debt, key: string, details: FindingDetails): void {
    if (isReachable(debt)) this.report(key, details);
    else {
      debt.suspended ??= [];
      debt.suspended.push({ key, details });
    }
  }

  /** The cache's PCID was loaded again: what it kept can be used from now on. */
  resume(cache: TranslationCache): void {
    this.ghost.ofCache(cache, (debt) => {
      const { suspended } = debt;
      if (suspended === null) return;
      debt.suspended = null;
      for (const { key, details } of suspended) {
        this.report(key, { ...details, moment: `PCID loaded, not flushed since: ${details.moment}` });
      }
    });
  }

  /**
   * Who can use an entry that is still there: the caches that serve its mm. When no CPU has that loaded, or the entry is
   * of PROT_NONE, the mm itself, which any CPU may load, and make usable again.
   */
  usersOf(leaf: Leaf): readonly LeafUser[] {
    const caches = leaf.protNone ? [] : this.ghost.of(leaf.mm);
    const users = caches.map(({ name, cpu }) => ({ name, isDevice: cpu < 0 }));
    return users.some(({ isDevice }) => !isDevice)
      ? users
      : [...users, { name: leaf.mm.name, isDevice: false }];
  }

  /** A frame in this life of it, as a key: after a free, it is another page. */
  life(frame: number): string {
    return `${frame}.${this.#lifetimes.get(frame) ?? 0}`;
  }

  /** The frame was freed: what is found of it from now on is another page's. */
  endLife(frame: number): void {
    this.#lifetimes.set(frame, (this.#lifetimes.get(frame) ?? 0) + 1);
    this.newer.delete(frame);
    this.swapSlots.delete(frame);
  }

  /** Frames of the compound page that a page belongs to, itself if none. */
  framesOf(page: number): { readonly first: number; readonly end: number } {
    const { mem_map } = this.kernel;
    if (!mem_map.pfn_valid(page)) return { first: 0, end: 0 };
    const first = mem_map.compound_head(page);
    return { first, end: first + mem_map.hpage_nr_pages(first) };
  }

  changeOf(leaf: Leaf, value: Entry): Change {
    const { current, mem_map } = this.kernel;
    const byPte = leaf.level === 1 || (mem_map.pfn_valid(leaf.frame) && mem_map.PageHuge(leaf.frame));
    return {
      leaf,
      caller: this.byKernel ? current.caller || current.name : "outside the kernel",
      primitive: primitiveOf(leaf, value, byPte),
      event: this.event,
      debts: [],
      deferred: false,
      missed: null,
    };
  }

  #taskOf(): TaskState {
    const { current } = this.kernel;
    let state = this.#tasks.get(current);
    if (state === undefined) {
      state = new TaskState(current);
      this.#tasks.set(current, state);
    }
    return state;
  }
}

/** The primitive that stores such a value, which the hardware does not report; hugetlb uses those of ptes. */
function primitiveOf(leaf: Leaf, value: Entry, byPte: boolean): string {
  if ((value.lo | value.hi) === 0) return byPte ? "ptep_get_and_clear" : "pmdp_huge_get_and_clear";
  if ((value.lo & 1) === 0) return byPte ? "set_pte_at" : "pmdp_invalidate";
  const prefix = byPte ? "pte" : "pmd";
  const wasWritable = (leaf.rights & RIGHT_WRITE) !== 0;
  return wasWritable && (value.lo & RIGHT_WRITE) === 0 ? `${prefix}p_set_wrprotect` : `set_${prefix}_at`;
}
