import {
  ACCESS_WRITE,
  type AccessMode,
  accessMode,
  implicitMode,
  MODE_SUPERVISOR,
  violatesLass,
} from "./access-rights.ts";
import type { Slot } from "./address.ts";
import { need } from "./argument.ts";
import { flag, shape, whole } from "./argument-kinds.ts";
import type { CacheHook } from "./cache-hook.ts";
import {
  ControlRegisters,
  type ControlResult,
  type ControlState,
  CR3_KEEP,
  notPrivileged,
  REGISTER_VALUE,
} from "./control-registers.ts";
import {
  registersOf,
  reportFault,
  reportFill,
  reportInvalidated,
  reportPrivilege,
  reportRegister,
  reportRegisters,
  reportRoot,
  reportUpdate,
  walkerOf,
} from "./cpu-report.ts";
import { type CacheOptions, createTlb } from "./create-tlb.ts";
import { PTE_G } from "./entry-layout.ts";
import {
  ALL_PCIDS,
  controlFlushOf,
  type Invalidation,
  type InvalidationOperand,
  type InvalidationScope,
  scopeOf,
} from "./invalidation-scope.ts";
import { checkLinearPage, isCanonical, linearBigInt, linearHi, linearLo, untagHi } from "./linear-address.ts";
import { type AccessResult, isPointer } from "./memory-access.ts";
import { tellPageType } from "./memory-type.ts";
import { PageFault, WALK_OK } from "./page-fault.ts";
import { HARDWARE_WALK, INSPECT, type WalkOptions, WalkResult, walk } from "./page-walk.ts";
import { PagingStructureCache } from "./paging-structure-cache.ts";
import { RecentTranslations } from "./recent-translations.ts";
import type { INVALIDATION_CAUSES } from "./records.ts";
import type { System } from "./system.ts";
import type { Tlb } from "./tlb.ts";
import { TLB_DIRTY } from "./tlb-entry.ts";
import { deniedBy } from "./walk-rights.ts";

// A module's own const is a constant to V8; an imported one is read from its cell at each use. A kind writes when it
// has this bit: stores and shadow-stack stores.
const WRITE = ACCESS_WRITE;
const DIRTY = TLB_DIRTY;
const G = PTE_G;
const OK = WALK_OK;
/** The mode of an access stands above its kind. */
const MODE_SHIFT = 3;
/** Why a walk is made: nothing was cached; a store hit a clean entry; a cached entry denied the access. */
const MISSED = 0;
const CLEAN = 1;
const DENIED = 2;

const AC = flag("AC");
const KEEP = flag("keep");
const ID = whole("CPU", 0, 2 ** 31 - 1);
const SYSTEM = shape<System>("machine", { memory: shape("memory", {}), records: shape("records", {}) });
const CACHES = shape<CacheOptions>("options of caches", {});

/** What {@link Mmu.translate} answers when the access faults. */
export const FAULTED = -1;

/** The half of a logical CPU that translates: control registers, the mode of an access, a TLB, the walk. */
export class Mmu {
  readonly id: number;
  // A field without "declare" is undefined first, and V8 then looks at what it holds at each use.
  declare readonly machine: System;
  declare readonly control: ControlRegisters;
  declare readonly tlb: Tlb;
  /** Null on a machine that models none: every walk begins at the root. */
  declare readonly tables: PagingStructureCache | null;
  /** By PCID the root that was last loaded under it, for those of which something may be cached. */
  readonly contexts = new Map<number, number>();
  /** MSRs that hold a linear address, by number, as they were written. */
  readonly addressMsrs = new Map<number, bigint>();
  /** The fault of the last access that had one. */
  fault: PageFault | null = null;
  /** Whether the last translation came from the TLB. */
  tlbHit = false;
  /** How this CPU walks; a test may set a `beforeUpdate` hook here. */
  walkOptions: WalkOptions;

  declare private readonly cacheHook: CacheHook | null;
  private readonly recent = new RecentTranslations();
  private readonly found = new WalkResult();
  private currentMode: AccessMode = MODE_SUPERVISOR;
  private privilege = 0;
  private alignmentCheck = false;
  private cr2Lo = 0;
  private cr2Hi = 0;

  constructor(id: number, machine: System, levels: 4 | 5, caches: CacheOptions) {
    this.id = need(ID, id);
    this.machine = need(SYSTEM, machine);
    this.cacheHook = machine.cacheHook;
    this.control = new ControlRegisters(machine.model, levels);
    const { tlb = "stale", pagingStructureCaches = false, tlbSeed = 1 } = need(CACHES, caches);
    const forget = (): void => this.recent.clear();
    this.tlb = createTlb(tlb, { ...caches, seed: tlbSeed + id, changed: forget });
    this.control.written = forget;
    this.tables = pagingStructureCaches ? new PagingStructureCache(levels) : null;
    this.walkOptions = {
      ...HARDWARE_WALK,
      record: pagingStructureCaches && "words",
      updated: (address, oldLo, newLo, hi) => {
        const { records } = this.machine;
        if (records.live) reportUpdate(records, id, walkerOf(id), address as Slot, oldLo, newLo, hi);
      },
    };
  }

  /** CR2: the address of the last page fault, or what was written; no other exception changes it. */
  get cr2(): bigint {
    return linearBigInt(this.cr2Lo, this.cr2Hi);
  }

  /** Current privilege level, 0..3; 3 makes accesses user-mode. */
  get cpl(): number {
    return this.privilege;
  }

  set cpl(cpl: number) {
    if (!(cpl >= 0 && cpl <= 3 && Number.isInteger(cpl))) throw new RangeError(`CPL ${cpl}: give 0 to 3`);
    if (cpl !== this.privilege && this.machine.records.live)
      reportPrivilege(this.machine.records, this.id, cpl);
    this.privilege = cpl;
    this.currentMode = accessMode(cpl, this.alignmentCheck);
  }

  /** The mode of the accesses made now (MODE_*). */
  get mode(): AccessMode {
    return this.currentMode;
  }

  /** RFLAGS.AC, which lets the supervisor past SMAP. */
  get ac(): boolean {
    return this.alignmentCheck;
  }

  set ac(ac: boolean) {
    need(AC, ac);
    this.alignmentCheck = ac;
    this.currentMode = accessMode(this.privilege, ac);
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
    if (typeof keep !== "boolean") need(KEEP, keep);
    if (keep && !this.control.pcide)
      throw new RangeError("CR3 load that keeps translations: set CR4.PCIDE first");
    const oldRoot = this.control.root;
    this.control.setRoot(root, pcid);
    this.cr3Loaded(oldRoot, keep);
  }

  /** MOV to CR2: any 64 bits. */
  movCr2(value: bigint): ControlResult {
    need(REGISTER_VALUE, value);
    if (this.privilege !== 0) return notPrivileged("MOV to CR2", this.privilege);
    this.cr2Lo = linearLo(value);
    this.cr2Hi = linearHi(value);
    return { ok: true };
  }

  /**
   * MOV to CR3 of a whole register's value: the fault it raises, or done (see {@link ControlRegisters.setCr3}); #GP but
   * at CPL 0.
   */
  movCr3(value: bigint): ControlResult {
    need(REGISTER_VALUE, value);
    if (this.privilege !== 0) return notPrivileged("MOV to CR3", this.privilege);
    const oldRoot = this.control.root;
    const result = this.control.setCr3(value);
    if (result.ok) this.cr3Loaded(oldRoot, (value & CR3_KEEP) !== 0n);
    return result;
  }

  /**
   * Writes control bits and key registers, and drops the translations that the write must drop: all of them when PGE
   * changes or PCIDE is cleared, on AMD also when PSE changes or PKE is set; on Intel those filled under the current
   * PCID, global ones included, when SMEP is set. WP, NXE, SMAP and the keys are applied at each use and drop nothing.
   */
  setControl(changes: Partial<ControlState>): ControlResult {
    const { control } = this;
    const { pge, pcide, pse, pke, smep } = control;
    const before = this.machine.records.live ? registersOf(control) : null;
    const result = this.control.set(changes);
    if (!result.ok) return result;
    if (before !== null) reportRegisters(this.machine.records, this.id, control, before);
    const flush = controlFlushOf(control.model.vendor, { pge, pcide, pse, pke, smep }, control);
    if (flush !== null) this.perform(flush);
    return result;
  }

  /** WRMSR of IA32_PAT: #GP for a reserved memory type. */
  setPat(value: bigint): ControlResult {
    const result = this.control.setPat(value);
    const { records } = this.machine;
    if (result.ok && records.live) reportRegister(records, this.id, "PAT", value);
    return result;
  }

  /** Drops from this CPU's caches exactly what the scope covers. */
  invalidate(cause: (typeof INVALIDATION_CAUSES)[number], scope: InvalidationScope): void {
    this.tlb.invalidate(scope);
    if (this.tables !== null) this.tables.invalidate(scope);
    if (scope.page === null && scope.tables === "all") this.forgetContexts(scope.pcid);
    const { records } = this.machine;
    if (records.live) reportInvalidated(records, this.id, cause, scope);
  }

  private forgetContexts(pcid: number): void {
    const { control, contexts } = this;
    if (pcid === ALL_PCIDS) contexts.clear();
    else contexts.delete(pcid);
    contexts.set(control.pcid, control.root);
  }

  /** Drops what an operation must drop on this CPU. */
  private perform(operation: Invalidation, operand?: InvalidationOperand): void {
    const scope = scopeOf(operation, this.control, operand);
    if (scope !== null) this.invalidate(operation, scope);
  }

  /**
   * INVLPG: drops the page's translations of the current PCID and global ones, and the PCID's cached table entries (with
   * EFER.TCE only those that lead to the page). No-op on a non-canonical address; #GP but at CPL 0. Any address in the
   * page will do; as a Number from 2^53 on it must be the page's own, which is exact.
   */
  invlpg(address: number | bigint): ControlResult {
    checkLinearPage(address);
    if (this.privilege !== 0) return notPrivileged("INVLPG", this.privilege);
    this.dropPage(address);
    return { ok: true };
  }

  /** What INVLPG drops, whatever the CPL: for a kernel whose CPU is left at its user's. */
  dropPage(address: number | bigint): void {
    const lo = linearLo(address);
    const hi = linearHi(address);
    if (!isCanonical(hi, this.control.levels)) return;
    this.perform("INVLPG", { lo, hi });
  }

  /**
   * Physical address of one byte for an access of this kind (ACCESS_*) at the current privilege, through the TLB; or
   * FAULTED with {@link fault} set.
   *
   * A hit is judged by the entry's own rights first, so a store where R/W was 0 may end in a fault that memory no longer
   * explains, once (SDM vol. 3, 4.10.4.3 Optional Invalidation); a CPU that confirms faults walks instead. A store that the
   * rights allow through an entry with D=0 is a miss for that access: D is set in memory by a locked cycle (SDM vol. 3,
   * 4.8 and 8.1.2.1), which sees the entry as it is now. The manual has no sentence that the cycle checks P; operating
   * systems that defer the flush of an unmapped page rely on it, and the emulators measured do it.
   */
  translate(kind: number, lo: number, hi: number): number {
    const physical = this.recent.find(lo, hi, (this.currentMode << MODE_SHIFT) | kind);
    if (physical < 0) return this.translateByTlb(kind, lo, hi);
    this.tlbHit = true;
    return physical;
  }

  private translateByTlb(kind: number, lo: number, hi: number): number {
    return this.control.pretreats ? this.pretreat(kind, lo, hi) : this.look(kind, lo, hi);
  }

  /** LASS, then the metadata of a pointer, before anything is asked; repeats no harm. */
  private pretreat(kind: number, lo: number, hi: number): number {
    const { control, currentMode: mode } = this;
    if (control.lass && violatesLass(control, hi, kind, mode)) {
      this.refuse(PageFault.ofAddress("#GP", lo, hi, "address-space"));
      return FAULTED;
    }
    return this.look(kind, lo, control.lam && isPointer(kind, mode) ? untagHi(hi, control) : hi);
  }

  private look(kind: number, lo: number, hi: number): number {
    const tlb = this.tlb;
    const slot = tlb.lookup(lo, hi, this.control.pcid, kind);
    if (slot < 0) return this.translateByWalk(kind, lo, hi, MISSED);
    const flags = tlb.flags(slot);
    const denied = deniedBy(this.control, flags, kind, this.currentMode);
    if (denied !== 0) return this.deniedByTlb(kind, lo, hi, denied);
    if ((kind & WRITE) !== 0 && (flags & DIRTY) === 0) return this.translateByWalk(kind, lo, hi, CLEAN);
    this.tlbHit = true;
    const physical = tlb.physical(slot, lo);
    if (tlb.keepsAnswers) this.recent.keep(lo, hi, (this.currentMode << MODE_SHIFT) | kind, physical);
    return physical;
  }

  /**
   * After a store that hit a clean entry the walk's outcome takes the place of that entry alone; what else the TLB holds
   * for the page, of other sizes or global, stays as stale as it was.
   */
  private translateByWalk(kind: number, lo: number, hi: number, why: number): number {
    const { control, found } = this;
    this.tlbHit = false;
    if (!isCanonical(hi, control.levels)) {
      this.refuse(PageFault.ofAddress("#GP", lo, hi));
      return FAULTED;
    }
    const { memory } = this.machine;
    const { pcid } = control;
    if (this.tables !== null && why !== DENIED) found.start = this.tables.start(lo, hi, pcid);
    const cached = found.start !== null;
    const code = walk(memory, control, lo, hi, kind, this.currentMode, this.walkOptions, found);
    if (this.tables !== null) {
      this.tables.fill(found, pcid, control.setsUpperAOnFault);
      found.start = null;
    }
    if (code !== OK) {
      if (cached && control.confirmsFaults) return this.confirm(kind, lo, hi);
      return this.raise(found.toFault(kind, this.currentMode, control));
    }
    if (why === CLEAN) this.tlb.drop(this.tlb.lookup(lo, hi, pcid, kind));
    const global = control.globals && (found.lo & G) !== 0;
    this.tlb.fill(found, pcid, global, kind);
    const { records } = this.machine;
    if (records.live) reportFill(records, this.id, pcid, found, global);
    if (this.cacheHook !== null) tellPageType(this.cacheHook, this.id, found, control, this.machine.mtrrs);
    return found.physical;
  }

  /** Drops what is cached for the page and walks from the root: what that ends in counts, and no cached entry. */
  private confirm(kind: number, lo: number, hi: number): number {
    this.perform("#PF", { lo, hi });
    return this.translateByWalk(kind, lo, hi, DENIED);
  }

  /** A cached entry denies the access: its rights give the error code, memory as it is now the rest. */
  private deniedByTlb(kind: number, lo: number, hi: number, denied: number): number {
    const { control, found, currentMode: mode } = this;
    if (control.confirmsFaults) return this.confirm(kind, lo, hi);
    walk(this.machine.memory, control, lo, hi, kind, mode, INSPECT, found);
    return this.raise(found.toCachedFault(denied, kind, mode, control));
  }

  /** A page fault drops the page's translations, so that a spurious one does not repeat (SDM vol. 3, 4.10.4.1). */
  private raise(fault: PageFault): number {
    this.cr2Lo = fault.lo;
    this.cr2Hi = fault.hi;
    this.refuse(fault);
    this.perform("#PF", fault);
    return FAULTED;
  }

  /** The access raises an exception. */
  protected refuse(fault: PageFault): void {
    this.fault = fault;
    const { records } = this.machine;
    if (records.live) reportFault(records, this.id, fault);
  }

  protected get implicitMode(): AccessMode {
    return implicitMode(this.machine.model, this.privilege, this.alignmentCheck);
  }

  /** Makes an access in another mode. */
  protected inMode(mode: AccessMode, access: () => AccessResult): AccessResult {
    this.currentMode = mode;
    try {
      return access();
    } finally {
      this.currentMode = accessMode(this.privilege, this.alignmentCheck);
    }
  }

  /** What follows a load of CR3: the flush, unless it keeps translations and those have tags. */
  private cr3Loaded(oldRoot: number, keep: boolean): void {
    const { root, pcid } = this.control;
    const kept = keep && this.machine.model.tagsPcid;
    this.contexts.set(pcid, root);
    const { records } = this.machine;
    if (records.live) reportRoot(records, this.id, oldRoot, root, pcid, kept);
    if (!kept) this.perform("MOV CR3");
  }
}
