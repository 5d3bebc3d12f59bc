/** One rule that correct kernel code keeps, as data: findings and reports quote it. */
export interface Invariant {
  /** Number in the list of invariants (linux-mm 8). */
  readonly id: number;
  /** What holds, as one sentence without its full stop. */
  readonly title: string;
  /** When it is judged. */
  readonly when: string;
  /** Where the rule comes from. */
  readonly source: string;
}

/**
 * The 27 of the list's 72 rules that this auditor judges: 1 to 13, 15 and 16 (who may still use what, notifiers, KVM),
 * 35 and 36 (dirty data), 46 to 48 and 50 (deferred flushes, CPUs), 52, 61, 62, 69, 70 and 72 (calls and their order).
 * The rest, counts, reverse mapping, entry encodings and locks, are not judged here.
 */
export const INVARIANTS: readonly Invariant[] = [
  {
    id: 1,
    title: "no CPU can still translate to a freed page",
    when: "page freed",
    source: "mm/vmscan.c shrink_page_list: try_to_unmap_flush before the pages are freed",
  },
  {
    id: 2,
    title: "no spte points to a freed page",
    when: "page freed",
    source: "include/linux/mmu_notifier.h: sptes hold no page reference",
  },
  {
    id: 3,
    title: "no device TLB can still translate to a freed page",
    when: "page freed",
    source: "include/linux/mmu_notifier.h: invalidate_range before the page is freed",
  },
  {
    id: 4,
    title: "a guest uses no page of a range between range_start and range_end",
    when: "guest access",
    source: "virt/kvm/kvm_main.c: mmu_notifier_count blocks installs",
  },
  {
    id: 5,
    title: "every range_start has one range_end with the same bounds, properly nested",
    when: "range_end",
    source: "include/linux/mmu_notifier.h: invalidate_range_start, invalidate_range_end",
  },
  {
    id: 6,
    title: "mmu_notifier_count is the number of open ranges",
    when: "counters changed",
    source: "virt/kvm/kvm_main.c: BUG_ON(mmu_notifier_count < 0)",
  },
  {
    id: 7,
    title: "mmu_notifier_seq grows with every completed invalidation",
    when: "counters changed",
    source: "virt/kvm/kvm_main.c: mmu_notifier_seq",
  },
  {
    id: 8,
    title: "no spte is installed by a fault that an invalidation overlapped",
    when: "spte installed",
    source: "include/linux/kvm_host.h mmu_notifier_retry",
  },
  {
    id: 9,
    title: "a writable spte has a present, writable host entry",
    when: "quiescent",
    source: "mm/gup.c: a guest may write only what the host could",
  },
  {
    id: 10,
    title: "an spte points to the frame of the host entry",
    when: "quiescent",
    source: "include/linux/mmu_notifier.h: every change of a frame is notified",
  },
  {
    id: 11,
    title: "after page_mkclean nobody can write the page without a fault",
    when: "page_mkclean returned",
    source: "mm/page-writeback.c clear_page_dirty_for_io",
  },
  {
    id: 12,
    title: "a callback that may sleep is not called under a page-table lock",
    when: "callback",
    source: "include/linux/mmu_notifier.h: which callbacks may sleep",
  },
  {
    id: 13,
    title: "invalidate_range, change_pte and the young callbacks do not sleep",
    when: "callback",
    source: "include/linux/mmu_notifier.h: called under the page-table lock",
  },
  {
    id: 15,
    title: "the bounds of a range call are page aligned and cover every entry changed",
    when: "range told",
    source: "mm/rmap.c try_to_unmap_one, page_mkclean_one (v4.13)",
  },
  {
    id: 16,
    title: "entries changed inside a range call's bracket lie in its bounds",
    when: "entry changed",
    source: "include/linux/mmu_notifier.h: the range is announced before it changes",
  },
  {
    id: 35,
    title: "what was stored since the last write-out is marked dirty somewhere",
    when: "page freed",
    source: "mm/page-writeback.c clear_page_dirty_for_io: order of dirty bits",
  },
  {
    id: 36,
    title: "no page is written out while a CPU can store to it through a dirty translation",
    when: "page written out",
    source: "mm/vmscan.c: try_to_unmap_flush_dirty before pageout",
  },
  {
    id: 46,
    title: "a deferred flush covers every CPU that may cache what was cleared",
    when: "flush deferred or done",
    source: "arch/x86/include/asm/tlbbatch.h arch_tlbbatch_add_mm",
  },
  {
    id: 47,
    title: "a deferred flush is marked writable if any of its entries was dirty",
    when: "flush deferred",
    source: "mm/rmap.c set_tlb_ubc_flush_pending",
  },
  {
    id: 48,
    title: "no deferred flush is due when pages that it concerns are freed or reclaim returns",
    when: "page freed, shrink_page_list returned",
    source: "mm/vmscan.c shrink_page_list",
  },
  {
    id: 50,
    title: "a CPU that may hold an mm's translations is in its mm_cpumask",
    when: "root loaded, translation filled, flush begun",
    source: "arch/x86/mm/tlb.c switch_mm_irqs_off",
  },
  {
    id: 52,
    title: "the caller of try_to_unmap holds a reference that outlives the call",
    when: "reference dropped",
    source: "mm/rmap.c try_to_unmap_one: put_page",
  },
  {
    id: 61,
    title: "page_vma_mapped_walk returns a hit with one lock held, an end with none",
    when: "walk returned",
    source: "mm/page_vma_mapped.c page_vma_mapped_walk",
  },
  {
    id: 62,
    title: "after try_to_unmap succeeded no present entry maps the page",
    when: "try_to_unmap returned",
    source: "mm/rmap.c try_to_unmap",
  },
  {
    id: 69,
    title: "flush_cache_page comes before the entry changes",
    when: "entry changed",
    source: "Documentation/cachetlb.txt",
  },
  {
    id: 70,
    title: "invalidate_range comes after the entry was cleared",
    when: "range told",
    source: "include/linux/mmu_notifier.h: a device walks the entry as it is",
  },
  {
    id: 72,
    title: "no address gets another page while a device may still use the old one",
    when: "lock dropped",
    source: "Documentation/vm/mmu_notifier.txt: when a flush under the lock is needed",
  },
];

const BY_ID = new Map(INVARIANTS.map((rule) => [rule.id, rule]));

/** The rule of that number. Throws RangeError when this auditor has none. */
export function invariant(id: number): Invariant {
  const rule = BY_ID.get(id);
  if (rule === undefined) throw new RangeError(`rule ${id}: judged are ${[...BY_ID.keys()].join(", ")}`);
  return rule;
}
