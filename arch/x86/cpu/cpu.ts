import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SHADOW_READ,
  ACCESS_SHADOW_WRITE,
  ACCESS_WRITE,
  MODE_USER,
} from "./access-rights.ts";
import { need } from "./argument.ts";
import { callable } from "./argument-kinds.ts";
import { CACHE_FLUSHES, CACHE_LINE, type CacheFlush, LINE_FLUSHES, type LineFlush } from "./cache-hook.ts";
import { type ControlResult, notPrivileged } from "./control-bits.ts";
import {
  interruptHandlerOf,
  reportAccess,
  reportInterruptTaken,
  reportIpiHandled,
  reportLocated,
} from "./cpu-report.ts";
import { checkLinear, linearHi, linearLo, TWO_32 } from "./linear-address.ts";
import {
  type AccessResult,
  type AccessSize,
  checkSize,
  checkValue,
  type Location,
  locate,
  readBytes,
  type Segment,
} from "./memory-access.ts";
import { Mmu } from "./mmu.ts";
import { type FaultReason, PageFault } from "./page-fault.ts";
import { modifyAt, storeAt } from "./stores.ts";

// A module's own const is a constant to V8; an imported one is read from its cell at each use.
const READ = ACCESS_READ;
const WRITE = ACCESS_WRITE;

/** An inter-processor interrupt: sent, pending at its target, then done. */
export interface Ipi {
  readonly from: number;
  readonly to: number;
  /** The flush that it is part of, or NO_FLUSH. */
  readonly flush: number;
  readonly handler: (cpu: Cpu) => void;
  /** Whether the target has run the handler. */
  done: boolean;
}

const CHANGE = callable<unknown>("change");

/**
 * One logical CPU: control registers, a TLB, and memory accesses through both.
 *
 * {@link Mmu.translate} and {@link touch} are the hot forms of an access and allocate nothing unless they fault; load,
 * store, fetch and their kin check their arguments and speak bigint. A linear address from 2^53 on must be a bigint
 * there: a Number may have been rounded to another byte on its way.
 */
export class Cpu extends Mmu {
  /** The words moved by the last {@link touch}. */
  dataLo = 0;
  dataHi = 0;

  private readonly ipis: Ipi[] = [];
  private counter = 0;

  /** A load of 1, 2, 4 or 8 bytes. */
  load(address: number | bigint, size: AccessSize = 8, segment: Segment = "data"): AccessResult {
    return this.read(ACCESS_READ, address, size, segment);
  }

  /** An instruction fetch of 1, 2, 4 or 8 bytes. */
  fetch(address: number | bigint, size: AccessSize = 1): AccessResult {
    return this.read(ACCESS_FETCH, address, size, "data");
  }

  /** A store of a value that fits `size` bytes. On a fault no byte is written. */
  store(
    address: number | bigint,
    value: number | bigint,
    size: AccessSize = 8,
    segment: Segment = "data",
  ): AccessResult {
    return this.write(ACCESS_WRITE, address, value, size, segment);
  }

  /** A load from a shadow stack, as by RET, at the current privilege. #UD while CR4.CET = 0. */
  loadShadowStack(address: number | bigint, size: 4 | 8 = 8): AccessResult {
    const refused = this.refuseShadowStore(address, 1);
    if (refused !== null) return refused;
    return this.read(ACCESS_SHADOW_READ, address, size, "data");
  }

  /** A store to a shadow stack, as by WRSS, at the current privilege. #UD while CR4.CET = 0, #GP when misaligned. */
  storeShadowStack(address: number | bigint, value: number | bigint, size: 4 | 8 = 8): AccessResult {
    const refused = this.refuseShadowStore(address, size);
    if (refused !== null) return refused;
    return this.write(ACCESS_SHADOW_WRITE, address, value, size, "data");
  }

  /**
   * WRUSS: the kernel's store to a user's shadow stack, a user-mode access. #UD while CR4.CET = 0, #GP at another CPL than
   * 0, then #GP for an address that is no multiple of the size (SDM vol. 2, WRUSS; APM vol. 2, 5.7.1).
   */
  wruss(address: number | bigint, value: number | bigint, size: 4 | 8 = 8): AccessResult {
    if (this.control.cet && this.cpl !== 0) return this.refuseInstruction("#GP", address, "privilege");
    return this.inMode(MODE_USER, () => this.storeShadowStack(address, value, size));
  }

  /**
   * ADD, XCHG, CMPXCHG and their like: one access that counts as a write, also when it stores what was there.
   * `change` maps the old value to the new one (taken modulo the size); the result holds the old one. In shared memory,
   * inside 8 aligned bytes, it is one locked cycle: `change` is asked again when another thread was faster.
   */
  readModifyWrite(
    address: number | bigint,
    change: (old: bigint) => bigint,
    size: AccessSize = 8,
    segment: Segment = "data",
  ): AccessResult {
    checkSize(size);
    need(CHANGE, change);
    if (!this.machine.model.rmwIsWrite) {
      const loaded = this.locate(ACCESS_READ, address, size, segment);
      if (loaded instanceof PageFault) return { ok: false, fault: loaded };
    }
    const at = this.locate(ACCESS_WRITE, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    const value = modifyAt(this.machine, this.id, at, size, change);
    this.reportLocated(ACCESS_WRITE, size, at);
    return { ok: true, physical: at.first, value };
  }

  /**
   * CLFLUSH, CLFLUSHOPT or CLWB of the line that holds a byte: checked and translated as a load of that byte (SDM vol. 2,
   * CLFLUSH), told to the machine's cache hook. Nothing is loaded: the result's value is 0.
   */
  flushLine(instruction: LineFlush, address: number | bigint, segment: Segment = "data"): AccessResult {
    if (!LINE_FLUSHES.includes(instruction)) {
      throw new TypeError(`instruction "${instruction}": known are ${LINE_FLUSHES.join(", ")}`);
    }
    const at = this.locate(ACCESS_READ, address, 1, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    const physical = at.first - (at.first % CACHE_LINE);
    this.machine.cacheHook?.line?.(this.id, instruction, physical);
    return { ok: true, physical, value: 0n };
  }

  /** WBINVD, WBNOINVD or INVD: told to the machine's cache hook; #GP but at CPL 0. */
  flushCaches(instruction: CacheFlush): ControlResult {
    if (!CACHE_FLUSHES.includes(instruction)) {
      throw new TypeError(`instruction "${instruction}": known are ${CACHE_FLUSHES.join(", ")}`);
    }
    if (this.cpl !== 0) return notPrivileged(instruction, this.cpl);
    this.machine.cacheHook?.all?.(this.id, instruction);
    return { ok: true };
  }

  /**
   * A load that the CPU makes itself, from a descriptor table or the TSS: a supervisor-mode access at any CPL, to which
   * SMAP applies whatever AC says (SDM vol. 3, 4.6).
   */
  loadImplicit(address: number | bigint, size: AccessSize = 8): AccessResult {
    return this.inMode(this.implicitMode, () => this.load(address, size));
  }

  /** A store of the same kind, such as that of a descriptor's accessed or busy bit. */
  storeImplicit(address: number | bigint, value: number | bigint, size: AccessSize = 8): AccessResult {
    return this.inMode(this.implicitMode, () => this.store(address, value, size));
  }

  /**
   * A hot 8-byte load, or a store of a 32-bit counter that goes up by one, at an address below 2^47. Null, or the
   * fault. {@link dataLo} and {@link dataHi} hold the words moved.
   */
  touch(address: number, write: boolean): PageFault | null {
    const lo = address | 0;
    if ((lo & 7) !== 0 || this.control.pretreats) return this.touchChecked(address, write);
    const hi = (address / TWO_32) | 0;
    const physical = this.translate(write ? WRITE : READ, lo, hi);
    if (physical < 0) return this.fault;
    const machine = this.machine;
    if (write) {
      this.counter = (this.counter + 1) | 0;
      this.dataLo = this.counter;
      this.dataHi = 0;
      if (machine.records.live && machine.records.watches(physical)) {
        machine.storeEntry(physical, this.counter, 0, this.id);
      } else {
        machine.memory.write(physical, this.counter, 0);
      }
    } else {
      machine.memory.fetch(physical);
      this.dataLo = machine.memory.lo;
      this.dataHi = machine.memory.hi;
    }
    const { records } = machine;
    if (records.live) {
      reportAccess(records, this.id, write ? WRITE : READ, 8, lo, hi, physical, this.tlbHit);
    }
    return null;
  }

  /** How many interrupts wait for this CPU's next interruptible point. */
  get pendingIpis(): number {
    return this.ipis.length;
  }

  /** An interrupt arrives: what {@link Machine.sendIpi} does at the target. */
  queueIpi(ipi: Ipi): void {
    this.ipis.push(ipi);
  }

  /** An interruptible point: runs the waiting handlers in order of arrival and returns how many ran. */
  handleIpis(): number {
    if (this.ipis.length === 0) return 0;
    const { records } = this.machine;
    const { agent, flush } = records;
    records.agent = interruptHandlerOf(this.id);
    let handled = 0;
    try {
      for (let ipi = this.ipis.shift(); ipi !== undefined; ipi = this.ipis.shift()) {
        records.flush = ipi.flush;
        if (records.live) reportInterruptTaken(records, this.id);
        ipi.handler(this);
        ipi.done = true;
        handled++;
        if (records.live) reportIpiHandled(records, this.id, ipi.from, ipi.flush);
      }
    } finally {
      records.agent = agent;
      records.flush = flush;
    }
    return handled;
  }

  private read(kind: number, address: number | bigint, size: AccessSize, segment: Segment): AccessResult {
    checkSize(size);
    const at = this.locate(kind, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    this.reportLocated(kind, size, at);
    return { ok: true, physical: at.first, value: readBytes(this.machine.memory, at, size) };
  }

  private write(
    kind: number,
    address: number | bigint,
    value: number | bigint,
    size: AccessSize,
    segment: Segment,
  ): AccessResult {
    checkSize(size);
    const bytes = checkValue(value, size);
    const at = this.locate(kind, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    storeAt(this.machine, this.id, at, size, bytes);
    this.reportLocated(kind, size, at);
    return { ok: true, physical: at.first, value: bytes };
  }

  private locate(
    kind: number,
    address: number | bigint,
    size: AccessSize,
    segment: Segment,
  ): Location | PageFault {
    const at = locate(this, kind, address, size, segment);
    // One that no walk was made for: the translation has not told of it.
    if (at instanceof PageFault && at !== this.fault) this.refuse(at);
    return at;
  }

  private touchChecked(address: number, write: boolean): PageFault | null {
    if (write) this.counter = (this.counter + 1) | 0;
    const result = write ? this.store(address, this.counter >>> 0) : this.load(address);
    if (!result.ok) return result.fault;
    this.dataLo = Number(BigInt.asIntN(32, result.value));
    this.dataHi = Number(BigInt.asIntN(32, result.value >> 32n));
    return null;
  }

  private refuseShadowStore(address: number | bigint, size: number): AccessResult | null {
    if (!this.control.cet) return this.refuseInstruction("#UD", address, "not-enabled");
    if ((linearLo(address) & (size - 1)) !== 0) return this.refuseInstruction("#GP", address, "misaligned");
    return null;
  }

  /** An instruction that may not be executed, before anything is translated. */
  private refuseInstruction(
    kind: "#GP" | "#UD",
    address: number | bigint,
    reason: FaultReason,
  ): AccessResult {
    checkLinear(address);
    const fault = PageFault.ofAddress(kind, linearLo(address), linearHi(address), reason);
    this.refuse(fault);
    return { ok: false, fault };
  }

  private reportLocated(kind: number, size: number, at: Location): void {
    const { records } = this.machine;
    if (records.live) reportLocated(records, this.id, kind, size, at);
  }
}
