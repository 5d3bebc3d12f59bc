import { Cpu } from "./cpu.ts";
import { type CpuModel, cpuModel, DEFAULT_CPU_MODEL } from "./cpu-model.ts";
import { Entry, sameEntry } from "./entry.ts";
import type { CpuNumber, HardwareObserver } from "./events.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";
import { PhysicalMemory } from "./physical-memory.ts";
import type { Replacement } from "./set-associative-tlb.ts";
import type { TlbPolicy } from "./tlb.ts";

/** Most logical CPUs of one machine: a set of them is the bits of one word. */
export const MAX_CPUS = 32;

/** What the caches of each logical CPU keep. */
export interface CacheOptions {
  /** Default "stale". */
  tlb?: TlbPolicy;
  /** Where a geometry makes a TLB evict; default "lru". */
  replacement?: Replacement;
  /** Seed of random replacement, of CPU 0; each further CPU takes the next. Default 1. */
  tlbSeed?: number;
  /** TLBs keep large pages as 4-KiB pieces; default false. */
  fractureLargePages?: boolean;
  /** PML5, PML4, PDPTE and PDE caches; default false, as in the emulators that were measured. */
  pagingStructureCaches?: boolean;
}

export interface MachineOptions extends CacheOptions {
  /** Bytes, or a text like "64MiB", "512KiB", "2GiB". */
  memory: number | string;
  /** Logical CPUs, 1..32; default 1. */
  cpus?: number;
  /** A preset's name or a model; default intel-skylake-sp. */
  model?: string | CpuModel;
  /** Levels of paging structures; 5 needs a model with LA57. Default 4. */
  levels?: 4 | 5;
}

/** An inter-processor interrupt: sent, pending at its target, then done. */
export interface Ipi {
  readonly from: number;
  readonly to: number;
  readonly handler: (cpu: Cpu) => void;
  /** Whether the target has run the handler. */
  done: boolean;
}

/**
 * Physical memory and the logical CPUs that share it. Software that changes page tables does so through
 * storeEntry and its kin, so that an observer sees every entry change and who made it.
 */
export class Machine {
  readonly memory: PhysicalMemory;
  readonly cpus: readonly Cpu[];
  readonly model: CpuModel;
  /** INVLPGBs that no TLBSYNC has waited for yet, oldest first. */
  broadcasts: { readonly from: number; readonly scope: InvalidationScope }[] = [];
  /** Told of every hardware event; null costs one check per event. */
  observer: HardwareObserver | null = null;

  constructor(options: MachineOptions) {
    const { memory, cpus = 1, model = DEFAULT_CPU_MODEL, levels = 4 } = options;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= MAX_CPUS)) {
      throw new RangeError(`${cpus} CPUs: give 1 to ${MAX_CPUS}`);
    }
    if (levels !== 4 && levels !== 5) throw new RangeError(`${levels} paging levels: give 4 or 5`);
    this.model = typeof model === "string" ? cpuModel(model) : model;
    this.memory = new PhysicalMemory(typeof memory === "string" ? parseSize(memory) : memory);
    this.cpus = Array.from({ length: cpus }, (_, id) => new Cpu(id, this, levels, options));
  }

  /** The logical CPU of that number. Throws RangeError when there is none. */
  cpu(id: number): Cpu {
    const cpu = this.cpus[id];
    if (cpu === undefined)
      throw new RangeError(`CPU ${id}: this machine has CPUs 0 to ${this.cpus.length - 1}`);
    return cpu;
  }

  /** One 64-bit store of an entry by software. Outside memory it is dropped, and nothing is reported. */
  storeEntry(address: number, lo: number, hi: number, by: CpuNumber): void {
    checkEntryAddress(address);
    const { memory, observer } = this;
    if (observer === null || address >= memory.size) {
      memory.write(address, lo, hi);
      return;
    }
    const old = memory.read(address);
    memory.write(address, lo, hi);
    observer({ type: "entry-written", address, old, value: new Entry(lo, hi), cpu: by });
  }

  /**
   * XCHG: stores an entry and returns the one it replaced, as one locked cycle. Outside memory that is all ones, and
   * nothing is stored or reported.
   */
  exchangeEntry(address: number, lo: number, hi: number, by: CpuNumber): Entry {
    checkEntryAddress(address);
    const { memory, observer } = this;
    const old = memory.read(address);
    memory.write(address, lo, hi);
    if (observer !== null && address < memory.size) {
      observer({ type: "entry-written", address, old, value: new Entry(lo, hi), cpu: by });
    }
    return old;
  }

  /**
   * LOCK CMPXCHG: stores `value` where `old` still is; returns whether the two compared equal. A failed one reports
   * nothing, nor does one outside memory, where all ones are read and a store is dropped.
   */
  compareExchangeEntry(address: number, old: Entry, value: Entry, by: CpuNumber): boolean {
    checkEntryAddress(address);
    const { memory, observer } = this;
    if (!sameEntry(memory.read(address), old)) return false;
    memory.write(address, value.lo, value.hi);
    if (observer !== null && address < memory.size) {
      observer({ type: "entry-written", address, old, value, cpu: by });
    }
    return true;
  }

  /** Sends an interrupt; the target runs the handler at its next interruptible point ({@link Cpu.handleIpis}). */
  sendIpi(from: number, to: number, handler: (cpu: Cpu) => void): Ipi {
    this.cpu(from);
    const target = this.cpu(to);
    const ipi: Ipi = { from, to, handler, done: false };
    target.queueIpi(ipi);
    this.observer?.({ type: "ipi-sent", from, to });
    return ipi;
  }
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

function checkEntryAddress(address: number): void {
  if (!(address >= 0 && address < 2 ** 52) || (address & 7) !== 0 || address !== Math.floor(address)) {
    throw new RangeError(`entry address ${address}: give a multiple of 8 below 2^52`);
  }
}
