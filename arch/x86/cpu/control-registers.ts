import { type AccessPolicy, fillPermissions, PERMISSION_CASES } from "./access-rights.ts";
import { type CpuModel, checkModel } from "./cpu-model.ts";
import { type LayoutModel, reservedMask } from "./entry-layout.ts";

/** The control bits this model has: register, bit, and the CPU feature without which setting it is #GP. */
export const CONTROL_BITS = [
  { name: "wp", register: "CR0", bit: 16, feature: null, meaning: "supervisor writes obey R/W" },
  { name: "pge", register: "CR4", bit: 7, feature: null, meaning: "G makes a translation global" },
  { name: "pcide", register: "CR4", bit: 17, feature: "pcid", meaning: "CR3[11:0] tags translations" },
  { name: "smep", register: "CR4", bit: 20, feature: "smep", meaning: "no supervisor fetch from user pages" },
  {
    name: "smap",
    register: "CR4",
    bit: 21,
    feature: "smap",
    meaning: "no supervisor data access to user pages",
  },
  { name: "pke", register: "CR4", bit: 22, feature: "pku", meaning: "PKRU applies to user pages" },
  { name: "pks", register: "CR4", bit: 24, feature: "pks", meaning: "IA32_PKRS applies to supervisor pages" },
  {
    name: "nxe",
    register: "EFER",
    bit: 11,
    feature: "nx",
    meaning: "bit 63 of an entry is XD, not reserved",
  },
] as const;

export type ControlBit = (typeof CONTROL_BITS)[number]["name"];

/** The control bits, plus the two key registers. */
export type ControlState = Record<ControlBit, boolean> & { pkru: number; pkrs: number };

/** Done, or the fault that the register write raises and the rule it breaks; #UD is that of WRPKRU without keys. */
export type ControlResult = { ok: true } | { ok: false; fault: "#GP" | "#UD"; why: string };

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Bits that long mode with paging always has: PE, ET, PG; PAE; LME, LMA. */
const CR0_FIXED = 0x8000_0011;
const CR4_PAE = 1 << 5;
const CR4_LA57 = 1 << 12;
const EFER_FIXED = 0x500;

/**
 * CR0, CR3, CR4, EFER, PKRU and PKRS of one logical CPU in long mode, with what the walk and the TLB need of them
 * worked out beforehand. It knows no TLB: {@link Cpu.setControl} and {@link Cpu.loadCr3} also do the flushes that
 * such a write implies. Fields are read-only to callers, because what is worked out from them must never lag behind:
 * `set` and `setRoot` change them.
 */
export class ControlRegisters implements AccessPolicy {
  readonly model: CpuModel;
  /** 4 or 5; fixed, because CR4.LA57 cannot change in long mode. */
  readonly levels: 4 | 5;

  /** CR3[M-1:12] as a byte address, and the same as words of an entry. */
  readonly root: number = 0;
  readonly rootLo: number = 0;
  readonly rootHi: number = 0;
  /** The PCID in effect: CR3[11:0] while CR4.PCIDE = 1, else 0. */
  readonly pcid: number = 0;

  readonly wp: boolean = true;
  readonly nxe: boolean;
  readonly pge: boolean = true;
  readonly pcide: boolean = false;
  readonly smep: boolean = false;
  readonly smap: boolean = false;
  readonly pke: boolean = false;
  readonly pks: boolean = false;
  /** Both key registers are unsigned. */
  readonly pkru: number = 0;
  readonly pkrs: number = 0;

  /** Whether a key register applies at all. */
  readonly keys: boolean = false;
  /** Reserved bits of the high word, the same for every kind of entry. */
  readonly reservedHi: number = 0;
  /** Reserved bits of the low word: PML4E and PML5E, 2-MiB leaf, 1-GiB leaf; other kinds have none there. */
  readonly reservedTop: number = 0;
  readonly reserved2m: number = 0;
  readonly reserved1g: number = 0;
  /** Whether a faulting walk sets A in the tables it used. */
  readonly setsUpperAOnFault: boolean;
  /** See access-rights.ts permissionIndex. */
  readonly permissions: Uint8Array = new Uint8Array(PERMISSION_CASES);
  /** CR3[11:0] as loaded: a MOV to CR4 leaves it alone. */
  private cr3Low = 0;

  /** Throws RangeError for a model that cannot be, and for five levels on one without LA57. */
  constructor(model: CpuModel, levels: 4 | 5 = 4) {
    checkModel(model);
    if (levels === 5 && !model.la57) {
      throw new RangeError(
        `five-level paging on ${model.name}: it has no LA57, use levels 4 or another model`,
      );
    }
    this.model = model;
    this.levels = levels;
    this.nxe = model.nx;
    this.setsUpperAOnFault = model.upperAOnFault === "set";
    this.derive();
  }

  get rsvdKeepsP(): boolean {
    return this.model.rsvdKeepsP;
  }

  /** What decides the reserved bits of entries now: hand it to decode() and reservedMask(). */
  get layout(): LayoutModel {
    const { vendor, maxPhyAddr, gbPages } = this.model;
    return { vendor, maxPhyAddr, gbPages, nxe: this.nxe, pge: this.pge, keys: this.keys };
  }

  /**
   * Writes control bits and key registers together. All or nothing: an illegal write leaves everything as it was and
   * returns the fault the instruction would raise (SDM vol. 3, 2.5 and 4.10.1). Throws RangeError for a key register's
   * value outside 0..2^32-1. A write of the key registers alone works nothing out anew.
   */
  set(changes: Partial<ControlState>): ControlResult {
    for (const { name, register, feature } of CONTROL_BITS) {
      if (changes[name] && feature !== null && !this.model[feature]) {
        return refuse(`${register}.${name.toUpperCase()} set, but ${this.model.name} has no ${feature}`);
      }
    }
    const { pkru = this.pkru, pkrs = this.pkrs } = changes;
    checkKeys("PKRU", pkru);
    checkKeys("PKRS", pkrs);
    if (pkru !== 0 && !this.model.pku) return refuse(`PKRU set, but ${this.model.name} has no pku`, "#UD");
    if (pkrs !== 0 && !this.model.pks) return refuse(`IA32_PKRS set, but ${this.model.name} has no pks`);
    if (changes.pcide === true && !this.pcide && this.cr3Low !== 0) {
      return refuse(
        `CR4.PCIDE set while CR3[11:0] is 0x${this.cr3Low.toString(16)}: load CR3 with PCID 0 first`,
      );
    }
    const own = writable(this);
    own.pkru = pkru;
    own.pkrs = pkrs;
    let changed = false;
    for (const { name } of CONTROL_BITS) {
      const value = changes[name] ?? this[name];
      changed ||= value !== this[name];
      own[name] = value;
    }
    if (changed) this.derive();
    return { ok: true };
  }

  /**
   * Loads the root and the PCID. Throws RangeError for what no caller can mean: an unaligned root, one above
   * MAXPHYADDR, a PCID above 4095 or one other than 0 without PCIDE.
   */
  setRoot(root: number, pcid: number): void {
    if (!(root >= 0 && root < 2 ** this.model.maxPhyAddr && root % 4096 === 0)) {
      throw new RangeError(
        `CR3 root ${root}: give a page-aligned physical address below 2^${this.model.maxPhyAddr}`,
      );
    }
    if (!(pcid >= 0 && pcid < 4096 && Number.isInteger(pcid)) || (pcid !== 0 && !this.pcide)) {
      throw new RangeError(`PCID ${pcid}: give ${this.pcide ? "0 to 4095" : "0, or set CR4.PCIDE first"}`);
    }
    const own = writable(this);
    own.root = root;
    own.rootLo = root | 0;
    own.rootHi = (root / 2 ** 32) | 0;
    own.pcid = pcid;
    this.cr3Low = pcid;
  }

  /** Reserved bits of the low word of a large leaf at level 2 or 3. */
  reservedLarge(level: number): number {
    return level === 2 ? this.reserved2m : this.reserved1g;
  }

  get cr0(): number {
    return CR0_FIXED + this.bitsOf("CR0");
  }

  /** At most 52 bits, so exact: the root with the PCID it was loaded with, also after PCIDE was cleared. */
  get cr3(): number {
    return this.root + this.cr3Low;
  }

  get cr4(): number {
    return CR4_PAE + (this.levels === 5 ? CR4_LA57 : 0) + this.bitsOf("CR4");
  }

  get efer(): number {
    return EFER_FIXED + this.bitsOf("EFER");
  }

  private bitsOf(register: string): number {
    let value = 0;
    for (const bit of CONTROL_BITS) {
      if (bit.register === register && this[bit.name]) value += 2 ** bit.bit;
    }
    return value;
  }

  private derive(): void {
    const own = writable(this);
    own.pcid = this.pcide ? this.cr3Low : 0;
    own.keys = this.pke || this.pks;
    const layout = this.layout;
    own.reservedHi = reservedMask("pte", layout).hi;
    own.reservedTop = reservedMask("pml4e", layout).lo;
    own.reserved2m = reservedMask("pde-2m", layout).lo;
    own.reserved1g = reservedMask("pdpte-1g", layout).lo;
    fillPermissions(this, this.permissions);
  }
}

/** Values of the registers as a debugger or a dump gives them. */
export interface RegisterValues {
  cr0: bigint;
  cr3: bigint;
  cr4: bigint;
  efer: bigint;
}

/**
 * The control state of a CPU found with these register values, e.g. in a guest's dump. Throws RangeError when the CPU
 * was not in long mode with paging on, or has a feature on that the model lacks. Bits this model does not have are
 * ignored, PWT and PCD of CR3 among them.
 */
export function controlFromRegisters(model: CpuModel, values: RegisterValues): ControlRegisters {
  const raw = { CR0: values.cr0, CR4: values.cr4, EFER: values.efer };
  const isSet = (register: keyof typeof raw, bit: number): boolean =>
    ((raw[register] >> BigInt(bit)) & 1n) === 1n;
  if (!isSet("CR0", 31) || !isSet("CR4", 5) || !isSet("EFER", 10)) {
    throw new RangeError(
      `CR0 0x${values.cr0.toString(16)}, CR4 0x${values.cr4.toString(16)}, EFER 0x${values.efer.toString(16)}: not long mode with paging (needs CR0.PG, CR4.PAE, EFER.LMA)`,
    );
  }
  const control = new ControlRegisters(model, isSet("CR4", 12) ? 5 : 4);
  const changes: Partial<ControlState> = {};
  for (const { name, register, bit } of CONTROL_BITS) changes[name] = isSet(register, bit);
  const result = control.set(changes);
  if (!result.ok) throw new RangeError(result.why);
  const frame = values.cr3 & ((1n << BigInt(model.maxPhyAddr)) - 1n) & ~0xfffn;
  control.setRoot(Number(frame), control.pcide ? Number(values.cr3 & 0xfffn) : 0);
  return control;
}

/** The registers as their own methods see them: for callers every field is read-only. */
function writable(control: ControlRegisters): Writable<ControlRegisters> {
  return control;
}

function refuse(why: string, fault: "#GP" | "#UD" = "#GP"): ControlResult {
  return { ok: false, fault, why };
}

function checkKeys(register: string, value: number): void {
  if (value !== value >>> 0)
    throw new RangeError(`${register} ${value}: give a whole number from 0 to 2^32-1`);
}
