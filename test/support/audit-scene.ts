import { Entry } from "../../arch/x86/cpu/entry.ts";
import type { KernelThread } from "../../arch/x86/mm/events.ts";
import { PAGE_SIZE } from "../../arch/x86/mm/pgtable_types.ts";
import { Auditor } from "../../src/audit/auditor.ts";
import type { MmEvent, NotifierOp } from "../../src/mm/events.ts";
import type { Kernel } from "../../src/mm/kernel.ts";
import { PG } from "../../src/mm/mem_map.ts";
import type { mm_struct } from "../../src/mm/mm_struct.ts";
import { type mmu_notifier, mmu_notifier_register } from "../../src/mm/mmu_notifier.ts";
import { free_page } from "../../src/mm/page_alloc.ts";
import { page_dup_rmap } from "../../src/mm/page-mapcount.ts";
import { ensurePmdSlot, pteSlot } from "../../src/mm/page-table.ts";
import { pageout } from "../../src/mm/page-writeback.ts";
import { __delete_from_swap_cache, add_to_swap } from "../../src/mm/swapfile.ts";
import { try_to_unmap_flush, try_to_unmap_flush_dirty } from "../../src/mm/tlb_ubc.ts";
import { try_to_unmap } from "../../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS, TTU_IGNORE_MLOCK } from "../../src/mm/ttu-flags.ts";
import type { vm_area_struct } from "../../src/mm/vma.ts";
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
    const memslots = [{ base_gfn, npages: length / PAGE_SIZE, userspace_addr: at }];
    this.kvm = new Kvm(mm, { name: kind, only4K: kind === "kvm-4k", memslots });
    mmu_notifier_register(this.kvm, mm);
  }

  /** The guest, or the device, stores to every page of the bytes; so they are all cached, writable and dirty. */
  storeFromListener(at: number, length: number): void {
    for (let address = at; address < at + length; address += PAGE_SIZE) {
      if (this.kvm !== null) this.kernel.run(this.kvm.access(address, true));
      this.iommu?.access(address, true);
    }
  }

  /** From here on everything is judged. */
  audit(): Auditor {
    const auditor = new Auditor(this.kernel, { replay: () => "npx vitest run" });
    this.kernel.attach(auditor.observe);
    if (this.kvm !== null) auditor.watchKvm(this.kvm);
    if (this.iommu !== null) auditor.watchIommu(this.iommu);
    this.#auditor = auditor;
    return auditor;
  }

  /** Ends the run; numbers of the broken rules, in order. */
  brokenRules(): number[] {
    if (this.#auditor === null) throw new TypeError("the scene is not audited");
    this.#auditor.finish();
    return rulesOf(this.#auditor);
  }

  /** A shared hugetlb page of a file. */
  mapHugetlbFile(vma: vm_area_struct, address: number, head: number, entry: bigint): void {
    const { mem_map } = this.kernel;
    if (vma.vm_file === null) throw new TypeError("the vma has no file");
    mem_map.setFileMapping(head, vma.vm_file);
    mem_map.setFlag(head, PG.uptodate);
    // hugetlb counts a file in its own page size.
    mem_map.index[head] = (vma.vm_pgoff + (address - vma.vm_start) / PAGE_SIZE) / 512;
    mem_map._refcount[head]! += 2;
    page_dup_rmap(this.kernel, head, true);
    this.kernel.plantEntry(ensurePmdSlot(this.kernel, vma.vm_mm, address), Entry.fromBigInt(entry));
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
  add_to_swap(kernel, page);
  kernel.run(try_to_unmap(kernel, page, UNMAP));
  if (!slips.withoutDirtyFlush) kernel.run(try_to_unmap_flush_dirty(kernel));
  kernel.run(pageout(kernel, page));
  if (!slips.withoutFlush) kernel.run(try_to_unmap_flush(kernel));
  freeSwapped(kernel, page);
}

/** Takes an unmapped page out of the swap cache and gives it to the allocator. */
export function freeSwapped(kernel: Kernel, page: number): void {
  __delete_from_swap_cache(kernel, page);
  kernel.mem_map._refcount[page] = 0;
  free_page(kernel, page);
}

/** Where and what {@link anonymous} maps. */
export const AT = 0x7f00_0020_1000;
export const PFN = 0x1234;
export const ENTRY = 0x8000_0000_0123_4867n;

/** Two CPUs with one mm, one anonymous page in it, perhaps a listener, and the auditor at work. */
export function anonymous(kind: ListenerKind | null = null) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x4000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, AT, page, ENTRY);
  if (kind !== null) scene.addListener(mm, kind, AT, 0x4000);
  const auditor = scene.audit();
  return { scene, kernel: scene.kernel, mm, vma, page, auditor, slot: pteSlot(mm, AT) };
}

/** Numbers of the rules broken so far, in order. */
export function rulesOf(auditor: Auditor): number[] {
  return [...auditor.countByRule().keys()].sort((a, b) => a - b);
}

/** A listener's callback for one page, as an event. */
export function callback(
  mm: mm_struct,
  op: NotifierOp,
  listener: string,
  maySleep = false,
  locksHeld = 0,
): MmEvent {
  return { type: "notifier-callback", op, mm, start: AT, length: 0x1000, listener, maySleep, locksHeld };
}
