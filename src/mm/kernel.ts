import { NO_PFN, NONE, PAGE_SIZE, type Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import { need, printed } from "../../arch/x86/cpu/argument.ts";
import {
  callable,
  either,
  flag,
  instance,
  numeral,
  optional,
  shape,
  text,
  whole,
} from "../../arch/x86/cpu/argument-kinds.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { hex } from "../../arch/x86/cpu/hex.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import type { RecordHeader } from "../../arch/x86/cpu/record.ts";
import type { IsTable, RecordListener, RecordStream } from "../../arch/x86/cpu/record-stream.ts";
import { CPU_MASK_NONE, withCpu } from "../../arch/x86/mm/cpumask.ts";
import { type MmContext, TLBSTATE_OK, type TlbState } from "../../arch/x86/mm/kernel-context.ts";
import { pte_unused } from "../../arch/x86/mm/pgtable.ts";
import type { pte_t } from "../../arch/x86/mm/pgtable_types.ts";
import { PteFormat, type PteLayout, pteLayout } from "../../arch/x86/mm/pte-format.ts";
import type { Interleaver, KernelThread } from "../../arch/x86/mm/step.ts";
import { FrameAllocator } from "./frame-allocator.ts";
import { type KernelModel, kernelModel } from "./kernel-model.ts";
import { MemMap } from "./mem_map.ts";
import {
  type Call,
  type Kernel as KernelShape,
  mm_struct,
  type NotifierProtocol,
  type Task,
} from "./mm_types.ts";
import { notifierProtocol } from "./notifier-protocol.ts";
import type { MmRecord } from "./records.ts";
import { SwapSpace } from "./swap-space.ts";

/** Which Linux a {@link Kernel} is. */
export interface KernelOptions {
  /** Which Linux (default linux-4.13.4-seed). */
  readonly model?: string | KernelModel;
  /** Entry layout by name, or a format, for a guest with its own swap type numbers (default: the model's). */
  readonly layout?: string | PteFormat;
  /** Notifier protocol, or the name of one (default: the model's). */
  readonly notifiers?: string | NotifierProtocol;
  /** Physical address of the kernel's own root table (default: a fresh one from the top of memory). */
  readonly initPgd?: number;
  /** Slots of swap area 0 (default 16384). */
  readonly swapSlots?: number;
  /** Take a layout that can only be decoded, too: nothing may be run that writes entries. */
  readonly observe?: boolean;
}

class KernelTask implements Task {
  readonly kernel: Kernel;
  readonly id: number;
  readonly name: string;
  readonly cpu: number;
  readonly tlb_ubc = { cpumask: CPU_MASK_NONE, flush_required: false, writable: false };
  locksHeld = 0;
  readonly calls: Call[] = [];
  depth = 0;

  constructor(kernel: Kernel, name: string, cpu: number) {
    this.kernel = kernel;
    this.id = kernel.records.introduce("task", cpu, name);
    this.name = name;
    this.cpu = cpu;
  }
}

const MACHINE = instance("machine", Machine);
const ENTRY = instance("entry", Entry);
const NAME = text("name");
const THREAD = shape<KernelThread<unknown>>("thread", { next: callable("next") });
const LAYOUT = shape<PteLayout>("layout", { name: NAME, swap: shape("swap", {}) });
const KERNEL_OPTIONS = shape<KernelOptions>("options of a kernel", {
  model: optional(either(NAME, shape<KernelModel>("model", { layout: LAYOUT }))),
  layout: optional(either(NAME, instance("layout", PteFormat))),
  notifiers: optional(
    either(NAME, shape<NotifierProtocol>("protocol", { name: NAME, begin: callable("begin") })),
  ),
  swapSlots: optional(whole("swapSlots", 1, 2 ** 31 - 1)),
  observe: optional(flag("observe")),
});

/** Throws RangeError for what is no physical address of a page in memory. */
function checkRoot({ memory }: Machine, root: number): void {
  const inMemory = (value: number) => value % PAGE_SIZE === 0 && memory.hasFrame(value / PAGE_SIZE);
  need(numeral("root", "the physical address of a page in memory", inMemory), root);
}

class RunningKernel implements KernelShape {
  readonly machine: Machine;
  readonly records: RecordStream<MmRecord>;
  readonly levels: 4 | 5;
  readonly format: PteFormat;
  readonly mem_map: MemMap;
  readonly protocol: NotifierProtocol;
  readonly frames: FrameAllocator;
  readonly swap: SwapSpace;
  readonly init_mm: mm_struct;
  zero_pfn: Pfn = NO_PFN;
  huge_zero_page: Pfn = NO_PFN;
  readonly cpu_tlbstate: readonly TlbState[];
  contended = false;
  interleaver: Interleaver | null = null;
  /** Replace it to reach the branch that x86 never takes. */
  pte_unused: (pte: pte_t) => boolean = pte_unused;
  #current: Task;
  readonly #living = new Set<mm_struct>();
  /** The same as a list, made when it is asked for. */
  #mms: readonly mm_struct[] | null = [];
  readonly #warned = new Set<string>();
  /** The last task that each CPU was recorded to run. */
  readonly #running: number[];
  #spaces = 0;
  #flushes = 0;
  #locks = 0;
  #listeners = 0;

  constructor(machine: Machine, options: KernelOptions = {}) {
    need(MACHINE, machine);
    const { model = "linux-4.13.4-seed" } = need(KERNEL_OPTIONS, options);
    const { layout: modelLayout, notifiers: modelNotifiers } =
      typeof model === "string" ? kernelModel(model) : model;
    this.machine = machine;
    this.records = machine.records as unknown as RecordStream<MmRecord>;
    this.levels = machine.cpu(0).control.levels;
    const { layout = new PteFormat(modelLayout), notifiers = modelNotifiers } = options;
    this.format = typeof layout === "string" ? new PteFormat(pteLayout(layout)) : layout;
    if (this.format.layout.decodeOnly && options.observe !== true) {
      throw new RangeError(
        `layout ${this.format.layout.name} can be decoded only: no kernel runs on it here`,
      );
    }
    if (options.initPgd !== undefined) checkRoot(machine, options.initPgd);
    this.protocol = typeof notifiers === "string" ? notifierProtocol(notifiers) : notifiers;
    this.mem_map = new MemMap(machine.memory.size / PAGE_SIZE);
    this.frames = new FrameAllocator(this.mem_map);
    this.swap = new SwapSpace(options.swapSlots ?? 16384);
    this.#running = machine.cpus.map(() => NONE);
    this.#current = this.createTask("main", 0);
    this.current = this.#current;
    this.init_mm = this.#newMm("init_mm", options.initPgd ?? this.#newRoot());
    this.cpu_tlbstate = machine.cpus.map(() => ({ loaded_mm: this.init_mm, state: TLBSTATE_OK }));
    for (const cpu of machine.cpus) cpu.loadCr3(this.init_mm.pgd);
    this.init_mm.cpu_bitmap = machine.cpus.reduce((mask, { id }) => withCpu(mask, id), CPU_MASK_NONE);
  }

  /** The thread that executes now: whoever switches it says so, and the machine's records name it from then on. */
  get current(): Task {
    return this.#current;
  }

  set current(task: Task) {
    this.#current = task;
    const { records } = this;
    records.agent = task.id;
    // With nobody listening it is forgotten who was said to run: whoever listens next hears it again.
    if (!records.live) this.#running[task.cpu] = NONE;
    if (this.#running[task.cpu] === task.id || !records.live) return;
    this.#running[task.cpu] = task.id;
    records.emit({ kind: "task-runs", ...this.header() });
  }

  get mms(): readonly mm_struct[] {
    this.#mms ??= [...this.#living];
    return this.#mms;
  }

  lives(mm: mm_struct): boolean {
    return this.#living.has(mm);
  }

  header(mm: MmContext | null = null): Omit<RecordHeader, "kind"> {
    const { records } = this;
    return {
      seq: records.next(),
      agent: records.agent,
      cpu: this.#current.cpu,
      space: mm === null ? NONE : mm.id,
    };
  }

  newFlush(): number {
    return ++this.#flushes;
  }

  newLock(): number {
    return ++this.#locks;
  }

  newListener(): number {
    return ++this.#listeners;
  }

  createTask(name: string, cpu: number): Task {
    need(NAME, name);
    this.machine.cpu(cpu);
    return new KernelTask(this, name, cpu);
  }

  /**
   * A new address space, of which nothing is mapped; its root is a fresh frame, cleared, unless the physical address of
   * one is given. Throws RangeError for one that is outside memory, or whose bytes are not zero: they would be entries.
   */
  createMm(name = `mm${this.#spaces - 1}`, pgd?: number): mm_struct {
    need(NAME, name);
    if (pgd !== undefined) {
      checkRoot(this.machine, pgd);
      if (this.machine.memory.tableAt(pgd)?.some((word) => word !== 0)) {
        throw new RangeError(`root ${hex(pgd)}: its page is not zero, give a cleared one`);
      }
    }
    return this.#newLiving(name, pgd ?? this.#newRoot());
  }

  /** An address space whose tables are there: those below the root at a physical address. Throws as createMm. */
  adoptMm(name: string, pgd: number): mm_struct {
    checkRoot(this.machine, pgd);
    return this.#newLiving(need(NAME, name), pgd);
  }

  #newLiving(name: string, pgd: number): mm_struct {
    const mm = this.#newMm(name, pgd);
    this.#living.add(mm);
    this.#mms = null;
    const { records } = this;
    if (records.live) for (const record of spaceRecords(mm)) records.emit(record);
    return mm;
  }

  /** Takes an mm from the list of those that live (drop-mm.ts does the rest). */
  forgetMm(mm: mm_struct): void {
    if (!this.#living.delete(mm)) throw new TypeError(`mm ${printed(mm)}: it is none of this kernel's`);
    this.#mms = null;
  }

  #newMm(name: string, pgd: number): mm_struct {
    return new mm_struct(this, ++this.#spaces, name, pgd);
  }

  #newRoot(): number {
    const physical = this.frames.allocate() * PAGE_SIZE;
    this.machine.memory.clear(physical, PAGE_SIZE);
    return physical;
  }

  attach(listener: RecordListener<MmRecord>, isTable: IsTable | null = null): () => void {
    return this.records.listen(listener, isTable);
  }

  /**
   * Drives one thread to its end with nothing else running, and returns its result. Other CPUs take their interrupts
   * whenever the thread waits for them. Throws if it waits for a lock, which nobody could then release.
   */
  run<T>(thread: KernelThread<T>): T {
    if (typeof thread?.next !== "function") need(THREAD, thread);
    const { interleaver } = this;
    this.interleaver = null;
    try {
      return this.#drive(thread);
    } finally {
      this.interleaver = interleaver;
    }
  }

  #drive<T>(thread: KernelThread<T>): T {
    for (;;) {
      const next = thread.next();
      if (next.done) return next.value;
      const { kind } = next.value;
      if (kind === "ipi-wait") for (const cpu of this.machine.cpus) cpu.handleIpis();
      if (kind === "blocked" && !this.contended) {
        thread.return(undefined as T);
        throw new Error(`deadlock: task ${this.#current.name} waits for a lock and nothing else runs`);
      }
    }
  }

  /** Records, the first time it happens, that the kernel's own state is broken where the kernel would only warn. */
  warnOnce(what: string, page: Pfn): void {
    if (this.#warned.has(what)) return;
    this.#warned.add(what);
    if (this.records.live) this.records.emit({ kind: "warned", ...this.header(), what, pfn: page });
  }

  /**
   * Stores an entry without a record: while a snapshot is loaded or a scene built, and in a table that nothing
   * points to yet, as when a huge pmd is split. No CPU can use such an entry; the record of the store that links the
   * table has it.
   */
  plantEntry(slot: Slot, value: Entry): void {
    const { lo, hi } = need(ENTRY, value);
    this.machine.memory.write(Slot.of(slot), lo, hi);
  }
}

/** One running Linux, in the shape in which all its functions take it. */
export type Kernel = KernelShape;

/**
 * Boots a Linux on a machine: 4.13's algorithms on entries in a chosen layout. Functions of the kernel that need
 * machine-wide state take it as their first argument; the kernel's own arguments follow in the kernel's order. Throws
 * RangeError for a model, layout or protocol that there is not, and for a layout that can be decoded only.
 */
export const Kernel: new (machine: Machine, options?: KernelOptions) => Kernel = RunningKernel;

/** The records by which a reader learns of an address space. */
export function spaceRecords(mm: mm_struct): MmRecord[] {
  const k = mm.kernel;
  return [
    { kind: "address-space-created", ...k.header(mm), root: mm.pgd, userRoot: NONE },
    { kind: "named", ...k.header(mm), subject: "space", id: mm.id, name: mm.name },
    { kind: "cpumask-changed", ...k.header(mm), cpus: mm.cpu_bitmap },
  ];
}
