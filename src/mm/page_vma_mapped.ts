import { type Linear, NO_PFN, NO_SLOT, PAGE_SIZE, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { need, printed } from "../../arch/x86/cpu/argument.ts";
import { instance, numeral, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import {
  is_swap_pte,
  pmd_large,
  pmd_present,
  pmd_trans_huge,
  pte_none,
  pte_present,
} from "../../arch/x86/mm/pgtable.ts";
import { HPAGE_PMD_ORDER, PMD_SIZE, type pmd_t } from "../../arch/x86/mm/pgtable_types.ts";
import { finished, type KernelThread, NEXT_STEP, step, stops } from "../../arch/x86/mm/step.ts";
import { swp_offset } from "../../arch/x86/mm/swap-entry.ts";
import { tableLockId, tryLockTable, unlockTable } from "./locks.ts";
import { type Kernel, vm_area_struct } from "./mm_types.ts";
import { huge_pte_offset, pmdSlot, pteSlotUnder, tableOf } from "./page-table.ts";
import type { LockLevel } from "./records.ts";
import { reportWalkReturned } from "./report.ts";
import { __vma_address } from "./vma.ts";

/** Look at entries under the lock only, so that an entry being exchanged is not missed. */
export const PVMW_SYNC = 1;
/** Look for migration entries of the page instead of mappings. */
export const PVMW_MIGRATION = 2;

/** What one step of a walk came to. */
const PVMW_NOT_FOUND = 0;
/** `pvmw.pte` or `pvmw.pmd` maps the page; its table's lock is held. */
const PVMW_FOUND = 1;
/** Somebody else holds the lock: let others run and go on. */
const PVMW_BLOCKED = 2;
/** In front of a lock that may be free, while others could run: let them, once, and go on. */
const PVMW_OFFERED = 3;

const FOUND = finished(true);
const NOT_FOUND = finished(false);

/**
 * Where a walk stands. It can stop in front of each lock and be resumed there:
 *
 *   start ──────────────► pmd is huge ──► AT_PMD_LOCK ──► hit, or split meanwhile ─┐
 *     │ hugetlb                                                                    │
 *     ├────► AT_HUGE_LOCK ──► hit or end                     ┌─────────────────────┘
 *     │                                                      ▼
 *     └─ pmd is a table ─────────────────────────────► map the pte ──► AT_PTE_LOCK ──► check ──► hit
 *            ▲                                               │ looks unmapped              │
 *            └── next 2M ◄── next pte ◄──────────────────────┴──────────── no ◄────────────┘
 */
const AT_START = 0;
const AT_HUGE_LOCK = 1;
const AT_PMD_LOCK = 2;
const AT_PTE_LOCK = 3;

const VMA = instance("vma", vm_area_struct);
const FLAGS = whole("flags", 0, 2 ** 32 - 1);
const ADDRESS = numeral<Linear>("address", "a multiple of 4096", (at) => at >= 0 && at % PAGE_SIZE === 0);

/** struct page_vma_mapped_walk (include/linux/rmap.h): a search for the entries by which one vma maps one page. */
export class PageVmaMappedWalk {
  readonly k: Kernel;
  readonly page: Pfn;
  readonly vma: vm_area_struct;
  readonly flags: number;
  /** Linear address of the hit; at first, where to start. */
  address: Linear;
  /** Slot of the pmd; with no pte, the hit is the pmd itself. */
  pmd: Slot = NO_SLOT;
  /** Slot of the pte that maps the page, or of the huge entry of hugetlb. */
  pte: Slot = NO_SLOT;
  /** Frame of the table whose lock is held (of the root: the mm's page_table_lock), or NO_PFN. */
  ptl: Pfn = NO_PFN;
  ptlLevel: LockLevel = "pte";
  state = AT_START;
  /** The lock that it stands in front of, and whether others were let run there. */
  wanted: Pfn = NO_PFN;
  offered = false;

  constructor(k: Kernel, page: Pfn, vma: vm_area_struct, address: Linear, flags = 0) {
    if (!(vma instanceof vm_area_struct)) need(VMA, vma);
    if (vma.vm_mm.kernel !== k) throw new TypeError(`walk for ${printed(k)}: the vma is another kernel's`);
    const whole = address === Math.floor(address);
    if (!whole || (address & (PAGE_SIZE - 1)) !== 0 || address < 0) need(ADDRESS, address);
    if (flags >>> 0 !== flags) need(FLAGS, flags);
    this.k = k;
    this.page = k.mem_map.check(page);
    this.vma = vma;
    this.address = address;
    this.flags = flags;
  }
}

/**
 * Finds the next entry that maps the page (mm/page_vma_mapped.c, v4.13 as of 4.13.9). Found: the lock of the
 * entry's table is held until the next call. Not found: nothing is held. To be called in the kernel's own loop:
 *
 *     while (yield* page_vma_mapped_walk(pvmw)) { ... }
 *
 * As in 4.13, a pmd that is none ends the walk, although a THP mapped by ptes may go on in the next one.
 */
export function page_vma_mapped_walk(v: PageVmaMappedWalk): KernelThread<boolean> {
  const result = advance(v);
  return result < PVMW_BLOCKED ? found(v, result) : waitAndWalk(v, result);
}

function* waitAndWalk(v: PageVmaMappedWalk, first: number): KernelThread<boolean> {
  let result = first;
  do {
    yield result === PVMW_OFFERED ? NEXT_STEP : step("blocked", tableLockId(v.wanted));
    result = advance(v);
  } while (result >= PVMW_BLOCKED);
  return yield* found(v, result);
}

/** The answer as a thread that is at its end: a page mapped once should not cost a generator more. */
function found({ k }: PageVmaMappedWalk, result: number): KernelThread<boolean> {
  const is = result === PVMW_FOUND;
  reportWalkReturned(k, is);
  return is ? FOUND : NOT_FOUND;
}

/** Ends a walk early, letting go of its lock. */
export function page_vma_mapped_walk_done(v: PageVmaMappedWalk): void {
  if (v.ptl >= 0) unlock(v);
}

function advance(v: PageVmaMappedWalk): number {
  switch (v.state) {
    case AT_HUGE_LOCK:
      return lockHuge(v);
    case AT_PMD_LOCK:
      return lockPmd(v);
    case AT_PTE_LOCK:
      return lockPte(v);
  }
  // A page is mapped by one pmd only once in a vma.
  if (v.pmd !== NO_SLOT && v.pte === NO_SLOT) return notFound(v);
  if (v.pte !== NO_SLOT) return nextPte(v);
  if (!v.k.mem_map.PageHuge(v.page)) return restart(v);
  const size = v.k.mem_map.hpage_nr_pages(v.k.mem_map.compound_head(v.page)) * PAGE_SIZE;
  v.pte = huge_pte_offset(v.vma.vm_mm, v.address, size);
  return v.pte === NO_SLOT ? PVMW_NOT_FOUND : lockHuge(v);
}

/** Takes a table's lock, or stops in front of it in that state and says why. */
function lock(v: PageVmaMappedWalk, table: Pfn, level: LockLevel, state: number): number {
  v.state = state;
  v.wanted = table;
  if (!v.offered) {
    v.offered = true;
    if (stops(v.k, "lock", tableLockId(table))) return PVMW_OFFERED;
  }
  if (!tryLockTable(v.k, table, level)) return PVMW_BLOCKED;
  v.ptl = table;
  v.ptlLevel = level;
  v.state = AT_START;
  v.offered = false;
  return PVMW_FOUND;
}

function unlock(v: PageVmaMappedWalk): void {
  unlockTable(v.k, v.ptl, v.ptlLevel);
  v.ptl = NO_PFN;
}

function notFound(v: PageVmaMappedWalk): number {
  page_vma_mapped_walk_done(v);
  return PVMW_NOT_FOUND;
}

function lockHuge(v: PageVmaMappedWalk): number {
  const { mem_map } = v.k;
  // huge_pte_lockptr: only a 2M entry has a lock of its own table.
  const locked =
    mem_map.compound_order[mem_map.compound_head(v.page)] === HPAGE_PMD_ORDER
      ? lock(v, tableOf(v.pte), "pmd", AT_HUGE_LOCK)
      : lock(v, tableOf(v.vma.vm_mm.pgd as Slot), "mm", AT_HUGE_LOCK);
  if (locked !== PVMW_FOUND) return locked;
  return checkPte(v) ? PVMW_FOUND : notFound(v);
}

function restart(v: PageVmaMappedWalk): number {
  const mm = v.vma.vm_mm;
  v.pmd = pmdSlot(mm, v.address);
  if (v.pmd === NO_SLOT) return PVMW_NOT_FOUND;
  const pmde = readEntry(mm, v.pmd);
  if (pmd_trans_huge(pmde)) return lockPmd(v);
  if (!leadsToTable(pmde)) return PVMW_NOT_FOUND;
  return mapPte(v);
}

function lockPmd(v: PageVmaMappedWalk): number {
  const locked = lock(v, tableOf(v.pmd), "pmd", AT_PMD_LOCK);
  if (locked !== PVMW_FOUND) return locked;
  const pmde = readEntry(v.vma.vm_mm, v.pmd);
  if (pmd_trans_huge(pmde)) {
    if ((v.flags & PVMW_MIGRATION) !== 0) return notFound(v);
    return v.k.format.pmd_pfn(pmde) === v.page ? PVMW_FOUND : notFound(v);
  }
  if (!leadsToTable(pmde)) return notFound(v);
  unlock(v);
  return mapPte(v);
}

/**
 * Of a pmd that is not a THP's. 4.13 asks pmd_present alone: a pmd of device memory (DEVMAP), which no page of rmap stands
 * behind, it would read as a table.
 */
function leadsToTable(pmd: pmd_t): boolean {
  return pmd_present(pmd) && !pmd_large(pmd);
}

/** Looks at the pte without its lock first, unless SYNC: most pages are not there. */
function mapPte(v: PageVmaMappedWalk): number {
  v.pte = pteSlotUnder(v.vma.vm_mm, v.pmd, v.address);
  if ((v.flags & PVMW_SYNC) === 0) {
    const pte = readEntry(v.vma.vm_mm, v.pte);
    const wanted = (v.flags & PVMW_MIGRATION) !== 0 ? is_swap_pte(pte) : pte_present(pte);
    if (!wanted) return nextPte(v);
  }
  return lockPte(v);
}

function lockPte(v: PageVmaMappedWalk): number {
  const locked = lock(v, tableOf(v.pte), "pte", AT_PTE_LOCK);
  if (locked !== PVMW_FOUND) return locked;
  return checkPte(v) ? PVMW_FOUND : nextPte(v);
}

function nextPte(v: PageVmaMappedWalk): number {
  const { mem_map } = v.k;
  if (!mem_map.isThpHead(v.page)) return notFound(v);
  const end: number = __vma_address(mem_map, v.page, v.vma) + mem_map.hpage_nr_pages(v.page) * PAGE_SIZE;
  for (;;) {
    do {
      v.address = (v.address + PAGE_SIZE) as Linear;
      if (v.address >= v.vma.vm_end || v.address >= end) return notFound(v);
      if (v.address % PMD_SIZE === 0) {
        v.pte = NO_SLOT;
        if (v.ptl >= 0) unlock(v);
        return restart(v);
      }
      v.pte = (v.pte + 8) as Slot;
    } while (pte_none(readEntry(v.vma.vm_mm, v.pte)));
    if (v.ptl < 0) return lockPte(v);
    if (checkPte(v)) return PVMW_FOUND;
  }
}

/** Whether the entry at hand maps the page, or is a migration entry for it (check_pte). */
function checkPte(v: PageVmaMappedWalk): boolean {
  const { format, mem_map } = v.k;
  const pte = readEntry(v.vma.vm_mm, v.pte);
  let pfn: Pfn;
  if ((v.flags & PVMW_MIGRATION) !== 0) {
    if (!is_swap_pte(pte)) return false;
    const entry = format.pte_to_swp_entry(pte);
    if (!format.is_migration_entry(entry)) return false;
    pfn = swp_offset(entry) as Pfn;
    if (!mem_map.pfn_valid(pfn) || !mem_map.PageLocked(pfn)) {
      page_vma_mapped_walk_done(v);
      throw new TypeError(`migration entry ${pte} for frame ${pfn}, which is not locked`);
    }
  } else {
    if (!pte_present(pte)) return false;
    pfn = format.pte_pfn(pte);
  }
  return pfn >= v.page && pfn - v.page < mem_map.hpage_nr_pages(v.page);
}

/**
 * Whether a vma maps any part of the page, looked at under the lock, so that an entry that is being exchanged counts
 * (mm/page_vma_mapped.c).
 */
export function* page_mapped_in_vma(k: Kernel, page: Pfn, vma: vm_area_struct): KernelThread<boolean> {
  const start = __vma_address(k.mem_map, page, vma);
  const last = start + (k.mem_map.hpage_nr_pages(page) - 1) * PAGE_SIZE;
  if (last < vma.vm_start || start >= vma.vm_end) return false;
  const v = new PageVmaMappedWalk(k, page, vma, Math.max(start, vma.vm_start) as Linear, PVMW_SYNC);
  if (!(yield* page_vma_mapped_walk(v))) return false;
  page_vma_mapped_walk_done(v);
  return true;
}
