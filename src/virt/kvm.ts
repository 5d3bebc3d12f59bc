import type { KernelThread } from "../../arch/x86/mm/events.ts";
import { readEntry } from "../../arch/x86/mm/kernel-context.ts";
import { pte_access_permitted, pte_special, pte_write } from "../../arch/x86/mm/pgtable.ts";
import {
  _PAGE_PRESENT,
  _PAGE_PSE,
  PAGE_SIZE,
  PMD_SIZE,
  type pte_t,
} from "../../arch/x86/mm/pgtable_types.ts";
import type { NotifierOp } from "../mm/events.ts";
import { PG } from "../mm/mem_map.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { mmu_notifier, mmu_notifier_ops } from "../mm/mmu_notifier.ts";
import { get_page, put_page } from "../mm/page_alloc.ts";
import { NO_SLOT, pmdSlot, pteSlotUnder } from "../mm/page-table.ts";
import { set_page_dirty } from "../mm/swapfile.ts";
import type { VirtObserver } from "./events.ts";

/** Guest-physical pages [base_gfn, base_gfn + npages) are backed by linear addresses from userspace_addr. */
export interface Memslot {
  readonly base_gfn: number;
  readonly npages: number;
  readonly userspace_addr: number;
}

/** One shadow or EPT entry. It holds no reference on the page: the notifier protocol must keep it right. */
export interface Spte {
  readonly gfn: number;
  /** 1 for 4K, 2 for 2M. */
  readonly level: 1 | 2;
  readonly pfn: number;
  readonly hva: number;
  readonly writable: boolean;
  accessed: boolean;
  dirty: boolean;
}

export interface KvmOptions {
  readonly name?: string;
  /** Never use 2M sptes, even where the host entry is 2M. */
  readonly only4K?: boolean;
  readonly memslots?: readonly Memslot[];
}

/** What one guest access came to. */
export type GuestAccess =
  /** Done through an spte that was there, or that the fault installed. */
  | "hit"
  | "filled"
  /** An invalidation began or ended meanwhile: the guest will fault again. */
  | "retry"
  /** The host's own entry does not allow it: the host would have to fault the page in. */
  | "host fault needed"
  | "no memslot";

const PAGES_PER_2M = 512;

/**
 * A virtual machine as far as the host's mm sees it (virt/kvm/kvm_main.c and arch/x86/kvm/mmu.c, v4.13, EPT with
 * A/D bits). mmu_lock sections are single steps of this machine, so the lock itself is not modelled.
 *
 *    guest fault                           host changes an entry
 *    1 seq0 = seq                          range_start: count++, zap
 *    2 look up the host entry              ... entry changes ...
 *    3 if count or seq != seq0: retry      range_end: seq++, count--
 *    4 install the spte
 *
 * count stops installs while a range is open; seq catches a range that opened and closed between 1 and 3.
 */
export class Kvm implements mmu_notifier {
  readonly name: string;
  readonly mm: mm_struct;
  readonly sleeps: ReadonlySet<NotifierOp> = new Set();
  readonly ops: mmu_notifier_ops;
  readonly memslots: Memslot[];
  mmu_notifier_seq = 0;
  mmu_notifier_count = 0;
  hostFaultsNeeded = 0;
  retries = 0;
  /** Sptes cleared, for whatever reason: an invalidation, change_pte, a fault that replaced one, release. */
  zaps = 0;
  installs = 0;
  emit: VirtObserver | null = null;
  readonly #only4K: boolean;
  readonly #small = new Map<number, Spte>();
  readonly #large = new Map<number, Spte>();

  constructor(mm: mm_struct, options: KvmOptions = {}) {
    this.mm = mm;
    this.name = options.name ?? "kvm";
    this.#only4K = options.only4K ?? false;
    this.memslots = [...(options.memslots ?? [])];
    this.ops = {
      release: () => {
        for (const spte of [...this.sptes()]) this.#drop(spte);
      },
      clear_flush_young: (_mm, start, end) => this.#age(start, end),
      clear_young: (_mm, start, end) => this.#age(start, end),
      test_young: (_mm, address) => this.#anyAccessed(address),
      change_pte: (_mm, address, pte) => this.#changePte(address, pte),
      invalidate_page: (_mm, address) => {
        this.mmu_notifier_seq++;
        this.#zap(address, address + 1);
        this.#reportCounters();
      },
      invalidate_range_start: (_mm, start, end) => {
        this.mmu_notifier_count++;
        this.#zap(start, end);
        this.#reportCounters();
      },
      invalidate_range_end: () => {
        this.mmu_notifier_seq++;
        this.mmu_notifier_count--;
        this.#reportCounters();
        if (this.mmu_notifier_count < 0) throw new TypeError(`${this.name}: more range_end than range_start`);
      },
    };
  }

  /** All sptes, 4K ones first. */
  *sptes(): IterableIterator<Spte> {
    yield* this.#small.values();
    yield* this.#large.values();
  }

  get spteCount(): number {
    return this.#small.size + this.#large.size;
  }

  /** The spte that translates the linear address behind a guest page, if any. */
  spteAt(hva: number): Spte | undefined {
    const gfn = this.#gfnOf(hva);
    if (gfn < 0) return undefined;
    return this.#small.get(gfn) ?? this.#large.get(Math.floor(gfn / PAGES_PER_2M));
  }

  /**
   * The guest loads or stores at the linear address behind its page. A fault looks the host's entry up as
   * get_user_pages does, without changing it.
   */
  *access(hva: number, write: boolean): KernelThread<GuestAccess> {
    const k = this.mm.kernel;
    const gfn = this.#gfnOf(hva);
    if (gfn < 0) return "no memslot";
    const present = this.spteAt(hva);
    if (present !== undefined && (!write || present.writable)) {
      this.#use(present, hva, write);
      return "hit";
    }
    const seqAtFault = this.mmu_notifier_seq;
    const host = this.#getUserPage(hva, write);
    if (host === null) {
      this.hostFaultsNeeded++;
      return "host fault needed";
    }
    try {
      if (k.contended) yield "access";
      if (this.mmu_notifier_count !== 0 || this.mmu_notifier_seq !== seqAtFault) {
        this.retries++;
        this.emit?.({ type: "guest-fault-retried", listener: this.name, mm: this.mm, hva });
        return "retry";
      }
      this.#use(this.#install(gfn, hva, host, seqAtFault), hva, write);
      return "filled";
    } finally {
      // Also when the guest is stopped between the two: the reference must not outlive the fault.
      put_page(k, host.pfn);
    }
  }

  #gfnOf(hva: number): number {
    for (const slot of this.memslots) {
      const page = Math.floor((hva - slot.userspace_addr) / PAGE_SIZE);
      if (page >= 0 && page < slot.npages) return slot.base_gfn + page;
    }
    return -1;
  }

  /** Looks up the host entry for an access of that kind and takes a reference on its page (get_user_pages_fast). */
  #getUserPage(hva: number, write: boolean): { pfn: number; large: boolean; writable: boolean } | null {
    const { mm } = this;
    const k = mm.kernel;
    const pmdp = pmdSlot(mm, hva);
    if (pmdp === NO_SLOT) return null;
    const pmd = readEntry(mm, pmdp);
    if ((pmd.lo & _PAGE_PRESENT) === 0) return null;
    const large = (pmd.lo & _PAGE_PSE) !== 0;
    const entry = large ? pmd : readEntry(mm, pteSlotUnder(mm, pmdp, hva));
    if (!pte_access_permitted(entry, write) || (!large && pte_special(entry))) return null;
    const offset = large ? Math.floor((hva % PMD_SIZE) / PAGE_SIZE) : 0;
    const pfn = (large ? k.format.pmd_pfn(entry) : k.format.pte_pfn(entry)) + offset;
    if (!k.mem_map.pfn_valid(pfn) || k.mem_map.page_count(pfn) === 0) return null;
    get_page(k, pfn);
    return { pfn, large, writable: pte_write(entry) };
  }

  #install(
    gfn: number,
    hva: number,
    host: { pfn: number; large: boolean; writable: boolean },
    seqAtFault: number,
  ): Spte {
    const { mem_map } = this.mm.kernel;
    // 2M only where the guest's page and the host's lie alike in their 2M, and no pte maps a part of the page.
    const wholePage = mem_map.PageHuge(host.pfn) || mem_map._mapcount[host.pfn]! < 0;
    const alike = gfn % PAGES_PER_2M === Math.floor((hva % PMD_SIZE) / PAGE_SIZE);
    const large = host.large && wholePage && alike && !this.#only4K;
    const offset = large ? gfn % PAGES_PER_2M : 0;
    const spte: Spte = {
      gfn: gfn - offset,
      level: large ? 2 : 1,
      pfn: host.pfn - offset,
      hva: hva - (hva % PAGE_SIZE) - offset * PAGE_SIZE,
      writable: host.writable,
      accessed: false,
      dirty: false,
    };
    const replaced = this.spteAt(hva);
    if (replaced !== undefined) this.#drop(replaced);
    if (large) this.#large.set(Math.floor(gfn / PAGES_PER_2M), spte);
    else this.#small.set(gfn, spte);
    this.installs++;
    this.#reportInstall(spte, seqAtFault, false);
    return spte;
  }

  #reportInstall(spte: Spte, seqAtFault: number, repointed: boolean): void {
    this.emit?.({
      type: "spte-installed",
      listener: this.name,
      mm: this.mm,
      gfn: spte.gfn,
      level: spte.level,
      pfn: spte.pfn,
      hva: spte.hva,
      writable: spte.writable,
      seqAtFault,
      seq: this.mmu_notifier_seq,
      count: this.mmu_notifier_count,
      ...(repointed ? { repointed } : {}),
    });
  }

  #use(spte: Spte, hva: number, write: boolean): void {
    spte.accessed = true;
    if (write) spte.dirty = true;
    if (this.emit === null) return;
    const pfn = spte.pfn + (spte.level === 2 ? Math.floor((hva - spte.hva) / PAGE_SIZE) : 0);
    this.emit({ type: "spte-used", listener: this.name, mm: this.mm, hva, pfn, write });
  }

  /** Sptes whose guest page intersects the linear addresses [start, end), rounded out to pages. */
  #inRange(start: number, end: number): Spte[] {
    const found: Spte[] = [];
    for (const slot of this.memslots) {
      const from = Math.max(start, slot.userspace_addr);
      const to = Math.min(end, slot.userspace_addr + slot.npages * PAGE_SIZE);
      if (from >= to) continue;
      const first = slot.base_gfn + Math.floor((from - slot.userspace_addr) / PAGE_SIZE);
      const last = slot.base_gfn + Math.ceil((to - slot.userspace_addr) / PAGE_SIZE) - 1;
      collectKeys(this.#small, first, last, found);
      collectKeys(this.#large, Math.floor(first / PAGES_PER_2M), Math.floor(last / PAGES_PER_2M), found);
    }
    return found;
  }

  #zap(start: number, end: number): void {
    for (const spte of this.#inRange(start, end)) this.#drop(spte);
  }

  /** Clears an spte; its A and D go to whatever page owns the frame now (mmu_spte_clear_track_bits). */
  #drop(spte: Spte): void {
    const k = this.mm.kernel;
    if (spte.level === 2) this.#large.delete(Math.floor(spte.gfn / PAGES_PER_2M));
    else this.#small.delete(spte.gfn);
    this.zaps++;
    this.emit?.({
      type: "spte-zapped",
      listener: this.name,
      mm: this.mm,
      gfn: spte.gfn,
      level: spte.level,
      pfn: spte.pfn,
      hva: spte.hva,
      accessed: spte.accessed,
      dirty: spte.dirty,
      pageCount: k.mem_map.page_count(spte.pfn),
    });
    if (spte.accessed) k.mem_map.setFlag(spte.pfn, PG.referenced);
    if (spte.dirty) set_page_dirty(k, spte.pfn);
  }

  #age(start: number, end: number): boolean {
    let young = false;
    for (const spte of this.#inRange(start, end)) {
      if (spte.accessed) young = true;
      spte.accessed = false;
    }
    return young;
  }

  #anyAccessed(address: number): boolean {
    return this.#inRange(address, address + 1).some((spte) => spte.accessed);
  }

  /** A writable new entry drops the spte; a read-only one repoints it. */
  #changePte(address: number, pte: pte_t): void {
    this.mmu_notifier_seq++;
    for (const spte of this.#inRange(address, address + 1)) {
      this.#drop(spte);
      if (pte_write(pte) || spte.level === 2) continue;
      const pfn = this.mm.kernel.format.pte_pfn(pte);
      const repointed = { ...spte, pfn, writable: false, accessed: false, dirty: false };
      this.#small.set(spte.gfn, repointed);
      this.#reportInstall(repointed, this.mmu_notifier_seq, true);
    }
    this.#reportCounters();
  }

  #reportCounters(): void {
    this.emit?.({
      type: "kvm-counters",
      listener: this.name,
      mm: this.mm,
      seq: this.mmu_notifier_seq,
      count: this.mmu_notifier_count,
    });
  }
}

/** Values with keys in [first, last], by whichever is shorter: the keys of the range or those of the map. */
function collectKeys(map: ReadonlyMap<number, Spte>, first: number, last: number, found: Spte[]): void {
  if (last - first > map.size) {
    for (const [key, spte] of map) if (key >= first && key <= last) found.push(spte);
    return;
  }
  for (let key = first; key <= last; key++) {
    const spte = map.get(key);
    if (spte !== undefined) found.push(spte);
  }
}
