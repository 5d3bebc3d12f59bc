import { Linear, PAGE_SIZE, Pfn } from "../../arch/x86/cpu/address.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import type { RecordHeader } from "../../arch/x86/cpu/record.ts";
import type { RecordSink } from "../../arch/x86/cpu/record-stream.ts";
import type { CpuMask } from "../../arch/x86/mm/cpumask.ts";
import type { KernelThread } from "../../arch/x86/mm/step.ts";
import { Auditor, type AuditorOptions } from "../../src/audit/auditor.ts";
import type { Kernel } from "../../src/mm/kernel.ts";
import { PG } from "../../src/mm/mem_map.ts";
import type { mm_struct, mmu_notifier, vm_area_struct } from "../../src/mm/mm_types.ts";
import { mmu_notifier_register } from "../../src/mm/mmu_notifier.ts";
import { free_page } from "../../src/mm/page_alloc.ts";
import { page_dup_rmap } from "../../src/mm/page-mapcount.ts";
import { ensurePmdSlot, pteSlot } from "../../src/mm/page-table.ts";
import { pageout } from "../../src/mm/page-writeback.ts";
import type { NotifierOp } from "../../src/mm/records.ts";
import { __delete_from_swap_cache, add_to_swap } from "../../src/mm/swapfile.ts";
import { try_to_unmap_flush, try_to_unmap_flush_dirty } from "../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS, TTU_IGNORE_MLOCK } from "../../src/mm/ttu-flags.ts";
import { setFileMapping } from "../../src/mm/util.ts";
import type { RecordKind, TraceRecord, TraceRecordOf } from "../../src/trace/record.ts";
import { Iommu } from "../../src/virt/iommu.ts";
import { Kvm } from "../../src/virt/kvm.ts";
import { Scene, type SceneOptions } from "./scene.ts";

/** The listeners that tests put on an mm. */
export const LISTENERS = ["kvm", "kvm-4k", "iommu", "iommu-range", "sleeper"] as const;
export type ListenerKind = (typeof LISTENERS)[number];

/** A scene whose run is judged: build it, then `audit()`, then run kernel functions. */
export class AuditScene extends Scene {
  kvm: Kvm | null = null;
  iommu: Iommu | null = null;
  #auditor: Auditor | null = null;

  constructor(options: SceneOptions = {}) {
    super({ notifiers: "d", ...options });
  }

  /** Registers a listener of that kind; a KVM's guest sees the bytes from `at` as its own memory. */
  addListener(mm: mm_struct, kind: ListenerKind, at: number, length: number): void {
    if (kind === "sleeper") {
      mmu_notifier_register(sleeper(), mm);
      return;
    }
    if (kind === "iommu" || kind === "iommu-range") {
      this.iommu = new Iommu(mm, { name: kind, onlyRange: kind === "iommu-range" });
      mmu_notifier_register(this.iommu, mm);
      return;
    }
    // The guest's frames start at a multiple of 2 MiB plus the address's own offset, so that 2M sptes are possible.
    const base_gfn = 0x1000 + (at % 2 ** 21) / PAGE_SIZE;
    const memslots = [{ base_gfn, npages: length / PAGE_SIZE, userspace_addr: Linear.of(at) }];
    this.kvm = new Kvm(mm, { name: kind, only4K: kind === "kvm-4k", memslots });
    mmu_notifier_register(this.kvm, mm);
  }

  /** The guest, or the device, stores to every page of the bytes; so they are all cached, writable and dirty. */
  storeFromListener(at: number, length: number): void {
    for (let address = at; address < at + length; address += PAGE_SIZE) {
      if (this.kvm !== null) this.kernel.run(this.kvm.access(address as Linear, true));
      this.iommu?.access(address as Linear, true);
    }
  }

  /** From here on everything is judged. */
  audit(options: AuditorOptions = {}): Auditor {
    const auditor = new Auditor(this.kernel, { replay: () => "npx vitest run", ...options });
    this.#auditor = auditor;
    return auditor;
  }

  /** Ends the run; the broken rules, in order. */
  brokenRules(): (number | string)[] {
    if (this.#auditor === null) throw new TypeError("the scene is not audited");
    this.#auditor.finish();
    return rulesOf(this.#auditor);
  }

  /** A shared hugetlb page of a file. */
  mapHugetlbFile(vma: vm_area_struct, address: number, head: number, entry: bigint): void {
    const { mem_map } = this.kernel;
    if (vma.vm_file === null) throw new TypeError("the vma has no file");
    setFileMapping(this.kernel, Pfn.of(head), vma.vm_file);
    mem_map.setFlag(head as Pfn, PG.uptodate);
    // hugetlb counts a file in its own page size.
    mem_map.index[head] = (vma.vm_pgoff + (address - vma.vm_start) / PAGE_SIZE) / 512;
    mem_map._refcount[head]! += 2;
    page_dup_rmap(this.kernel, head as Pfn, true);
    this.kernel.plantEntry(ensurePmdSlot(vma.vm_mm, Linear.of(address)), Entry.fromBigInt(entry));
  }

  run<T>(thread: KernelThread<T>): T {
    return this.kernel.run(thread);
  }
}

/** A listener whose invalidate_page and range callbacks may sleep. */
export function sleeper(): mmu_notifier {
  return {
    name: "sleeper",
    sleeps: new Set(["invalidate_page", "invalidate_range_start", "invalidate_range_end"]),
    ops: {
      *invalidate_page() {},
      *invalidate_range_start() {},
      *invalidate_range_end() {},
    },
  };
}

export const UNMAP = TTU_IGNORE_ACCESS | TTU_IGNORE_MLOCK | TTU_BATCH_FLUSH;

/** Which steps reclaim leaves out, to see whether it is noticed. */
export interface ReclaimSlips {
  readonly withoutDirtyFlush?: boolean;
  readonly withoutFlush?: boolean;
}

/** Reclaim of one locked anonymous page, step by step: swap cache, unmap, write-out, flush, free. */
export function reclaim(kernel: Kernel, page: number, slips: ReclaimSlips = {}): void {
  add_to_swap(kernel, page as Pfn);
  kernel.run(try_to_unmap(kernel, page as Pfn, UNMAP));
  if (!slips.withoutDirtyFlush) kernel.run(try_to_unmap_flush_dirty(kernel));
  kernel.run(pageout(kernel, page as Pfn));
  if (!slips.withoutFlush) kernel.run(try_to_unmap_flush(kernel));
  freeSwapped(kernel, page);
}

/** Takes an unmapped page out of the swap cache and gives it to the allocator. */
export function freeSwapped(kernel: Kernel, page: number): void {
  __delete_from_swap_cache(kernel, page as Pfn);
  kernel.mem_map._refcount[page] = 0;
  free_page(kernel, page as Pfn);
}

/** Where and what {@link anonymous} maps. */
export const AT = Linear.of(0x7f00_0020_1000);
export const PFN = 0x1234;
export const ENTRY = 0x8000_0000_0123_4867n;

/** Two CPUs with one mm, one anonymous page in it, perhaps a listener, and the auditor at work. */
export function anonymous(kind: ListenerKind | null = null) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x4000 });
  const page = Pfn.of(scene.page(PFN));
  scene.mapAnon(vma, AT, page, ENTRY);
  if (kind !== null) scene.addListener(mm, kind, AT, 0x4000);
  const auditor = scene.audit();
  return { scene, kernel: scene.kernel, mm, vma, page, auditor, slot: pteSlot(mm, AT) };
}

/** The rules broken so far, by number, then those that hold on any system. */
export function rulesOf(auditor: Auditor): (number | string)[] {
  return [...auditor.countByRule().keys()].sort((a, b) => sortKey(a).localeCompare(sortKey(b)));
}

function sortKey(id: number | string): string {
  return typeof id === "number" ? String(id).padStart(3, "0") : id;
}

/** A record made by hand: what it has beyond its header. The auditor believes what it is told. */
export function tell<K extends RecordKind>(
  kernel: Kernel,
  kind: K,
  fields: Omit<TraceRecordOf<K>, keyof RecordHeader>,
  mm: mm_struct | null = null,
): void {
  const records = kernel.records as unknown as RecordSink<TraceRecord>;
  records.emit({ kind, ...kernel.header(mm), ...fields } as unknown as TraceRecord);
}

/** The words of a range, as records have them. */
export function rangeFields(start: number, bytes: number) {
  return { linearLo: linearLo(start), linearHi: linearHi(start), bytes, all: false };
}

/** Somebody writes mm_cpumask, and says so. */
export function setCpumask(mm: mm_struct, mask: CpuMask): void {
  mm.cpu_bitmap = mask;
  tell(mm.kernel as Kernel, "cpumask-changed", { cpus: mask }, mm);
}

/** The id of the only listener of an mm. */
export function listenerOf(mm: mm_struct): number {
  const [registration] = mm.mmu_notifier_mm?.list ?? [];
  if (registration === undefined) throw new TypeError(`${mm.name} has no listener`);
  return registration.id;
}

/** A call of a listener's operation for one page, as a record. */
export function callback(mm: mm_struct, op: NotifierOp, listener: number, maySleep = false, locks = 0): void {
  const fields = { listener, op, ...rangeFields(AT, 0x1000), maySleep, locks };
  tell(mm.kernel as Kernel, "listener-called", fields, mm);
}
