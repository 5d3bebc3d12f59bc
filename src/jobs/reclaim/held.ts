import { PAGES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";
import type { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { Tlb } from "../../../arch/x86/cpu/tlb.ts";
import { cpuLane } from "../../audit/story/holdings.ts";
import type { mm_struct } from "../../mm/mm_types.ts";
import { registrationOf } from "../../mm/mmu_notifier.ts";
import type { Listeners } from "./actors.ts";

/** From here on addresses are the kernel's. */
const KERNEL_HALF = 2 ** 63;

/** Looks into the caches of a run for those that hold a user translation to a frame now: their lanes' keys. */
export function holdersOf(
  machine: Machine,
  listeners: ReadonlyMap<mm_struct, Listeners>,
): (pfn: number) => ReadonlySet<string> {
  return (pfn) => {
    const keys = new Set<string>();
    for (const cpu of machine.cpus) if (holds(cpu.tlb, pfn)) keys.add(cpuLane(cpu.id).key);
    for (const [mm, { kvms, iommus }] of listeners) {
      for (const kvm of kvms) {
        const registration = registrationOf(kvm, mm);
        const maps = [...kvm.sptes()].some((spte) => covers(spte.pfn, spte.level, pfn));
        if (registration !== undefined && maps) keys.add(`listener ${registration.id}`);
      }
      for (const iommu of iommus) {
        const registration = registrationOf(iommu, mm);
        if (registration !== undefined && holds(iommu.tlb, pfn)) keys.add(`listener ${registration.id}`);
      }
    }
    return keys;
  };
}

function holds(tlb: Tlb, pfn: number): boolean {
  return tlb.entries().some((entry) => entry.page < KERNEL_HALF && covers(entry.pfn, entry.level, pfn));
}

function covers(first: number, level: number, pfn: number): boolean {
  return pfn >= first && pfn < first + PAGES_OF_LEVEL[level]!;
}
