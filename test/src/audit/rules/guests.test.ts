import { describe, expect, test } from "vitest";
import { Linear, Pfn } from "../../../../arch/x86/cpu/address.ts";
import { linearHi, linearLo } from "../../../../arch/x86/cpu/linear-address.ts";
import { readEntry } from "../../../../arch/x86/mm/kernel-context.ts";
import { pte_mkclean, pte_wrprotect } from "../../../../arch/x86/mm/pgtable.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import type { mm_struct } from "../../../../src/mm/mm_types.ts";
import {
  mmu_notifier_change_pte,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../../../src/mm/mmu_notifier.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import {
  AT,
  AuditScene,
  anonymous,
  callback,
  ENTRY,
  listenerOf,
  PFN,
  rulesOf,
  tell,
} from "../../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, records are
 * made by hand: the auditor believes what it is told.
 */

const END = Linear.of(AT + 0x1000);

/** One page with a guest on it. */
function withGuest() {
  const made = anonymous("kvm");
  const { kernel, mm } = made;
  const listener = listenerOf(mm);
  return {
    ...made,
    guest: made.scene.kvm!,
    listener,
    /** The guest says that its counters are so. */
    counters: (notifierSeq: number, notifierCount: number) =>
      tell(kernel, "kvm-counters", { listener, notifierSeq, notifierCount }, mm),
    /** A load by the guest at a host's address, as a record. */
    load: (address: number, pfn: number) => {
      const linear = { linearLo: linearLo(address), linearHi: linearHi(address) };
      tell(kernel, "guest-access", { listener, ...linear, pfn: Pfn.of(pfn), write: false }, mm);
    },
  };
}

describe("4: a guest between range_start and range_end", () => {
  test("uses nothing in the range, and may use what is beside it", () => {
    const { scene, kernel, mm, auditor, guest, load } = withGuest();
    scene.storeFromListener(AT, 0x1000);
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, END));
    expect(scene.run(guest.access(AT, true))).toBe("retry");
    load(AT + 0x1000, 7);
    expect(rulesOf(auditor)).toEqual([]);
    load(AT + 0xff8, PFN);
    expect(rulesOf(auditor)).toEqual([4]);
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, END));
    expect(scene.run(guest.access(AT, true))).toBe("filled");
    expect(rulesOf(auditor)).toEqual([4]);
    expect(auditor.findings).toHaveLength(1);
  });

  test("uses nothing at all while the whole address space is open", () => {
    const { kernel, mm, listener, auditor, load } = withGuest();
    const called = { listener, linearLo: 0, linearHi: 0, bytes: 0, all: true, maySleep: false, locks: 0 };
    tell(kernel, "listener-called", { op: "invalidate_range_start", ...called }, mm);
    load(AT, PFN);
    expect(rulesOf(auditor)).toEqual([4]);
    tell(kernel, "listener-called", { op: "invalidate_range_end", ...called }, mm);
    load(AT, PFN);
    expect(auditor.findings).toHaveLength(1);
  });
});

describe("6 and 7: a KVM's counters", () => {
  test("are right when its own code moves them", () => {
    const { kernel, mm, slot, auditor } = withGuest();
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, END));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, END));
    mmu_notifier_change_pte(mm, AT, pte_mkclean(readEntry(mm, slot)));
    expect(auditor.findings).toEqual([]);
  });

  test("6: count is the number of open ranges", () => {
    const { mm, listener, counters, auditor } = withGuest();
    callback(mm, "invalidate_range_start", listener);
    counters(0, 1);
    expect(rulesOf(auditor)).toEqual([]);
    callback(mm, "invalidate_range_end", listener);
    counters(1, -1);
    expect(rulesOf(auditor)).toEqual([6]);
  });

  test("6: ranges that were open before the auditor listened are still open", () => {
    const { kernel, mm, auditor, guest } = withGuest();
    const wider = Linear.of(AT + 0x2000);
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, END));
    const late = new Auditor(kernel);
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, wider));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, wider));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, END));
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, END));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, END));
    expect(guest.mmu_notifier_count).toBe(0);
    expect(rulesOf(auditor)).toEqual([]);
    // Rule 5 misses the range_start that it did not hear: what is asked here is rule 6.
    expect(rulesOf(late).filter((rule) => rule !== 5)).toEqual([]);
  });

  test("7: seq grows with each end", () => {
    const { mm, listener, counters, auditor } = withGuest();
    callback(mm, "invalidate_page", listener);
    counters(1, 0);
    expect(rulesOf(auditor)).toEqual([]);
    callback(mm, "invalidate_page", listener);
    counters(1, 0);
    expect(rulesOf(auditor)).toEqual([7]);
  });

  test("7: an end that is not counted at all", () => {
    const { mm, listener, auditor } = withGuest();
    callback(mm, "invalidate_page", listener);
    callback(mm, "invalidate_page", listener);
    expect(rulesOf(auditor)).toEqual([7]);
  });
});

describe("8: an spte installed by a fault that an invalidation overlapped", () => {
  const install = (mm: mm_struct, seqAtFault: number, notifierSeq: number, notifierCount: number) =>
    tell(
      mm.kernel as AuditScene["kernel"],
      "spte-installed",
      {
        listener: listenerOf(mm),
        gfn: 0x1001,
        level: 1,
        pfn: Pfn.of(PFN),
        linearLo: linearLo(AT),
        linearHi: linearHi(AT),
        writable: true,
        dirty: false,
        seqAtFault,
        notifierSeq,
        notifierCount,
        repointed: false,
      },
      mm,
    );
  test.each([
    [3, 3, 0, []],
    [3, 4, 0, [8]],
    [3, 3, 1, [8]],
  ])("seq %i at the fault, %i at the install, %i open", (before, seq, count, rules) => {
    const { mm, auditor } = withGuest();
    install(mm, before, seq, count);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("one that change_pte repointed was not faulted in", () => {
    const { scene, mm, auditor, slot, guest } = withGuest();
    scene.storeFromListener(AT, 0x1000);
    mmu_notifier_change_pte(mm, AT, pte_wrprotect(readEntry(mm, slot)));
    expect(guest.spteAt(AT)).toMatchObject({ pfn: PFN, writable: false });
    expect(scene.brokenRules()).toEqual([]);
    expect(auditor.findings).toEqual([]);
  });
});

describe("9 and 10, at rest", () => {
  test.each([
    ["the same entry", ENTRY, []],
    ["a read-only entry", ENTRY & ~2n, [9]],
    ["another frame", 0x8000_0000_0999_9867n, [10]],
    ["nothing", 0n, [9, 10]],
  ])("a writable spte over %s", (_name, value, rules) => {
    const { scene, slot } = withGuest();
    scene.storeFromListener(AT, 0x1000);
    scene.machine.storeEntry(slot, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0, 0);
    expect(scene.brokenRules()).toEqual(rules);
  });
});

/*
 * Sptes are looked at when page_mkclean returns, but not where a range is open: whoever opened it is in the middle of the
 * change, and the guest cannot use the place. Protocol b tells a KVM nothing of the change, so that the spte stays.
 */
describe("9, inside an open invalidate_range_start .. end", () => {
  const cleaned = (open: { readonly start: number; readonly bytes: number } | null) => {
    const scene = new AuditScene({ notifiers: "b" });
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x4000, shared: true, file: scene.file() });
    const page = scene.page(PFN);
    scene.mapFile(vma, AT, page, ENTRY);
    scene.addListener(mm, "kvm", AT, 0x4000);
    const auditor = scene.audit();
    if (open !== null) {
      const [start, end] = [Linear.of(open.start), Linear.of(open.start + open.bytes)];
      scene.run(mmu_notifier_invalidate_range_start(mm, start, end));
    }
    // By hand: a KVM that works drops its sptes at range_start, and installs none before range_end.
    const install = { gfn: 0x1001, level: 1, pfn: page, linearLo: linearLo(AT), linearHi: linearHi(AT) };
    const counts = { seqAtFault: 0, notifierSeq: 0, notifierCount: 0 };
    const rights = { writable: true, dirty: true, repointed: true };
    tell(scene.kernel, "spte-installed", { listener: listenerOf(mm), ...install, ...counts, ...rights }, mm);
    scene.run(page_mkclean(scene.kernel, page));
    return auditor.findings.filter(({ rule }) => rule.id === 9).map(({ linear, pfn }) => [linear, pfn]);
  };

  test("is not judged", () => {
    expect(cleaned({ start: AT, bytes: 0x1000 })).toEqual([]);
  });

  test("is judged when no range is open, or only one beside it", () => {
    expect(cleaned(null)).toEqual([[AT, PFN]]);
    expect(cleaned({ start: AT + 0x1000, bytes: 0x1000 })).toEqual([[AT, PFN]]);
  });
});
