import { type AccessPolicy, permissionTable, RIGHT_KEYED, RIGHT_U } from "./access-rights.ts";
import { need, printed } from "./argument.ts";
import { oneOf, unsigned, whole } from "./argument-kinds.ts";
import { CONTROL_BITS, type ControlResult, type ControlState } from "./control-bits.ts";
import { type CpuModel, checkModel, confirmsFaults } from "./cpu-model.ts";
import { type LayoutModel, PTE_PCD, PTE_PWT, reservedMask } from "./entry-layout.ts";
import { type MemoryType, PAT_RESET, parsePat } from "./pat.ts";
import { otherBitsOf } from "./register-bits.ts";

export * from "./control-bits.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const OTHERS = [
  ["CR0", "cr0Others"],
  ["CR4", "cr4Others"],
  ["EFER", "eferOthers"],
] as const;
const BITS: ReadonlySet<string> = new Set(CONTROL_BITS.map(({ name }) => name));
const KEYS: ReadonlySet<string> = new Set(["pkru", "pkrs"]);
const OTHER_NAMES: ReadonlySet<string> = new Set(OTHERS.map(([, name]) => name));
const OTHER_BITS = whole("other bits of a register", 0, Number.MAX_SAFE_INTEGER);
/** Bits that long mode with paging always has: PE, ET, PG; PAE; LME, LMA. */
const CR0_FIXED = 0x8000_0011;
const CR4_PAE = 1 << 5;
const CR4_LA57 = 1 << 12;
const EFER_FIXED = 0x500;
const PAT_AT_RESET = parsePat(PAT_RESET)!;
/** The value of a register of 64 bits. */
export const REGISTER_VALUE = unsigned("register value", 64);
const LEVELS = oneOf("paging levels", [4, 5]);
const CR3_LAM_U57 = 1n << 61n;
const CR3_LAM_U48 = 1n << 62n;
/** Bit 63 of MOV to CR3's operand: keep the PCID's translations. It is never stored. */
export const CR3_KEEP: bigint = 1n << 63n;

/**
 * CR0, CR3, CR4, EFER, PKRU and PKRS of one logical CPU in long mode, with what the walk and the TLB need of them
 * worked out beforehand. It knows no TLB: {@link Cpu.setControl} and {@link Cpu.loadCr3} also do the flushes that
 * such a write implies. Fields are read-only to callers, because what is worked out from them must never lag behind:
 * `set` and `setRoot` change them.
 */
export class ControlRegisters implements AccessPolicy {
  declare readonly model: CpuModel;
  /** 4 or 5; fixed, because CR4.LA57 cannot change in long mode. */
  declare readonly levels: 4 | 5;

  /** CR3[M-1:12] as a byte address, and the same as words of an entry. */
  readonly root: number = 0;
  readonly rootLo: number = 0;
  readonly rootHi: number = 0;
  /** The PCID in effect: CR3[11:0] while CR4.PCIDE = 1 and the CPU has tags, else 0. */
  readonly pcid: number = 0;

  readonly wp: boolean = true;
  readonly nxe: boolean = true;
  readonly pse: boolean = false;
  declare readonly pge: boolean;
  readonly pcide: boolean = false;
  readonly smep: boolean = false;
  readonly smap: boolean = false;
  readonly pke: boolean = false;
  readonly pks: boolean = false;
  readonly cet: boolean = false;
  readonly lass: boolean = false;
  readonly lamSup: boolean = false;
  readonly tce: boolean = false;
  readonly uaie: boolean = false;
  readonly cd: boolean = false;
  /** CR3[61] and CR3[62]: user pointers carry metadata. */
  readonly lamU57: boolean = false;
  readonly lamU48: boolean = false;
  /** Both key registers are unsigned. */
  readonly pkru: number = 0;
  readonly pkrs: number = 0;

  /** The types of IA32_PAT's entries, and its value. */
  readonly pat: readonly MemoryType[] = PAT_AT_RESET;
  readonly patValue: bigint = PAT_RESET;
  readonly cr0Others: number = 0;
  readonly cr4Others: number = 0;
  readonly eferOthers: number = 0;
  /** Whether a key register applies at all. */
  readonly keys: boolean = false;
  declare readonly keyRight: number;
  declare readonly keyStopsSupervisor: boolean;
  /** Whether G makes a translation global now. */
  readonly globals: boolean = true;
  /** Whether some pointer may carry metadata. */
  readonly lam: boolean = false;
  /** Whether an address is looked at before it is translated: LAM, upper-address ignore, LASS. */
  readonly pretreats: boolean = false;
  /** Reserved bits of the high word, the same for every kind of entry. */
  readonly reservedHi: number = 0;
  /** Reserved bits of the low word: PML4E and PML5E, 2-MiB leaf, 1-GiB leaf; other kinds have none there. */
  readonly reservedTop: number = 0;
  readonly reserved2m: number = 0;
  readonly reserved1g: number = 0;
  /** Whether a faulting walk sets A in the tables it used. */
  declare readonly setsUpperAOnFault: boolean;
  /** Whether a cached entry's refusal is no fault before a walk of memory confirms it. */
  declare readonly confirmsFaults: boolean;
  /** See access-rights.ts permissionIndex. */
  readonly permissions: Uint8Array = permissionTable(this);
  /** Called at every write of a register that may change what an access may do or where it leads. */
  written: () => void = () => {};
  /** CR3[11:0] as loaded: a MOV to CR4 leaves it alone. */
  private cr3Low = 0;
  /** What is worked out from the layout, by NXE: the model does not change. */
  private readonly reserved: (ReservedWords | undefined)[] = [];

  /** Throws RangeError for a model that cannot be, and for five levels on one without LA57. */
  constructor(model: CpuModel, levels: 4 | 5 = 4) {
    checkModel(model);
    need(LEVELS, levels);
    if (levels === 5 && !model.la57) {
      throw new RangeError(
        `five-level paging on ${model.name}: it has no LA57, use levels 4 or another model`,
      );
    }
    this.model = model;
    this.levels = levels;
    this.nxe = model.nx;
    this.pge = model.pge;
    this.setsUpperAOnFault = model.upperAOnFault === "set";
    this.confirmsFaults = confirmsFaults(model);
    this.keyRight = model.keyPage === "path" ? RIGHT_U : RIGHT_KEYED;
    this.keyStopsSupervisor = model.keyStopsSupervisor;
    this.derive();
  }

  get rsvdKeepsP(): boolean {
    return this.model.rsvdKeepsP;
  }

  /** Whether a PDPTE with PS=1 maps a page. */
  get gbPages(): boolean {
    return this.model.gbPages || !this.model.gbPagesGated;
  }

  /** What decides the reserved bits of entries now: hand it to decode() and reservedMask(). */
  get layout(): LayoutModel {
    const { vendor, maxPhyAddr, amdNonleafG } = this.model;
    const { nxe, pge, keys, gbPages } = this;
    const topG = amdNonleafG === undefined ? {} : { amdNonleafG };
    return { vendor, maxPhyAddr, gbPages, nxe, pge, keys, ...topG };
  }

  /**
   * Writes control bits and key registers together. All or nothing: an illegal write leaves everything as it was and
   * returns the fault the instruction would raise (SDM vol. 3, 2.5 and 4.10.1). Throws TypeError for a name that is no
   * control bit's and for a bit that is neither true nor false, RangeError for a register's value outside 0..2^32-1. A write of the key registers alone works nothing out anew.
   */
  set(changes: Partial<ControlState>): ControlResult {
    checkChanges(changes);
    for (const { name, register, feature } of CONTROL_BITS) {
      const missing = feature !== null && !this.model[feature];
      if (changes[name] && missing && (name !== "pcide" || this.model.pcideGated)) {
        return refuse(`${register}.${name.toUpperCase()} set, but ${this.model.name} has no ${feature}`);
      }
    }
    const { pkru = this.pkru, pkrs = this.pkrs } = changes;
    if (pkru !== 0 && !this.model.pku) return refuse(`PKRU set, but ${this.model.name} has no pku`, "#UD");
    if (pkrs !== 0 && !this.model.pks) return refuse(`IA32_PKRS set, but ${this.model.name} has no pks`);
    if (changes.pcide === true && !this.pcide && this.cr3Low !== 0) {
      return refuse(
        `CR4.PCIDE set while CR3[11:0] is 0x${this.cr3Low.toString(16)}: load CR3 with PCID 0 first`,
      );
    }
    for (const [register, name] of OTHERS) {
      const value = changes[name];
      if (value === undefined || value === this[name]) continue;
      const reserved = BigInt(value) & ~otherBitsOf(register, this.model);
      if (reserved !== 0n)
        return refuse(`${register} bits 0x${reserved.toString(16)} are reserved on ${this.model.name}`);
    }
    const { wp = this.wp, cet = this.cet } = changes;
    if (cet && !wp) return refuse("CR4.CET set while CR0.WP is 0: shadow stacks need write protection");
    const own = writable(this);
    this.written();
    own.pkru = pkru;
    own.pkrs = pkrs;
    for (const [, name] of OTHERS) own[name] = changes[name] ?? this[name];
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
    this.load(root, pcid);
  }

  /**
   * CR3 as MOV loads it: #GP for a bit from MAXPHYADDR up, but for those of LAM on a CPU that has it, and for bit 63
   * without PCIDE (SDM vol. 3, 4.5). Bit 63 is not stored; to keep or drop translations is the caller's part.
   */
  setCr3(value: bigint): ControlResult {
    need(REGISTER_VALUE, value);
    const { lam, maxPhyAddr } = this.model;
    const known = (lam ? CR3_LAM_U57 | CR3_LAM_U48 : 0n) | (this.pcide ? CR3_KEEP : 0n);
    const reserved = (value & ~known) >> BigInt(maxPhyAddr);
    if (reserved !== 0n) {
      const bits = reserved << BigInt(maxPhyAddr);
      return refuse(`CR3 bits 0x${bits.toString(16)} set: they are reserved on ${this.model.name}`);
    }
    const own = writable(this);
    own.lamU57 = (value & CR3_LAM_U57) !== 0n;
    own.lamU48 = (value & CR3_LAM_U48) !== 0n;
    this.derivePretreatment();
    this.load(Number(value & 0xf_ffff_ffff_f000n), Number(value & 0xfffn));
    return { ok: true };
  }

  /** IA32_PAT: #GP for a reserved memory type. */
  setPat(value: bigint): ControlResult {
    need(REGISTER_VALUE, value);
    const pat = parsePat(value);
    if (pat === null) return refuse(`IA32_PAT 0x${value.toString(16)}: types are 0, 1 and 4 to 7`);
    const own = writable(this);
    own.pat = pat;
    own.patValue = value;
    return { ok: true };
  }

  private load(root: number, low: number): void {
    const own = writable(this);
    this.written();
    own.root = root;
    own.rootLo = root | 0;
    own.rootHi = (root / 2 ** 32) | 0;
    this.cr3Low = low;
    own.pcid = this.pcide && this.model.tagsPcid ? low : 0;
  }

  /** Reserved bits of the low word of a large leaf at level 2 or 3. */
  reservedLarge(level: number): number {
    return level === 2 ? this.reserved2m : this.reserved1g;
  }

  get cr0(): number {
    return CR0_FIXED + this.bitsOf("CR0") + this.cr0Others;
  }

  /**
   * At most 52 bits, so exact: the root with the PCID it was loaded with, also after PCIDE was cleared. The bits of LAM
   * are not in it.
   */
  get cr3(): number {
    return this.root + this.cr3Low;
  }

  /** CR3 as MOV from CR3 reads it: with the bits of LAM, without bit 63. */
  get cr3Value(): bigint {
    const lam = (this.lamU57 ? CR3_LAM_U57 : 0n) | (this.lamU48 ? CR3_LAM_U48 : 0n);
    return BigInt(this.cr3) | lam;
  }

  /** PWT and PCD of CR3, which choose the memory type of the root table while PCIDE = 0; else 0. */
  get rootCaching(): number {
    return this.pcide ? 0 : this.cr3Low & (PTE_PWT | PTE_PCD);
  }

  get cr4(): number {
    return CR4_PAE + (this.levels === 5 ? CR4_LA57 : 0) + this.bitsOf("CR4") + this.cr4Others;
  }

  get efer(): number {
    return EFER_FIXED + this.bitsOf("EFER") + this.eferOthers;
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
    own.pcid = this.pcide && this.model.tagsPcid ? this.cr3Low : 0;
    own.keys = this.pke || this.pks;
    own.globals = this.pge && this.model.honoursGlobal;
    this.derivePretreatment();
    own.permissions = permissionTable(this);
    Object.assign(own, this.reservedWords());
  }

  private derivePretreatment(): void {
    const own = writable(this);
    own.lam = this.lamSup || this.lamU57 || this.lamU48 || this.uaie;
    own.pretreats = this.lam || this.lass;
  }

  private reservedWords(): ReservedWords {
    const known = this.reserved[Number(this.nxe)];
    if (known !== undefined) return known;
    const { layout } = this;
    const words = {
      reservedHi: reservedMask("pte", layout).hi,
      reservedTop: reservedMask("pml4e", layout).lo,
      reserved2m: reservedMask("pde-2m", layout).lo,
      reserved1g: reservedMask("pdpte-1g", layout).lo,
    };
    this.reserved[Number(this.nxe)] = words;
    return words;
  }
}

type ReservedWords = Pick<ControlRegisters, "reservedHi" | "reservedTop" | "reserved2m" | "reserved1g">;

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
 * ignored.
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
  const lam = model.lam ? CR3_LAM_U57 | CR3_LAM_U48 : 0n;
  control.setCr3(values.cr3 & (((1n << BigInt(model.maxPhyAddr)) - 1n) | lam));
  return control;
}

/** The registers as their own methods see them: for callers every field is read-only. */
function writable(control: ControlRegisters): Writable<ControlRegisters> {
  return control;
}

function refuse(why: string, fault: "#GP" | "#UD" = "#GP"): ControlResult {
  return { ok: false, fault, why };
}

/** Throws TypeError, naming it, for what no control bit has for a name or a value. */
function checkChanges(changes: Partial<ControlState>): void {
  if (typeof changes !== "object" || changes === null) {
    throw new TypeError(`control bits ${printed(changes)}: give an object of control bits`);
  }
  for (const [name, value] of Object.entries(changes)) {
    if (KEYS.has(name)) {
      if (value !== undefined) checkKeys(name.toUpperCase(), value as number);
    } else if (OTHER_NAMES.has(name)) {
      if (value !== undefined) need(OTHER_BITS, value);
    } else if (!BITS.has(name)) {
      throw new TypeError(
        `control bit ${printed(name)}: known are ${[...BITS, ...KEYS, ...OTHER_NAMES].join(", ")}`,
      );
    } else if (value !== undefined && typeof value !== "boolean") {
      throw new TypeError(`control bit ${name} ${printed(value)}: give true or false`);
    }
  }
}

function checkKeys(register: string, value: number): void {
  if (value !== value >>> 0)
    throw new RangeError(`${register} ${printed(value)}: give a whole number from 0 to 2^32-1`);
}
