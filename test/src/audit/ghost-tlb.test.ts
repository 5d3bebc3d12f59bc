import { describe, expect, test } from "vitest";
import { flush_tlb_mm, flush_tlb_page, switch_mm } from "../../../arch/x86/mm/tlb.ts";
import { free_page } from "../../../src/mm/page_alloc.ts";
import { pmdSlot, pteSlot } from "../../../src/mm/page-table.ts";
import { AuditScene } from "../../support/audit-scene.ts";

/*
 * Debts, seen through rule 1: free a page after its entry was weakened, and see whether a CPU is said to hold it still.
 * Frame 0x1234 at 0x7F0000201000, both CPUs have the mm loaded.
 */

const AT = 0x7f00_0020_1000;
const PFN = 0x1234;
const ENTRY = 0x8000_0000_0123_4867n;
/** Stands for bit 63 among the low flags of a table's entry. */
const XD = 0x1000;

function mapped(entry = ENTRY) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x2000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, AT, page, entry);
  const auditor = scene.audit();
  const slot = pteSlot(mm, AT);
  const store = (value: bigint) =>
    scene.machine.storeEntry(slot, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0, 0);
  /** CPUs that may still translate to the frame when it is freed. */
  const staleAtFree = () => {
    free_page(scene.kernel, page);
    return auditor.findings.filter(({ rule }) => rule.id === 1).flatMap(({ agents }) => agents);
  };
  return { scene, mm, vma, page, slot, store, auditor, staleAtFree };
}

describe("what makes a debt", () => {
  test.each([
    ["P removed", 0n],
    ["another frame", 0x8000_0000_0999_9867n],
    ["another frame, and W kept away from it", 0x8000_0000_0999_9865n],
  ])("%s", (_name, value) => {
    const { store, staleAtFree } = mapped();
    store(value);
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  });

  // The entry stays, and is a finding by itself: what counts here is whether one is about a cached translation.
  test.each([
    ["W removed", ENTRY & ~2n, ENTRY, true],
    ["U removed", ENTRY & ~4n, ENTRY, true],
    ["D cleared", ENTRY & ~0x40n, ENTRY, true],
    ["XD added", ENTRY, ENTRY & ~(1n << 63n), true],
    ["A cleared", ENTRY & ~0x20n, ENTRY, false],
    ["A and D set", ENTRY, ENTRY & ~0x60n, false],
    ["W and U added", ENTRY, ENTRY & ~6n, false],
    ["XD removed", ENTRY & ~(1n << 63n), ENTRY, false],
    ["a software bit changed", ENTRY & ~0x800n, ENTRY, false],
  ])("%s", (_name, value, before, owed) => {
    const { store, auditor, page, scene } = mapped(before);
    store(value);
    free_page(scene.kernel, page);
    const cached = auditor.findings.filter(({ stale }) => stale?.to.includes("cached") === true);
    expect(cached.length > 0).toBe(owed);
  });

  test("a page that was not present makes none", () => {
    const { store, staleAtFree } = mapped(0x0000_0000_0123_4960n);
    store(0n);
    expect(staleAtFree()).toEqual([]);
  });

  test("an entry with a reserved bit is never cached", () => {
    const { store, staleAtFree } = mapped(ENTRY | (1n << 51n));
    store(0n);
    expect(staleAtFree()).toEqual([]);
  });

  test("whether A was set does not matter: a CPU may have looked ahead", () => {
    const { store, staleAtFree } = mapped(ENTRY & ~0x60n);
    store(0n);
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  });

  test("a table taken away makes debts for everything under it", () => {
    const { scene, mm, staleAtFree } = mapped();
    scene.machine.storeEntry(pmdSlot(mm, AT), 0, 0, 0);
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  });

  test.each([
    ["bit 6, which is ignored in a pointer", 0x67, 0x27, 4, []],
    ["A", 0x67, 0x47, 4, []],
    ["U, W and no XD added", XD | 0x21, 0x67, 4, []],
    ["W removed", 0x67, 0x65, 4, ["CPU 0", "CPU 1"]],
    ["W removed, and the page read-only anyway", 0x67, 0x65, 5, []],
  ])("a pointer to its table changed: %s", (_name, before, after, pteFlags, stale) => {
    const { scene, mm, store, auditor, page } = mapped();
    const slot = pmdSlot(mm, AT);
    const table = scene.machine.memory.readLo(slot) & 0xffff_f000;
    const point = (flags: number) => {
      scene.machine.storeEntry(slot, table | (flags & 0xfff), (flags & XD) !== 0 ? 0x8000_0000 : 0, 0);
    };
    store(pteFlags === 5 ? ENTRY & ~2n : ENTRY);
    point(before);
    for (const cpu of scene.machine.cpus) cpu.invlpg(AT);
    point(after);
    free_page(scene.kernel, page);
    const cached = auditor.findings.filter((finding) => finding.stale?.to.includes("cached") === true);
    expect(cached.flatMap(({ agents }) => agents)).toEqual(stale);
  });

  test("rights that a pointer gave later are lost with the pointer", () => {
    const { scene, mm, auditor, page } = mapped();
    const slot = pmdSlot(mm, AT);
    const table = scene.machine.memory.readLo(slot) & 0xffff_f000;
    scene.machine.storeEntry(slot, table | 0x65, 0, 0);
    for (const cpu of scene.machine.cpus) cpu.invlpg(AT);
    scene.machine.storeEntry(slot, table | 0x67, 0, 0);
    scene.machine.storeEntry(slot, 0, 0, 0);
    free_page(scene.kernel, page);
    expect(auditor.findings[0]).toMatchObject({ stale: { rights: "read, write" } });
  });

  test("a page that is still mapped when it is freed is a finding, too", () => {
    const { staleAtFree, auditor } = mapped();
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
    expect(auditor.findings[0]!.stale!.to).toBe("frame 0x1234 by an entry that is still present");
  });
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
    address: AT,
    stale: { to: "frame 0x1234 by an entry that is still present" },
  });
});

describe("what pays it", () => {
  test("INVLPG, on that CPU", () => {
    const { scene, store, staleAtFree } = mapped();
    store(0n);
    scene.machine.cpu(0).invlpg(AT + 0x123);
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test("INVLPG of another page pays nothing", () => {
    const { scene, store, staleAtFree } = mapped();
    store(0n);
    scene.machine.cpu(0).invlpg(AT + 0x1000);
    expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  });

  test("a load of CR3, even of the same root", () => {
    const { scene, store, staleAtFree } = mapped();
    store(0n);
    scene.machine.cpu(1).loadCr3(scene.machine.cpu(1).root);
    expect(staleAtFree()).toEqual(["CPU 0"]);
  });

  test("a switch to another mm, after which the CPU owes nothing of the first", () => {
    const { scene, store, staleAtFree } = mapped();
    switch_mm(scene.kernel, 1, scene.kernel.createMm("other"));
    store(0n);
    expect(staleAtFree()).toEqual(["CPU 0"]);
  });

  test("a page fault at the address", () => {
    const { scene, store, staleAtFree } = mapped();
    store(0n);
    expect(scene.machine.cpu(0).touch(AT, true)).not.toBeNull();
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test("a change of CR4.PGE", () => {
    const { scene, store, staleAtFree } = mapped();
    store(0n);
    scene.machine.cpu(0).setControl({ pge: false });
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test("flush_tlb_page and flush_tlb_mm, on every CPU of the mm", () => {
    for (const flush of ["page", "mm"]) {
      const { scene, mm, vma, store, staleAtFree } = mapped();
      store(0n);
      scene.run(flush === "page" ? flush_tlb_page(vma, AT) : flush_tlb_mm(mm));
      expect(staleAtFree()).toEqual([]);
    }
  });

  test("not a restored entry: the stale one was never invalidated", () => {
    const { store, auditor, page, scene } = mapped();
    store(0n);
    store(0x8000_0000_0999_9867n);
    free_page(scene.kernel, page);
    expect(auditor.findings).toHaveLength(1);
  });

  test("with PCIDs, a load of CR3 that keeps translations pays nothing, and debts stay with their PCID", () => {
    const { scene, mm, store, staleAtFree } = mapped();
    const other = scene.kernel.createMm("other");
    const cpu = scene.machine.cpu(1);
    cpu.setControl({ pcide: true });
    cpu.loadCr3(mm.pgd, 1);
    cpu.loadCr3(other.pgd, 2);
    store(0n);
    scene.machine.cpu(0).invlpg(AT);
    cpu.invlpg(AT);
    cpu.loadCr3(mm.pgd, 1, true);
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });
});

describe("PCIDs that are not loaded", () => {
  /** CPU 0 has PCID 1 for the mm, then PCID 2 for another, and the page's entry is cleared. */
  const leftBehind = (entry = ENTRY) => {
    const { scene, mm, store, staleAtFree, auditor } = mapped(entry);
    const [cpu] = scene.machine.cpus;
    scene.kernel.init_mm.cpu_bitmap = 0b11;
    scene.machine.cpu(1).loadCr3(scene.kernel.init_mm.pgd);
    const other = scene.kernel.createMm("other");
    other.cpu_bitmap = 0b01;
    cpu!.setControl({ pcide: true });
    cpu!.loadCr3(mm.pgd, 1);
    cpu!.loadCr3(other.pgd, 2, true);
    store(0n);
    return { cpu: cpu!, mm, other, auditor, staleAtFree };
  };

  test("may keep what they have of a freed page, if it goes before they are used again", () => {
    const { cpu, mm, other, staleAtFree, auditor } = leftBehind();
    expect(staleAtFree()).toEqual([]);
    cpu.loadCr3(mm.pgd, 1);
    cpu.loadCr3(other.pgd, 2, true);
    cpu.loadCr3(mm.pgd, 1, true);
    expect(auditor.findings).toEqual([]);
  });

  test("must not be loaded with it", () => {
    const { cpu, mm, staleAtFree, auditor } = leftBehind();
    expect(staleAtFree()).toEqual([]);
    cpu.loadCr3(mm.pgd, 1, true);
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]).toMatchObject({
      rule: { id: 1 },
      moment: "PCID loaded, not flushed since: page freed",
      agents: ["CPU 0"],
      frame: PFN,
    });
  });

  test("cannot hold back a global translation: every PCID uses it, and INVLPG under any drops it", () => {
    for (const invalidated of [false, true]) {
      const { cpu, staleAtFree } = leftBehind(ENTRY | 0x100n);
      if (invalidated) cpu.invlpg(AT);
      expect(staleAtFree()).toEqual(invalidated ? [] : ["CPU 0"]);
    }
  });
});

describe("a global user leaf, which should not be", () => {
  test.each([
    ["a load of CR3 keeps it", true, false, ["CPU 0", "CPU 1"]],
    ["but not without CR4.PGE", false, false, ["CPU 1"]],
    ["INVLPG drops it", true, true, ["CPU 1"]],
  ])("%s", (_name, pge, invlpg, stale) => {
    const { scene, store, staleAtFree } = mapped(ENTRY | 0x100n);
    const cpu = scene.machine.cpu(0);
    cpu.setControl({ pge });
    store(0n);
    cpu.loadCr3(cpu.root);
    if (invlpg) cpu.invlpg(AT);
    expect(staleAtFree()).toEqual(stale);
  });

  test("and of two translations of one address the load drops the other one", () => {
    const { scene, store, staleAtFree } = mapped(ENTRY);
    const [cpu] = scene.machine.cpus;
    store(0x8000_0000_0999_9967n);
    store(0n);
    cpu!.loadCr3(cpu!.root);
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });
});

test("a 2M translation concerns 512 frames, and one INVLPG inside it pays all", () => {
  for (const invalidated of [false, true]) {
    const scene = new AuditScene({ cpus: 1 });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: 0x7f00_0020_0000, length: 0x20_0000 });
    const head = scene.compoundPage(0x2000);
    scene.mapHugeAnon(vma, 0x7f00_0020_0000, head, 0x8000_0000_0200_08e7n);
    const auditor = scene.audit();
    scene.machine.storeEntry(pmdSlot(mm, 0x7f00_0020_0000), 0, 0, 0);
    if (invalidated) scene.machine.cpu(0).invlpg(0x7f00_0033_3000);
    free_page(scene.kernel, head);
    expect(auditor.findings).toHaveLength(invalidated ? 0 : 512);
    expect(auditor.findings[511]?.address ?? null).toBe(invalidated ? null : 0x7f00_003f_f000);
  }
});

test("an mm made after the auditor is followed, too", () => {
  const scene = new AuditScene();
  const auditor = scene.audit();
  const mm = scene.mm("late");
  const vma = scene.vma(mm, { at: AT, length: 0x1000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, AT, page, 0n);
  const slot = pteSlot(mm, AT);
  scene.machine.storeEntry(slot, 0x0123_4867, 0x8000_0000, 0);
  scene.machine.storeEntry(slot, 0, 0, 0);
  free_page(scene.kernel, page);
  expect(auditor.findings.map(({ rule, mm: name }) => [rule.id, name])).toEqual([[1, "late"]]);
});

test("a frame's second life is judged anew", () => {
  const { store, staleAtFree, scene, page, auditor } = mapped();
  store(0n);
  expect(staleAtFree()).toEqual(["CPU 0", "CPU 1"]);
  scene.machine.cpu(0).invlpg(AT);
  scene.machine.cpu(1).invlpg(AT);
  store(ENTRY);
  store(0n);
  scene.machine.cpu(1).invlpg(AT);
  free_page(scene.kernel, page);
  expect(auditor.findings.map(({ agents }) => agents)).toEqual([["CPU 0", "CPU 1"], ["CPU 0"]]);
});

test("tables that point in circles are left out, and said to be", () => {
  const scene = new AuditScene({ memory: "4MiB" });
  const mm = scene.kernel.createMm("loop");
  scene.kernel.plantEntry(mm.pgd, { lo: mm.pgd | 0x67, hi: 0 } as never);
  expect(scene.audit().truncated).toBe(true);
});
