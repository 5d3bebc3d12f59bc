import type { Linear, Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import { BYTES_OF_LEVEL, ENTRIES_PER_TABLE, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { instance, nullable, optional, shape } from "../../arch/x86/cpu/argument-kinds.ts";
import type { Entry } from "../../arch/x86/cpu/entry.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import type { RecordHeader } from "../../arch/x86/cpu/record.ts";
import type { IsTable, RecordListener, RecordStream } from "../../arch/x86/cpu/record-stream.ts";
import { CPU_MASK_NONE, type CpuMask } from "../../arch/x86/mm/cpumask.ts";
import type {
  Task as ArchTask,
  KernelContext,
  MmContext,
  TlbState,
} from "../../arch/x86/mm/kernel-context.ts";
import { type pgprot_t, type pte_t, vm_get_page_prot } from "../../arch/x86/mm/pgtable_types.ts";
import type { Interleaver, KernelThread } from "../../arch/x86/mm/step.ts";
import type { FrameAllocator } from "./frame-allocator.ts";
import { IntervalTree } from "./interval-tree.ts";
import type { MemMap } from "./mem_map.ts";
import {
  BOUND,
  FILE_OPTIONS,
  type FileOptions,
  FLAGS,
  ID,
  KERNEL,
  NAME,
  PGOFF,
  ROOT,
} from "./mm-arguments.ts";
import type { KernelFunction, MmRecord, NotifierOp } from "./records.ts";
import { rw_semaphore } from "./rwsem.ts";
import type { SwapSpace } from "./swap-space.ts";

/*
 * The shapes that point at each other (include/linux/mm_types.h, rmap.h, fs.h, mmu_notifier.h). Their functions are in
 * the files that the kernel has them in.
 *
 *   Kernel ──► mm_struct ──► vm_area_struct ──► address_space            (who maps a file: i_mmap)
 *                 │                │
 *                 │                └──► anon_vma_chain ──► anon_vma      (who maps an anonymous page: rb_root)
 *                 └──► mmu_notifier_mm ──► mmu_notifier                  (who keeps copies of the entries)
 */

/** A function that a task is in. */
export interface Call {
  function: KernelFunction;
  page: Pfn;
  mm: mm_struct | null;
}

/** A thread of the kernel: who holds locks, on which CPU it runs, which flushes it owes. */
export interface Task extends ArchTask {
  readonly kernel: Kernel;
  /** Page-table locks held now. */
  locksHeld: number;
  /** The functions that it is in, `depth` of them; the objects beyond are kept for later calls. */
  readonly calls: Call[];
  depth: number;
}

/** One running Linux, as its functions see it; kernel.ts makes one. */
export interface Kernel extends KernelContext {
  readonly records: RecordStream<MmRecord>;
  /** Levels of the page tables, 4 or 5. */
  readonly levels: 4 | 5;
  readonly mem_map: MemMap;
  readonly protocol: NotifierProtocol;
  readonly frames: FrameAllocator;
  readonly swap: SwapSpace;
  readonly init_mm: mm_struct;
  /** Every address space that has not ended, but for init_mm. */
  readonly mms: readonly mm_struct[];
  /** Frames of the zero page and of the huge one's head, NO_PFN until they are needed (zero-page.ts) or imported. */
  zero_pfn: Pfn;
  huge_zero_page: Pfn;
  readonly cpu_tlbstate: readonly TlbState[];
  current: Task;
  contended: boolean;
  interleaver: Interleaver | null;
  /** Whether an entry's page is known to hold nothing (s390's guests say so; x86 never does). */
  pte_unused: (pte: pte_t) => boolean;
  /** What a record made now begins with, after its kind. */
  header(mm?: MmContext | null): Omit<RecordHeader, "kind">;
  /** An id for a lock that is taken for the first time. */
  newLock(): number;
  /** An id for a listener. */
  newListener(): number;
  createTask(name: string, cpu: number): Task;
  createMm(name?: string, pgd?: number): mm_struct;
  adoptMm(name: string, pgd: number): mm_struct;
  /** Whether an mm is among them. */
  lives(mm: mm_struct): boolean;
  /** Takes an mm from the list of those that live. */
  forgetMm(mm: mm_struct): void;
  run<T>(thread: KernelThread<T>): T;
  /** Adds a listener to everything that hardware, kernel and secondary MMUs record. Returns what ends it. */
  attach(listener: RecordListener<MmRecord>, isTable?: IsTable | null): () => void;
  warnOnce(what: string, page: Pfn): void;
  plantEntry(slot: Slot, value: Entry): void;
}

/** A range_start whose range_end has not come. */
export interface OpenBracket {
  /** Who called it, as records name them. */
  readonly agent: number;
  readonly start: Linear;
  readonly end: Linear;
}

/**
 * One address space (include/linux/mm_types.h struct mm_struct): its tables from `pgd` down, its vmas, its counters and
 * who listens. {@link Kernel.createMm} makes one.
 */
export class mm_struct implements MmContext {
  readonly kernel: Kernel;
  readonly id: number;
  readonly name: string;
  readonly pgd: number;
  readonly mmap_sem = new rw_semaphore();
  cpu_bitmap: CpuMask = CPU_MASK_NONE;
  tlb_flush_pending = 0;
  tlb_flush_batched = false;
  mmu_notifier_mm: mmu_notifier_mm | null = null;
  /** Calls of invalidate_range_start whose invalidate_range_end has not returned; no listener can register then. */
  readonly brackets: OpenBracket[] = [];
  /** Vmas by address. */
  readonly mmap: vm_area_struct[] = [];
  readonly rss_stat = new Int32Array(4);
  hiwater_rss = 0;
  /** hugetlb pages are not in rss; this counts them in 4K units. */
  hugetlb_usage = 0;
  /** Whether swapoff would find the mm: set when its first page is swapped out. */
  onMmlist = false;
  /** Spare tables for each PMD-mapped THP, by the frame of the PMD table (pmd_huge_pte). */
  readonly deposited = new Map<Pfn, Pfn[]>();

  /** `pgd` is the physical address of the root table. */
  constructor(kernel: Kernel, id: number, name: string, pgd: number) {
    need(KERNEL, kernel);
    this.kernel = kernel;
    this.id = need(ID, id);
    this.name = need(NAME, name);
    this.pgd = need(ROOT, pgd);
  }

  get openBrackets(): number {
    return this.brackets.length;
  }

  /**
   * Adds a vma and links it into its file's i_mmap (mm/mmap.c __vma_link); a copy made by fork directly after its
   * `parent`, so that walks visit the parent first (kernel/fork.c dup_mmap). Throws RangeError if it overlaps one.
   */
  insertVma(options: VmaOptions, parent: vm_area_struct | null = null): vm_area_struct {
    need(PARENT, parent);
    const vma = new vm_area_struct(this, options);
    let at = this.mmap.length;
    while (at > 0 && this.mmap[at - 1]!.vm_start >= vma.vm_end) at--;
    if (at > 0 && this.mmap[at - 1]!.vm_end > vma.vm_start) {
      throw new RangeError(`vma at 0x${vma.vm_start.toString(16)} overlaps the one before it`);
    }
    this.mmap.splice(at, 0, vma);
    const i_mmap = vma.vm_file?.i_mmap;
    if (parent === null) i_mmap?.insert(vma.vm_pgoff, vmaLastPgoff(vma), vma);
    else i_mmap?.insertAfter(parent, vma.vm_pgoff, vmaLastPgoff(vma), vma);
    const { kernel } = this;
    if (kernel.records.live) kernel.records.emit(vmaRecord(kernel, vma));
    return vma;
  }

  /** The vma that contains the address, or null. */
  vmaAt(address: Linear): vm_area_struct | null {
    let low = 0;
    let high = this.mmap.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.mmap[middle]!.vm_end <= address) low = middle + 1;
      else high = middle;
    }
    const vma = this.mmap[low];
    return vma !== undefined && vma.vm_start <= address ? vma : null;
  }
}

/** The record that a vma is there. */
export function vmaRecord(kernel: Kernel, vma: vm_area_struct): MmRecord {
  return {
    kind: "vma-changed",
    ...kernel.header(vma.vm_mm),
    linearLo: linearLo(vma.vm_start),
    linearHi: linearHi(vma.vm_start),
    bytes: vma.vm_end - vma.vm_start,
    flags: vma.vm_flags,
  };
}

/** What a {@link vm_area_struct} is made of. */
export interface VmaOptions {
  readonly start: Linear;
  readonly end: Linear;
  readonly flags: number;
  /** First page of the file, or of the anonymous space, that the vma shows. */
  readonly pgoff: number;
  readonly file?: address_space | null;
  readonly name?: string;
}

/** One mapping [vm_start, vm_end) of one address space. */
export class vm_area_struct {
  readonly vm_mm: mm_struct;
  readonly vm_start: Linear;
  readonly vm_end: Linear;
  readonly vm_pgoff: number;
  readonly name: string;
  vm_flags: number;
  vm_page_prot: pgprot_t;
  readonly vm_file: address_space | null;
  anon_vma: anon_vma | null = null;
  readonly anon_vma_chain: anon_vma_chain[] = [];

  constructor(mm: mm_struct, options: VmaOptions) {
    need(MM, mm);
    const { start, end } = need(VMA_OPTIONS, options);
    const most = (ENTRIES_PER_TABLE / 2) * BYTES_OF_LEVEL[mm.kernel.levels]!;
    if (start % PAGE_SIZE !== 0 || end % PAGE_SIZE !== 0 || end <= start || end > most) {
      throw new RangeError(
        `vma [0x${start.toString(16)}, 0x${end.toString(16)}): give page-aligned bounds, the end above the start and up to 0x${most.toString(16)}`,
      );
    }
    this.vm_mm = mm;
    this.vm_start = start;
    this.vm_end = end;
    this.vm_pgoff = options.pgoff;
    this.vm_flags = options.flags;
    this.vm_page_prot = vm_get_page_prot(options.flags);
    this.vm_file = options.file ?? null;
    this.name = options.name ?? "";
  }
}

/** Last page offset that the vma shows. */
export function vmaLastPgoff(vma: vm_area_struct): number {
  return vma.vm_pgoff + (vma.vm_end - vma.vm_start) / PAGE_SIZE - 1;
}

/** The page cache of one file: who maps it and which of its pages are in memory. */
export class address_space {
  readonly name: string;
  /** Shared-memory files: their pages are swap-backed and count as MM_SHMEMPAGES. */
  readonly swapBacked: boolean;
  /** Whether dirty pages are accounted and cleaned by writeback (mapping_cap_account_dirty). */
  readonly accountsDirty: boolean;
  /** Every vma that maps the file, by the file pages it covers. */
  readonly i_mmap = new IntervalTree<vm_area_struct>();
  readonly i_mmap_rwsem = new rw_semaphore();
  /** Frame by file page index. */
  readonly page_tree = new Map<number, Pfn>();

  constructor(name: string, options: FileOptions = {}) {
    const { swapBacked = false, accountsDirty = true } = need(FILE_OPTIONS, options);
    this.name = need(NAME, name);
    this.swapBacked = swapBacked;
    this.accountsDirty = accountsDirty;
  }
}

const VMA_OPTIONS = shape<VmaOptions>("options of a vma", {
  start: BOUND,
  end: BOUND,
  flags: FLAGS,
  pgoff: PGOFF,
  file: optional(nullable(instance("file", address_space))),
  name: optional(NAME),
});

/**
 * What all vmas that may map the same anonymous pages have in common.
 *
 *   vma (parent) --avc--> anon_vma A (root) <--avc-- vma (child)
 *                                                      |
 *                                                     avc --> anon_vma B (parent A, root A)
 *
 * A page first mapped before the fork points at A and is looked for in both vmas; one that the child copied points at B.
 */
export class anon_vma {
  root: anon_vma;
  parent: anon_vma;
  /** Only the root's is used: one lock for the whole family. */
  readonly rwsem = new rw_semaphore();
  readonly rb_root = new IntervalTree<anon_vma_chain>();
  refcount = 1;
  /** Children, plus vmas whose own anon_vma this is, plus one for a root (v4.13). */
  degree = 1;

  constructor(parent: anon_vma | null = null) {
    need(PARENT_ANON, parent);
    this.root = parent === null ? this : parent.root;
    this.parent = parent ?? this;
  }
}

/** Links one vma to one anon_vma. */
export class anon_vma_chain {
  readonly vma: vm_area_struct;
  readonly anon_vma: anon_vma;

  constructor(vma: vm_area_struct, anon: anon_vma) {
    this.vma = need(VMA, vma);
    this.anon_vma = need(ANON_VMA, anon);
  }
}

const MM = instance("mm", mm_struct);
const VMA = instance("vma", vm_area_struct);
const PARENT = nullable(VMA);
const ANON_VMA = instance("anon_vma", anon_vma);
const PARENT_ANON = nullable(ANON_VMA);

/** A callback that may sleep is a thread; one that is done at once returns nothing. */
export type MaySleep = KernelThread<void> | undefined | void;

/**
 * What a listener implements (v4.13, plus invalidate_page of earlier kernels): either the start/end pair, if it has page
 * tables of its own, or invalidate_range, if it shares the CPU's and only has a TLB to flush.
 */
export interface mmu_notifier_ops {
  /** The mm goes away: drop everything. None of the mm's locks is held. */
  release?(mm: mm_struct): MaySleep;
  /** Under the page-table lock, must not sleep; returns whether the range was used since the last call. */
  clear_flush_young?(mm: mm_struct, start: Linear, end: Linear): boolean;
  clear_young?(mm: mm_struct, start: Linear, end: Linear): boolean;
  test_young?(mm: mm_struct, address: Linear): boolean;
  /** Before the primary entry is stored, under the page-table lock. */
  change_pte?(mm: mm_struct, address: Linear, pte: pte_t): void;
  invalidate_page?(mm: mm_struct, address: Linear): MaySleep;
  invalidate_range_start?(mm: mm_struct, start: Linear, end: Linear): MaySleep;
  invalidate_range_end?(mm: mm_struct, start: Linear, end: Linear): MaySleep;
  /** After the entry changed, possibly under the page-table lock: must not sleep. */
  invalidate_range?(mm: mm_struct, start: Linear, end: Linear): void;
}

/** A listener: a secondary MMU that keeps copies of an mm's entries. */
export interface mmu_notifier {
  readonly name: string;
  readonly ops: mmu_notifier_ops;
  /** Which callbacks may sleep; the auditor holds callers to it. */
  readonly sleeps: ReadonlySet<NotifierOp>;
  /** What kind of secondary MMU it is; default "other". */
  readonly type?: "kvm" | "device" | "other";
  /** Records of what it holds now, of kinds of its own layer, for whoever begins to listen to records. */
  holdings?(): Iterable<RecordHeader>;
}

/** One registration of a listener. */
export interface Registration {
  readonly mn: mmu_notifier;
  /** As a listener of records. */
  readonly id: number;
}

/** The listeners of an mm (include/linux/mmu_notifier.h struct mmu_notifier_mm). */
export interface mmu_notifier_mm {
  /** Most recently registered first. Replaced, never changed: a call that sleeps goes on with the list it began with. */
  list: readonly Registration[];
}

/** The branches of try_to_unmap_one, by what becomes of the entry; "clean" is page_mkclean_one's. */
export type ChangeBranch =
  | "clean"
  | "hwpoison"
  | "unused"
  | "migration"
  | "swapbacked-mismatch"
  | "lazyfree"
  | "swap"
  | "file";

/**
 * How one call of page_mkclean_one or try_to_unmap_one tells the listeners of its mm. A protocol makes one when the call
 * begins; whatever may sleep or let others run is a thread.
 */
export interface Told {
  /** An entry has its new value; the page's mapping and reference are still counted. Under the page-table lock. */
  replaced(address: Linear, bytes: number, branch: ChangeBranch): KernelThread<void>;
  /** The same entry's mapping and reference are gone, too. Under the page-table lock. */
  cleared(address: Linear, bytes: number, branch: ChangeBranch): KernelThread<void>;
  /** The walk is over, no lock is held; also called when the walk failed. */
  end(): KernelThread<void>;
}

/** A notifier protocol: how mm/rmap.c told secondary MMUs in some kernels. */
export interface NotifierProtocol {
  readonly name: string;
  /** The kernels that had it. */
  readonly kernels: string;
  /** A call begins its walk: `page` may be mapped in [start, end), which the vma has cut off. */
  begin(mm: mm_struct, start: Linear, end: Linear, page: Pfn): KernelThread<Told>;
}
