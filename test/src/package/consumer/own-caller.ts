/**
 * A caller of rmap that the package does not have, as an author of a kernel writes it: from what "ptescope/linux"
 * exports and nothing else. It prints what the auditor says of it, with its flush and without.
 */
import { Auditor } from "ptescope/audit";
import {
  address_space,
  alloc_page,
  ensurePteSlot,
  flush_cache_page,
  inc_mm_counter,
  Kernel,
  type KernelThread,
  Linear,
  lock_page,
  Machine,
  MM_FILEPAGES,
  mmap,
  PAGE_SIZE,
  PageVmaMappedWalk,
  type Pfn,
  PVMW_SYNC,
  page_add_file_rmap,
  page_vma_mapped_walk,
  page_vma_mapped_walk_done,
  pageout,
  pte_dirty,
  pte_mkclean,
  pte_mkdirty,
  pte_mkwrite,
  pte_write,
  pte_wrprotect,
  ptep_clear_flush,
  ptep_get_and_clear,
  Random,
  readEntry,
  rmap_walk,
  Scheduler,
  set_page_dirty,
  set_pte_at,
  setFileMapping,
  step,
  switch_mm,
  unlock_page,
  VM_SHARED,
  type vm_area_struct,
} from "ptescope/linux";

interface Cleaning {
  readonly flush: boolean;
  entries: number;
}

function* cleanOne(
  k: Kernel,
  page: Pfn,
  vma: vm_area_struct,
  address: Linear,
  arg: Cleaning,
): KernelThread<boolean> {
  const mm = vma.vm_mm;
  const told = yield* k.protocol.begin(mm, address, Linear.of(address + PAGE_SIZE), page);
  const walk = new PageVmaMappedWalk(k, page, vma, address, PVMW_SYNC);
  try {
    while (yield* page_vma_mapped_walk(walk)) {
      const slot = walk.pte;
      const entry = readEntry(mm, slot);
      if (!pte_dirty(entry) && !pte_write(entry)) continue;
      flush_cache_page(vma, address, k.format.pte_pfn(entry));
      yield step("entry", slot);
      const old = arg.flush
        ? yield* ptep_clear_flush(vma, address, slot)
        : ptep_get_and_clear(mm, address, slot);
      yield step("entry", slot);
      set_pte_at(mm, address, slot, pte_mkclean(pte_wrprotect(old)));
      arg.entries++;
      yield* told.cleared(address, PAGE_SIZE, "clean");
    }
  } catch (error) {
    page_vma_mapped_walk_done(walk);
    throw error;
  } finally {
    yield* told.end();
  }
  return true;
}

/** Cleans every shared mapping of a locked page, and writes the page out. */
function* cleanAndWrite(k: Kernel, page: Pfn, arg: Cleaning): KernelThread<void> {
  yield* lock_page(k, page);
  yield* rmap_walk(k, page, {
    arg,
    rmap_one: cleanOne,
    done: null,
    anon_lock: null,
    invalid_vma: (vma) => (vma.vm_flags & VM_SHARED) === 0,
  });
  if (arg.entries > 0) set_page_dirty(k, page);
  yield* pageout(k, page);
  unlock_page(k, page);
}

function run(notifiers: string, flush: boolean): string {
  const machine = new Machine({ memory: "16MiB", cpus: 2 });
  const k = new Kernel(machine, { notifiers });
  const file = new address_space("data");
  const at = Linear.of(0x7f00_0020_0000);
  const page = alloc_page(k);
  setFileMapping(k, page, file);
  for (const name of ["first", "second"]) {
    const mm = k.createMm(name);
    const vma = mmap(mm, { at, length: 0x1000, prot: "rw", shared: true, file });
    page_add_file_rmap(k, page, false);
    inc_mm_counter(mm, MM_FILEPAGES);
    const entry = pte_mkwrite(pte_mkdirty(k.format.mk_pte(page, vma.vm_page_prot)));
    set_pte_at(mm, at, ensurePteSlot(mm, at), entry);
    if (name === "second") switch_mm(k, 1, mm);
  }
  const auditor = new Auditor(k);
  machine.cpu(1).store(at, 42);
  const cleaning = { flush, entries: 0 };
  const scheduler = new Scheduler(k, new Random(1));
  scheduler.spawn(k.createTask("writeback", 0), cleanAndWrite(k, page, cleaning));
  scheduler.run();
  const stored = machine.cpu(1).store(at, 43).ok ? "stored" : "fault";
  const found = auditor.finish().map(({ rule, agents }) => `rule ${rule.id}: ${agents.join(", ")}`);
  return `${notifiers} ${cleaning.entries} entries, ${stored}; ${found.join("; ") || "nothing found"}`;
}

for (const notifiers of ["c", "d"]) {
  for (const flush of [true, false]) console.log(run(notifiers, flush));
}
