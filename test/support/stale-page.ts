import type { Machine } from "../../arch/x86/cpu/machine.ts";
import { free_page } from "../../src/mm/page_alloc.ts";
import { pteSlot } from "../../src/mm/page-table.ts";
import { AT, AuditScene, ENTRY, PFN } from "./audit-scene.ts";

/** Software stores an entry, as CPU 0. */
export function storeEntry(machine: Machine, slot: number, value: bigint): void {
  machine.storeEntry(slot, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0, 0);
}

/**
 * Debts, seen through rule 1: free a page after its entry was weakened, and see whether a CPU is said to hold it still.
 * One page at AT; both CPUs have the mm loaded.
 */
export function stalePage(entry: bigint = ENTRY) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x2000 });
  const page = scene.page(PFN);
  scene.mapAnon(vma, AT, page, entry);
  const auditor = scene.audit();
  const slot = pteSlot(mm, AT);
  const { kernel, machine } = scene;
  return {
    scene,
    kernel,
    machine,
    mm,
    vma,
    page,
    slot,
    auditor,
    store: (value: bigint) => storeEntry(machine, slot, value),
    /** CPUs that may still translate to the frame when it is freed. */
    staleAtFree: () => {
      free_page(kernel, page);
      return auditor.findings.filter(({ rule }) => rule.id === 1).flatMap(({ agents }) => agents);
    },
    /** Of these, the ones that may by a cached translation; the entry may be in place. */
    cachedAtFree: () => {
      free_page(kernel, page);
      const cached = auditor.findings.filter(({ stale }) => stale?.to.includes("cached") === true);
      return cached.flatMap(({ agents }) => agents);
    },
  };
}
