import { describe, expect, test } from "vitest";
import { Linear, Pfn } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import {
  mmu_notifier_clear_flush_young,
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_register,
  mmu_notifier_unregister,
} from "../../../src/mm/mmu_notifier.ts";
import { SWAP_HAS_CACHE } from "../../../src/mm/swap-space.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../../../src/mm/ttu-flags.ts";
import { isolate_lru_page, shrink_page_list } from "../../../src/mm/vmscan.ts";
import { Kvm, type KvmOptions } from "../../../src/virt/kvm.ts";
import { Scene } from "../../support/scene.ts";
import { advanceTo } from "../../support/steps.ts";

const a = Linear.of(0x7f00_0020_1000);
const END = Linear.of(a + 0x1000);
const H = Linear.of(0x7f00_0020_0000);
const PFN = Pfn.of(0x12345);

/** One anonymous page at a, its mm watched by a VM whose guest page 0x201 is that address. */
function guestPage(notifiers: string, entry = 0x8000_0000_1234_5867n, options: KvmOptions = {}) {
  const scene = new Scene({ memory: "320MiB", notifiers });
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: a, length: 0x1000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, a, page, entry);
  const slot = { base_gfn: 0, npages: 0x400, userspace_addr: Linear.of(0x7f00_0000_0000) };
  const kvm = new Kvm(mm, { memslots: [slot], ...options });
  mmu_notifier_register(kvm, mm);
  const kinds: string[] = [];
  scene.kernel.attach((record) => kinds.push(record.kind));
  return { scene, kernel: scene.kernel, mm, vma, page, kvm, kinds };
}

describe("guest faults", () => {
  test("install a 4K spte with the host entry's rights, and keep no reference", () => {
    const { kernel, kvm } = guestPage("c");
    const before = kernel.mem_map.page_count(PFN);
    expect(kernel.run(kvm.access(a, true))).toBe("filled");
    expect(kvm.spteAt(a)).toMatchObject({ gfn: 0x201, level: 1, pfn: PFN, writable: true, dirty: true });
    expect(kernel.mem_map.page_count(PFN)).toBe(before);
    expect(kernel.run(kvm.access(a, false))).toBe("hit");
  });

  test("do not write through a read-only host entry: the host would have to fault first", () => {
    const { kernel, kvm } = guestPage("c", 0x8000_0000_1234_5825n);
    expect(kernel.run(kvm.access(a, true))).toBe("host fault needed");
    expect(kernel.run(kvm.access(a, false))).toBe("filled");
    expect(kvm.spteAt(a)?.writable).toBe(false);
    expect(kvm.hostFaultsNeeded).toBe(1);
  });

  test("find nothing where the host maps nothing or the guest has no memory", () => {
    const { kernel, kvm } = guestPage("c");
    expect(kernel.run(kvm.access(END, false))).toBe("host fault needed");
    expect(kernel.run(kvm.access(Linear.of(0x7f00_4000_0000), false))).toBe("no memslot");
  });

  test("use 2M where the host does, 4K if asked to or if the guest's page lies otherwise in its 2M", () => {
    const at = Linear.of(H + 0x3000);
    const build = (options: KvmOptions, gfn: number) => {
      const scene = new Scene({ memory: "64MiB" });
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: H, length: 0x20_0000 });
      const head = scene.compoundPage(0x1000);
      scene.mapHugeAnon(vma, H, head, 0x8000_0000_0100_00e7n);
      const slot = { base_gfn: gfn, npages: 512, userspace_addr: H };
      const kvm = new Kvm(mm, { memslots: [slot], ...options });
      expect(scene.kernel.run(kvm.access(at, true))).toBe("filled");
      return kvm.spteAt(at);
    };
    expect(build({}, 512)).toMatchObject({ gfn: 512, level: 2, pfn: 0x1000, hva: H });
    expect(build({ only4K: true }, 512)).toMatchObject({ gfn: 515, level: 1, pfn: 0x1003, hva: H + 0x3000 });
    expect(build({}, 513)).toMatchObject({ gfn: 516, level: 1, pfn: 0x1003 });
  });
});

describe("invalidation", () => {
  test("range_start zaps what the range touches, rounded out to pages, and counts", () => {
    const { kernel, mm, kvm } = guestPage("d");
    kernel.run(kvm.access(a, true));
    kernel.run(mmu_notifier_invalidate_range_start(mm, Linear.of(a + 0xfff), END));
    expect([kvm.spteCount, kvm.mmu_notifier_count, kvm.mmu_notifier_seq]).toEqual([0, 1, 0]);
    expect(kernel.run(kvm.access(a, true))).toBe("retry");
    kernel.run(mmu_notifier_invalidate_range_end(mm, Linear.of(a + 0xfff), END));
    expect([kvm.mmu_notifier_count, kvm.mmu_notifier_seq]).toEqual([0, 1]);
    expect(kernel.run(kvm.access(a, true))).toBe("filled");
  });

  test("a zap hands A and D to the page", () => {
    const { kernel, mm, kvm } = guestPage("c");
    kernel.run(kvm.access(a, true));
    kernel.run(mmu_notifier_invalidate_page(mm, a));
    expect(kernel.mem_map.PageDirty(PFN)).toBe(true);
    expect((kernel.mem_map.flags[PFN]! & PG.referenced) !== 0).toBe(true);
    expect(kvm.spteCount).toBe(0);
  });

  test("aging clears A, keeps the spte and says whether it was used", () => {
    const { kernel, mm, kvm } = guestPage("c");
    kernel.run(kvm.access(a, true));
    expect(mmu_notifier_clear_flush_young(mm, a, END)).toBe(true);
    expect(mmu_notifier_clear_flush_young(mm, a, END)).toBe(false);
    expect(kvm.spteCount).toBe(1);
  });

  test("release drops everything, whatever the memslots are", () => {
    const { kernel, mm, kvm } = guestPage("c");
    kernel.run(kvm.access(a, true));
    kvm.memslots.set([]);
    kernel.run(mmu_notifier_unregister(kvm, mm));
    expect(kvm.spteCount).toBe(0);
  });

  test("change_pte repoints a read-only page and drops a writable one", () => {
    const { kernel, mm, kvm } = guestPage("c");
    kernel.run(kvm.access(a, false));
    kvm.ops.change_pte?.(mm, a, new Entry(0x1_0000_0025, 0));
    expect(kvm.spteAt(a)).toMatchObject({ pfn: 0, writable: false });
    kvm.ops.change_pte?.(mm, a, new Entry(0x27, 0));
    expect(kvm.spteCount).toBe(0);
  });
});

test("T19: a fault that began before an invalidation and ends after it installs nothing", () => {
  const { kernel, page, kvm, kinds } = guestPage("d", 0x8000_0000_1234_5847n);
  kernel.mem_map.setFlag(page, PG.lru);
  isolate_lru_page(kernel, page);
  kvm.mmu_notifier_seq = 5;
  kernel.contended = true;
  const fault = kvm.access(a, true);
  expect(advanceTo(fault)).toEqual({ kind: "access", object: PFN });
  kernel.contended = false;
  kernel.mem_map.ClearPageLocked(page);
  kernel.run(shrink_page_list(kernel, [page]));
  expect([kvm.mmu_notifier_seq, kvm.mmu_notifier_count]).toEqual([6, 0]);
  expect(fault.next()).toEqual({ done: true, value: "retry" });
  expect(kvm.spteCount).toBe(0);
  expect(kinds).toContain("guest-fault-retried");
});

test("T20: under protocol b the page is freed while the guest still writes it", () => {
  const { scene, kernel, mm, page, kvm } = guestPage("b", 0x8000_0000_1234_5847n);
  kernel.mem_map.setFlag(page, PG.lru);
  expect(kernel.run(kvm.access(a, true))).toBe("filled");
  mmu_notifier_clear_flush_young(mm, a, END);
  const spte = kvm.spteAt(a);
  // The scene's own reference goes, and isolation takes its place.
  kernel.mem_map._refcount[page]!--;
  isolate_lru_page(kernel, page);
  kernel.mem_map.ClearPageLocked(page);
  const freed: number[] = [];
  kernel.attach((record) => {
    if (record.kind === "page-freed") freed.push(record.pfn);
  });
  expect(kernel.run(shrink_page_list(kernel, [page])).freed).toEqual([page]);
  expect(freed).toEqual([PFN]);
  expect(scene.pte(mm, a)).not.toBe(0n);
  expect(kvm.spteAt(a)).toBe(spte);
  expect(kernel.run(kvm.access(a, true))).toBe("hit");
});

test("the same under c leaves the guest nothing", () => {
  const { kernel, mm, page, kvm } = guestPage("c", 0x8000_0000_1234_5847n);
  kernel.run(kvm.access(a, true));
  mmu_notifier_clear_flush_young(mm, a, END);
  scenePutInSwapCache(kernel, page);
  expect(kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS))).toBe(true);
  expect(kvm.spteCount).toBe(0);
  expect(kernel.run(kvm.access(a, true))).toBe("host fault needed");
});

function scenePutInSwapCache(kernel: Scene["kernel"], page: Pfn): void {
  kernel.mem_map.setFlag(page, PG.swapcache | PG.dirty);
  kernel.mem_map._refcount[page]!++;
  kernel.swap.swap_map[0x77] = SWAP_HAS_CACHE;
  kernel.mem_map.set_page_private(page, new Entry(0x77, 0));
}

test("a guest stopped in the middle of a fault leaves no reference behind", () => {
  const { kernel, kvm } = guestPage("c");
  const before = kernel.mem_map.page_count(PFN);
  kernel.contended = true;
  const fault = kvm.access(a, true);
  fault.next();
  expect(kernel.mem_map.page_count(PFN)).toBe(before + 1);
  fault.return("retry");
  expect(kernel.mem_map.page_count(PFN)).toBe(before);
});
