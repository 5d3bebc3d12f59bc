import type { KernelThread } from "../../arch/x86/mm/events.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_access_permitted } from "../../arch/x86/mm/pgtable.ts";
import { _PAGE_PSE, VM_SHARED, VM_WRITE } from "../../arch/x86/mm/pgtable-types.ts";
import { switch_mm } from "../../arch/x86/mm/tlb.ts";
import type { Kernel, Task } from "../mm/kernel.ts";
import { trylock_page, unlock_page } from "../mm/locks.ts";
import { PG } from "../mm/mem_map.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import { page_referenced } from "../mm/page_referenced.ts";
import { NO_SLOT, pmdSlot, pteSlotUnder } from "../mm/page-table.ts";
import { pageout } from "../mm/page-writeback.ts";
import { isolate_lru_page, type KeptReason, type Shrunk, shrink_page_list } from "../mm/vmscan.ts";
import type { Random } from "../sim/random.ts";
import { Scheduler } from "../sim/scheduler.ts";
import { Actors, type Listeners, type Target } from "./actors.ts";

/** A page (its head, if compound) and every place that maps it or a part of it. */
export interface MappedPage {
  readonly page: number;
  /** How many of its 4K frames are mapped somewhere. */
  readonly frames: number;
  readonly mappings: readonly { readonly mm: mm_struct; readonly address: number }[];
}

export interface ReclaimOptions {
  readonly pages: readonly MappedPage[];
  readonly listeners: ReadonlyMap<mm_struct, Listeners>;
  readonly random: Random;
  /** Take the pages in the seed's order instead of by frame number. */
  readonly shuffle?: boolean;
  readonly progress?: (done: number, total: number) => void;
}

export interface ReclaimResult {
  /** Mapped 4K frames of the pages given to the job, and of those that reclaim may take at all. */
  readonly considered: number;
  readonly eligible: number;
  /** Frames that were not eligible, by reason. */
  readonly skipped: Map<string, number>;
  readonly freed: number;
  /** Eligible frames that could not be freed, by reason. */
  readonly kept: Map<string, number>;
  readonly mkcleanedPages: number;
}

const BATCH = 32;
/** Batches in which a page may be found in use before the job gives it up. */
const MAX_TRIES = 8;
const RECLAIM_WEIGHT = 6;

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
  readonly #tries = new Map<number, number>();
  readonly #skipped = new Map<string, number>();
  readonly #kept = new Map<string, number>();
  #mkcleaned = 0;
  #freed = 0;

  constructor(kernel: Kernel, options: ReclaimOptions) {
    if (kernel.machine.cpus.length < 2) {
      throw new RangeError("the job needs 2 CPUs or more: one reclaims, the others run user work");
    }
    this.#kernel = kernel;
    this.#options = options;
    this.actors = new Actors(kernel, options.random, options.listeners);
    this.#kswapd = kernel.createTask("kswapd", 0);
    this.#userTasks = kernel.machine.cpus.slice(1).map((cpu) => kernel.createTask(`user@${cpu.id}`, cpu.id));
    for (const task of this.#userTasks) kernel.machine.cpu(task.cpu).cpl = 3;
  }

  run(): ReclaimResult {
    const { pages, random, shuffle, progress } = this.#options;
    const queue = pages.filter((page) => this.#isEligible(page));
    if (shuffle) random.shuffle(queue);
    else queue.sort((a, b) => a.page - b.page);
    const eligible = countFrames(queue);
    let retries: MappedPage[] = [];
    for (let at = 0; at < queue.length || retries.length > 0; at += BATCH) {
      const fresh = queue.slice(at, at + BATCH);
      retries = this.#batch(fresh, retries);
      progress?.(Math.min(at + BATCH, queue.length), queue.length);
    }
    const skippedLate = this.#skipped.get("mlocked") ?? 0;
    return {
      considered: countFrames(pages),
      eligible: eligible - skippedLate,
      skipped: this.#skipped,
      freed: this.#freed,
      kept: this.#kept,
      mkcleanedPages: this.#mkcleaned,
    };
  }

  #isEligible({ page, frames }: MappedPage): boolean {
    const { mem_map } = this.#kernel;
    const flags = mem_map.flags[page]!;
    if (mem_map.PageHuge(page)) count(this.#skipped, "hugetlb", frames);
    else if ((flags & PG.unevictable) !== 0) count(this.#skipped, "unevictable", frames);
    else if ((flags & PG.lru) === 0) count(this.#skipped, "not on an LRU list", frames);
    else return true;
    return false;
  }

  /** One batch; returns the pages to take again with the next. */
  #batch(fresh: readonly MappedPage[], again: readonly MappedPage[]): MappedPage[] {
    const { listeners, random } = this.#options;
    const targets = fresh.flatMap((page) =>
      page.mappings.map((at) => this.#targetOf(page.page, at.mm, at.address)),
    );
    this.#touchAll(targets);
    this.actors.targets = targets;
    const all = [...fresh, ...again];
    const scheduler = new Scheduler(this.#kernel, random);
    let shrunk: Shrunk | null = null;
    const reclaim = this.#reclaim(all, (result) => {
      shrunk = result;
    });
    scheduler.spawn(this.#kswapd, reclaim, { weight: RECLAIM_WEIGHT });
    for (const task of this.#userTasks) scheduler.spawn(task, this.actors.user(task.cpu), { daemon: true });
    const [first] = this.#userTasks;
    const hasListeners = [...listeners.values()].some(({ kvms, iommus }) => kvms.length + iommus.length > 0);
    if (hasListeners && first !== undefined) {
      scheduler.spawn(first, this.actors.guests(), { daemon: true });
      scheduler.spawn(first, this.actors.devices(), { daemon: true });
    }
    scheduler.run();
    return shrunk === null ? [] : this.#sortOut(all, shrunk);
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
        this.actors.touch(cpu, place);
        this.#kernel.run(this.actors.guestTouch(place));
        this.actors.deviceTouch(place);
      }
    }
  }

  #targetOf(page: number, mm: mm_struct, address: number): Target {
    const pmdp = pmdSlot(mm, address);
    const pmd = pmdp === NO_SLOT ? null : readEntry(mm, pmdp);
    if (pmd === null) return { page, mm, address, writable: false };
    const huge = (pmd.lo & _PAGE_PSE) !== 0;
    const entry = huge ? pmd : readEntry(mm, pteSlotUnder(mm, pmdp, address));
    return { page, mm, address, writable: pte_access_permitted(entry, true) };
  }

  /** Steps 2 to 5, as one kernel thread on CPU 0. */
  *#reclaim(pages: readonly MappedPage[], done: (result: Shrunk) => void): KernelThread<void> {
    const k = this.#kernel;
    for (const { page, mappings } of pages) {
      if (hasWritableSharedMapping(mappings)) yield* this.#writeBack(page);
    }
    for (const { page } of pages) yield* page_referenced(k, page, false);
    for (const { page } of pages) isolate_lru_page(k, page);
    done(
      yield* shrink_page_list(
        k,
        pages.map(({ page }) => page),
      ),
    );
  }

  *#writeBack(page: number): KernelThread<void> {
    const k = this.#kernel;
    if (!k.mem_map.page_mapped(page) || !trylock_page(k, page)) return;
    yield* pageout(k, page);
    this.#mkcleaned++;
    unlock_page(k, page);
  }

  /** Books what became of each page and returns those to be tried again. */
  #sortOut(pages: readonly MappedPage[], shrunk: Shrunk): MappedPage[] {
    const again: MappedPage[] = [];
    for (const mapped of pages) {
      const reason: KeptReason | undefined = shrunk.kept.get(mapped.page);
      if (reason === undefined) {
        this.#freed += mapped.frames;
        continue;
      }
      const tries = (this.#tries.get(mapped.page) ?? 0) + 1;
      this.#tries.set(mapped.page, tries);
      if (reason === "mlocked") count(this.#skipped, reason, mapped.frames);
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
  return mappings.some(({ mm, address }) => ((mm.vmaAt(address)?.vm_flags ?? 0) & both) === both);
}
