import { describe, expect, test } from "vitest";
import { pte_mkclean, pte_wrprotect } from "../../../arch/x86/mm/pgtable.ts";
import type { mm_struct } from "../../../src/mm/mm_struct.ts";
import {
  mmu_notifier_change_pte,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../../src/mm/mmu_notifier.ts";
import { pteSlot } from "../../../src/mm/page-table.ts";
import type { VirtEvent } from "../../../src/virt/events.ts";
import { AT, anonymous, callback, ENTRY, PFN, rulesOf } from "../../support/audit-scene.ts";

/*
 * One test that breaks each rule and one that keeps it. Where this kernel's own code cannot break a rule, events are
 * made by hand: the auditor believes what it is told.
 */

function counters(mm: mm_struct, seq: number, count: number): VirtEvent {
  return { type: "kvm-counters", listener: "kvm", mm, seq, count };
}

describe("4: a guest between range_start and range_end", () => {
  test("uses nothing in the range, and may use what is beside it", () => {
    const { scene, kernel, mm, auditor } = anonymous("kvm");
    scene.storeFromListener(AT, 0x1000);
    scene.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    expect(scene.run(scene.kvm!.access(AT, true))).toBe("retry");
    auditor.observe({ type: "spte-used", listener: "kvm", mm, hva: AT + 0x1000, pfn: 7, write: false });
    expect(rulesOf(auditor)).toEqual([]);
    auditor.observe({ type: "spte-used", listener: "kvm", mm, hva: AT + 0xff8, pfn: PFN, write: false });
    expect(rulesOf(auditor)).toEqual([4]);
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    expect(scene.run(scene.kvm!.access(AT, true))).toBe("filled");
    expect(rulesOf(auditor)).toEqual([4]);
  });
});

describe("6 and 7: a KVM's counters", () => {
  test("are right when its own code moves them", () => {
    const { scene, kernel, mm, auditor } = anonymous("kvm");
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    mmu_notifier_change_pte(mm, AT, pte_mkclean(scene.machine.memory.read(pteSlot(mm, AT))));
    expect(auditor.findings).toEqual([]);
  });

  test("6: count is the number of open ranges", () => {
    const { mm, auditor } = anonymous("kvm");
    auditor.observe(callback(mm, "invalidate_range_start", "kvm"));
    auditor.observe(counters(mm, 0, 1));
    expect(rulesOf(auditor)).toEqual([]);
    auditor.observe(callback(mm, "invalidate_range_end", "kvm"));
    auditor.observe(counters(mm, 1, -1));
    expect(rulesOf(auditor)).toEqual([6]);
  });

  test("6: ranges that were open before it was watched are still open", () => {
    const { scene, kernel, mm, auditor } = anonymous();
    scene.addListener(mm, "kvm", AT, 0x4000);
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    auditor.watchKvm(scene.kvm!);
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x2000));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x2000));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, AT + 0x1000));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, AT + 0x1000));
    expect(scene.kvm!.mmu_notifier_count).toBe(0);
    expect(rulesOf(auditor)).toEqual([]);
  });

  test("7: seq grows with each end", () => {
    const { mm, auditor } = anonymous("kvm");
    auditor.observe(callback(mm, "invalidate_page", "kvm"));
    auditor.observe(counters(mm, 1, 0));
    expect(rulesOf(auditor)).toEqual([]);
    auditor.observe(callback(mm, "invalidate_page", "kvm"));
    auditor.observe(counters(mm, 1, 0));
    expect(rulesOf(auditor)).toEqual([7]);
  });

  test("7: an end that is not counted at all", () => {
    const { mm, auditor } = anonymous("kvm");
    auditor.observe(callback(mm, "invalidate_page", "kvm"));
    auditor.observe(callback(mm, "invalidate_page", "kvm"));
    expect(rulesOf(auditor)).toEqual([7]);
  });
});

describe("8: an spte installed by a fault that an invalidation overlapped", () => {
  const installed = (mm: mm_struct, seqAtFault: number, seq: number, count: number): VirtEvent => ({
    type: "spte-installed",
    listener: "kvm",
    mm,
    gfn: 0x1001,
    level: 1,
    pfn: PFN,
    hva: AT,
    writable: true,
    seqAtFault,
    seq,
    count,
  });
  test.each([
    [3, 3, 0, []],
    [3, 4, 0, [8]],
    [3, 3, 1, [8]],
  ])("seq %i at the fault, %i at the install, %i open", (before, seq, count, rules) => {
    const { mm, auditor } = anonymous("kvm");
    auditor.observe(installed(mm, before, seq, count));
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("one that change_pte repointed was not faulted in", () => {
    const { scene, mm, auditor, slot } = anonymous("kvm");
    scene.storeFromListener(AT, 0x1000);
    mmu_notifier_change_pte(mm, AT, pte_wrprotect(scene.machine.memory.read(slot)));
    expect(scene.kvm!.spteAt(AT)).toMatchObject({ pfn: PFN, writable: false });
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
    const { scene, slot } = anonymous("kvm");
    scene.storeFromListener(AT, 0x1000);
    scene.machine.storeEntry(slot, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0, 0);
    expect(scene.brokenRules()).toEqual(rules);
  });
});
