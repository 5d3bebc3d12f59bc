import { Linear, NO_PFN, NONE, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { ptep_get_and_clear } from "../../arch/x86/mm/ptep.ts";
import { type KernelThread, step } from "../../arch/x86/mm/step.ts";
import { enter_lazy_tlb, switch_mm } from "../../arch/x86/mm/tlb.ts";
import { enter, leave } from "../../src/mm/calls.ts";
import { PG } from "../../src/mm/mem_map.ts";
import type { mm_struct } from "../../src/mm/mm_types.ts";
import { mmu_notifier_register } from "../../src/mm/mmu_notifier.ts";
import { free_page } from "../../src/mm/page_alloc.ts";
import { pteSlot } from "../../src/mm/page-table.ts";
import { isolate_lru_page, shrink_page_list } from "../../src/mm/vmscan.ts";
import { Random } from "../../src/sim/random.ts";
import { Scheduler } from "../../src/sim/scheduler.ts";
import { Iommu } from "../../src/virt/iommu.ts";
import { Kvm } from "../../src/virt/kvm.ts";
import { AuditScene } from "./audit-scene.ts";

/** Notifier protocols whose runs break rules, and one whose runs need not. */
export const PROTOCOLS = ["b", "c", "d"] as const;

const GUEST_AT = Linear.of(0x7f00_0020_0000);
const DEVICE_AT = Linear.of(0x7f00_0060_0000);
const FILE_AT = Linear.of(0x7f00_00a0_0000);
const LOST_AT = Linear.of(0x7f00_00e0_0000);
const PAGES = 8;
const ANON = 0x1000;
const DEVICE = 0x1100;
const FILE = 0x1200;
const LOST = 0x1300;
const HEAD = 0x1400;
/** P, W, U, A, D and XD. */
const FLAGS = 0x8000_0000_0000_0067n;

function entryOf(pfn: number): bigint {
  return FLAGS | (BigInt(pfn) << 12n);
}

/**
 * A seeded run of a kernel that has something of everything: two reclaimers on two CPUs, an mm with a guest, one with a
 * device, a shared file, a THP mapped by ptes, a CPU that is lazy for a while, and a function that frees pages without a
 * flush. The same seed and protocol make the same run.
 */
export class AuditHistory {
  readonly scene: AuditScene;
  readonly #random: Random;
  readonly #guestMm: mm_struct;
  readonly #deviceMm: mm_struct;
  readonly #kvm: Kvm;
  readonly #iommu: Iommu;
  readonly #pages: Pfn[] = [];

  constructor(seed: number, notifiers: string) {
    this.#random = new Random(seed);
    const scene = new AuditScene({ memory: "24MiB", notifiers, swapSlots: 1024 });
    this.scene = scene;
    const { kernel } = scene;
    this.#guestMm = scene.mm("qemu", [0]);
    this.#deviceMm = scene.mm("gpu-user", [1]);
    const file = scene.file();

    this.#map(this.#guestMm, GUEST_AT, ANON, PAGES);
    this.#map(this.#deviceMm, DEVICE_AT, DEVICE, PAGES);
    this.#map(this.#deviceMm, LOST_AT, LOST, 2, false);
    const shared = scene.vma(this.#guestMm, { at: FILE_AT, length: PAGES * PAGE_SIZE, shared: true, file });
    for (let i = 0; i < PAGES; i++) {
      const page = scene.page(FILE + i);
      scene.mapFile(shared, FILE_AT + i * PAGE_SIZE, page, entryOf(page));
      this.#list(page);
    }
    const huge = scene.vma(this.#deviceMm, { at: FILE_AT, length: 0x20_0000 });
    const head = scene.compoundPage(HEAD);
    scene.mapSubpages(huge, FILE_AT, head, 3, entryOf(head));
    this.#list(head);

    const memslots = [GUEST_AT, FILE_AT].map((userspace_addr, i) => ({
      base_gfn: 0x1000 * (i + 1),
      npages: PAGES,
      userspace_addr,
    }));
    this.#kvm = new Kvm(this.#guestMm, { memslots });
    this.#iommu = new Iommu(this.#deviceMm);
    mmu_notifier_register(this.#kvm, this.#guestMm);
    mmu_notifier_register(this.#iommu, this.#deviceMm);
    for (let i = 0; i < PAGES; i++) {
      kernel.run(this.#kvm.access(Linear.of(GUEST_AT + i * PAGE_SIZE), true));
      kernel.run(this.#kvm.access(Linear.of(FILE_AT + i * PAGE_SIZE), i % 2 === 0));
      this.#iommu.access(Linear.of(DEVICE_AT + i * PAGE_SIZE), true);
    }
    for (let i = 0; i < 3; i++) this.#iommu.access(Linear.of(FILE_AT + i * PAGE_SIZE), true);
  }

  #map(mm: mm_struct, at: number, first: number, pages: number, reclaimed = true): void {
    const { scene } = this;
    const vma = scene.vma(mm, { at, length: pages * PAGE_SIZE });
    for (let i = 0; i < pages; i++) {
      const page = scene.page(first + i);
      scene.mapAnon(vma, at + i * PAGE_SIZE, page, entryOf(page));
      if (reclaimed) this.#list(page);
    }
  }

  /** Takes a page's lock and the caller's reference from it, so that it can be reclaimed. */
  #list(page: Pfn): void {
    const { kernel } = this.scene;
    kernel.mem_map.ClearPageLocked(page);
    kernel.mem_map._refcount[page]!--;
    kernel.mem_map.setFlag(page, PG.lru);
    this.#pages.push(page);
  }

  /** Runs it, from beginning to end. */
  run(): void {
    const { kernel } = this.scene;
    const scheduler = new Scheduler(kernel, this.#random);
    const pages = this.#random.shuffle([...this.#pages]);
    const half = pages.length >> 1;
    scheduler.spawn(kernel.createTask("kswapd0", 0), this.#reclaim(pages.slice(0, half)));
    scheduler.spawn(kernel.createTask("kswapd1", 1), this.#reclaim(pages.slice(half)));
    scheduler.spawn(kernel.createTask("loser", 0), this.#losesFlush());
    scheduler.spawn(kernel.createTask("idle", 1), this.#lazily());
    scheduler.spawn(kernel.createTask("user", 0), this.#accesses(), { daemon: true });
    scheduler.run();
  }

  /** What kswapd does: pages that were used are only aged the first time. */
  *#reclaim(pages: readonly Pfn[]): KernelThread<void> {
    const { kernel } = this.scene;
    let left = pages;
    for (let pass = 0; pass < 3; pass++) {
      left = left.filter((page) => isolate_lru_page(kernel, page));
      const { kept } = yield* shrink_page_list(kernel, left);
      left = [...kept.keys()];
    }
  }

  /** Clears two entries and frees their pages, without a flush. */
  *#losesFlush(): KernelThread<void> {
    const { kernel } = this.scene;
    for (let i = 0; i < 2; i++) {
      yield step("entry", NONE);
      const at = Linear.of(LOST_AT + i * PAGE_SIZE);
      const task = enter(kernel.current, "remove_migration_pte", NO_PFN, this.#deviceMm);
      const page = (LOST + i) as Pfn;
      ptep_get_and_clear(this.#deviceMm, at, pteSlot(this.#deviceMm, at));
      yield step("free", page);
      free_page(kernel, page);
      leave(task, true);
    }
  }

  /** CPU 1 only borrows its mm for a while, and may find that it was taken away meanwhile. */
  *#lazily(): KernelThread<void> {
    const { kernel } = this.scene;
    for (let i = 0; i < 3; i++) {
      yield step("access", NONE);
      enter_lazy_tlb(kernel, 1);
      for (let wait = 0; wait < 4; wait++) yield step("access", NONE);
      switch_mm(kernel, 1, this.#deviceMm);
    }
  }

  /** The guest, the device and a user's program load and store somewhere. */
  *#accesses(): KernelThread<void> {
    const random = this.#random;
    for (;;) {
      yield step("access", NONE);
      const offset = random.below(PAGES) * PAGE_SIZE;
      const write = random.below(2) === 0;
      const what = random.below(4);
      if (what === 0) yield* this.#kvm.access(Linear.of(GUEST_AT + offset), write);
      else if (what === 1) yield* this.#kvm.access(Linear.of(FILE_AT + offset), write);
      else if (what === 2) this.#iommu.access(Linear.of(DEVICE_AT + offset), write);
      else {
        const cpu = this.scene.machine.cpu(0);
        cpu.cpl = 3;
        cpu.touch(GUEST_AT + offset, write);
        cpu.cpl = 0;
      }
    }
  }
}
