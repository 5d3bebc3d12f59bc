import { ENTRIES_PER_TABLE, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import type { mm_struct } from "./mm_types.ts";
import { put_page } from "./page_alloc.ts";

/** Gives the page of a table to the allocator; nothing may lead to the table any more. */
export function freeTable({ kernel }: mm_struct, table: Pfn, level: number): void {
  const { records } = kernel;
  if (records.live) records.emit({ kind: "table-freed", ...kernel.header(), pfn: table, level });
  put_page(kernel, table);
}

/**
 * Ends an address space of which nothing is left but its root, which is freed. Throws TypeError, which names what is left,
 * while it has vmas, tables, listeners or a CPU that has it loaded.
 */
export function dropMm(mm: mm_struct): void {
  const { kernel } = mm;
  const left = whatIsLeft(mm);
  if (left !== null) throw new TypeError(`${mm.name} cannot be dropped: ${left}`);
  kernel.forgetMm(mm);
  freeTable(mm, (mm.pgd / PAGE_SIZE) as Pfn, kernel.levels);
  if (kernel.records.live) kernel.records.emit({ kind: "address-space-ended", ...kernel.header(mm) });
}

function whatIsLeft(mm: mm_struct): string | null {
  const { kernel } = mm;
  if (mm === kernel.init_mm) return "it is the kernel's own";
  if (!kernel.lives(mm)) return "it was dropped before";
  const cpu = kernel.cpu_tlbstate.findIndex(({ loaded_mm }) => loaded_mm === mm);
  if (cpu >= 0) return `CPU ${cpu} has it loaded`;
  if (mm.mmap.length > 0) return `${mm.mmap.length} of its vmas are left`;
  if ((mm.mmu_notifier_mm?.list.length ?? 0) > 0) return "it has listeners";
  for (let index = 0; index < ENTRIES_PER_TABLE / 2; index++) {
    if (kernel.machine.memory.readLo(mm.pgd + index * 8) !== 0)
      return `entry ${index} of its root is not none`;
  }
  return null;
}
