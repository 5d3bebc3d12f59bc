import { describe, expect, test } from "vitest";
import { Linear, Slot } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import { free_page } from "../../../../src/mm/page_alloc.ts";
import { pmdSlot, pteSlot } from "../../../../src/mm/page-table.ts";
import { AT, AuditScene, ENTRY, PFN } from "../../../support/audit-scene.ts";
import { stalePage, storeEntry } from "../../../support/stale-page.ts";

/** Stands for bit 63 among the low flags of a table's entry. */
const XD = 0x1000;
const BOTH = ["CPU 0", "CPU 1"];

/** The page, with what stores the pointer to its table. */
function withPointer() {
  const made = stalePage();
  const { machine, mm } = made;
  const slot = pmdSlot(mm, AT);
  const table = machine.memory.readLo(slot) & 0xffff_f000;
  return {
    ...made,
    unlink: () => machine.storeEntry(slot, 0, 0, 0),
    point: (flags: number) => {
      machine.storeEntry(slot, table | (flags & 0xfff), (flags & XD) !== 0 ? 0x8000_0000 : 0, 0);
    },
    invlpg: () => {
      for (const cpu of machine.cpus) cpu.invlpg(AT);
    },
  };
}

describe("a pointer to a table", () => {
  test("that is taken away makes debts for everything under it", () => {
    const { unlink, staleAtFree } = withPointer();
    unlink();
    expect(staleAtFree()).toEqual(BOTH);
  });

  test.each([
    ["bit 6, which is ignored in a pointer", 0x67, 0x27, 4, []],
    ["A", 0x67, 0x47, 4, []],
    ["U, W and no XD added", XD | 0x21, 0x67, 4, []],
    ["W removed", 0x67, 0x65, 4, BOTH],
    ["W removed, and the page read-only anyway", 0x67, 0x65, 5, []],
  ])("changed: %s", (_name, before, after, pteFlags, stale) => {
    const { point, invlpg, store, cachedAtFree } = withPointer();
    store(pteFlags === 5 ? ENTRY & ~2n : ENTRY);
    point(before);
    invlpg();
    point(after);
    expect(cachedAtFree()).toEqual(stale);
  });

  test("takes with it the rights that it gave later", () => {
    const { kernel, page, auditor, point, invlpg, unlink } = withPointer();
    point(0x65);
    invlpg();
    point(0x67);
    unlink();
    free_page(kernel, page);
    expect(auditor.findings[0]).toMatchObject({ stale: { rights: "read, write" } });
  });
});

test("a 2M translation concerns 512 frames, and one INVLPG inside it pays all", () => {
  const at = Linear.of(0x7f00_0020_0000);
  for (const invalidated of [false, true]) {
    const scene = new AuditScene({ cpus: 1 });
    const mm = scene.mm();
    const vma = scene.vma(mm, { at, length: 0x20_0000 });
    const head = scene.compoundPage(0x2000);
    scene.mapHugeAnon(vma, at, head, 0x8000_0000_0200_08e7n);
    const auditor = scene.audit();
    scene.machine.storeEntry(pmdSlot(mm, at), 0, 0, 0);
    if (invalidated) scene.machine.cpu(0).invlpg(0x7f00_0033_3000);
    free_page(scene.kernel, head);
    expect(auditor.findings).toHaveLength(invalidated ? 0 : 512);
    expect(new Set(auditor.findings.map(({ pfn }) => pfn)).size).toBe(invalidated ? 0 : 512);
    expect(auditor.findings[511]?.linear ?? null).toBe(invalidated ? null : 0x7f00_003f_f000);
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
  storeEntry(scene.machine, slot, ENTRY);
  storeEntry(scene.machine, slot, 0n);
  free_page(scene.kernel, page);
  expect(auditor.findings.map(({ rule, mm: name }) => [rule.id, name])).toEqual([[1, "late"]]);
});

test("tables that point in circles are left out, and said to be", () => {
  const scene = new AuditScene({ memory: "4MiB" });
  const mm = scene.kernel.createMm("loop");
  expect(scene.audit().truncated).toBe(false);
  scene.kernel.plantEntry(Slot.of(mm.pgd), new Entry(mm.pgd | 0x67, 0));
  expect(scene.audit().truncated).toBe(true);
});
