import { Linear } from "../../../arch/x86/cpu/address.ts";
import { pte_mkdirty, pte_mkwrite } from "../../../arch/x86/mm/pgtable.ts";
import { ptep_clear_flush, ptep_set_wrprotect, set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import { flush_tlb_page } from "../../../arch/x86/mm/tlb.ts";
import type { mmu_notifier_ops } from "../../mm/mm_types.ts";
import {
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../mm/mmu_notifier.ts";
import { alloc_page } from "../../mm/page_alloc.ts";
import type { Kvm } from "../../virt/kvm.ts";
import type { HistoryPair } from "./history.ts";
import { AT, NEXT, Stage, words } from "./stage.ts";

/** A virtual machine some of whose callbacks are not those of our KVM, which makes no such mistake. */
function withOps(kvm: Kvm, ops: mmu_notifier_ops): void {
  Object.assign(kvm, { ops: { ...kvm.ops, ...ops } });
}

/** Something is done, or undone, each time before the virtual machine's own range_end. */
function beforeRangeEnd(kvm: Kvm, change: () => void): void {
  const { invalidate_range_end } = kvm.ops;
  withOps(kvm, {
    invalidate_range_end: (mm, from, to) => {
      change();
      return invalidate_range_end?.(mm, from, to);
    },
  });
}

function start(s: Stage): void {
  s.run(mmu_notifier_invalidate_range_start(s.mm, AT, NEXT));
}

function end(s: Stage): void {
  s.run(mmu_notifier_invalidate_range_end(s.mm, AT, NEXT));
}

/** Rules 4 and 6 to 10: what a virtual machine copies of the host's entries. */
export const GUEST_HISTORIES: readonly HistoryPair[] = [
  {
    rule: 4,
    breaks:
      "A virtual machine drops its spte at range_end only: the guest stores while the page is being taken away.",
    keeps: "The spte is dropped at range_start, and the guest's fault is retried until range_end.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      const { invalidate_page } = kvm.ops;
      if (!keeps) {
        withOps(kvm, {
          invalidate_range_start: () => {
            kvm.mmu_notifier_count++;
          },
          invalidate_range_end: (mm, from) => {
            kvm.mmu_notifier_count--;
            return invalidate_page?.(mm, from);
          },
        });
      }
      begin(s.kernel);
      s.run(kvm.access(AT, true));
      start(s);
      s.run(kvm.access(AT, true));
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      end(s);
      s.free();
      return s.page;
    },
  },
  {
    rule: 6,
    breaks:
      "A virtual machine does not count a range_end: for it the range stays open, and no fault ever succeeds.",
    keeps: "mmu_notifier_count goes back to 0 with the range_end.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      if (!keeps) beforeRangeEnd(kvm, () => kvm.mmu_notifier_count++);
      begin(s.kernel);
      s.run(kvm.access(AT, true));
      start(s);
      end(s);
      s.run(kvm.access(AT, true));
      return s.page;
    },
  },
  {
    rule: 7,
    breaks:
      "A virtual machine does not raise its sequence number at range_end: a fault that began before would not notice.",
    keeps: "mmu_notifier_seq grows with the range_end.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      if (!keeps) beforeRangeEnd(kvm, () => kvm.mmu_notifier_seq--);
      begin(s.kernel);
      s.run(kvm.access(AT, true));
      start(s);
      end(s);
      s.run(kvm.access(AT, true));
      return s.page;
    },
  },
  {
    rule: 8,
    breaks:
      "A guest's fault looks the page up, the page is unmapped, and the spte is installed all the same.",
    keeps: "The fault sees that mmu_notifier_seq has changed, and is retried.",
    also: [{ rule: 2, why: "the spte comes too late for the range call that would have dropped it" }],
    tells: ["page-pinned", "guest-fault-retried"],
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      begin(s.kernel);
      const fault = kvm.access(AT, true);
      // Between the look-up and the install others may run.
      s.kernel.contended = true;
      fault.next();
      s.kernel.contended = false;
      start(s);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      end(s);
      if (keeps) s.run(fault);
      else {
        install(s, kvm);
        fault.return("filled");
      }
      s.free();
      return s.page;
    },
  },
  {
    rule: 9,
    breaks: "fork makes an entry read-only, and the virtual machine goes on with its writable copy.",
    keeps: "The same between range_start and range_end: the copy is dropped.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      begin(s.kernel);
      s.run(kvm.access(AT, true));
      if (keeps) start(s);
      ptep_set_wrprotect(s.mm, AT, s.slot);
      s.run(flush_tlb_page(s.vma, AT));
      if (keeps) end(s);
      s.run(kvm.access(AT, true));
      return s.page;
    },
  },
  {
    rule: 10,
    breaks: "An address gets a copy of its page, and the guest goes on with the old one.",
    keeps: "The same between range_start and range_end: the guest's next fault finds the new page.",
    play(keeps, begin) {
      const s = new Stage();
      const kvm = s.guest();
      const clean = s.kernel.format.mk_pte(alloc_page(s.kernel), s.vma.vm_page_prot);
      begin(s.kernel);
      s.run(kvm.access(AT, false));
      if (keeps) start(s);
      s.run(ptep_clear_flush(s.vma, AT, s.slot));
      set_pte_at(s.mm, AT, s.slot, pte_mkwrite(pte_mkdirty(clean)));
      if (keeps) end(s);
      s.run(kvm.access(AT, false));
      return s.page;
    },
  },
];

/** An spte by hand: our KVM looks at its sequence number first. */
function install(s: Stage, kvm: Kvm): void {
  const [registration] = s.mm.mmu_notifier_mm?.list ?? [];
  if (registration === undefined) throw new TypeError("the guest listens to nothing");
  s.tell("spte-installed", {
    listener: registration.id,
    gfn: kvm.memslots.gfnOf(Linear.of(AT)),
    level: 1,
    pfn: s.page,
    ...words(AT),
    writable: true,
    dirty: false,
    seqAtFault: 0,
    notifierSeq: kvm.mmu_notifier_seq,
    notifierCount: kvm.mmu_notifier_count,
    repointed: false,
  });
}
