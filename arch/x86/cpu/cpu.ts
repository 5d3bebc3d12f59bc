import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type AccessMode,
  accessMode,
  MODE_IMPLICIT,
  MODE_SUPERVISOR,
} from "./access-rights.ts";
import { ControlRegisters, type ControlResult, type ControlState } from "./control-registers.ts";
import { reportAccess, reportFill, reportLocated, reportUpdate } from "./cpu-report.ts";
import { PTE_G } from "./entry-layout.ts";
import {
  checkLinear,
  checkLinearPage,
  isCanonical,
  linearHi,
  linearLo,
  linearPage,
  TWO_32,
} from "./linear-address.ts";
import type { Ipi, Machine } from "./machine.ts";
import {
  type AccessResult,
  type AccessSize,
  checkSize,
  checkValue,
  type Location,
  readBytes,
  type Segment,
  writeBytes,
} from "./memory-access.ts";
import { PageFault, WALK_OK } from "./page-fault.ts";
import { deniedBy, HARDWARE_WALK, INSPECT, type WalkOptions, WalkResult, walk } from "./page-walk.ts";
import { createTlb, type Tlb, type TlbPolicy } from "./tlb.ts";
import { TLB_DIRTY } from "./tlb-entry.ts";

// A module's own const is a constant to V8; an imported one is read from its cell at each use.
const WRITE = ACCESS_WRITE;
const DIRTY = TLB_DIRTY;

/** What {@link Cpu.translate} answers when the access faults. */
export const FAULTED = -1;

/**
 * One logical CPU: control registers, a TLB, and memory accesses through both.
 *
 * {@link translate} and {@link touch} are the hot forms of an access and allocate nothing unless they fault; load,
 * store, fetch and their kin check their arguments and speak bigint. A linear address from 2^53 on must be a bigint
 * there: a Number may have been rounded to another byte on its way.
 */
export class Cpu {
  readonly id: number;
  readonly machine: Machine;
  readonly control: ControlRegisters;
  readonly tlb: Tlb;
  /** The fault of the last access that had one. */
  fault: PageFault | null = null;
  /** Whether the last translation came from the TLB. */
  tlbHit = false;
  /** How this CPU walks; a test may set a `beforeUpdate` hook here. */
  walkOptions: WalkOptions;
  /** The words moved by the last {@link touch}. */
  dataLo = 0;
  dataHi = 0;

  private readonly found = new WalkResult();
  private readonly ipis: Ipi[] = [];
  private mode: AccessMode = MODE_SUPERVISOR;
  private privilege = 0;
  private alignmentCheck = false;
  private counter = 0;

  constructor(id: number, machine: Machine, levels: 4 | 5, tlb: TlbPolicy) {
    this.id = id;
    this.machine = machine;
    this.control = new ControlRegisters(machine.model, levels);
    this.tlb = createTlb(tlb);
    this.walkOptions = {
      ...HARDWARE_WALK,
      updated: (address, oldLo, newLo, hi) => {
        const { observer } = this.machine;
        if (observer !== null) reportUpdate(observer, id, address, oldLo, newLo, hi);
      },
    };
  }

  /** Current privilege level, 0..3; 3 makes accesses user-mode. */
  get cpl(): number {
    return this.privilege;
  }

  set cpl(cpl: number) {
    if (!(cpl >= 0 && cpl <= 3 && Number.isInteger(cpl))) throw new RangeError(`CPL ${cpl}: give 0 to 3`);
    this.privilege = cpl;
    this.mode = accessMode(cpl, this.alignmentCheck);
  }

  /** RFLAGS.AC, which lets the supervisor past SMAP. */
  get ac(): boolean {
    return this.alignmentCheck;
  }

  set ac(ac: boolean) {
    this.alignmentCheck = ac;
    this.mode = accessMode(this.privilege, ac);
  }

  /** Physical address of the top table. */
  get root(): number {
    return this.control.root;
  }

  /**
   * MOV to CR3: drops the non-global translations of the new PCID unless `keep`, which is bit 63 of the operand (SDM
   * vol. 3, 4.10.4.1). Throws RangeError for a root, a PCID or a `keep` that the CPU cannot take.
   */
  loadCr3(root: number, pcid = 0, keep = false): void {
    if (keep && !this.control.pcide)
      throw new RangeError("CR3 load that keeps translations: set CR4.PCIDE first");
    const oldRoot = this.control.root;
    this.control.setRoot(root, pcid);
    if (!keep) this.tlb.flushNonGlobal(pcid);
    const observer = this.machine.observer;
    if (observer !== null) observer({ type: "cr3-loaded", cpu: this.id, oldRoot, root, pcid, keep });
  }

  /**
   * Writes control bits and key registers, and drops the translations that the write must drop: all of them when PGE
   * changes or PCIDE is cleared, those filled under the current PCID, global ones included, when SMEP is set. WP, NXE,
   * SMAP and the keys are applied at each use and drop nothing.
   */
  setControl(changes: Partial<ControlState>): ControlResult {
    const { pge, pcide, smep, pcid } = this.control;
    const result = this.control.set(changes);
    if (!result.ok) return result;
    const now = this.control;
    if (now.pge !== pge || (pcide && !now.pcide)) {
      this.tlb.flushAll();
      this.machine.observer?.({ type: "cr4-written", cpu: this.id, pcid, flushed: "all" });
    } else if (now.smep && !smep) {
      this.tlb.flushPcid(pcid);
      this.machine.observer?.({ type: "cr4-written", cpu: this.id, pcid, flushed: "pcid" });
    }
    return result;
  }

  /**
   * INVLPG: drops the page's translations of the current PCID and global ones. No-op on a non-canonical address. Any
   * address in the page will do; as a Number from 2^53 on it must be the page's own, which is exact.
   */
  invlpg(address: number | bigint): void {
    checkLinearPage(address);
    const lo = linearLo(address);
    const hi = linearHi(address);
    if (!isCanonical(hi, this.control.levels)) return;
    this.tlb.invlpg(lo, hi, this.control.pcid);
    const observer = this.machine.observer;
    if (observer !== null) observer({ type: "invlpg", cpu: this.id, address: linearPage(lo, hi) });
  }

  /**
   * Physical address of one byte for an access of this kind (ACCESS_*) at the current privilege, through the TLB; or
   * FAULTED with {@link fault} set.
   *
   * A store through an entry with D=0 is a miss for that access: D is set in memory by a locked cycle (SDM vol. 3,
   * 4.8 and 8.1.2.1), which sees the entry as it is now. The manual has no sentence that the cycle checks P; operating
   * systems that defer the flush of an unmapped page rely on it, and the emulators measured do it.
   */
  translate(kind: number, lo: number, hi: number): number {
    const tlb = this.tlb;
    const slot = tlb.lookup(lo, hi, this.control.pcid);
    if (slot < 0) return this.translateByWalk(kind, lo, hi, false);
    const flags = tlb.flags(slot);
    if (kind === WRITE && (flags & DIRTY) === 0) return this.translateByWalk(kind, lo, hi, true);
    const denied = deniedBy(this.control, flags, kind, this.mode);
    if (denied !== 0) return this.deniedByTlb(kind, lo, hi, denied);
    this.tlbHit = true;
    return tlb.physical(slot, lo);
  }

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
    checkSize(size);
    const bytes = checkValue(value, size);
    const at = this.locate(ACCESS_WRITE, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    writeBytes(this.machine.memory, at, size, bytes);
    this.reportLocated(true, at);
    return { ok: true, physical: at.first, value: bytes };
  }

  /**
   * ADD, XCHG, CMPXCHG and their like: one access that counts as a write, also when it stores what was there.
   * `change` maps the old value to the new one (taken modulo the size); the result holds the old one.
   */
  readModifyWrite(
    address: number | bigint,
    change: (old: bigint) => bigint,
    size: AccessSize = 8,
    segment: Segment = "data",
  ): AccessResult {
    checkSize(size);
    if (!this.machine.model.rmwIsWrite) {
      const loaded = this.locate(ACCESS_READ, address, size, segment);
      if (loaded instanceof PageFault) return { ok: false, fault: loaded };
    }
    const at = this.locate(ACCESS_WRITE, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    const value = readBytes(this.machine.memory, at, size);
    writeBytes(this.machine.memory, at, size, BigInt.asUintN(8 * size, change(value)));
    this.reportLocated(true, at);
    return { ok: true, physical: at.first, value };
  }

  /**
   * A load that the CPU makes itself, from a descriptor table or the TSS: a supervisor-mode access at any CPL, to which
   * SMAP applies whatever AC says (SDM vol. 3, 4.6).
   */
  loadImplicit(address: number | bigint, size: AccessSize = 8): AccessResult {
    return this.implicitly(() => this.load(address, size));
  }

  /** A store of the same kind, such as that of a descriptor's accessed or busy bit. */
  storeImplicit(address: number | bigint, value: number | bigint, size: AccessSize = 8): AccessResult {
    return this.implicitly(() => this.store(address, value, size));
  }

  /**
   * A hot 8-byte load, or a store of a 32-bit counter that goes up by one, at an address below 2^47. Null, or the
   * fault. {@link dataLo} and {@link dataHi} hold the words moved.
   */
  touch(address: number, write: boolean): PageFault | null {
    const lo = address | 0;
    if ((lo & 7) !== 0) return this.touchUnaligned(address, write);
    const hi = (address / TWO_32) | 0;
    const physical = this.translate(write ? WRITE : ACCESS_READ, lo, hi);
    if (physical < 0) return this.fault;
    const machine = this.machine;
    if (write) {
      this.counter = (this.counter + 1) | 0;
      this.dataLo = this.counter;
      this.dataHi = 0;
      machine.memory.write(physical, this.counter, 0);
    } else {
      this.dataLo = machine.memory.readLo(physical);
      this.dataHi = machine.memory.readHi(physical);
    }
    const { observer } = machine;
    if (observer !== null) reportAccess(observer, this.id, write, lo, hi, physical, this.tlbHit);
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
    let handled = 0;
    for (let ipi = this.ipis.shift(); ipi !== undefined; ipi = this.ipis.shift()) {
      ipi.handler(this);
      ipi.done = true;
      handled++;
      const observer = this.machine.observer;
      if (observer !== null) observer({ type: "ipi-handled", cpu: this.id, from: ipi.from });
    }
    return handled;
  }

  /**
   * `replaces`: a clean entry was hit by a store. The walk's outcome takes the place of that entry alone; what else
   * the TLB holds for the page, of other sizes or global, stays as stale as it was.
   */
  private translateByWalk(kind: number, lo: number, hi: number, replaces: boolean): number {
    const { control, found } = this;
    this.tlbHit = false;
    if (!isCanonical(hi, control.levels)) {
      this.fault = PageFault.nonCanonical("#GP", lo, hi);
      return FAULTED;
    }
    const code = walk(this.machine.memory, control, lo, hi, kind, this.mode, this.walkOptions, found);
    if (code !== WALK_OK) return this.raise(found.toFault(kind, this.mode, control));
    const pcid = control.pcid;
    if (replaces) this.tlb.drop(this.tlb.lookup(lo, hi, pcid));
    this.tlb.fill(found, pcid, control.pge && (found.lo & PTE_G) !== 0);
    const { observer } = this.machine;
    if (observer !== null) reportFill(observer, this.id, pcid, found);
    return found.physical;
  }

  /** A cached entry denies the access: its rights give the error code, memory as it is now the rest. */
  private deniedByTlb(kind: number, lo: number, hi: number, denied: number): number {
    const { control, found, mode } = this;
    walk(this.machine.memory, control, lo, hi, kind, mode, INSPECT, found);
    return this.raise(found.toCachedFault(denied, kind, mode, control));
  }

  /** A page fault drops the page's translations, so that a spurious one does not repeat (SDM vol. 3, 4.10.4.1). */
  private raise(fault: PageFault): number {
    this.tlb.invlpg(fault.lo, fault.hi, this.control.pcid);
    this.fault = fault;
    this.machine.observer?.({ type: "page-fault", cpu: this.id, address: fault.page });
    return FAULTED;
  }

  private read(kind: number, address: number | bigint, size: AccessSize, segment: Segment): AccessResult {
    checkSize(size);
    const at = this.locate(kind, address, size, segment);
    if (at instanceof PageFault) return { ok: false, fault: at };
    this.reportLocated(false, at);
    return { ok: true, physical: at.first, value: readBytes(this.machine.memory, at, size) };
  }

  /**
   * Translates all bytes of an access. Every byte must be canonical before any page is walked; then the lower page
   * comes first, and the fault names the first byte that cannot be reached.
   */
  private locate(
    kind: number,
    address: number | bigint,
    size: AccessSize,
    segment: Segment,
  ): Location | PageFault {
    checkLinear(address);
    const lo = linearLo(address);
    const hi = linearHi(address);
    const inFirst = Math.min(size, 4096 - (lo & 0xfff));
    const crosses = inFirst < size;
    const nextLo = ((lo | 0xfff) + 1) | 0;
    const nextHi = nextLo === 0 ? (hi + 1) | 0 : hi;
    const { levels } = this.control;
    if (!isCanonical(hi, levels) || (crosses && !isCanonical(nextHi, levels))) {
      const kindOfFault = segment === "stack" ? this.machine.model.stackNoncanonical : "#GP";
      this.fault = PageFault.nonCanonical(kindOfFault, lo, hi);
      return this.fault;
    }
    const first = this.translate(kind, lo, hi);
    if (first < 0) return this.lastFault();
    const firstHit = this.tlbHit;
    const second = crosses ? this.translate(kind, nextLo, nextHi) : -1;
    if (crosses && second < 0) return this.lastFault();
    return { lo, hi, nextLo, nextHi, first, inFirst, second, firstHit, secondHit: this.tlbHit };
  }

  private touchUnaligned(address: number, write: boolean): PageFault | null {
    if (write) this.counter = (this.counter + 1) | 0;
    const result = write ? this.store(address, this.counter >>> 0) : this.load(address);
    if (!result.ok) return result.fault;
    this.dataLo = Number(BigInt.asIntN(32, result.value));
    this.dataHi = Number(BigInt.asIntN(32, result.value >> 32n));
    return null;
  }

  private lastFault(): PageFault {
    if (this.fault === null)
      throw new TypeError("a translation failed without a fault: this is a bug in the CPU");
    return this.fault;
  }

  private implicitly(access: () => AccessResult): AccessResult {
    this.mode = MODE_IMPLICIT;
    try {
      return access();
    } finally {
      this.mode = accessMode(this.privilege, this.alignmentCheck);
    }
  }

  private reportLocated(write: boolean, at: Location): void {
    const { observer } = this.machine;
    if (observer !== null) reportLocated(observer, this.id, write, at);
  }
}
