import { PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import type { mm_struct } from "../../mm/mm_types.ts";
import { mmu_notifier_register } from "../../mm/mmu_notifier.ts";
import { Iommu } from "../../virt/iommu.ts";
import { Kvm } from "../../virt/kvm.ts";
import type { Listeners } from "./actors.ts";

/** The secondary MMUs that a run can attach to every address space. */
export const LISTENER_KINDS = {
  kvm: "a virtual machine with its own page tables, 2M where the host has 2M",
  "kvm-4k": "the same, always 4K",
  iommu: "a device on the CPU's tables, driver of 2017: invalidate_page and invalidate_range",
  "iommu-range": "a device whose driver has invalidate_range only",
} as const;

/** Name of a kind of secondary MMU. */
export type ListenerKind = keyof typeof LISTENER_KINDS;

/** The kind of that name. Throws RangeError listing the known ones. */
export function listenerKind(name: string): ListenerKind {
  if (Object.hasOwn(LISTENER_KINDS, name)) return name as ListenerKind;
  throw new RangeError(`unknown listener "${name}": known are ${Object.keys(LISTENER_KINDS).join(", ")}`);
}

/** Registers one listener of each kind with an mm; a guest's memory is all of the mm's vmas, page for page. */
export function attachListeners(mm: mm_struct, kinds: readonly ListenerKind[]): Listeners {
  const kvms: Kvm[] = [];
  const iommus: Iommu[] = [];
  for (const kind of kinds) {
    const name = `${kind}@${mm.name}`;
    if (kind === "kvm" || kind === "kvm-4k") {
      const kvm = new Kvm(mm, { name, only4K: kind === "kvm-4k", memslots: memslotsOf(mm) });
      mmu_notifier_register(kvm, mm);
      kvms.push(kvm);
    } else {
      const iommu = new Iommu(mm, { name, onlyRange: kind === "iommu-range" });
      mmu_notifier_register(iommu, mm);
      iommus.push(iommu);
    }
  }
  return { kvms, iommus };
}

function memslotsOf(mm: mm_struct) {
  return mm.mmap.map((vma) => ({
    base_gfn: vma.vm_start / PAGE_SIZE,
    npages: (vma.vm_end - vma.vm_start) / PAGE_SIZE,
    userspace_addr: vma.vm_start,
  }));
}
