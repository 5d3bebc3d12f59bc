import { Linear, type Pfn, type Slot } from "../arch/x86/cpu/address.ts";
import { Entry } from "../arch/x86/cpu/entry.ts";
import { Machine } from "../arch/x86/cpu/machine.ts";
import { VM_SHARED, VM_WRITE } from "../arch/x86/mm/pgtable_types.ts";
import { switch_mm } from "../arch/x86/mm/tlb.ts";
import { Kernel } from "../src/mm/kernel.ts";
import { PG } from "../src/mm/mem_map.ts";
import { address_space, type mm_struct } from "../src/mm/mm_types.ts";
import { page_add_file_rmap } from "../src/mm/page-mapcount.ts";
import { ensurePteSlot } from "../src/mm/page-table.ts";
import { setFileMapping } from "../src/mm/util.ts";

export const PAGES = 65_536;
export const BASE = Linear.of(0x7f00_0000_0000);

export interface Scene {
  readonly kernel: Kernel;
  readonly mm: mm_struct;
  readonly pages: readonly Pfn[];
  readonly slots: readonly Slot[];
}

/** One file of so many pages mapped shared and writable, each page once, dirty; the mm is loaded on one CPU. */
export function sharedFileScene(count = PAGES): Scene {
  const machine = new Machine({ memory: "512MiB", cpus: 2 });
  const kernel = new Kernel(machine);
  const mm = kernel.createMm();
  const file = new address_space("file");
  mm.insertVma({
    start: BASE,
    end: (BASE + count * 4096) as Linear,
    flags: 1 | VM_WRITE | VM_SHARED,
    pgoff: 0,
    file,
  });
  const pages: Pfn[] = [];
  const slots: Slot[] = [];
  for (let i = 0; i < count; i++) {
    const pfn = kernel.frames.allocate();
    const slot = ensurePteSlot(mm, (BASE + i * 4096) as Linear);
    setFileMapping(kernel, pfn, file);
    kernel.mem_map.index[pfn] = i;
    kernel.mem_map._refcount[pfn] = 3;
    file.page_tree.set(i, pfn);
    pages.push(pfn);
    slots.push(slot);
  }
  switch_mm(kernel, 0, mm);
  const scene = { kernel, mm, pages, slots };
  remap(scene);
  return scene;
}

/** Maps every page again, dirty and writable, as before the measured work. */
export function remap(scene: Scene): void {
  const { kernel, pages, slots, mm } = scene;
  for (const [i, pfn] of pages.entries()) {
    kernel.plantEntry(slots[i]!, new Entry((pfn << 12) | 0x67, 0x8000_0000 | (pfn >>> 20)));
    if (kernel.mem_map._mapcount[pfn]! < 0) page_add_file_rmap(kernel, pfn, false);
    kernel.mem_map._refcount[pfn] = 3;
    kernel.mem_map.flags[pfn] = PG.locked;
  }
  mm.rss_stat[0] = pages.length;
}
