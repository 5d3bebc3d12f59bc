import { ACCESS_READ, ACCESS_WRITE, MODE_USER } from "../../arch/x86/cpu/access-rights.ts";
import { type Linear, NONE, PAGE_SIZE, type Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { flag, instance, optional, shape, text } from "../../arch/x86/cpu/argument-kinds.ts";
import { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { reportUpdate } from "../../arch/x86/cpu/cpu-report.ts";
import { createTlb } from "../../arch/x86/cpu/create-tlb.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { WALK_OK } from "../../arch/x86/cpu/page-fault.ts";
import {
  HARDWARE_WALK,
  OFFSET_MASK,
  type WalkOptions,
  WalkResult,
  walk,
} from "../../arch/x86/cpu/page-walk.ts";
import type { RecordSink } from "../../arch/x86/cpu/record-stream.ts";
import type { Tlb, TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { TLB_DIRTY } from "../../arch/x86/cpu/tlb-entry.ts";
import { mm_struct, type mmu_notifier, type mmu_notifier_ops } from "../mm/mm_types.ts";
import { registrationOf } from "../mm/mmu_notifier.ts";
import type { NotifierOp } from "../mm/records.ts";
import type { VirtRecord } from "./records.ts";

/** What an {@link Iommu} is. */
export interface IommuOptions {
  readonly name?: string;
  /** Only invalidate_range is implemented: what the drivers became once invalidate_page was gone. */
  readonly onlyRange?: boolean;
  readonly tlb?: TlbPolicy;
}

const MM = instance("mm", mm_struct);
const OPTIONS = shape<IommuOptions>("options of an IOMMU", {
  name: optional(text("name")),
  onlyRange: optional(flag("onlyRange")),
});

/**
 * A device that walks an mm's own page tables (PASID and ATS, drivers/iommu/amd_iommu_v2.c, v4.12): nothing of the
 * tables is copied, so there is only its TLB to flush.
 *
 *   device ──► device TLB ──miss──► the CPU's page tables (sets A and D like a CPU)
 *                  ▲
 *                  └── invalidate_page, invalidate_range
 */
export class Iommu implements mmu_notifier {
  readonly name: string;
  readonly type = "device";
  readonly mm: mm_struct;
  readonly sleeps: ReadonlySet<NotifierOp> = new Set();
  readonly ops: mmu_notifier_ops;
  readonly tlb: Tlb;
  /** Accesses that the tables did not allow: the device would ask the host to fault the page in. */
  faults = 0;
  fills = 0;
  invalidations = 0;
  readonly #control: ControlRegisters;
  readonly #found = new WalkResult();
  readonly #walkOptions: WalkOptions;
  readonly #records: RecordSink<VirtRecord>;
  /** As an agent of records: the device, which also walks. */
  readonly #agent: number;
  /** As a listener of records; NONE before it is registered. */
  #listener = NONE;
  #counter = 0;

  constructor(mm: mm_struct, options: IommuOptions = {}) {
    const { machine } = need(MM, mm).kernel;
    need(OPTIONS, options);
    this.mm = mm;
    this.name = options.name ?? "iommu";
    this.tlb = createTlb(options.tlb ?? "stale");
    this.#control = new ControlRegisters(machine.model, mm.kernel.levels);
    this.#control.setRoot(mm.pgd, 0);
    this.#records = mm.kernel.records as RecordSink<VirtRecord>;
    this.#agent = mm.kernel.records.introduce("device", NONE, this.name);
    this.#walkOptions = {
      ...HARDWARE_WALK,
      updated: (address, oldLo, newLo, hi) => {
        const { records } = machine;
        if (records.live) reportUpdate(records, NONE, this.#agent, address as Slot, oldLo, newLo, hi);
      },
    };
    this.ops = {
      release: () => this.#invalidateAll(),
      clear_flush_young: (_mm, start, end) => {
        for (let at: number = start; at < end; at += PAGE_SIZE) this.#invalidatePage(at as Linear);
        return false;
      },
      invalidate_range: (_mm, start, end) => this.#invalidateRange(start, end),
      ...(options.onlyRange ? {} : { invalidate_page: (_mm, address) => this.#invalidatePage(address) }),
    };
  }

  /** The device reads, or writes, 8 bytes at a user address. Returns whether the tables allow it. */
  access(address: Linear, write: boolean): boolean {
    const lo = linearLo(address);
    const hi = linearHi(address);
    let physical = this.#cached(lo, hi, write);
    const hit = physical >= 0;
    if (!hit) physical = this.#walkAndFill(lo, hi, write);
    if (physical < 0) {
      this.faults++;
      return false;
    }
    const { memory } = this.mm.kernel.machine;
    if (write) memory.write(physical - (physical % 8), ++this.#counter, 0);
    const tell = this.#records.hearer("device-access");
    if (tell !== null) {
      tell({
        kind: "device-access",
        seq: this.#records.next(),
        agent: this.#agent,
        cpu: NONE,
        space: this.mm.id,
        listener: this.#ownId(),
        linearLo: lo,
        linearHi: hi,
        pfn: Math.floor(physical / PAGE_SIZE) as Pfn,
        write,
        hit,
      });
    }
    return true;
  }

  /** As a listener of records; one that was released may still tell what it does. */
  #ownId(): number {
    this.#listener = registrationOf(this, this.mm)?.id ?? this.#listener;
    return this.#listener;
  }

  /** Physical address through the device TLB, or -1; a write needs a translation that was filled by a write. */
  #cached(lo: number, hi: number, write: boolean): number {
    const slot = this.tlb.lookup(lo, hi, 0);
    if (slot < 0) return -1;
    if (write && (this.tlb.flags(slot) & TLB_DIRTY) === 0) return -1;
    return this.tlb.physical(slot, lo);
  }

  #walkAndFill(lo: number, hi: number, write: boolean): number {
    const found = this.#found;
    const kind = write ? ACCESS_WRITE : ACCESS_READ;
    const { memory } = this.mm.kernel.machine;
    const code = walk(memory, this.#control, lo, hi, kind, MODE_USER, this.#walkOptions, found);
    if (code !== WALK_OK) return -1;
    // Only the entry that a write could not use is replaced; a device's fault drops nothing at all.
    this.tlb.drop(this.tlb.lookup(lo, hi, 0));
    this.tlb.fill(found, 0, false);
    this.fills++;
    const tell = this.#records.hearer("device-entry-installed");
    if (tell !== null) {
      const offset = OFFSET_MASK[found.level] ?? 0;
      tell({
        kind: "device-entry-installed",
        seq: this.#records.next(),
        agent: this.#agent,
        cpu: NONE,
        space: this.mm.id,
        listener: this.#ownId(),
        linearLo: lo & ~offset,
        linearHi: hi,
        level: found.level,
        pfn: ((found.physical - (lo & offset)) / PAGE_SIZE) as Pfn,
        writable: found.dirty,
      });
    }
    return found.physical;
  }

  #invalidatePage(address: Linear): void {
    this.invalidations++;
    this.tlb.invlpg(linearLo(address), linearHi(address), 0);
    this.#reportDropped(address - (address % PAGE_SIZE), PAGE_SIZE, false);
  }

  /** The driver's arithmetic: a range inside one page flushes the page, any other flushes everything. */
  #invalidateRange(start: Linear, end: Linear): void {
    if (Math.floor(start / PAGE_SIZE) === Math.floor((end - 1) / PAGE_SIZE)) this.#invalidatePage(start);
    else this.#invalidateAll();
  }

  #invalidateAll(): void {
    this.invalidations++;
    this.tlb.flushAll();
    this.#reportDropped(0, 0, true);
  }

  #reportDropped(start: number, bytes: number, all: boolean): void {
    const tell = this.#records.hearer("device-entry-dropped");
    if (tell === null) return;
    tell({
      kind: "device-entry-dropped",
      seq: this.#records.next(),
      agent: this.#records.agent,
      cpu: NONE,
      space: this.mm.id,
      listener: this.#ownId(),
      linearLo: linearLo(start),
      linearHi: linearHi(start),
      bytes,
      all,
    });
  }
}
