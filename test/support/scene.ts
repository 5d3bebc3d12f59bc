import { Linear, PAGE_SIZE, Pfn } from "../../arch/x86/cpu/address.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { Machine, type MachineOptions } from "../../arch/x86/cpu/machine.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import { swp_entry } from "../../arch/x86/mm/swap-entry.ts";
import { switch_mm } from "../../arch/x86/mm/tlb.ts";
import { anon_vma_fork, anon_vma_prepare } from "../../src/mm/anon_vma.ts";
import { pgtable_trans_huge_deposit } from "../../src/mm/huge_memory.ts";
import { Kernel, type KernelOptions } from "../../src/mm/kernel.ts";
import { PG } from "../../src/mm/mem_map.ts";
import { MM_ANONPAGES, MM_FILEPAGES, mm_counter_file } from "../../src/mm/mm_struct.ts";
import {
  address_space,
  type mm_struct,
  type mmu_notifier,
  type mmu_notifier_ops,
  type vm_area_struct,
} from "../../src/mm/mm_types.ts";
import { mmu_notifier_register } from "../../src/mm/mmu_notifier.ts";
import { prep_compound_page } from "../../src/mm/page_alloc.ts";
import {
  hugepage_add_anon_rmap,
  page_add_anon_rmap,
  page_add_file_rmap,
} from "../../src/mm/page-mapcount.ts";
import { ensurePmdSlot, ensurePteSlot, pmdSlot, pteSlot, pudSlot } from "../../src/mm/page-table.ts";
import { SWAP_HAS_CACHE } from "../../src/mm/swap-space.ts";
import { fileMapping, setFileMapping } from "../../src/mm/util.ts";
import { VM_MAYSHARE, VM_MAYWRITE } from "../../src/mm/vma.ts";

export type SceneOptions = Omit<KernelOptions, "model"> & Partial<MachineOptions>;

export interface SceneVma {
  readonly at: number;
  readonly length: number;
  /** Letters of rwx; default rw. */
  readonly prot?: string;
  readonly shared?: boolean;
  readonly file?: address_space;
  /** Default: 0 for a file, the page number of `at` for anonymous memory. */
  readonly pgoff?: number;
  /** Further VM_ flags. */
  readonly flags?: number;
  readonly name?: string;
}

/**
 * A machine with a kernel on it and hand-made mappings: entries are planted exactly as given, and the counts of struct
 * page, rss and swap are brought in line with them. Build the scene first, then attach observers.
 */
export class Scene {
  readonly machine: Machine;
  readonly kernel: Kernel;

  /** Default: 36 MiB, two CPUs, maximally stale TLBs, protocol c. */
  constructor(options: SceneOptions = {}) {
    this.machine = new Machine({ memory: "36MiB", cpus: 2, ...options });
    const { model: _, ...kernel } = options;
    this.kernel = new Kernel(this.machine, kernel);
  }

  /** An address space that these CPUs (default: all) have loaded. */
  mm(name?: string, cpus: readonly number[] = this.machine.cpus.map((cpu) => cpu.id)): mm_struct {
    const mm = this.kernel.createMm(name);
    for (const cpu of cpus) switch_mm(this.kernel, cpu, mm);
    return mm;
  }

  vma(mm: mm_struct, options: SceneVma): vm_area_struct {
    const { at, length, prot = "rw", shared = false, file } = options;
    let flags = options.flags ?? 0;
    if (prot.includes("r")) flags |= VM_READ;
    if (prot.includes("w")) flags |= VM_WRITE;
    if (prot.includes("x")) flags |= VM_EXEC;
    flags |= shared ? VM_SHARED | VM_MAYSHARE | VM_MAYWRITE : VM_MAYWRITE;
    return mm.insertVma({
      start: Linear.of(at),
      end: Linear.of(at + length),
      flags,
      pgoff: options.pgoff ?? (file === undefined ? at / PAGE_SIZE : 0),
      file: file ?? null,
      name: options.name ?? "",
    });
  }

  file(name = "file", options: { swapBacked?: boolean; accountsDirty?: boolean } = {}): address_space {
    return new address_space(name, options);
  }

  /** A locked page with one reference, the caller's. */
  page(number: number): Pfn {
    const pfn = Pfn.of(number);
    this.kernel.frames.reserve(pfn);
    this.kernel.mem_map._refcount[pfn] = 1;
    this.kernel.mem_map.SetPageLocked(pfn);
    return pfn;
  }

  /** The same for 2^order pages: a THP, or a hugetlb page. */
  compoundPage(first: number, order = 9, hugetlb = false): Pfn {
    const head = Pfn.of(first);
    for (let pfn = first; pfn < first + 2 ** order; pfn++) this.kernel.frames.reserve(Pfn.of(pfn));
    prep_compound_page(this.kernel, head, order, hugetlb);
    return this.page(head);
  }

  /** One anonymous page, or subpage of a THP, mapped by a pte with this value. */
  mapAnon(vma: vm_area_struct, address: number, page: number, entry: bigint): void {
    const { kernel } = this;
    const pfn = Pfn.of(page);
    kernel.run(anon_vma_prepare(vma));
    kernel.mem_map.setFlag(pfn, PG.swapbacked | PG.uptodate);
    page_add_anon_rmap(kernel, pfn, vma, Linear.of(address), false, true);
    kernel.mem_map._refcount[kernel.mem_map.compound_head(pfn)]!++;
    vma.vm_mm.rss_stat[MM_ANONPAGES]!++;
    this.plantPte(vma.vm_mm, address, entry);
  }

  /** `count` subpages of a THP from `first`, mapped by ptes that hold `entry` and the following frames. */
  mapSubpages(vma: vm_area_struct, address: number, first: number, count: number, entry: bigint): void {
    for (let i = 0; i < count; i++) {
      this.mapAnon(vma, address + i * PAGE_SIZE, first + i, entry + BigInt(i) * 4096n);
    }
  }

  /** A THP mapped by a huge pmd with this value, with the spare table that a split will need. */
  mapHugeAnon(vma: vm_area_struct, address: number, head: number, entry: bigint): void {
    const { kernel } = this;
    const pfn = Pfn.of(head);
    const at = Linear.of(address);
    const mm = vma.vm_mm;
    kernel.run(anon_vma_prepare(vma));
    kernel.mem_map.setFlag(pfn, PG.swapbacked | PG.uptodate);
    page_add_anon_rmap(kernel, pfn, vma, at, true, true);
    kernel.mem_map._refcount[pfn]!++;
    mm.rss_stat[MM_ANONPAGES]! += 512;
    const slot = ensurePmdSlot(mm, at);
    pgtable_trans_huge_deposit(mm, slot, kernel.frames.allocate());
    kernel.plantEntry(slot, Entry.fromBigInt(entry));
  }

  /** One page of the vma's file, at the file offset that the address shows. */
  mapFile(vma: vm_area_struct, address: number, page: number, entry: bigint): void {
    const { kernel } = this;
    const pfn = Pfn.of(page);
    const mm = vma.vm_mm;
    this.#cachePage(vma, Linear.of(address), pfn);
    page_add_file_rmap(kernel, pfn, false);
    kernel.mem_map._refcount[kernel.mem_map.compound_head(pfn)]!++;
    mm.rss_stat[mm_counter_file(kernel, pfn)]!++;
    this.plantPte(mm, address, entry);
  }

  /** A file THP mapped by a huge pmd. */
  mapHugeFile(vma: vm_area_struct, address: number, head: number, entry: bigint): void {
    const { kernel } = this;
    const pfn = Pfn.of(head);
    const at = Linear.of(address);
    const mm = vma.vm_mm;
    this.#cachePage(vma, at, pfn);
    page_add_file_rmap(kernel, pfn, true);
    kernel.mem_map._refcount[pfn]!++;
    mm.rss_stat[MM_FILEPAGES]! += 512;
    kernel.plantEntry(ensurePmdSlot(mm, at), Entry.fromBigInt(entry));
  }

  /** A private hugetlb page, 2 MiB or 1 GiB by its order. */
  mapHugetlb(vma: vm_area_struct, address: number, head: number, entry: bigint): void {
    const { kernel } = this;
    const pfn = Pfn.of(head);
    const at = Linear.of(address);
    const mm = vma.vm_mm;
    kernel.run(anon_vma_prepare(vma));
    hugepage_add_anon_rmap(kernel, pfn, vma, at);
    kernel.mem_map._refcount[pfn]!++;
    mm.hugetlb_usage += kernel.mem_map.hpage_nr_pages(pfn);
    let slot = ensurePmdSlot(mm, at);
    if (kernel.mem_map.compound_order[pfn]! > 9) slot = pudSlot(mm, at);
    kernel.plantEntry(slot, Entry.fromBigInt(entry));
  }

  #cachePage(vma: vm_area_struct, address: Linear, page: Pfn): void {
    const { mem_map } = this.kernel;
    const head = mem_map.compound_head(page);
    const file = vma.vm_file;
    if (file === null) throw new TypeError("the vma has no file");
    if (fileMapping(this.kernel, head) !== null) return;
    const nr = mem_map.hpage_nr_pages(head);
    const index = vma.vm_pgoff + (address - vma.vm_start) / PAGE_SIZE - (page - head);
    setFileMapping(this.kernel, head, file);
    mem_map.index[head] = index;
    mem_map._refcount[head]! += nr;
    mem_map.setFlag(head, PG.uptodate | (file.swapBacked ? PG.swapbacked : 0));
    for (let i = 0; i < nr; i++) file.page_tree.set(index + i, Pfn.of(head + i));
  }

  /** Puts an anonymous page, dirty, into the swap cache at a slot of area 0. */
  putInSwapCache(page: number, slot: number): void {
    const { mem_map, swap } = this.kernel;
    const pfn = Pfn.of(page);
    const nr = mem_map.hpage_nr_pages(pfn);
    for (let i = 0; i < nr; i++) {
      const subpage = Pfn.of(page + i);
      swap.swap_map[slot + i] = SWAP_HAS_CACHE;
      swap.cache.set(slot + i, subpage);
      mem_map.set_page_private(subpage, swp_entry(0, slot + i));
    }
    mem_map.setFlag(pfn, PG.swapcache | PG.dirty);
    mem_map._refcount[pfn]! += nr;
  }

  /** The child's vma of a fork: same place, its own anon_vma, no entries yet. */
  forkVma(parent: vm_area_struct, mm: mm_struct): vm_area_struct {
    const child = mm.insertVma(
      {
        start: parent.vm_start,
        end: parent.vm_end,
        flags: parent.vm_flags,
        pgoff: parent.vm_pgoff,
        file: parent.vm_file,
        name: `child of ${parent.name}`,
      },
      parent,
    );
    this.kernel.run(anon_vma_fork(child, parent));
    return child;
  }

  plantPte(mm: mm_struct, address: number, value: bigint): void {
    this.kernel.plantEntry(ensurePteSlot(mm, Linear.of(address)), Entry.fromBigInt(value));
  }

  /** The pte at an address as a 64-bit value; 0 where no table reaches. */
  pte(mm: mm_struct, address: number): bigint {
    const slot = pteSlot(mm, Linear.of(address));
    return slot < 0 ? 0n : readEntry(mm, slot).toBigInt();
  }

  pmd(mm: mm_struct, address: number): bigint {
    const slot = pmdSlot(mm, Linear.of(address));
    return slot < 0 ? 0n : readEntry(mm, slot).toBigInt();
  }

  /** Registers a listener with these callbacks; the newest is called first. */
  listen(mm: mm_struct, name: string, ops: mmu_notifier_ops): mmu_notifier {
    const listener: mmu_notifier = { name, ops, sleeps: new Set() };
    mmu_notifier_register(listener, mm);
    return listener;
  }
}

/** Sixteen digits, as entries are printed everywhere. */
export function hex(value: bigint): string {
  return `0x${value.toString(16).padStart(16, "0")}`;
}
