import { type Linear, NO_PFN, PAGE_SIZE, type Pfn } from "../../../arch/x86/cpu/address.ts";
import { pmd_trans_huge, pte_access_permitted } from "../../../arch/x86/mm/pgtable.ts";
import { PMD_SIZE, VM_SHARED, VM_WRITE } from "../../../arch/x86/mm/pgtable_types.ts";
import type { KernelThread } from "../../../arch/x86/mm/step.ts";
import { switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { mappingEntry } from "../../mm/gup.ts";
import { lock_page, unlock_page } from "../../mm/locks.ts";
import { PG } from "../../mm/mem_map.ts";
import type { Kernel, mm_struct, Task } from "../../mm/mm_types.ts";
import { page_referenced } from "../../mm/page_referenced.ts";
import { pageout } from "../../mm/page-writeback.ts";
import { isolate_lru_page, type KeptReason, shrink_page_list } from "../../mm/vmscan.ts";
import { Draws } from "../../sim/draws.ts";
import { Random } from "../../sim/random.ts";
import { Scheduler } from "../../sim/scheduler.ts";
import { Actors, type Listeners, type Target } from "./actors.ts";

/** A page (its head, if compound) and every place that maps it or a part of it. */
export interface MappedPage {
  readonly page: Pfn;
  /** How many of its 4K frames are mapped somewhere. */
  readonly frames: number;
  readonly mappings: readonly { readonly mm: mm_struct; readonly address: Linear }[];
}

/** Frames from the first to the last, both included. */
export interface FrameRange {
  readonly first: number;
  readonly last: number;
}

export interface ReclaimOptions {
  readonly pages: readonly MappedPage[];
  readonly listeners: ReadonlyMap<mm_struct, Listeners>;
  /** Decides everything that happens at random, page by page. */
  readonly seed: number;
  /** Take the pages in the seed's order instead of by frame number. */
  readonly shuffle?: boolean;
  /** Take only pages that begin in one of these; default: all. */
  readonly frames?: readonly FrameRange[];
  readonly progress?: (done: number, total: number) => void;
}

export interface ReclaimResult {
  /** Mapped 4K frames of the pages that reclaim may take at all. */
  readonly eligible: number;
  /** Frames that were not eligible, by reason. */
  readonly skipped: Map<string, number>;
  readonly freed: number;
  /** Eligible frames that could not be freed, by reason. */
  readonly kept: Map<string, number>;
}

const BATCH = 32;
/** Batches in which a page may be found in use before the job gives it up. */
const MAX_TRIES = 8;
const RECLAIM_WEIGHT = 6;
/** The scheduler, as one that draws. */
const SCHEDULER = 0;

/**
 * Writeback and reclaim over a guest's pages: the job that `ptescope audit` runs (README, "The main job").
 *
 *   CPU 0       kswapd, in init_mm      clean, age, unmap, flush, write out, free
 *   CPU 1..N-1  user programs           touch the batch's pages, at first all, then at random
 *   KVM, IOMMU  guests and devices      likewise, through their own translations
 *
 * A page found in use is left in peace and taken again one batch later.
 */
export class ReclaimJob {
  readonly actors: Actors;
  readonly #kernel: Kernel;
  readonly #options: ReclaimOptions;
  readonly #kswapd: Task;
  readonly #userTasks: readonly Task[];
  readonly #draws: Draws;
  /** The page that was worked on last. */
  #page: Pfn = NO_PFN;
  readonly #tries = new Map<number, number>();
  readonly #skipped = new Map<string, number>();
  readonly #kept = new Map<string, number>();
  #freed = 0;

  constructor(kernel: Kernel, options: ReclaimOptions) {
    if (kernel.machine.cpus.length < 2) {
      throw new RangeError("the job needs 2 CPUs or more: one reclaims, the others run user work");
    }
    this.#kernel = kernel;
    this.#options = options;
    this.#kswapd = kernel.createTask("kswapd", 0);
    this.#draws = new Draws(options.seed, () => this.#pageAtHand());
    this.actors = new Actors(kernel, this.#draws, SCHEDULER + 1, options.listeners);
    this.#userTasks = kernel.machine.cpus.slice(1).map((cpu) => kernel.createTask(`user@${cpu.id}`, cpu.id));
    for (const task of this.#userTasks) kernel.machine.cpu(task.cpu).cpl = 3;
  }

  run(): ReclaimResult {
    const { pages, seed, shuffle, progress } = this.#options;
    const queue = pages.filter((page) => this.#isEligible(page));
    if (shuffle) new Random(seed).shuffle(queue);
    else queue.sort((a, b) => a.page - b.page);
    const eligible = countFrames(queue);
    let again: MappedPage[] = [];
    for (let at = 0; at < queue.length || again.length > 0; ) {
      const fresh = queue.slice(at, at + Math.max(0, BATCH - again.length));
      again = this.#batch(fresh, again);
      at += fresh.length;
      progress?.(at, queue.length);
    }
    return {
      eligible: eligible - (this.#skipped.get("mlocked") ?? 0),
      skipped: this.#skipped,
      freed: this.#freed,
      kept: this.#kept,
    };
  }

  #isEligible({ page, frames }: MappedPage): boolean {
    const { mem_map } = this.#kernel;
    const flags = mem_map.flags[page]!;
    if (!this.#isAskedFor(page)) count(this.#skipped, "not asked for", frames);
    else if (mem_map.PageHuge(page)) count(this.#skipped, "hugetlb", frames);
    else if ((flags & PG.unevictable) !== 0) count(this.#skipped, "unevictable", frames);
    else if ((flags & PG.lru) === 0) count(this.#skipped, "not on an LRU list", frames);
    else return true;
    return false;
  }

  /** The page that kswapd works on, or did last: what is drawn for one page does not depend on those before it. */
  #pageAtHand(): Pfn {
    const { calls, depth } = this.#kswapd;
    for (let i = 0; i < depth; i++) {
      const { page } = calls[i]!;
      if (page === NO_PFN) continue;
      this.#page = page;
      break;
    }
    return this.#page;
  }

  #isAskedFor(page: Pfn): boolean {
    const { frames } = this.#options;
    return frames === undefined || frames.some(({ first, last }) => page >= first && page <= last);
  }

  /** One batch; returns the pages to take again with the next. */
  #batch(fresh: readonly MappedPage[], again: readonly MappedPage[]): MappedPage[] {
    const { listeners } = this.#options;
    const targets = fresh.flatMap((page) =>
      page.mappings.map((at) => this.#targetOf(page.page, at.mm, at.address)),
    );
    this.#touchAll(targets);
    this.actors.targets = targets;
    const all = [...fresh, ...again];
    const scheduler = new Scheduler(this.#kernel, this.#draws.dice(SCHEDULER));
    const kept = new Map<Pfn, KeptReason>();
    scheduler.spawn(this.#kswapd, this.#reclaim(all, kept), { weight: RECLAIM_WEIGHT });
    for (const task of this.#userTasks) scheduler.spawn(task, this.actors.user(task.cpu), { daemon: true });
    const [first] = this.#userTasks;
    const hasListeners = [...listeners.values()].some(({ kvms, iommus }) => kvms.length + iommus.length > 0);
    if (hasListeners && first !== undefined) {
      scheduler.spawn(first, this.actors.guests(), { daemon: true });
      scheduler.spawn(first, this.actors.devices(), { daemon: true });
    }
    scheduler.run();
    return this.#sortOut(all, kept);
  }

  /** Step 1: loads each mm that maps a page of the batch on the user CPUs in turn and touches everything. */
  #touchAll(targets: readonly Target[]): void {
    const byMm = new Map<mm_struct, Target[]>();
    for (const target of targets) {
      const places = byMm.get(target.mm);
      if (places === undefined) byMm.set(target.mm, [target]);
      else places.push(target);
    }
    let turn = 0;
    for (const [mm, places] of byMm) {
      const cpu = 1 + (turn++ % this.#userTasks.length);
      switch_mm(this.#kernel, cpu, mm);
      for (const place of places) {
        this.#page = place.page;
        this.actors.touch(cpu, place);
        this.#kernel.run(this.actors.guestTouch(place));
        this.actors.deviceTouch(place);
      }
    }
  }

  #targetOf(page: Pfn, mm: mm_struct, address: Linear): Target {
    const { level, entry } = mappingEntry(mm, address);
    const length = level === 2 && pmd_trans_huge(entry) ? PMD_SIZE : PAGE_SIZE;
    return { page, mm, address, length, writable: pte_access_permitted(entry, true) };
  }

  /** Steps 2 to 5, as one kernel thread on CPU 0; notes why it kept what it kept. */
  *#reclaim(pages: readonly MappedPage[], kept: Map<Pfn, KeptReason>): KernelThread<void> {
    const k = this.#kernel;
    for (const { page, mappings } of pages) {
      if (hasWritableSharedMapping(mappings)) yield* this.#writeBack(page);
    }
    for (const { page } of pages) yield* page_referenced(k, page, false);
    const isolated = pages.filter(({ page }) => isolate_lru_page(k, page)).map(({ page }) => page);
    const shrunk = yield* shrink_page_list(k, isolated);
    for (const [page, reason] of shrunk.kept) kept.set(page, reason);
  }

  *#writeBack(page: Pfn): KernelThread<void> {
    const k = this.#kernel;
    if (!k.mem_map.page_mapped(page)) return;
    yield* lock_page(k, page);
    yield* pageout(k, page);
    unlock_page(k, page);
  }

  /** Books what became of each page and returns those to be tried again. */
  #sortOut(pages: readonly MappedPage[], kept: ReadonlyMap<Pfn, KeptReason>): MappedPage[] {
    const again: MappedPage[] = [];
    for (const mapped of pages) {
      const reason = kept.get(mapped.page);
      // Also freed: a page that was kept for a reference which was then the last to go.
      if (reason === undefined || this.#kernel.mem_map.page_count(mapped.page) === 0) {
        this.#freed += mapped.frames;
        continue;
      }
      const tries = (this.#tries.get(mapped.page) ?? 0) + 1;
      this.#tries.set(mapped.page, tries);
      if (reason === "mlocked" || reason === "unevictable") count(this.#skipped, "mlocked", mapped.frames);
      else if (reason === "no swap slot" || tries >= MAX_TRIES) {
        count(this.#kept, reason, mapped.frames);
      } else again.push(mapped);
    }
    return again;
  }
}

function count(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

function countFrames(pages: readonly MappedPage[]): number {
  return pages.reduce((sum, { frames }) => sum + frames, 0);
}

function hasWritableSharedMapping(mappings: MappedPage["mappings"]): boolean {
  const both = VM_WRITE | VM_SHARED;
  return mappings.some(({ mm, address }) => {
    const vma = mm.vmaAt(address);
    return vma !== null && vma.vm_file !== null && (vma.vm_flags & both) === both;
  });
}
