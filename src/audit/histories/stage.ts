import { Linear, PAGE_SIZE, type Pfn, type Slot } from "../../../arch/x86/cpu/address.ts";
import { linearHi, linearLo } from "../../../arch/x86/cpu/linear-address.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { RecordHeader } from "../../../arch/x86/cpu/record.ts";
import type { RecordSink } from "../../../arch/x86/cpu/record-stream.ts";
import { PMD_SIZE } from "../../../arch/x86/mm/pgtable_types.ts";
import { set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import type { KernelThread } from "../../../arch/x86/mm/step.ts";
import { switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { Kernel } from "../../mm/kernel.ts";
import { MM_FILEPAGES } from "../../mm/mm_struct.ts";
import { address_space, type mm_struct, type vm_area_struct } from "../../mm/mm_types.ts";
import { mmu_notifier_register } from "../../mm/mmu_notifier.ts";
import { alloc_page, get_page, put_page } from "../../mm/page_alloc.ts";
import { page_add_file_rmap, page_remove_rmap } from "../../mm/page-mapcount.ts";
import { ensurePteSlot, pteSlot } from "../../mm/page-table.ts";
import { mapAnonymous, mmap } from "../../mm/populate.ts";
import { setFileMapping } from "../../mm/util.ts";
import type { RecordKind, TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { Iommu } from "../../virt/iommu.ts";
import { Kvm } from "../../virt/kvm.ts";

/** Where the program has its page, and the page behind it. */
export const AT: Linear = Linear.of(0x7f00_0020_0000);
export const NEXT: Linear = Linear.of(AT + PAGE_SIZE);
/** Bytes of its mapping: two page tables. */
const LENGTH = 2 * PMD_SIZE;
/** The logical CPU that runs the program; the kernel works on CPU 0. */
const PROGRAM = 1;

interface StageOptions {
  /** The page is one of a shared file (default: anonymous). */
  readonly file?: boolean;
  /** CPUs that have the program's address space loaded (default: CPU 1). */
  readonly cpus?: readonly number[];
}

/** A small machine on which the kernel works on CPU 0, and a program with one page runs on CPU 1. */
export class Stage {
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly mm: mm_struct;
  readonly vma: vm_area_struct;
  readonly page: Pfn;
  /** Where the page's entry stands. */
  readonly slot: Slot;

  constructor({ file = false, cpus = [PROGRAM] }: StageOptions = {}) {
    this.machine = new Machine({ memory: "16MiB", cpus: Math.max(PROGRAM, ...cpus) + 1 });
    this.kernel = new Kernel(this.machine, { swapSlots: 16 });
    this.kernel.current = this.kernel.createTask("kernel", 0);
    this.mm = this.kernel.createMm("app");
    const backing = file ? { shared: true, file: new address_space("file") } : {};
    this.vma = mmap(this.mm, { at: AT, length: LENGTH, prot: "rw", ...backing });
    this.page = file ? this.#mapFilePage() : this.anonymous(AT);
    this.slot = pteSlot(this.mm, AT);
    for (const cpu of cpus) switch_mm(this.kernel, cpu, this.mm);
    if (cpus.includes(PROGRAM)) this.machine.cpu(PROGRAM).cpl = 3;
  }

  /** One more page of the program, anonymous. */
  anonymous(at: Linear): Pfn {
    return mapAnonymous(this.kernel, this.vma, at);
  }

  /** The file's first page, clean, as a fault for a store leaves it once it was written out. */
  #mapFilePage(): Pfn {
    const { kernel, mm, vma } = this;
    const page = alloc_page(kernel);
    setFileMapping(kernel, page, vma.vm_file);
    vma.vm_file?.page_tree.set(0, page);
    page_add_file_rmap(kernel, page, false);
    // The page cache has a reference, and the entry.
    get_page(kernel, page);
    mm.rss_stat[MM_FILEPAGES]!++;
    const slot = ensurePteSlot(mm, AT);
    set_pte_at(mm, AT, slot, kernel.format.mk_pte(page, vma.vm_page_prot));
    return page;
  }

  /** A guest whose memory is the program's. */
  guest(): Kvm {
    const memslots = [{ base_gfn: 0x1000, npages: LENGTH / PAGE_SIZE, userspace_addr: AT }];
    const kvm = new Kvm(this.mm, { memslots });
    mmu_notifier_register(kvm, this.mm);
    return kvm;
  }

  /** A device that walks the program's tables. */
  device(): Iommu {
    const iommu = new Iommu(this.mm);
    mmu_notifier_register(iommu, this.mm);
    return iommu;
  }

  /** The program stores to its page. */
  store(): void {
    this.machine.cpu(PROGRAM).touch(AT, true);
  }

  /** It loads from it. */
  load(): void {
    this.machine.cpu(PROGRAM).touch(AT, false);
  }

  run<T>(thread: KernelThread<T>): T {
    return this.kernel.run(thread);
  }

  /** What is left to do of a page whose entry is gone: its mapping is discounted, and its last reference dropped. */
  free(): void {
    page_remove_rmap(this.kernel, this.page, false);
    put_page(this.kernel, this.page);
  }

  /** A record by hand, of what this kernel would not do: what it has beyond its header. */
  tell<K extends RecordKind>(kind: K, fields: Omit<TraceRecordOf<K>, keyof RecordHeader>): void {
    const records = this.kernel.records as unknown as RecordSink<TraceRecord>;
    records.emit({ kind, ...this.kernel.header(this.mm), ...fields } as unknown as TraceRecord);
  }
}

/** The words of an address, as records have them. */
export function words(address: number): { readonly linearLo: number; readonly linearHi: number } {
  return { linearLo: linearLo(address), linearHi: linearHi(address) };
}
