import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { Machine } from "../../arch/x86/cpu/machine.ts";
import type { KernelThread } from "../../arch/x86/mm/events.ts";
import {
  type Task as ArchTask,
  type KernelContext,
  TLBSTATE_OK,
  type TlbState,
} from "../../arch/x86/mm/kernel-context.ts";
import { pte_unused } from "../../arch/x86/mm/pgtable.ts";
import type { pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import { PteFormat, pteLayout } from "../../arch/x86/mm/pte-format.ts";
import type { MmEvent, MmObserver } from "./events.ts";
import { MemMap } from "./mem_map.ts";
import { mm_struct } from "./mm_struct.ts";
import { type NotifierProtocol, notifierProtocol } from "./notifier-protocol.ts";
import { FrameAllocator } from "./page_alloc.ts";
import { SwapSpace } from "./swapfile.ts";

export interface KernelOptions {
  /** Entry layout by name (default linux-4.13), or a format, for a guest with its own swap type numbers. */
  readonly layout?: string | PteFormat;
  /** Notifier protocol by name (default c, the seed's). */
  readonly notifiers?: string;
  /** Physical address of the kernel's own root table (default: a fresh one from the top of memory). */
  readonly initPgd?: number;
  /** Slots of swap area 0 (default 16384). */
  readonly swapSlots?: number;
}

/** A thread of the kernel: who holds locks, on which CPU it runs, which flushes it owes. */
export class Task implements ArchTask {
  readonly id: number;
  readonly name: string;
  readonly cpu: number;
  readonly tlb_ubc = { cpumask: 0, flush_required: false, writable: false };
  caller = "";
  /** Page-table locks held now. */
  locksHeld = 0;

  constructor(id: number, name: string, cpu: number) {
    this.id = id;
    this.name = name;
    this.cpu = cpu;
  }
}

/**
 * One running Linux: 4.13's algorithms on entries in a chosen layout. Functions of the kernel that need machine-wide state take it as their
 * first argument; the kernel's own arguments follow in the kernel's order.
 */
export class Kernel implements KernelContext {
  readonly machine: Machine;
  /** Levels of the page tables, 4 or 5. */
  readonly levels: 4 | 5;
  readonly format: PteFormat;
  readonly mem_map: MemMap;
  readonly protocol: NotifierProtocol;
  readonly frames: FrameAllocator;
  readonly swap: SwapSpace;
  readonly init_mm: mm_struct;
  readonly mms: mm_struct[] = [];
  /** Frames of the zero page and of the huge one's head, -1 until they are needed (zero-page.ts) or imported. */
  zero_pfn = -1;
  huge_zero_page = -1;
  readonly cpu_tlbstate: readonly TlbState[];
  current: Task;
  contended = false;
  emit: ((event: MmEvent) => void) | null = null;
  /** Whether an entry's page is known to hold nothing (s390's guests say so; x86 never does). Replace it to reach that branch. */
  pte_unused: (pte: pte_t) => boolean = pte_unused;
  readonly #warned = new Set<string>();
  readonly #observers: MmObserver[] = [];
  #tasks = 0;

  constructor(machine: Machine, options: KernelOptions = {}) {
    this.machine = machine;
    this.levels = machine.cpu(0).control.levels;
    const layout = options.layout ?? "linux-4.13";
    this.format = typeof layout === "string" ? new PteFormat(pteLayout(layout)) : layout;
    if (this.format.layout.decodeOnly) {
      throw new RangeError(
        `layout ${this.format.layout.name} can be decoded only: no kernel runs on it here`,
      );
    }
    this.protocol = notifierProtocol(options.notifiers ?? "c");
    this.mem_map = new MemMap(machine.memory.size / 4096);
    this.frames = new FrameAllocator(this.mem_map);
    this.swap = new SwapSpace(options.swapSlots ?? 16384);
    this.current = this.createTask("main", 0);
    this.init_mm = new mm_struct(this, "init_mm", options.initPgd ?? this.frames.allocate() * 4096);
    this.cpu_tlbstate = machine.cpus.map(() => ({ loaded_mm: this.init_mm, state: TLBSTATE_OK }));
    for (const cpu of machine.cpus) cpu.loadCr3(this.init_mm.pgd);
    this.init_mm.cpu_bitmap = machine.cpus.reduce((mask, cpu) => mask | (1 << cpu.id), 0);
  }

  createTask(name: string, cpu: number): Task {
    return new Task(++this.#tasks, name, cpu);
  }

  /** A new address space; its root is a fresh frame unless a physical address is given. */
  createMm(name = `mm${this.mms.length}`, pgd?: number): mm_struct {
    const mm = new mm_struct(this, name, pgd ?? this.frames.allocate() * 4096);
    this.mms.push(mm);
    return mm;
  }

  /** Adds an observer of everything that hardware and kernel report. */
  attach(observer: MmObserver): void {
    this.#observers.push(observer);
    const observers = this.#observers;
    const emit = (event: MmEvent) => {
      for (const each of observers) each(event);
    };
    this.emit = observers.length === 1 ? observer : emit;
    this.machine.observer = this.emit;
  }

  /**
   * Drives one thread to its end with nothing else running, and returns its result. Other CPUs take their interrupts
   * whenever the thread waits for them. Throws if it waits for a lock, which nobody could then release.
   */
  run<T>(thread: KernelThread<T>): T {
    for (;;) {
      const step = thread.next();
      if (step.done) return step.value;
      if (step.value === "ipi-wait") for (const cpu of this.machine.cpus) cpu.handleIpis();
      if (step.value === "blocked" && !this.contended) {
        throw new Error(`deadlock: task ${this.current.name} waits for a lock and nothing else runs`);
      }
    }
  }

  /** Reports, the first time it happens, that the kernel's own state is broken where the kernel would only warn. */
  warnOnce(what: string, page: number): void {
    if (this.#warned.has(what)) return;
    this.#warned.add(what);
    this.emit?.({ type: "warned-once", what, page });
  }

  /**
   * Stores an entry without telling observers: while a snapshot is loaded or a scene built, and in a table that nothing
   * points to yet, as when a huge pmd is split. No CPU can use such an entry; observers read the table when the store
   * that links it is reported.
   */
  plantEntry(slot: number, value: Entry): void {
    this.machine.memory.write(slot, value.lo, value.hi);
  }
}
