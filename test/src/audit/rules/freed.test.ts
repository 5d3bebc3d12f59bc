import { describe, expect, test } from "vitest";
import { NONE } from "../../../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../../../arch/x86/cpu/cpu.ts";
import { invpcid } from "../../../../arch/x86/cpu/invalidation.ts";
import type { RecordSink } from "../../../../arch/x86/cpu/record-stream.ts";
import { ptep_clear_flush, ptep_get_and_clear } from "../../../../arch/x86/mm/ptep.ts";
import { enter_lazy_tlb, flush_tlb_mm, switch_mm } from "../../../../arch/x86/mm/tlb.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import {
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "../../../../src/mm/mmu_notifier.ts";
import { free_page } from "../../../../src/mm/page_alloc.ts";
import { pmdSlot } from "../../../../src/mm/page-table.ts";
import type { TraceRecord } from "../../../../src/trace/record.ts";
import { AT, AuditScene, anonymous, ENTRY, PFN, rulesOf } from "../../../support/audit-scene.ts";
import { BareSystem, briefly, done, T } from "../../../support/bare-system.ts";
import { stalePage } from "../../../support/stale-page.ts";

/* Rules 1 to 3: who can still reach a page when it is freed. */

describe("1: a CPU", () => {
  test.each([
    ["unmapped and flushed", true, []],
    ["unmapped and not flushed", false, [1]],
  ])("%s", (_name, flushed, rules) => {
    const { scene, kernel, mm, vma, page, slot, auditor } = anonymous();
    if (flushed) scene.run(ptep_clear_flush(vma, AT, slot));
    else ptep_get_and_clear(mm, AT, slot);
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual(rules);
  });

  test("a page that is freed while an mm maps it that no CPU has loaded", () => {
    const scene = new AuditScene();
    const mm = scene.mm("idle", []);
    const vma = scene.vma(mm, { at: AT, length: 0x1000 });
    const page = scene.page(PFN);
    scene.mapAnon(vma, AT, page, ENTRY);
    const auditor = scene.audit();
    free_page(scene.kernel, page);
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]).toMatchObject({
      rule: { id: 1 },
      agents: ["idle"],
      linear: AT,
      stale: { to: "frame 0x1234 by an entry that is still present" },
    });
  });

  test("a compound page is freed as a whole, and found frame by frame", () => {
    for (const flushed of [false, true]) {
      const scene = new AuditScene();
      const mm = scene.mm("mm");
      const at = 0x7f00_0020_0000;
      const vma = scene.vma(mm, { at, length: 0x20_0000 });
      const head = scene.compoundPage(0x2000);
      scene.mapSubpages(vma, at, head, 4, 0x8000_0000_0200_0867n);
      const auditor = scene.audit();
      scene.machine.storeEntry(pmdSlot(mm, vma.vm_start), 0, 0, 0);
      if (flushed) scene.run(flush_tlb_mm(mm));
      free_page(scene.kernel, head);
      const frames = auditor.findings.map(({ pfn }) => pfn);
      expect(frames).toEqual(flushed ? [] : [head, head + 1, head + 2, head + 3]);
    }
  });
});

describe("2: a guest's spte", () => {
  test.each([
    ["told by range_start and range_end", true, []],
    ["not told", false, [2]],
  ])("%s", (_name, told, rules) => {
    const { scene, kernel, mm, vma, page, slot, auditor } = anonymous("kvm");
    scene.storeFromListener(AT, 0x1000);
    const end = vma.vm_end;
    if (told) scene.run(mmu_notifier_invalidate_range_start(mm, AT, end));
    scene.run(ptep_clear_flush(vma, AT, slot));
    if (told) scene.run(mmu_notifier_invalidate_range_end(mm, AT, end));
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

test("2: an spte is found once, however often its page is freed", () => {
  const { scene, kernel, vma, page, slot, auditor } = anonymous("kvm");
  scene.storeFromListener(AT, 0x1000);
  scene.run(ptep_clear_flush(vma, AT, slot));
  for (let i = 0; i < 2; i++) {
    free_page(kernel, page);
    kernel.frames.reserve(page);
  }
  expect(auditor.findings.map(({ rule, pfn }) => [rule.id, pfn])).toEqual([[2, page]]);
});

describe("3: a device's TLB", () => {
  test.each([
    ["told by range_start and range_end", true, []],
    ["not told", false, [3]],
  ])("%s", (_name, told, rules) => {
    const { scene, kernel, mm, vma, page, slot, auditor } = anonymous("iommu");
    scene.storeFromListener(AT, 0x1000);
    const end = vma.vm_end;
    if (told) scene.run(mmu_notifier_invalidate_range_start(mm, AT, end));
    scene.run(ptep_clear_flush(vma, AT, slot));
    if (told) scene.run(mmu_notifier_invalidate_range_end(mm, AT, end));
    free_page(kernel, page);
    expect(rulesOf(auditor)).toEqual(rules);
  });
});

/* A lazy CPU has the mm loaded, but uses no user address before it takes the mm up again. */
describe("1: a lazy CPU", () => {
  /** CPU 1 is lazy, the entry is cleared, CPU 0 alone flushes, and the page is freed. */
  const freedWhileLazy = () => {
    const made = stalePage();
    enter_lazy_tlb(made.kernel, 1);
    made.store(0n);
    made.machine.cpu(0).invlpg(AT);
    free_page(made.kernel, made.page);
    return made;
  };

  test("is found when it takes the mm up again without a flush", () => {
    const { kernel, mm, auditor } = freedWhileLazy();
    expect(auditor.findings).toEqual([]);
    switch_mm(kernel, 1, mm);
    expect(briefly(auditor)).toEqual([[1, PFN, ["CPU 1"]]]);
    expect(auditor.findings[0]!.moment).toBe("address space used again, not flushed since: page freed");
  });

  test("is in order when a flush makes it leave the mm first", () => {
    const { scene, kernel, mm, auditor } = freedWhileLazy();
    scene.run(flush_tlb_mm(mm));
    expect(kernel.cpu_tlbstate[1]!.loaded_mm).toBe(kernel.init_mm);
    switch_mm(kernel, 1, mm);
    expect(scene.brokenRules()).toEqual([]);
    expect(auditor.findings).toEqual([]);
  });

  test("is in order when it goes to another mm, whose root drops what it had", () => {
    const { scene, kernel, mm } = freedWhileLazy();
    switch_mm(kernel, 1, kernel.createMm("other"));
    switch_mm(kernel, 1, mm);
    expect(scene.brokenRules()).toEqual([]);
  });

  test("counts as any other once it is not lazy", () => {
    const { kernel, mm, store, staleAtFree } = stalePage();
    enter_lazy_tlb(kernel, 1);
    switch_mm(kernel, 1, mm);
    store(0n);
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  });

  test("that was lazy before anybody listened", () => {
    const { kernel, mm, page, store, machine } = stalePage();
    enter_lazy_tlb(kernel, 1);
    const late = new Auditor(kernel);
    store(0n);
    machine.cpu(0).invlpg(AT);
    free_page(kernel, page);
    expect(late.findings).toEqual([]);
    switch_mm(kernel, 1, mm);
    expect(briefly(late)).toEqual([[1, PFN, ["CPU 1"]]]);
  });
});

/*
 * Page-table isolation: one address space has two roots, the kernel's under PCID 1 and the user's under PCID 2, which
 * share the tables of user addresses. Whoever clears an entry is in the kernel, so that INVLPG is of PCID 1 alone.
 */
describe("1: the two roots of an isolated address space", () => {
  const KERNEL_PCID = 1;
  const USER_PCID = 2;
  const SPACE = 7;

  const isolated = () => {
    const system = new BareSystem();
    const { machine, cpu } = system;
    const [root, userRoot] = [system.root(), system.root()];
    const page = system.frame();
    system.map(root, T, page);
    system.store(system.slot(userRoot, T, 4), system.table(root, T, 3), 0x67);
    cpu.setControl({ pcide: true });
    cpu.loadCr3(root, KERNEL_PCID);
    const auditor = new Auditor(machine);
    const records = machine.records as unknown as RecordSink<TraceRecord>;
    const header = () => ({ seq: records.next(), agent: records.agent, cpu: 0, space: SPACE });
    records.emit({ kind: "address-space-created", ...header(), root, userRoot });
    records.emit({ kind: "named", ...header(), subject: "space", id: SPACE, name: "isolated" });
    records.emit({ kind: "cpumask-changed", ...header(), cpus: [1] });
    const enterUser = (keep: boolean) => {
      cpu.loadCr3(userRoot, USER_PCID, keep);
      cpu.cpl = 3;
    };
    const enterKernel = () => {
      cpu.cpl = 0;
      cpu.loadCr3(root, KERNEL_PCID, true);
    };
    enterUser(false);
    expect(cpu.touch(T, true)).toBeNull();
    enterKernel();
    return { system, cpu, root, page, auditor, enterUser, enterKernel };
  };

  test.each<[string, boolean, boolean, (cpu: Cpu) => void]>([
    ["INVLPG, which leaves the user's PCID", true, true, (cpu) => cpu.invlpg(T)],
    ["a load of the kernel's root", true, true, (cpu) => cpu.loadCr3(cpu.root, KERNEL_PCID)],
    ["INVPCID 1 of the kernel's PCID", true, true, (cpu) => done(invpcid(cpu, 1, KERNEL_PCID))],
    ["INVLPG, and a return that flushes", false, false, (cpu) => cpu.invlpg(T)],
    [
      "INVLPG and INVPCID 0 of the user's PCID",
      false,
      true,
      (cpu) => {
        cpu.invlpg(T);
        done(invpcid(cpu, 0, USER_PCID, T));
      },
    ],
    ["INVPCID 3", false, true, (cpu) => done(invpcid(cpu, 3, 0))],
  ])("%s: convicted %s", (_name, convicted, keep, flush) => {
    const { system, cpu, root, page, auditor, enterUser } = isolated();
    system.unmap(root, T);
    flush(cpu);
    auditor.pageFreed(page);
    // In the kernel nothing of the user's PCID can be used.
    expect(auditor.findings).toEqual([]);
    enterUser(keep);
    expect(briefly(auditor)).toEqual(convicted ? [[1, page, ["CPU 0"]]] : []);
    if (convicted) expect(auditor.findings[0]).toMatchObject({ mm: "isolated", linear: T });
  });

  test("a flush of the user's PCID alone leaves the kernel's", () => {
    const { system, cpu, root, page, auditor } = isolated();
    system.unmap(root, T);
    done(invpcid(cpu, 1, USER_PCID));
    auditor.pageFreed(page);
    expect(briefly(auditor)).toEqual([[1, page, ["CPU 0"]]]);
  });

  test("going in and out gives no PCID to another root", () => {
    const { auditor, enterUser, enterKernel } = isolated();
    for (let i = 0; i < 3; i++) {
      enterUser(true);
      enterKernel();
    }
    expect(auditor.findings).toEqual([]);
    expect(auditor.finish()).toEqual([]);
  });

  test("a root that is no space's stays apart: its page is judged by G1", () => {
    const { system, cpu, auditor } = isolated();
    const [root, frame] = [system.root(), system.frame()];
    system.map(root, T, frame);
    cpu.loadCr3(root, 5);
    system.unmap(root, T);
    auditor.pageFreed(frame);
    expect(briefly(auditor)).toEqual([["G1", frame, ["CPU 0"]]]);
    expect(auditor.findings[0]!.space).toBe(NONE);
  });
});
