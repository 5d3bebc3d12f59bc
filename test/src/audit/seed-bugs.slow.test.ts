import { expect, test } from "vitest";
import { Linear } from "../../../arch/x86/cpu/address.ts";
import { owedText } from "../../../src/audit/findings.ts";
import { AuditScene, reclaim } from "../../support/audit-scene.ts";

/*
 * The three bugs of the commit that the seed reverts (protocol b: mm/rmap.c of 4.13-rc with aac2fea94f7a), each as the
 * least scene that shows it. A THP: head frame 0x2000, at 0x7F0000200000, mapped by 512 ptes.
 */

const BASE = Linear.of(0x7f00_0020_0000);
const HEAD = 0x2000;
const MIB2 = 0x20_0000;

test("bug 1: a KVM that listens to start/end hears nothing of invalidate_range", () => {
  const scene = new AuditScene({ notifiers: "b" });
  const mm = scene.mm("qemu");
  const vma = scene.vma(mm, { at: 0x7f00_0000_0000, length: 0x4000_0000 });
  const hva = Linear.of(0x7f00_0020_1000);
  const page = scene.page(0x1234);
  scene.mapAnon(vma, hva, page, 0x8000_0000_0123_4867n);
  scene.addListener(mm, "kvm", vma.vm_start, 0x4000_0000);
  scene.storeFromListener(hva, 0x1000);
  const auditor = scene.audit();

  reclaim(scene.kernel, page);

  const freed = auditor.findings.filter((finding) => finding.rule.id === 2);
  expect(freed).toHaveLength(1);
  expect(freed[0]).toMatchObject({
    moment: "page freed",
    agent: "kvm",
    mm: "qemu",
    linear: hva,
    pfn: page,
    stale: { size: 4096, rights: "read, write", writable: true, dirty: true },
    changed: { site: "try_to_unmap_one", primitive: "ptep_get_and_clear" },
    staleRanges: [{ start: hva, length: 4096 }],
    // It was called, but for an operation that a KVM does not have.
    owed: { fault: "not heard", range: { start: hva, length: 4096 }, passed: { call: "invalidate_range" } },
  });
  expect(owedText(freed[0]!.owed)).toContain("mmu_notifier_invalidate_range_start/end");
  expect(owedText(freed[0]!.owed)).toContain("around the walk");
  expect(scene.kvm?.spteCount).toBe(1);
  // The guest stores on: into a frame that belongs to nobody, or to somebody else.
  expect(scene.run(scene.kvm!.access(hva, true))).toBe("hit");
});

test("bug 2: 512 bytes instead of 2 MiB leave 511 pages in the device's TLB", () => {
  const scene = new AuditScene({ notifiers: "b" });
  const mm = scene.mm("gpu-user");
  const vma = scene.vma(mm, { at: BASE, length: MIB2 });
  const head = scene.compoundPage(HEAD);
  scene.mapSubpages(vma, BASE, head, 512, 0x8000_0000_0200_0867n);
  scene.addListener(mm, "iommu", BASE, MIB2);
  scene.storeFromListener(BASE, MIB2);
  const auditor = scene.audit();

  reclaim(scene.kernel, head);

  const stale = [{ start: BASE + 0x1000, length: MIB2 - 0x1000 }];
  const owed = {
    call: "mmu_notifier_invalidate_range",
    fault: "too short",
    range: { start: BASE, length: MIB2 },
    passed: { call: "invalidate_range", range: { start: BASE, length: 512 } },
  };
  const sentence = "invalidate_range of [0x7f0000200000, +2 MiB), not of [0x7f0000200000, +512 bytes)";
  const [told] = auditor.findings.filter((finding) => finding.rule.id === 15);
  expect(told).toMatchObject({ agent: "try_to_unmap_one", linear: BASE, staleRanges: stale, owed });
  expect(owedText(told!.owed)).toContain(sentence);
  const freed = auditor.findings.filter((finding) => finding.rule.id === 3);
  expect(freed).toHaveLength(511);
  expect(freed.map((finding) => finding.pfn)).toEqual(Array.from({ length: 511 }, (_, i) => head + 1 + i));
  expect(freed[0]).toMatchObject({
    agent: "iommu",
    linear: BASE + 0x1000,
    stale: { size: 4096, writable: true, dirty: true },
    changed: { site: "try_to_unmap_one" },
    staleRanges: stale,
    owed,
  });
  expect(owedText(freed[0]!.owed)).toContain(sentence);
  // Witness: the device still stores to the second page, no longer to the first.
  expect(scene.iommu?.access(Linear.of(BASE + 0x1000), true)).toBe(true);
  expect(scene.iommu?.access(BASE, true)).toBe(false);
});

test("bug 3: the range starts where rmap entered the vma, not at the page's first byte", () => {
  const scene = new AuditScene({ notifiers: "b" });
  const mm = scene.mm("gpu-user");
  // The vma holds the upper 384 subpages of the THP.
  const start = 0x7f00_0028_0000;
  const vma = scene.vma(mm, { at: start, length: 0x38_0000 });
  const head = scene.compoundPage(HEAD);
  scene.mapSubpages(vma, start, head + 128, 384, 0x8000_0000_0208_0867n);
  scene.addListener(mm, "iommu", start, 0x38_0000);
  scene.storeFromListener(start, 384 * 0x1000);
  const auditor = scene.audit();

  reclaim(scene.kernel, head);

  const stale = [{ start: 0x7f00_0028_1000, length: 383 * 0x1000 }];
  const [told] = auditor.findings.filter((finding) => finding.rule.id === 15);
  expect(told).toMatchObject({ linear: start, staleRanges: stale, owed: { fault: "unaligned start" } });
  expect(owedText(told!.owed)).toContain(
    "invalidate_range of [0x7f0000280000, +1,536 KiB), not of [0x7f0000280000, +512 bytes)",
  );
  const freed = auditor.findings.filter((finding) => finding.rule.id === 3);
  expect(freed.map((finding) => finding.pfn)).toEqual(Array.from({ length: 383 }, (_, i) => head + 129 + i));
  expect(freed[0]).toMatchObject({ linear: 0x7f00_0028_1000, staleRanges: stale });
});

test.each(["a0", "c", "d", "e1"])("protocol %s leaves nothing of all this", (notifiers) => {
  for (const kind of ["kvm", "iommu"] as const) {
    const scene = new AuditScene({ notifiers });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: BASE, length: MIB2 });
    const head = scene.compoundPage(HEAD);
    scene.mapSubpages(vma, BASE, head, 512, 0x8000_0000_0200_0867n);
    scene.addListener(mm, kind, BASE, MIB2);
    scene.storeFromListener(BASE, MIB2);
    scene.audit();
    reclaim(scene.kernel, head);
    expect(scene.brokenRules()).toEqual([]);
  }
});

test("a finding reads like a note", () => {
  const scene = new AuditScene({ notifiers: "b" });
  const mm = scene.mm("gpu-user");
  const vma = scene.vma(mm, { at: BASE, length: MIB2 });
  const head = scene.compoundPage(HEAD);
  scene.mapSubpages(vma, BASE, head, 2, 0x8000_0000_0200_0867n);
  scene.addListener(mm, "iommu", BASE, MIB2);
  const auditor = scene.audit();
  reclaim(scene.kernel, head);
  const [finding] = auditor.findings.filter(({ rule }) => rule.id === 16);
  // Numbers of records depend on how much else is recorded.
  const note = finding!.explain().replace(/event \d+/g, "event N");
  expect(note).toMatchInlineSnapshot(`
    "rule 16 broken: entries changed inside a range call's bracket lie in its bounds
      when     range told, event N: frame 0x2001, address 0x7f0000201000, mm gpu-user
      who      try_to_unmap_one
      changed  by try_to_unmap_one, ptep_get_and_clear, event N
      stale    [0x7f0000201000, +4 KiB)
      owed     mmu_notifier_invalidate_range of [0x7f0000200000, +8 KiB), not of [0x7f0000200000, +512 bytes)
      source   include/linux/mmu_notifier.h: the range is announced before it changes
      replay   npx vitest run"
  `);
});
