import { NONE, Pfn, Slot } from "./address.ts";
import { need, printed } from "./argument.ts";
import {
  callable,
  either,
  flag,
  instance,
  nullable,
  optional,
  shape,
  text,
  whole,
} from "./argument-kinds.ts";
import type { Bus } from "./bus.ts";
import type { CacheHook } from "./cache-hook.ts";
import { Cpu, type Ipi } from "./cpu.ts";
import { type CpuModel, cpuModel, DEFAULT_CPU_MODEL } from "./cpu-model.ts";
import { reportEntryWritten, reportIpiSent } from "./cpu-report.ts";
import type { CacheOptions } from "./create-tlb.ts";
import { Entry } from "./entry.ts";
import { Mtrrs } from "./memory-type.ts";
import { PhysicalMemory } from "./physical-memory.ts";
import { NO_FLUSH, RecordStream } from "./record-stream.ts";
import type { HardwareRecord } from "./records.ts";
import type { Broadcast, System } from "./system.ts";

/** Most logical CPUs of one machine. */
export const MAX_CPUS = 1024;

/** What a {@link Machine} is made of. */
export interface MachineOptions extends CacheOptions {
  /**
   * Bytes, or a text like "64MiB", "512KiB", "2GiB"; or the memory itself: an ArrayBuffer, that of a WebAssembly.Memory, or
   * a SharedArrayBuffer, which the CPUs of other threads' machines may use at the same time.
   */
  memory: number | string | ArrayBufferLike;
  /** What answers beyond the memory; without it, all ones are read there and stores are dropped. */
  bus?: Bus | null;
  /** Who is told of cache flushes and memory types. */
  cacheHook?: CacheHook | null;
  /** The memory types of physical ranges; default: all of it is WB. */
  mtrrs?: Mtrrs;
  /** Logical CPUs, 1..1024; default 1. */
  cpus?: number;
  /** A preset's name or a model; default intel-skylake-sp. */
  model?: string | CpuModel;
  /** Levels of paging structures; 5 needs a model with LA57. Default 4. */
  levels?: 4 | 5;
}

/** Who changes an entry: a logical CPU's number, or null for an agent outside the machine (a loader, a test). */
export type CpuNumber = number | null;

const OPTIONS = shape<MachineOptions>("options of a machine", {
  bus: optional(nullable(shape<Bus>("bus", { read: callable("read"), write: callable("write") }))),
  cacheHook: optional(nullable(shape<CacheHook>("cacheHook", {}))),
  mtrrs: optional(instance("mtrrs", Mtrrs)),
  model: optional(either(text("model"), shape<CpuModel>("model", {}))),
  pagingStructureCaches: optional(flag("pagingStructureCaches")),
});

/**
 * Physical memory and the logical CPUs that share it. Software that changes page tables does so through
 * storeEntry and its kin, so that whoever listens to the records sees every entry change and who made it.
 */
export class Machine implements System {
  readonly memory: PhysicalMemory;
  readonly cpus: readonly Cpu[];
  readonly model: CpuModel;
  /** All that happens, from every layer: `machine.records.listen(record => ...)`. */
  readonly records = new RecordStream<HardwareRecord>();
  readonly cacheHook: CacheHook | null;
  readonly mtrrs: Mtrrs;
  broadcasts: readonly Broadcast[] = [];

  /** Throws TypeError or RangeError, naming it, for an option that cannot be. */
  constructor(options: MachineOptions) {
    const { memory, bus = null, cpus = 1, model = DEFAULT_CPU_MODEL, levels = 4 } = need(OPTIONS, options);
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= MAX_CPUS)) {
      throw new RangeError(`${printed(cpus)} CPUs: give 1 to ${MAX_CPUS}`);
    }
    if (levels !== 4 && levels !== 5) throw new RangeError(`${printed(levels)} paging levels: give 4 or 5`);
    this.model = typeof model === "string" ? cpuModel(model) : model;
    this.cacheHook = options.cacheHook ?? null;
    this.mtrrs = options.mtrrs ?? new Mtrrs();
    this.memory = new PhysicalMemory(typeof memory === "string" ? parseSize(memory) : memory, bus);
    this.cpus = Array.from({ length: cpus }, (_, id) => new Cpu(id, this, levels, options));
    for (const { id } of this.cpus) {
      this.records.introduce("walker", id, `walker of CPU ${id}`);
      this.records.introduce("interrupt", id, `interrupt on CPU ${id}`);
    }
  }

  /** The logical CPU of that number. Throws RangeError when there is none. */
  cpu(id: number): Cpu {
    const cpu = this.cpus[id];
    if (cpu === undefined)
      throw new RangeError(`CPU ${id}: this machine has CPUs 0 to ${this.cpus.length - 1}`);
    return cpu;
  }

  /**
   * One 64-bit store of an entry by software. Outside memory it is dropped, and nothing is recorded. Throws RangeError
   * unless the slot is a multiple of 8 below 2^52; so do the next two.
   */
  storeEntry(slot: number, lo: number, hi: number, by: CpuNumber): void {
    checkBy(by);
    if (this.records.live) this.exchangeEntry(slot, lo, hi, by);
    else this.memory.write(Slot.of(slot), lo, hi);
  }

  /**
   * XCHG: stores an entry and returns the one it replaced, as one locked cycle. Outside memory that is all ones, and
   * nothing is stored or recorded.
   */
  exchangeEntry(slot: number, lo: number, hi: number, by: CpuNumber): Entry {
    checkBy(by);
    const at = Slot.of(slot);
    const old = this.memory.exchange(at, lo, hi);
    this.reportWritten(at, old, lo, hi, by);
    return old;
  }

  /**
   * LOCK CMPXCHG: stores `value` where `old` still is; returns whether the two compared equal. A failed one records
   * nothing, nor does one outside memory, where all ones are read and a store is dropped.
   */
  compareExchangeEntry(slot: number, old: Entry, value: Entry, by: CpuNumber): boolean {
    if (!(old instanceof Entry)) need(ENTRY, old);
    if (!(value instanceof Entry)) need(ENTRY, value);
    checkBy(by);
    const at = Slot.of(slot);
    if (!this.memory.compareExchange(at, old.lo, old.hi, value.lo, value.hi)) return false;
    this.reportWritten(at, old, value.lo, value.hi, by);
    return true;
  }

  private reportWritten(at: Slot, old: Entry, lo: number, hi: number, by: CpuNumber): void {
    const { memory, records } = this;
    if (!records.live || !memory.hasFrame(Pfn.truncate(at))) return;
    reportEntryWritten(records, by ?? NONE, at, old.lo, old.hi, lo | 0, hi | 0);
  }

  /**
   * Sends an interrupt; the target runs the handler at its next interruptible point ({@link Cpu.handleIpis}). `flush` is
   * the flush that it is part of.
   */
  sendIpi(from: number, to: number, handler: (cpu: Cpu) => void, flush: number = NO_FLUSH): Ipi {
    need(HANDLER, handler);
    this.cpu(from);
    const target = this.cpu(to);
    const ipi: Ipi = { from, to, flush, handler, done: false };
    target.queueIpi(ipi);
    if (this.records.live) reportIpiSent(this.records, from, to, flush);
    return ipi;
  }
}

const ENTRY = instance("entry", Entry);
const HANDLER = callable<unknown>("handler");
const BY = nullable(whole("CPU", 0, MAX_CPUS - 1));

/** Throws, naming it, for nobody who stores an entry. The memory looks at the words. */
function checkBy(by: CpuNumber): void {
  if (by !== null && !(by >= 0 && by < MAX_CPUS && by === (by | 0))) need(BY, by);
}

const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes of a size like "64MiB". Throws RangeError for any other text. */
export function parseSize(text: string): number {
  const match = /^(\d+)(KiB|MiB|GiB)$/.exec(text);
  const unit = UNITS[match?.[2] ?? ""];
  if (unit === undefined)
    throw new RangeError(`size "${text}": give a number with KiB, MiB or GiB, as in 64MiB`);
  return Number(match?.[1]) * unit;
}
