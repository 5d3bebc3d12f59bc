import {
  type Linear,
  NO_PFN,
  NONE,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_OF_LEVEL,
  type Pfn,
} from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { flag, instance, optional, shape } from "../../arch/x86/cpu/argument-kinds.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import type { RecordSink } from "../../arch/x86/cpu/record-stream.ts";
import { pte_write } from "../../arch/x86/mm/pgtable.ts";
import { PMD_SIZE, type pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import { FOLL_GET, FOLL_WRITE, getPage, mappingEntry } from "../mm/gup.ts";
import { PG } from "../mm/mem_map.ts";
import { mm_struct, type mmu_notifier, type mmu_notifier_ops } from "../mm/mm_types.ts";
import { registrationOf } from "../mm/mmu_notifier.ts";
import { put_page } from "../mm/page_alloc.ts";
import type { NotifierOp } from "../mm/records.ts";
import { set_page_dirty } from "../mm/swapfile.ts";
import { type Memslot, Memslots } from "./memslots.ts";
import type { VirtRecord } from "./records.ts";

/** One shadow or EPT entry. It holds no reference on the page: the notifier protocol must keep it right. */
export interface Spte {
  readonly gfn: number;
  /** 1 for 4K, 2 for 2M. */
  readonly level: 1 | 2;
  readonly pfn: Pfn;
  readonly hva: Linear;
  readonly writable: boolean;
  accessed: boolean;
  dirty: boolean;
}

/** What a {@link Kvm} is. */
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

const PAGES_PER_2M = PAGES_OF_LEVEL[2]!;

const MM = instance("mm", mm_struct);
const OPTIONS = shape<KvmOptions>("options of a guest", { only4K: optional(flag("only4K")) });

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
  readonly type = "kvm";
  readonly mm: mm_struct;
  readonly sleeps: ReadonlySet<NotifierOp> = new Set();
  readonly ops: mmu_notifier_ops;
  readonly memslots: Memslots;
  mmu_notifier_seq = 0;
  mmu_notifier_count = 0;
  hostFaultsNeeded = 0;
  retries = 0;
  /** Sptes cleared, for whatever reason: an invalidation, change_pte, a fault that replaced one, release. */
  zaps = 0;
  installs = 0;
  readonly #only4K: boolean;
  readonly #small = new Map<number, Spte>();
  readonly #large = new Map<number, Spte>();
  readonly #records: RecordSink<VirtRecord>;
  /** As an agent of records: the guest's CPU. */
  readonly #vcpu: number;
  /** As a listener of records; NONE before it is registered. */
  #listener = NONE;

  constructor(mm: mm_struct, options: KvmOptions = {}) {
    this.mm = need(MM, mm);
    need(OPTIONS, options);
    this.name = options.name ?? "kvm";
    this.#only4K = options.only4K ?? false;
    this.memslots = new Memslots(options.memslots ?? []);
    this.#records = mm.kernel.records as RecordSink<VirtRecord>;
    this.#vcpu = mm.kernel.records.introduce("vcpu", NONE, `${this.name}'s guest`);
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
        this.#zap(address, (address + 1) as Linear);
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
  spteAt(hva: Linear): Spte | undefined {
    const gfn = this.memslots.gfnOf(hva);
    if (gfn < 0) return undefined;
    return this.#small.get(gfn) ?? this.#large.get(Math.floor(gfn / PAGES_PER_2M));
  }

  /**
   * The guest loads or stores at the linear address behind its page. A fault looks the host's entry up as
   * get_user_pages does, without changing it.
   */
  *access(hva: Linear, write: boolean): KernelThread<GuestAccess> {
    const k = this.mm.kernel;
    const gfn = this.memslots.gfnOf(hva);
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
      if (stops(k, "access", host.pfn)) yield NEXT_STEP;
      if (this.mmu_notifier_count !== 0 || this.mmu_notifier_seq !== seqAtFault) {
        this.retries++;
        if (this.#records.live) {
          this.#records.emit({
            kind: "guest-fault-retried",
            seq: this.#records.next(),
            agent: this.#vcpu,
            cpu: NONE,
            space: this.mm.id,
            listener: this.#ownId(),
            linearLo: linearLo(hva),
            linearHi: linearHi(hva),
          });
        }
        return "retry";
      }
      this.#use(this.#install(gfn, hva, host, seqAtFault), hva, write);
      return "filled";
    } finally {
      // Also when the guest is stopped between the two: the reference must not outlive the fault.
      this.#reportPin("page-unpinned", host.pfn);
      put_page(k, host.pfn);
    }
  }

  /** As a listener of records; one that was released may still tell what it does. */
  #ownId(): number {
    this.#listener = registrationOf(this, this.mm)?.id ?? this.#listener;
    return this.#listener;
  }

  #reportPin(kind: "page-pinned" | "page-unpinned", pfn: Pfn): void {
    const records = this.#records;
    const tell = records.hearer(kind);
    if (tell === null) return;
    tell({ kind, seq: records.next(), agent: this.#vcpu, cpu: NONE, space: this.mm.id, pfn });
  }

  /** Its counters and sptes, for whoever begins to listen to records. */
  *holdings(): Iterable<VirtRecord> {
    yield this.#countersRecord();
    for (const spte of this.sptes()) yield this.#installRecord(spte, this.mmu_notifier_seq, true);
  }

  /** Looks up the host entry for an access of that kind and takes a reference on its page (get_user_pages_fast). */
  #getUserPage(hva: Linear, write: boolean): { pfn: Pfn; large: boolean; writable: boolean } | null {
    const mapping = mappingEntry(this.mm, hva);
    const pfn = getPage(this.mm, mapping, hva, FOLL_GET | (write ? FOLL_WRITE : 0));
    if (pfn === NO_PFN) return null;
    this.#reportPin("page-pinned", pfn);
    return { pfn, large: mapping.level === 2, writable: pte_write(mapping.entry) };
  }

  #install(
    gfn: number,
    hva: Linear,
    host: { pfn: Pfn; large: boolean; writable: boolean },
    seqAtFault: number,
  ): Spte {
    const { mem_map } = this.mm.kernel;
    // 2M only where the guest's page and the host's lie alike in their 2M, and no pte maps a part of the page.
    const wholePage = mem_map.PageHuge(host.pfn) || mem_map._mapcount[host.pfn]! < 0;
    const pageIn2M = (hva % PMD_SIZE) >>> PAGE_SHIFT;
    const large = host.large && wholePage && gfn % PAGES_PER_2M === pageIn2M && !this.#only4K;
    const offset = large ? pageIn2M : 0;
    const spte: Spte = {
      gfn: gfn - offset,
      level: large ? 2 : 1,
      pfn: (host.pfn - offset) as Pfn,
      hva: (hva - (hva % PAGE_SIZE) - offset * PAGE_SIZE) as Linear,
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
    if (this.#records.live) this.#records.emit(this.#installRecord(spte, seqAtFault, repointed));
  }

  #installRecord(spte: Spte, seqAtFault: number, repointed: boolean): VirtRecord {
    const { gfn, level, pfn, hva, writable, dirty } = spte;
    return {
      kind: "spte-installed",
      seq: this.#records.next(),
      agent: repointed ? this.#records.agent : this.#vcpu,
      cpu: NONE,
      space: this.mm.id,
      listener: this.#ownId(),
      gfn,
      level,
      pfn,
      linearLo: linearLo(hva),
      linearHi: linearHi(hva),
      writable,
      dirty,
      seqAtFault,
      notifierSeq: this.mmu_notifier_seq,
      notifierCount: this.mmu_notifier_count,
      repointed,
    };
  }

  #use(spte: Spte, hva: Linear, write: boolean): void {
    spte.accessed = true;
    if (write) spte.dirty = true;
    const tell = this.#records.hearer("guest-access");
    if (tell === null) return;
    const pfn = (spte.pfn + (spte.level === 2 ? (hva - spte.hva) >>> PAGE_SHIFT : 0)) as Pfn;
    tell({
      kind: "guest-access",
      seq: this.#records.next(),
      agent: this.#vcpu,
      cpu: NONE,
      space: this.mm.id,
      listener: this.#ownId(),
      linearLo: linearLo(hva),
      linearHi: linearHi(hva),
      pfn,
      write,
    });
  }

  /** Sptes whose guest page intersects the linear addresses [start, end), rounded out to pages. */
  #inRange(start: Linear, end: Linear): Spte[] {
    const found: Spte[] = [];
    this.memslots.overlapping(start, end, (first, last) => {
      collectKeys(this.#small, first, last, found);
      collectKeys(this.#large, Math.floor(first / PAGES_PER_2M), Math.floor(last / PAGES_PER_2M), found);
    });
    return found;
  }

  #zap(start: Linear, end: Linear): void {
    for (const spte of this.#inRange(start, end)) this.#drop(spte);
  }

  /** Clears an spte; its A and D go to whatever page owns the frame now (mmu_spte_clear_track_bits). */
  #drop(spte: Spte): void {
    const k = this.mm.kernel;
    if (spte.level === 2) this.#large.delete(Math.floor(spte.gfn / PAGES_PER_2M));
    else this.#small.delete(spte.gfn);
    this.zaps++;
    if (this.#records.live) {
      const { gfn, level, pfn, hva, accessed, dirty } = spte;
      this.#records.emit({
        kind: "spte-dropped",
        seq: this.#records.next(),
        agent: this.#records.agent,
        cpu: NONE,
        space: this.mm.id,
        listener: this.#ownId(),
        gfn,
        level,
        pfn,
        linearLo: linearLo(hva),
        linearHi: linearHi(hva),
        accessed,
        dirty,
        refcount: k.mem_map.page_count(pfn),
      });
    }
    if (spte.accessed) k.mem_map.setFlag(spte.pfn, PG.referenced);
    if (spte.dirty) set_page_dirty(k, spte.pfn);
  }

  #age(start: Linear, end: Linear): boolean {
    let young = false;
    for (const spte of this.#inRange(start, end)) {
      if (spte.accessed) young = true;
      spte.accessed = false;
    }
    return young;
  }

  #anyAccessed(address: Linear): boolean {
    return this.#inRange(address, (address + 1) as Linear).some((spte) => spte.accessed);
  }

  /** A writable new entry drops the spte; a read-only one repoints it. */
  #changePte(address: Linear, pte: pte_t): void {
    this.mmu_notifier_seq++;
    for (const spte of this.#inRange(address, (address + 1) as Linear)) {
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
    if (this.#records.live) this.#records.emit(this.#countersRecord());
  }

  #countersRecord(): VirtRecord {
    return {
      kind: "kvm-counters",
      seq: this.#records.next(),
      agent: this.#records.agent,
      cpu: NONE,
      space: this.mm.id,
      listener: this.#ownId(),
      notifierSeq: this.mmu_notifier_seq,
      notifierCount: this.mmu_notifier_count,
    };
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
