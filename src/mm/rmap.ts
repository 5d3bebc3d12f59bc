import { type Linear, NO_SLOT, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pmd_present, pmd_trans_huge } from "../../arch/x86/mm/pgtable.ts";
import { finished, type KernelThread, NEXT_STEP, PartByPart, step, stops } from "../../arch/x86/mm/step.ts";
import { put_anon_vma } from "./anon_vma.ts";
import { type IntervalNode, type IntervalTree, nextInterval } from "./interval-tree.ts";
import { down_read, down_read_trylock, semaphoreId, up_read } from "./locks.ts";
import type {
  address_space,
  anon_vma,
  anon_vma_chain,
  Kernel,
  mm_struct,
  vm_area_struct,
} from "./mm_types.ts";
import { pmdSlot } from "./page-table.ts";
import type { rw_semaphore } from "./rwsem.ts";
import { fileMapping, page_anon_vma } from "./util.ts";
import { __vma_address, vma_address } from "./vma.ts";

/**
 * How one walk over the mappings of a page goes (include/linux/rmap.h struct rmap_walk_control). The functions get
 * the control block, so that they need no closure: a walk of a page mapped once should cost no more than its work.
 */
export interface rmap_walk_control<A> {
  /** For rmap_one: what it shall do, and what it found. */
  readonly arg: A;
  /** Works on one vma; false stops the walk. */
  readonly rmap_one: (
    k: Kernel,
    page: Pfn,
    vma: vm_area_struct,
    address: Linear,
    arg: A,
  ) => KernelThread<boolean>;
  /** Asked after each vma: true stops the walk. */
  readonly done: ((k: Kernel, page: Pfn) => boolean) | null;
  /** Takes the anon_vma's lock for reading, or says that there is nothing to walk. */
  readonly anon_lock: ((k: Kernel, page: Pfn) => KernelThread<anon_vma | null>) | null;
  /** Whether to leave a vma out. */
  readonly invalid_vma: ((vma: vm_area_struct, arg: A) => boolean) | null;
}

/**
 * Visits every vma that may map the page (mm/rmap.c rmap_walk). KSM pages have their own structures in the
 * kernel, which this machine does not have: they throw TypeError.
 */
export function rmap_walk<A>(k: Kernel, page: Pfn, rwc: rmap_walk_control<A>): KernelThread<void> {
  return walkMappings(k, page, rwc, false);
}

/** As rmap_walk, for a caller that holds the lock of the walk already. */
export function rmap_walk_locked<A>(k: Kernel, page: Pfn, rwc: rmap_walk_control<A>): KernelThread<void> {
  return walkMappings(k, page, rwc, true);
}

function walkMappings<A>(
  k: Kernel,
  page: Pfn,
  rwc: rmap_walk_control<A>,
  locked: boolean,
): KernelThread<void> {
  refuseKsm(k, page);
  const walk = k.mem_map.PageAnon(page)
    ? new AnonWalk(k, page, rwc, locked)
    : new FileWalk(k, page, rwc, locked);
  return walk.thread;
}

/** Throws TypeError for a KSM page. For callers that take locks before they walk. */
export function refuseKsm(k: Kernel, page: Pfn): void {
  if (k.mem_map.PageKsm(page)) {
    throw new TypeError(`rmap_walk of frame ${page}: KSM pages are kept out of rmap`);
  }
}

/** A walk over the vmas of a tree: per vma invalid_vma, rmap_one, done, in this order. */
abstract class MappingWalk<A, V> extends PartByPart<void> {
  protected readonly k: Kernel;
  protected readonly page: Pfn;
  protected readonly rwc: rmap_walk_control<A>;
  /** Whether the caller holds the lock. */
  protected readonly locked: boolean;
  /** Held for reading, to be let go of at the end. */
  protected held: rw_semaphore | null = null;
  #at: IntervalNode<V> | null = null;

  constructor(k: Kernel, page: Pfn, rwc: rmap_walk_control<A>, locked: boolean) {
    super();
    this.k = k;
    this.page = page;
    this.rwc = rwc;
    this.locked = locked;
  }

  /** The vma of a node's value. */
  protected abstract vmaOf(value: V): vm_area_struct;

  /** The lock is held: the first part of the walk over a tree. */
  protected over(tree: IntervalTree<V>): KernelThread<unknown> | null {
    const { mem_map } = this.k;
    const first = mem_map.page_to_pgoff(this.page);
    return this.#visit(tree.first(first, first + mem_map.hpage_nr_pages(this.page) - 1));
  }

  /** rmap_one has come to a result. */
  protected after(result: unknown): KernelThread<unknown> | null {
    const { k, page, rwc } = this;
    if (result !== true || rwc.done?.(k, page)) return null;
    return this.#visit(this.#nextOf(this.#at!));
  }

  /** rmap_one of the first vma, from a node on, that is not left out. */
  #visit(from: IntervalNode<V> | null): KernelThread<boolean> | null {
    const { k, page, rwc } = this;
    for (let node = from; node !== null; node = this.#nextOf(node)) {
      const vma = this.vmaOf(node.value);
      if (rwc.invalid_vma?.(vma, rwc.arg)) continue;
      this.#at = node;
      return rwc.rmap_one(k, page, vma, vma_address(k.mem_map, page, vma), rwc.arg);
    }
    return null;
  }

  #nextOf(node: IntervalNode<V>): IntervalNode<V> | null {
    const { mem_map } = this.k;
    const first = mem_map.page_to_pgoff(this.page);
    return nextInterval(node, first, first + mem_map.hpage_nr_pages(this.page) - 1);
  }

  protected get isWalking(): boolean {
    return this.#at !== null;
  }

  protected override leave(): void {
    if (this.held !== null) up_read(this.k, this.held);
  }
}

class AnonWalk<A> extends MappingWalk<A, anon_vma_chain> {
  #anon: anon_vma | null = null;

  protected override begin(): KernelThread<unknown> | null {
    const { k, page, rwc } = this;
    const anon = page_anon_vma(k, page);
    if (this.locked) return anon === null ? null : this.over(anon.rb_root);
    if (rwc.anon_lock !== null) return rwc.anon_lock(k, page);
    this.#anon = anon;
    return anon === null ? null : down_read(k, anon.root.rwsem);
  }

  protected override follow(result: unknown): KernelThread<unknown> | null {
    if (this.isWalking) return this.after(result);
    const anon = this.rwc.anon_lock === null ? this.#anon : (result as anon_vma | null);
    if (anon === null) return null;
    this.held = anon.root.rwsem;
    return this.over(anon.rb_root);
  }

  protected override vmaOf({ vma }: anon_vma_chain): vm_area_struct {
    return vma;
  }
}

class FileWalk<A> extends MappingWalk<A, vm_area_struct> {
  #mapping: address_space | null = null;

  protected override begin(): KernelThread<unknown> | null {
    const { k, page } = this;
    if (!k.mem_map.PageLocked(page)) {
      throw new TypeError(`rmap_walk of file page ${page}, which is not locked`);
    }
    const mapping = fileMapping(k, page);
    this.#mapping = mapping;
    if (mapping === null) return null;
    return this.locked ? this.over(mapping.i_mmap) : down_read(k, mapping.i_mmap_rwsem);
  }

  protected override follow(result: unknown): KernelThread<unknown> | null {
    if (this.isWalking) return this.after(result);
    const mapping = this.#mapping!;
    this.held = mapping.i_mmap_rwsem;
    return this.over(mapping.i_mmap);
  }

  protected override vmaOf(vma: vm_area_struct): vm_area_struct {
    return vma;
  }
}

/**
 * Takes a reference on the anon_vma of a mapped anonymous page, so that it outlives the page's last mapping; null if
 * the page is not mapped any more (mm/rmap.c). The caller gives it back with put_anon_vma.
 */
export function page_get_anon_vma(k: Kernel, page: Pfn): anon_vma | null {
  const anon = page_anon_vma(k, page);
  if (anon === null || !k.mem_map.page_mapped(page) || anon.refcount === 0) return null;
  anon.refcount++;
  return anon;
}

/**
 * Locks the family of a mapped anonymous page for reading; null if it is not mapped any more (mm/rmap.c). Who must wait
 * holds a reference meanwhile: the last mapping may go, and without it the anon_vma and its root with it.
 */
export function page_lock_anon_vma_read(k: Kernel, page: Pfn): KernelThread<anon_vma | null> {
  const anon = page_anon_vma(k, page);
  if (anon === null || !k.mem_map.page_mapped(page)) return NO_ANON_VMA;
  const sem: rw_semaphore = anon.root.rwsem;
  const stopped = stops(k, "lock", semaphoreId(k, sem));
  if (stopped || !down_read_trylock(k, sem)) return waitForAnonVma(k, page, anon, stopped);
  return finished(stillMapped(k, page, anon));
}

const NO_ANON_VMA = finished(null);

/** The locked anon_vma if the page is still mapped; else it is let go of. */
function stillMapped(k: Kernel, page: Pfn, anon: anon_vma): anon_vma | null {
  if (k.mem_map.page_mapped(page)) return anon;
  up_read(k, anon.root.rwsem);
  return null;
}

function* waitForAnonVma(
  k: Kernel,
  page: Pfn,
  anon: anon_vma,
  stopped: boolean,
): KernelThread<anon_vma | null> {
  const sem: rw_semaphore = anon.root.rwsem;
  if (stopped) {
    yield NEXT_STEP;
    if (down_read_trylock(k, sem)) return stillMapped(k, page, anon);
  }
  if (anon.refcount === 0 || !k.mem_map.page_mapped(page)) return null;
  anon.refcount++;
  while (!down_read_trylock(k, sem)) yield step("blocked", semaphoreId(k, sem));
  const last = anon.refcount === 1;
  if (last) up_read(k, sem);
  put_anon_vma(anon);
  return last ? null : anon;
}

/** -EFAULT as the kernel returns it for an address. */
const MINUS_EFAULT = -14 as Linear;

/**
 * Where a vma would map the page, if the page can be in it at all; else -EFAULT (mm/rmap.c page_address_in_vma). That
 * it does map it is not said.
 */
export function page_address_in_vma(k: Kernel, page: Pfn, vma: vm_area_struct): Linear {
  const { mem_map } = k;
  if (mem_map.PageAnon(page)) {
    const root = page_anon_vma(k, page)?.root;
    if (root === undefined || vma.anon_vma?.root !== root) return MINUS_EFAULT;
  } else if (vma.vm_file === null || vma.vm_file !== fileMapping(k, page)) return MINUS_EFAULT;
  const address = __vma_address(mem_map, page, vma);
  return address >= vma.vm_start && address < vma.vm_end ? address : MINUS_EFAULT;
}

/** Slot of the pmd that points to the table of ptes for an address; NO_SLOT if there is none (mm/rmap.c mm_find_pmd). */
export function mm_find_pmd(mm: mm_struct, address: Linear): Slot {
  const pmdp = pmdSlot(mm, address);
  if (pmdp === NO_SLOT) return NO_SLOT;
  const pmd = readEntry(mm, pmdp);
  return pmd_present(pmd) && !pmd_trans_huge(pmd) ? pmdp : NO_SLOT;
}
