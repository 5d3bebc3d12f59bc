import { describe, expect, test } from "vitest";
import { Linear, type Pfn, type Slot } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import { RULES, ruleOf } from "../../../../src/audit/rules/index.ts";
import { tryLockTable, unlockTable } from "../../../../src/mm/locks.ts";
import { PG } from "../../../../src/mm/mem_map.ts";
import type { mm_struct } from "../../../../src/mm/mm_types.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import { pteSlot, tableOf } from "../../../../src/mm/page-table.ts";
import type { MmRecord } from "../../../../src/mm/records.ts";
import { add_to_swap } from "../../../../src/mm/swapfile.ts";
import { try_to_unmap } from "../../../../src/mm/try_to_unmap.ts";
import {
  AuditScene,
  LISTENERS,
  type ListenerKind,
  reclaim,
  tell,
  UNMAP,
} from "../../../support/audit-scene.ts";

/*
 * Which rules each protocol breaks, for each kind of listener, in each situation. Derived from what each listener
 * observes and the titles of rules 2, 3, 9, 10, 11, 12, 15, 16 and 72:
 *
 *   a0, c  invalidate_page is heard by kvm and iommu, for one 4K page an entry: an spte per 4K of a larger entry
 *          stays. iommu-range hears nothing. c calls it under the lock, which a sleeper must not suffer.
 *          a0 calls it after the lock was dropped: a device may then use the old page beside the new.
 *   b      kvm hears nothing. Devices hear one range of as many bytes as the page has pages, unaligned at its end.
 *   d, e1  everybody hears everything.
 */
const PROTOCOLS = ["a0", "c", "b", "d", "e1"] as const;
type Protocol = (typeof PROTOCOLS)[number];

interface Situation {
  readonly name: string;
  run(scene: AuditScene, kind: ListenerKind): void;
  /** Rules expected to be broken; protocols not listed break none. */
  readonly expected: Readonly<Record<ListenerKind, Partial<Record<Protocol, readonly number[]>>>>;
}

const AT = Linear.of(0x7f00_0020_0000);
const MIB2 = 0x20_0000;

const SITUATIONS: readonly Situation[] = [
  {
    name: "page_mkclean of a 4K file page",
    run(scene, kind) {
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: AT, length: 0x1000, shared: true, file: scene.file() });
      const page = scene.page(0x1234);
      scene.mapFile(vma, AT, page, 0x8000_0000_0123_4867n);
      listen(scene, mm, kind, 0x1000);
      expect(scene.run(page_mkclean(scene.kernel, page))).toBe(1);
      markDirty(scene, page);
    },
    expected: {
      kvm: { b: [9, 11, 15] },
      "kvm-4k": { b: [9, 11, 15] },
      // One byte, rounded out to a page: right by luck.
      iommu: { b: [15] },
      "iommu-range": { a0: [11], c: [11], b: [15] },
      sleeper: { c: [12], b: [15] },
    },
  },
  {
    name: "unmap and free of a 4K anonymous page",
    run(scene, kind) {
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: AT, length: 0x1000 });
      const page = scene.page(0x1234);
      scene.mapAnon(vma, AT, page, 0x8000_0000_0123_4867n);
      listen(scene, mm, kind, 0x1000);
      reclaim(scene.kernel, page);
    },
    expected: {
      kvm: { b: [2, 9, 10, 15] },
      "kvm-4k": { b: [2, 9, 10, 15] },
      iommu: { b: [15] },
      "iommu-range": { a0: [3], c: [3], b: [15] },
      sleeper: { c: [12], b: [15] },
    },
  },
  {
    name: "unmap and free of a THP mapped by ptes",
    run(scene, kind) {
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: AT, length: MIB2 });
      const head = scene.compoundPage(0x2000);
      scene.mapSubpages(vma, AT, head, 512, 0x8000_0000_0200_0867n);
      listen(scene, mm, kind, MIB2);
      reclaim(scene.kernel, head);
    },
    expected: {
      kvm: { b: [2, 9, 10, 15, 16] },
      "kvm-4k": { b: [2, 9, 10, 15, 16] },
      iommu: { b: [3, 15, 16] },
      "iommu-range": { a0: [3], c: [3], b: [3, 15, 16] },
      sleeper: { c: [12], b: [15, 16] },
    },
  },
  {
    name: "page_mkclean of a shmem THP mapped by a pmd",
    run(scene, kind) {
      const mm = scene.mm();
      const file = scene.file("shmem", { swapBacked: true });
      const vma = scene.vma(mm, { at: AT, length: MIB2, shared: true, file });
      const head = scene.compoundPage(0x2000);
      scene.mapHugeFile(vma, AT, head, 0x8000_0000_0200_08e7n);
      listen(scene, mm, kind, MIB2);
      expect(scene.run(page_mkclean(scene.kernel, head))).toBe(1);
      markDirty(scene, head);
    },
    expected: {
      // A file THP's subpages have mapcounts of their own, so KVM maps it by 4K sptes in any case.
      kvm: { a0: [9, 11], c: [9, 11], b: [9, 11, 15, 16] },
      "kvm-4k": { a0: [9, 11], c: [9, 11], b: [9, 11, 15, 16] },
      // The device caches one 2M translation, which goes as a whole.
      iommu: { b: [15, 16] },
      "iommu-range": { a0: [11], c: [11], b: [15, 16] },
      sleeper: { c: [12], b: [15, 16] },
    },
  },
  {
    name: "page_mkclean of a hugetlb page",
    run(scene, kind) {
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: AT, length: MIB2, shared: true, file: scene.file(), flags: 0x400000 });
      const head = scene.compoundPage(0x2000, 9, true);
      scene.mapHugetlbFile(vma, AT, head, 0x8000_0000_0200_08e7n);
      listen(scene, mm, kind, MIB2);
      expect(scene.run(page_mkclean(scene.kernel, head))).toBe(1);
      markDirty(scene, head);
    },
    expected: {
      kvm: { b: [9, 11, 15, 16] },
      "kvm-4k": { a0: [9, 11], c: [9, 11], b: [9, 11, 15, 16] },
      iommu: { b: [15, 16] },
      "iommu-range": { a0: [11], c: [11], b: [15, 16] },
      sleeper: { c: [12], b: [15, 16] },
    },
  },
  {
    name: "another page takes the address as soon as the lock is dropped",
    run(scene, kind) {
      const mm = scene.mm();
      const vma = scene.vma(mm, { at: AT, length: 0x1000 });
      const page = scene.page(0x1234);
      const next = scene.page(0x1235);
      scene.mapAnon(vma, AT, page, 0x8000_0000_0123_4867n);
      add_to_swap(scene.kernel, page);
      listen(scene, mm, kind, 0x1000);
      raceForTheAddress(scene, pteSlot(mm, AT), next);
      expect(scene.run(try_to_unmap(scene.kernel, page, UNMAP))).toBe(true);
      expect(scene.pte(mm, AT)).toBe(0x8000_0000_0123_5067n);
    },
    expected: {
      // The guest goes on with the old page although the host has another.
      kvm: { b: [10, 15] },
      "kvm-4k": { b: [10, 15] },
      iommu: { a0: [72], b: [15, 72] },
      "iommu-range": { a0: [72], c: [72], b: [15, 72] },
      sleeper: { c: [12], b: [15] },
    },
  },
];

test("every rule is data: no id comes twice, each says when it is judged and where it is from", () => {
  const ids = RULES.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { id, title, when, source, before, after } of RULES) {
    expect(title, `rule ${id}`).toMatch(/^[^.]+[^.]$/);
    expect(
      [when, source].every((text) => text.length > 0),
      `rule ${id}`,
    ).toBe(true);
    expect(before.length + after.length, `rule ${id}`).toBeGreaterThan(0);
  }
});

test("a rule is found by its number or name, and an unknown one is refused", () => {
  expect(ruleOf(36).title).toContain("written out");
  expect(ruleOf("36")).toBe(ruleOf(36));
  expect(ruleOf("g1").id).toBe("G1");
  expect(() => ruleOf(99)).toThrow('no rule "99": there are 1, 2');
});

describe.each(SITUATIONS)("$name", (situation) => {
  for (const kind of LISTENERS) {
    for (const protocol of PROTOCOLS) {
      const rules = situation.expected[kind][protocol] ?? [];
      test(`${protocol}, ${kind}: ${rules.length === 0 ? "silent" : `rules ${rules.join(", ")}`}`, () => {
        const scene = new AuditScene({ notifiers: protocol });
        situation.run(scene, kind);
        expect(scene.brokenRules()).toEqual(rules);
      });
    }
  }
});

function listen(scene: AuditScene, mm: mm_struct, kind: ListenerKind, length: number): void {
  scene.addListener(mm, kind, AT, length);
  scene.storeFromListener(AT, length);
  scene.audit();
}

/** What page_mkclean's callers do with its count: without it, the dirty bits would be lost. */
function markDirty(scene: AuditScene, page: Pfn): void {
  scene.kernel.mem_map.setFlag(page, PG.dirty);
  tell(scene.kernel, "page-flag", { pfn: page, flag: "dirty", set: true });
}

/** The first time the slot's lock is dropped, another CPU's thread takes it and maps the frame there. */
function raceForTheAddress(scene: AuditScene, slot: Slot, frame: Pfn): void {
  const { kernel } = scene;
  const table = tableOf(slot);
  const other = kernel.createTask("other", 1);
  let raced = false;
  const racer = (record: MmRecord): void => {
    if (record.kind !== "lock-dropped" || record.lockClass !== "pte" || record.pfn !== table || raced) return;
    raced = true;
    const before = kernel.current;
    kernel.current = other;
    expect(tryLockTable(kernel, table, "pte")).toBe(true);
    const entry = new Entry((frame << 12) | 0x67, 0x8000_0000);
    kernel.machine.storeEntry(slot, entry.lo, entry.hi, other.cpu);
    unlockTable(kernel, table, "pte");
    kernel.current = before;
  };
  kernel.attach(racer);
}
