import { ACCESS_READ, ACCESS_WRITE, MODE_USER } from "../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { WALK_OK } from "../../arch/x86/cpu/page-fault.ts";
import {
  HARDWARE_WALK,
  OFFSET_MASK,
  type WalkOptions,
  WalkResult,
  walk,
} from "../../arch/x86/cpu/page-walk.ts";
import { createTlb, type Tlb, type TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { TLB_DIRTY } from "../../arch/x86/cpu/tlb-entry.ts";
import { WHOLE_MM } from "../../arch/x86/mm/events.ts";
import { PAGE_SIZE } from "../../arch/x86/mm/pgtable_types.ts";
import type { NotifierOp } from "../mm/events.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { mmu_notifier, mmu_notifier_ops } from "../mm/mmu_notifier.ts";
import type { VirtObserver } from "./events.ts";

export interface IommuOptions {
  readonly name?: string;
  /** Only invalidate_range is implemented: what the drivers became once invalidate_page was gone. */
  readonly onlyRange?: boolean;
  readonly tlb?: TlbPolicy;
}

const TWO_32 = 2 ** 32;

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
  readonly mm: mm_struct;
  readonly sleeps: ReadonlySet<NotifierOp> = new Set();
  readonly ops: mmu_notifier_ops;
  readonly tlb: Tlb;
  /** Accesses that the tables did not allow: the device would ask the host to fault the page in. */
  faults = 0;
  fills = 0;
  invalidations = 0;
  emit: VirtObserver | null = null;
  readonly #control: ControlRegisters;
  readonly #found = new WalkResult();
  readonly #walkOptions: WalkOptions;
  #counter = 0;

  constructor(mm: mm_struct, options: IommuOptions = {}) {
    const { machine } = mm.kernel;
    this.mm = mm;
    this.name = options.name ?? "iommu";
    this.tlb = createTlb(options.tlb ?? "stale");
    this.#control = new ControlRegisters(machine.model, mm.kernel.levels);
    this.#control.setRoot(mm.pgd, 0);
    this.#walkOptions = {
      ...HARDWARE_WALK,
      updated: (address, oldLo, newLo, hi) =>
        machine.observer?.({
          type: "accessed-dirty-set",
          address,
          old: new Entry(oldLo, hi),
          value: new Entry(newLo, hi),
          cpu: null,
        }),
    };
    const range = (start: number, end: number) => this.#invalidateRange(start, end);
    this.ops = {
      release: () => this.#invalidateAll(),
      clear_flush_young: (_mm, start, end) => {
        for (let at = start; at < end; at += PAGE_SIZE) this.#invalidatePage(at);
        return false;
      },
      invalidate_range: (_mm, start, end) => range(start, end),
      ...(options.onlyRange ? {} : { invalidate_page: (_mm, address) => this.#invalidatePage(address) }),
    };
  }

  /** The device reads, or writes, 8 bytes at a user address. Returns whether the tables allow it. */
  access(address: number, write: boolean): boolean {
    const lo = address | 0;
    const hi = Math.floor(address / TWO_32) | 0;
    let physical = this.#cached(lo, hi, write);
    const hit = physical >= 0;
    if (!hit) physical = this.#walkAndFill(lo, hi, write);
    if (physical < 0) {
      this.faults++;
      return false;
    }
    const { memory } = this.mm.kernel.machine;
    if (write) memory.write(physical - (physical % 8), ++this.#counter, 0);
    const pfn = Math.floor(physical / PAGE_SIZE);
    this.emit?.({ type: "device-access", listener: this.name, mm: this.mm, address, pfn, write, hit });
    return true;
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
    if (this.emit !== null) {
      const offset = OFFSET_MASK[found.level] ?? 0;
      this.emit({
        type: "device-tlb-filled",
        listener: this.name,
        mm: this.mm,
        page: (hi >>> 0) * TWO_32 + ((lo & ~offset) >>> 0),
        level: found.level,
        pfn: (found.physical - (lo & offset)) / PAGE_SIZE,
        writable: found.dirty,
      });
    }
    return found.physical;
  }

  #invalidatePage(address: number): void {
    this.invalidations++;
    this.tlb.invlpg(address | 0, Math.floor(address / TWO_32) | 0, 0);
    this.#report(address - (address % PAGE_SIZE), PAGE_SIZE);
  }

  /** The driver's arithmetic: a range inside one page flushes the page, any other flushes everything. */
  #invalidateRange(start: number, end: number): void {
    if (Math.floor(start / PAGE_SIZE) === Math.floor((end - 1) / PAGE_SIZE)) this.#invalidatePage(start);
    else this.#invalidateAll();
  }

  #invalidateAll(): void {
    this.invalidations++;
    this.tlb.flushAll();
    this.#report(0, WHOLE_MM);
  }

  #report(start: number, length: number): void {
    this.emit?.({ type: "device-tlb-invalidated", listener: this.name, mm: this.mm, start, length });
  }
}
