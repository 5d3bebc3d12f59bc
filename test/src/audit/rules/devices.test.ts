import { expect, test } from "vitest";
import { Linear } from "../../../../arch/x86/cpu/address.ts";
import { tableLockId } from "../../../../src/mm/locks.ts";
import { mmu_notifier_invalidate_range } from "../../../../src/mm/mmu_notifier.ts";
import { pmdSlot, tableOf } from "../../../../src/mm/page-table.ts";
import { AuditScene, rulesOf, tell } from "../../../support/audit-scene.ts";

/*
 * Rule 72 where the old and the new translation differ in size, or the new ones arrive in a table. The device has
 * cached 0x7F0000200000 and has been told nothing; the lock is that of the pmd.
 */

const AT = Linear.of(0x7f00_0020_0000);
const MIB2 = 0x20_0000;
const HEAD = 0x2000;
const HUGE_ENTRY = 0x8000_0000_0200_08e7n;

function withDevice(huge: boolean) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: MIB2 });
  if (huge) scene.mapHugeAnon(vma, AT, scene.compoundPage(HEAD), HUGE_ENTRY);
  else scene.mapAnon(vma, AT + 0x3000, scene.page(0x1234), 0x8000_0000_0123_4867n);
  scene.addListener(mm, "iommu", AT, MIB2);
  const auditor = scene.audit();
  const { machine, kernel } = scene;
  const slot = pmdSlot(mm, AT);
  const lock = tableOf(slot);
  const store = (lo: number, hi = 0) => machine.storeEntry(slot, lo, hi, 0);
  const unlock = () => tell(kernel, "lock-dropped", { lock: tableLockId(lock), lockClass: "pmd", pfn: lock });
  /** A table whose pte i maps frame `first + i`. */
  const table = (first: number) => {
    const frame = kernel.frames.allocate();
    for (let i = 0; i < 512; i++) {
      machine.memory.write(frame * 4096 + i * 8, ((first + i) << 12) | 0x67, 0x8000_0000);
    }
    return (frame << 12) | 0x67;
  };
  return { mm, auditor, store, unlock, table };
}

test("a table of other pages where a 2M page was", () => {
  const { auditor, store, unlock, table } = withDevice(true);
  store(0);
  store(table(0x2400));
  expect(rulesOf(auditor)).toEqual([]);
  unlock();
  expect(rulesOf(auditor)).toEqual([72]);
  expect(auditor.findings[0]).toMatchObject({ agent: "iommu", linear: AT, pfn: HEAD, stale: { size: MIB2 } });
});

test("a table of the same 2M page, as a split makes it, gives nobody another page", () => {
  const { auditor, store, unlock, table } = withDevice(true);
  store(0);
  store(table(HEAD));
  unlock();
  expect(rulesOf(auditor)).toEqual([]);
});

test("a 2M page where a table of small ones was", () => {
  const { auditor, store, unlock } = withDevice(false);
  store(0);
  store(Number(HUGE_ENTRY & 0xffff_ffffn) | 0, 0x8000_0000);
  unlock();
  expect(rulesOf(auditor)).toEqual([72]);
  expect(auditor.findings[0]).toMatchObject({ linear: AT + 0x3000, pfn: 0x1234, stale: { size: 4096 } });
});

test("one table for another", () => {
  const { auditor, store, unlock, table } = withDevice(false);
  store(table(0x2400));
  unlock();
  expect(rulesOf(auditor)).toEqual([72]);
  expect(auditor.findings).toHaveLength(1);
});

test("one table for another, but the device was told before the lock is dropped", () => {
  const { mm, auditor, store, unlock, table } = withDevice(false);
  store(table(0x2400));
  mmu_notifier_invalidate_range(mm, AT, Linear.of(AT + MIB2));
  unlock();
  expect(rulesOf(auditor)).toEqual([]);
  auditor.finish();
  expect(rulesOf(auditor)).toEqual([]);
});

test("a lock that is never dropped is settled by the end of the run", () => {
  const { auditor, store, table } = withDevice(false);
  store(table(0x2400));
  expect(rulesOf(auditor)).toEqual([]);
  auditor.finish();
  expect(rulesOf(auditor)).toEqual([72]);
});
